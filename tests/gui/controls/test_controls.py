"""Field editors: typing, applying, reverting, errors and help."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import STEPS, Step
from lora_studio.core.project.project import SPECS
from lora_studio.gui.controls.choices import (
    ChipsControl,
    ComboControl,
    FlagControl,
    SegmentsControl,
)
from lora_studio.gui.controls.controls import (
    Control,
    LineControl,
    LineEdit,
    ListControl,
    PathControl,
    TextControl,
    step_value,
)
from lora_studio.gui.controls.field_editor import FieldEditor, Style, make_editor
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import CollapsibleSection
from tests.helpers.window.fake_engine import FileDrop

ControlT = TypeVar("ControlT", bound=Control)


class Form(QWidget):
    """A window with editors one above the other."""

    def __init__(self, qtbot: QtBot, state: ProjectState) -> None:
        super().__init__()
        self.qtbot, self.state = qtbot, state
        self.column = QVBoxLayout(self)
        qtbot.addWidget(self)
        self.resize(500, 400)
        with qtbot.waitActive(self):
            self.show()
            self.activateWindow()

    def add(self, step: Step, field: str, style: Style = "auto") -> FieldEditor:
        editor = make_editor(self.state, step, field, style=style)
        self.column.addWidget(editor)
        QApplication.processEvents()
        return editor

    def line(self, step: Step, field: str) -> tuple[FieldEditor, LineEdit]:
        editor = self.add(step, field)
        assert isinstance(editor.control, LineControl | PathControl | ListControl)
        editor.control.line.setFocus()
        return editor, editor.control.line

    def retype(self, line: LineEdit, text: str) -> None:
        line.selectAll()
        self.qtbot.keyClicks(line, text)


@pytest.fixture
def form(qtbot: QtBot, state: ProjectState) -> Form:
    return Form(qtbot, state)


def control(editor: FieldEditor, kind: type[ControlT]) -> ControlT:
    assert isinstance(editor.control, kind)
    return editor.control


@pytest.mark.parametrize(
    ("step", "field", "kind"),
    [
        ("training", "learning_rate", LineControl),
        ("lora", "rank", LineControl),
        ("export", "ollama_name", LineControl),
        ("lora", "bias", SegmentsControl),
        ("lora", "targets", ComboControl),
        ("export", "self_test", FlagControl),
        ("dataset", "validation_file", PathControl),
        ("export", "quantizations", ChipsControl),
        ("lora", "target_names", ListControl),
    ],
)
def test_field_kind_determines_the_control(
    form: Form, step: Step, field: str, kind: type[Control]
) -> None:
    assert type(form.add(step, field).control) is kind


@pytest.mark.slow
def test_every_field_has_title_help_and_accessible_name(form: Form) -> None:
    for step in STEPS:
        for field in SPECS[step].model_fields:
            editor = form.add(step, field)
            proxy = editor.control.focusProxy()
            assert proxy is not None
            named = editor.control if isinstance(proxy, QAbstractButton) else proxy
            assert named.accessibleName() == editor.facts.title
            assert named.accessibleDescription() == editor.facts.description
            assert editor.help.text() == editor.facts.description
            assert editor.facts.description in editor.control.toolTip()


def test_typed_value_is_applied_on_enter(form: Form, state: ProjectState) -> None:
    _, line = form.line("training", "learning_rate")
    form.retype(line, "1e-4")
    assert state.get("training", "learning_rate") == 2e-4
    form.qtbot.keyClick(line, Qt.Key.Key_Return)
    assert state.get("training", "learning_rate") == 1e-4
    assert line.text() == "1e-4"


def test_escape_reverts_typed_text(form: Form, state: ProjectState) -> None:
    _, line = form.line("training", "learning_rate")
    form.retype(line, "9")
    form.qtbot.keyClick(line, Qt.Key.Key_Escape)
    assert line.text() == "2e-4"
    assert state.undo.count() == 0


def test_leaving_a_field_applies_its_value(form: Form, state: ProjectState) -> None:
    other, _ = form.line("lora", "alpha")
    _, line = form.line("lora", "rank")
    form.retype(line, "64")
    other.control.setFocus()
    assert state.get("lora", "rank") == 64


def test_units_and_abbreviations_are_parsed(form: Form, state: ProjectState) -> None:
    _, line = form.line("dataset", "max_length")
    form.retype(line, "4k tokens")
    form.qtbot.keyClick(line, Qt.Key.Key_Return)
    assert state.get("dataset", "max_length") == 4096
    assert line.text() == "4096"


def test_cleared_number_returns_to_its_default(form: Form, state: ProjectState) -> None:
    state.set("lora", "rank", 64)
    _, line = form.line("lora", "rank")
    form.retype(line, "")
    line.clear()
    form.qtbot.keyClick(line, Qt.Key.Key_Return)
    assert state.get("lora", "rank") == 16


def test_error_appears_on_leaving_the_field_not_while_typing(
    form: Form, state: ProjectState
) -> None:
    other, _ = form.line("lora", "alpha")
    editor, line = form.line("lora", "rank")
    form.retype(line, "lots")
    assert not editor.error.isVisible()
    other.control.setFocus()
    assert editor.error.isVisible()
    assert "lots" in editor.error.text()
    assert state.get("lora", "rank") == "lots"
    assert line.text() == "lots"
    assert line.property("invalid") is True


def test_fix_button_repairs_the_value(form: Form, state: ProjectState) -> None:
    state.set("lora", "rank", 0)
    editor = form.add("lora", "rank")
    assert editor.error.isVisible()
    editor.fix_button.click()
    assert state.get("lora", "rank") == 16
    assert not editor.error.isVisible()


def test_missing_value_is_an_error_only_after_focus(form: Form) -> None:
    editor = form.add("model", "source")
    assert not editor.error.isVisible()
    editor.focus()
    assert editor.error.isVisible()


def test_undo_updates_the_control(form: Form, state: ProjectState) -> None:
    _, line = form.line("lora", "rank")
    biases = control(form.add("lora", "bias"), SegmentsControl)
    state.set("lora", "rank", 64)
    state.set("lora", "bias", "all")
    assert line.text() == "64"
    assert biases.button("all").isChecked()
    state.undo.undo()
    state.undo.undo()
    assert line.text() == "16"
    assert biases.button("none").isChecked()


def test_opening_a_project_updates_the_control(
    form: Form, state: ProjectState, project_folder: Path
) -> None:
    editor, line = form.line("dataset", "validation_file")
    state.set("dataset", "validation_file", "held.jsonl")
    assert line.text() == "held.jsonl"
    state.open(project_folder)
    assert line.text() == ""
    assert control(editor, PathControl).base == project_folder


def _wheel(line: LineEdit, up: bool = True) -> QWheelEvent:
    middle = QPointF(line.rect().center())
    event = QWheelEvent(
        middle, middle, QPoint(), QPoint(0, 120 if up else -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(line, event)
    return event


def test_wheel_changes_a_number_only_with_focus(form: Form, state: ProjectState) -> None:
    other, _ = form.line("lora", "alpha")
    _, line = form.line("lora", "rank")
    other.control.setFocus()
    assert not _wheel(line).isAccepted()
    assert state.get("lora", "rank") == 16
    line.setFocus()
    _wheel(line)
    assert state.get("lora", "rank") == 32
    _wheel(line, up=False)
    assert state.get("lora", "rank") == 16


@pytest.mark.parametrize(
    ("step", "field", "value", "up", "down"),
    [
        ("lora", "rank", 16, 32, 8),
        ("lora", "rank", 1, 2, 1),
        ("lora", "rank", 1024, 1024, 512),
        ("lora", "dropout", 0.0, 0.01, 0.0),
        ("lora", "dropout", 0.05, 0.06, 0.04),
        ("training", "learning_rate", 2e-4, 5e-4, 1e-4),
        ("training", "learning_rate", 1e-4, 2e-4, 5e-5),
        ("training", "learning_rate", 1.0, 1.0, 0.5),
        ("training", "epochs", 0.5, 1.0, 0.5),
        ("training", "keep_checkpoints", 3, 4, 2),
    ],
)
def test_step_moves_to_next_sensible_value_within_bounds(
    state: ProjectState, step: Step, field: str, value: float, up: float, down: float
) -> None:
    about = state.get_facts(step, field)
    assert step_value(value, 1, about) == pytest.approx(up)
    assert step_value(value, -1, about) == pytest.approx(down)


def test_choice_is_selected_by_click(form: Form, state: ProjectState) -> None:
    biases = control(form.add("lora", "bias"), SegmentsControl)
    form.qtbot.mouseClick(biases.button("all"), Qt.MouseButton.LeftButton)
    assert state.get("lora", "bias") == "all"


def test_unknown_choice_selects_nothing_and_shows_an_error(form: Form, state: ProjectState) -> None:
    state.set("lora", "bias", "zigzag")
    editor = form.add("lora", "bias")
    biases = control(editor, SegmentsControl)
    assert not any(biases.button(name).isChecked() for name in editor.facts.choices)
    assert "zigzag" in editor.error.text()
    biases.button("none").click()
    assert state.get("lora", "bias") == "none"


def test_combo_box_shows_labels_and_stores_values(form: Form, state: ProjectState) -> None:
    targets = control(form.add("lora", "targets"), ComboControl)
    assert targets.box.currentText() == "All linear layers"
    targets.box.setCurrentIndex(0)
    targets.box.activated.emit(0)
    assert state.get("lora", "targets") == "attention_qv"


def test_space_bar_toggles_a_flag(form: Form, state: ProjectState) -> None:
    flag = control(form.add("export", "self_test"), FlagControl)
    assert flag.box.isChecked()
    form.qtbot.keyClick(flag.box, Qt.Key.Key_Space)
    assert state.get("export", "self_test") is False


def test_multiple_choices_keep_the_order_of_the_options(form: Form, state: ProjectState) -> None:
    chips = control(form.add("export", "quantizations"), ChipsControl)
    chips.chips["Q8_0"].click()
    assert state.get("export", "quantizations") == ["Q8_0", "Q4_K_M"]
    chips.chips["Q4_K_M"].click()
    assert state.get("export", "quantizations") == ["Q8_0"]


def test_names_are_split_at_commas_and_spaces(form: Form, state: ProjectState) -> None:
    _, line = form.line("lora", "target_names")
    form.retype(line, "q_proj,  v_proj o_proj")
    form.qtbot.keyClick(line, Qt.Key.Key_Return)
    assert state.get("lora", "target_names") == ["q_proj", "v_proj", "o_proj"]
    assert line.text() == "q_proj, v_proj, o_proj"


def test_long_text_is_applied_on_leaving_and_reverted_by_escape(
    form: Form, state: ProjectState
) -> None:
    editor = form.add("export", "system_prompt", style="text")
    box = control(editor, TextControl).box
    other, _ = form.line("lora", "alpha")
    box.setFocus()
    form.qtbot.keyClicks(box, "Be brief.")
    other.control.setFocus()
    assert state.get("export", "system_prompt") == "Be brief."
    box.setFocus()
    form.qtbot.keyClicks(box, "Never mind")
    form.qtbot.keyClick(box, Qt.Key.Key_Escape)
    assert box.toPlainText() == "Be brief."


def test_file_dropped_from_the_project_gets_a_relative_path(
    form: Form, state: ProjectState, project_folder: Path
) -> None:
    state.open(project_folder)
    editor = form.add("dataset", "validation_file")
    editor.control.dropEvent(FileDrop(project_folder / "rows.jsonl"))
    assert state.get("dataset", "validation_file") == "rows.jsonl"


def test_file_dropped_from_elsewhere_gets_a_full_path(
    form: Form, state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    other = tmp_path / "Ünï code.jsonl"
    other.write_text("{}")
    form.add("dataset", "validation_file").control.dropEvent(FileDrop(other))
    assert state.get("dataset", "validation_file") == str(other)


def test_dropped_folder_is_ignored_by_a_file_field(
    form: Form, state: ProjectState, tmp_path: Path
) -> None:
    form.add("dataset", "validation_file").control.dropEvent(FileDrop(tmp_path))
    assert state.get("dataset", "validation_file") == ""


def test_quotation_marks_around_a_pasted_path_are_removed(form: Form, state: ProjectState) -> None:
    _, line = form.line("dataset", "validation_file")
    form.retype(line, '"/data/my rows.jsonl"')
    form.qtbot.keyClick(line, Qt.Key.Key_Return)
    assert state.get("dataset", "validation_file") == "/data/my rows.jsonl"


def test_collapsible_section_opens_and_closes_by_click(qtbot: QtBot) -> None:
    more = CollapsibleSection()
    qtbot.addWidget(more)
    assert not more.is_open()
    more.opener.click()
    assert more.is_open()
    more.opener.click()
    assert not more.is_open()
