"""The six pages in the order of the data."""

from __future__ import annotations

from lora_studio.gui.pages.dataset import DatasetPage
from lora_studio.gui.pages.export import ExportPage
from lora_studio.gui.pages.lora import LoraPage
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model import ModelPage
from lora_studio.gui.pages.page import Page
from lora_studio.gui.pages.training import TrainingPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project_state import ProjectState


def pages(state: ProjectState, preferences: Preferences) -> list[Page]:
    """Makes all pages over one project; `preferences` outlive it."""
    return [
        ModelPage(state, preferences),
        LoraPage(state),
        DatasetPage(state, preferences),
        TrainingPage(state),
        MergingPage(state),
        ExportPage(state),
    ]
