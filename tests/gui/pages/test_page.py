"""All six step pages: one editor per field, keyboard access and accessible names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QTabBar, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import STEPS, Problem, Where
from lora_studio.core.project.project import SPECS
from lora_studio.core.spec import Spec
from lora_studio.core.tasks.classification import ClassificationSettings
from lora_studio.core.tasks.embedding import EmbeddingSettings
from lora_studio.core.tasks.grpo import GrpoSettings
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.training.distillation import DistillationSettings
from lora_studio.gui import theme
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import CollapsibleSection
from tests.helpers.models import model_facts


@pytest.fixture
def pages(qtbot: QtBot, state: ProjectState) -> Iterator[dict[str, StepPage]]:
    step_pages = {page.step: page for page in lazy_pages.make_step_pages(state, Preferences())}
    for page in step_pages.values():
        qtbot.addWidget(page)
        page.resize(1100, 740)
    yield step_pages
    state.undo.setClean()


@pytest.mark.slow
def test_every_field_of_every_spec_has_exactly_one_editor(pages: dict[str, StepPage]) -> None:
    assert list(pages) == list(STEPS)
    for step, page in pages.items():
        assert sorted(page.editors) == sorted(SPECS[step].model_fields)
        placed = [editor.field for editor in page.findChildren(FieldEditor)]
        assert sorted(placed) == sorted(SPECS[step].model_fields), (
            f"{step}: some fields have no editor"
        )


_WANTED_BY = {
    "target_names": ("targets", "names"),
    "adapt_experts": ("adapt_experts", True),
    "lm_studio_folder": ("lm_studio", True),
    "lowest_rate": ("schedule", "polynomial"),
    "schedule_cycles": ("schedule", "cosine_with_restarts"),
    "schedule_power": ("schedule", "polynomial"),
    "decay_share": ("schedule", "warmup_stable_decay"),
    "label_smoothing": ("dpo_loss", "robust"),
    "simpo_beta": ("preference", "simpo"),
    "simpo_gamma": ("preference", "simpo"),
}

#: Settings that are shown with data for a task only.
_TASKS: dict[type[Spec], TaskName] = {
    GrpoSettings: "grpo",
    DistillationSettings: "sft",
    EmbeddingSettings: "embedding",
    ClassificationSettings: "classification",
}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_every_field_can_be_revealed_and_focused(
    qtbot: QtBot, pages: dict[str, StepPage], step: str
) -> None:
    page = pages[step]
    page.show()
    qtbot.waitExposed(page)
    for field, editor in page.editors.items():
        if field in _WANTED_BY:  # shown only where it applies
            page.state.set(step, *_WANTED_BY[field])
        if not editor.is_searchable:  # the data can't use it
            continue
        for settings, task in _TASKS.items():
            if field in settings.model_fields:
                page.state.set_answer(model_facts.dataset(task=task))
                QApplication.processEvents()  # moves their group to the top
        if field in DistillationSettings.model_fields:
            page.state.set(step, "teacher", "org/large")
        page.focus_field(field)
        assert editor.isVisible(), f"{step}.{field} stays hidden"
        focused = page.focusWidget()
        assert focused is not None
        assert focused is editor or editor.isAncestorOf(focused), (
            f"{step}.{field} does not take the focus"
        )


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_every_button_is_reachable_by_tab_and_has_a_name(
    pages: dict[str, StepPage], step: str
) -> None:
    for part in pages[step].findChildren(QAbstractButton):
        parent = part.parentWidget()
        unused = parent.isHidden() or isinstance(parent, QTabBar)  # an error's fix, scroll arrows
        if unused or part.objectName().startswith("qt_"):
            continue
        assert part.focusPolicy() & Qt.FocusPolicy.TabFocus, f"{part} {part.text()}"
        assert part.text() or part.accessibleName(), f"{step}: a button without a name"
    for editor in pages[step].editors.values():
        target = editor.control.focusProxy() or editor.control
        while target.focusProxy() is not None:
            target = target.focusProxy()
        own_words = target.text() if isinstance(target, QAbstractButton) else ""
        assert target.accessibleName() or own_words, f"{step}.{editor.field} has no name"


@pytest.mark.slow
def test_advanced_fields_are_in_collapsible_sections(pages: dict[str, StepPage]) -> None:
    def folded(widget: QWidget) -> bool:
        parent = widget.parentWidget()
        while parent is not None:
            if isinstance(parent, CollapsibleSection):
                return True
            parent = parent.parentWidget()
        return False

    shown_anyway = {("model", "device"), ("dataset", "fixes")}
    at_top = ("group_size", "rollout_tokens")  # with prompts for rewards, which alone use them
    for step, page in pages.items():
        for field, editor in page.editors.items():
            advanced = editor.facts.advanced and (step, field) not in shown_anyway
            is_moved = field in at_top or field == "llama_cpp"
            assert folded(editor) == advanced or is_moved, f"{step}.{field}"


@pytest.mark.slow
def test_new_project_shows_what_each_step_needs(
    pages: dict[str, StepPage],
) -> None:
    assert {step: page.find_blocker() for step, page in pages.items()} == {
        "model": "No model selected.",
        "lora": None,
        "dataset": "No dataset selected.",
        "training": "No model selected.",
        "merging": "No model selected.",
        "export": "No model selected.",
    }
    assert not pages["model"].header.primary.isEnabled()
    assert pages["model"].header.primary.toolTip() == "No model selected."


@pytest.mark.slow
def test_pages_accept_invalid_values_of_any_field(
    state: ProjectState, pages: dict[str, StepPage]
) -> None:
    for value in ("nonsense", -1, None, 1.5, ["x"], True, ""):
        for step in STEPS:
            for field in SPECS[step].model_fields:
                state.draft.set(step, field, value)
        state.opened.emit()
        for page in pages.values():
            page.refresh()
    state.report("test", [Problem(code="x.y", what="W.", remedy="R.", where=Where(step="model"))])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_fit_the_smallest_window_width(
    qapp: QApplication, pages: dict[str, StepPage], mode: theme.Mode
) -> None:
    theme.apply(qapp, mode)
    rail = 176
    for step, page in pages.items():
        inner = page.area.widget()
        assert inner is not None
        needed = inner.minimumSizeHint().width()
        assert needed <= 960 - rail, f"{step} would be clipped: it needs {needed}"
