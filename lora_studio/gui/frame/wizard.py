"""The six pages in the order of the data."""

from __future__ import annotations

from lora_studio.gui.pages.dataset.page import DatasetPage
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState


def pages(state: ProjectState, preferences: Preferences) -> list[StepPage]:
    """Makes all pages over one project; `preferences` outlive it."""
    return [
        ModelPage(state, preferences),
        LoraPage(state),
        DatasetPage(state, preferences),
        TrainingPage(state),
        MergingPage(state),
        ExportPage(state),
    ]
