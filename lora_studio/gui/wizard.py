"""The six pages in the order of the data."""

from __future__ import annotations

from lora_studio.gui.pages.dataset import DatasetPage
from lora_studio.gui.pages.export import ExportPage
from lora_studio.gui.pages.lora import LoraPage
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model import ModelPage
from lora_studio.gui.pages.page import Page
from lora_studio.gui.pages.training import TrainingPage
from lora_studio.gui.project_state import ProjectState


def pages(state: ProjectState) -> list[Page]:
    """Makes all pages over one project."""
    return [
        ModelPage(state),
        LoraPage(state),
        DatasetPage(state),
        TrainingPage(state),
        MergingPage(state),
        ExportPage(state),
    ]
