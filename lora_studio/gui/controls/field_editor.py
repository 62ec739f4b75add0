"""The editor of one project field: label, control, unit, help text and error; and groups of editors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lora_studio.core.formatting import format_float
from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, Step
from lora_studio.core.spec import FieldFacts
from lora_studio.core.training import combinations
from lora_studio.gui.controls.choices import (
    CardOption,
    CardsControl,
    ChipsControl,
    ComboControl,
    FlagControl,
    SegmentsControl,
)
from lora_studio.gui.controls.controls import (
    Control,
    LineControl,
    LinesControl,
    ListControl,
    PathControl,
    TextControl,
    name_control,
)
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing, get_palette, pixmap
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.widgets.basics import button, column, label, restyle, row, set_visible
from lora_studio.gui.widgets.tooltips import plain_tip

Style = Literal["auto", "combo", "segments", "cards", "text", "chips", "line"]

#: Maximum total length, in characters, of choices that are shown side by side.
_SEGMENT_LETTERS = 40

#: Steps whose choices depend on each other.
_TOGETHER: tuple[Step, ...] = ("model", "lora", "training")


class FieldEditor(QWidget):
    """Shows and changes one field; the draft keeps invalid values."""

    #: Whether the command palette lists the field: not one that the data can't use.
    is_searchable = True

    def __init__(
        self, state: ProjectState, step: Step, field: str, control: Control,
        parent: QWidget | None = None,
    ) -> None:  # fmt: skip
        """Bind any control to a field."""
        super().__init__(parent)
        self.state, self.step, self.field, self.control = state, step, field, control
        self.facts = state.get_facts(step, field)
        self._touched = False
        self._fix: Problem | None = None
        self._blocked: dict[Any, Text] | None = None
        self.label = label(self.facts.title, "label")
        if control.has_title:  # showing a widget without a parent would open it as a window
            self.label.hide()
        self.help = label(self.facts.description, "caption", wrap=True)
        self.mark, self.other_mark = _Mark(self.facts), _Mark(self.facts)
        for mark in (self.mark, self.other_mark):
            mark.clicked.connect(self.explain)
        self.error = label("", "error", wrap=True)
        self.error.setProperty("small", True)
        self._glyph = label()
        self.fix_button = button("", self._apply_fix, kind="link")
        self._error_row = QWidget()
        self._build()
        self._describe()
        control.edited.connect(self._on_edited)
        control.left.connect(self._on_left)
        state.value_changed.connect(self._on_changed)
        state.opened.connect(self._on_opened)
        state.problems_changed.connect(self._show_problems)
        self._on_opened()

    def set_help(self, text: str) -> None:
        """Replace the help text, for example by a cost that depends on other fields."""
        self.help.setText(text)
        self.help.setVisible(bool(text))
        self._show_marks()

    def set_label_visible(self, visible: bool) -> None:
        """Show or hide the label."""
        self.label.setVisible(visible)
        self._show_marks()

    def explain(self) -> None:
        """Open the documentation of this setting."""
        docs_viewer.show(self.facts.help_topic, self)

    def event(self, event: QEvent) -> bool:
        """Claim F1 before the window's own shortcut."""
        if event.type() == QEvent.Type.ShortcutOverride and _is_help_request(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the documentation on F1."""
        if _is_help_request(event):
            self.explain()
        else:
            super().keyPressEvent(event)

    def focus(self) -> None:
        """Focus the control, and show its errors from now on."""
        self._touched = True
        self._show_problems()
        self.control.setFocus(Qt.FocusReason.TabFocusReason)  # selects the text

    def commit(self) -> None:
        """Apply what was typed but not entered."""
        self.control.commit()

    # --- helpers ------------------------------------------------------------------------------

    def _build(self) -> None:
        control_row = QHBoxLayout()
        control_row.setSpacing(Spacing.S)
        control_row.addWidget(self.control, 0 if self.facts.unit else 1)
        if self.facts.unit:
            control_row.addWidget(label(tr(self.facts.unit), "muted"))
            control_row.addStretch(1)
        set_scaled_sizes(self._glyph, width=16, height=16)
        error_column = column(self.error, row(self.fix_button, None), spacing=0)
        error = row(self._glyph, error_column, spacing=Spacing.XS)
        error.setAlignment(self._glyph, Qt.AlignmentFlag.AlignTop)
        error.setStretch(1, 1)
        self._error_row.setLayout(error)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.XS)
        layout.addLayout(row(self.label, self.mark, None, spacing=Spacing.XS))
        layout.addLayout(control_row)
        layout.addWidget(self._error_row)
        foot = row(self.help, self.other_mark, spacing=Spacing.XS)
        foot.setStretch(0, 1)
        foot.setAlignment(self.other_mark, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(foot)
        self._error_row.hide()
        self._show_marks()
        self.label.setBuddy(self.control)

    def _show_marks(self) -> None:
        """Show one of the two help buttons: next to the label, or next to the help text if there is no label."""
        explained = bool(self.facts.help_topic)
        set_visible(self.mark, explained and not self.label.isHidden())
        set_visible(
            self.other_mark, explained and self.label.isHidden() and not self.help.isHidden()
        )

    def _describe(self) -> None:
        name_control(self.control, self.facts.title, self.facts.description)
        self.control.setToolTip(plain_tip(_format_tooltip(self.facts)))
        self.label.setToolTip(plain_tip(_format_tooltip(self.facts)))

    def _on_opened(self) -> None:
        self._touched = False
        if isinstance(self.control, PathControl):
            self.control.base = self.state.draft.folder
        self.control.show_value(self.state.get(self.step, self.field))
        self._show_problems()
        self._show_blocked()

    def _on_edited(self, value: object) -> None:
        self.state.set(self.step, self.field, value)

    def _on_left(self) -> None:
        self._touched = True
        self._show_problems()

    def _on_changed(self, step: str, field: str) -> None:
        if (step, field) == (self.step, self.field):
            self.control.show_value(self.state.get(self.step, self.field))
            self._show_problems()
        self._show_blocked()

    def _show_blocked(self) -> None:
        """Disable choices that can't be combined with the other settings."""
        if self.facts.kind != "choice" or self.step not in _TOGETHER:
            return
        specs = [self.state.get_spec(step) for step in _TOGETHER]
        if None in specs:
            return
        chosen = combinations.Combination(*specs)  # type: ignore[arg-type]  # in the order of _TOGETHER, none missing
        values = list(self.facts.choices)
        blocked = combinations.find_blocked_values(chosen, self.step, self.field, values)
        if blocked != self._blocked:
            self._blocked = blocked
            self.control.set_blocked(blocked)

    def _show_problems(self, _: object = None) -> None:
        problems = [
            problem
            for problem in self.state.list_problems(self.step, self.field)
            if not self.control.shows_problem(problem)
        ]
        # A default that doesn't suit the data is shown with its fix before anyone has typed.
        unsuited = bool(problems) and problems[0].severity == "warning" and bool(problems[0].fix)
        is_visible = self._touched or unsuited or self.state.is_set(self.step, self.field)
        problem = problems[0] if problems and is_visible else None
        self.control.set_invalid(problem is not None and problem.severity == "error")
        self._error_row.setVisible(problem is not None)
        self._fix = problem
        if problem is None:
            return
        role: Literal["error", "warn"] = "error" if problem.severity == "error" else "warn"
        self.error.setText(f"{localize(problem.what)} {localize(problem.remedy)}")
        self.error.setProperty("role", role)
        restyle(self.error)
        glyph = "error" if role == "error" else "warning"
        self._glyph.setPixmap(pixmap(glyph, getattr(get_palette(), role), 16))
        self.fix_button.setVisible(problem.fix is not None)
        self.fix_button.setText(localize(problem.fix.label) if problem.fix else "")

    def _apply_fix(self) -> None:
        if self._fix is not None and (fix := self._fix.fix) is not None:
            self.state.apply_fix(fix)


class _Mark(QLabel):
    """A clickable question mark; F1 in the field does the same.

    Signals:
        clicked: show the documentation.
    """

    clicked = Signal()

    def __init__(self, about: FieldFacts) -> None:
        super().__init__("?", textFormat=Qt.TextFormat.PlainText)
        self.setProperty("role", "help")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(plain_tip(tr("About {setting} (F1)").format(setting=about.title)))
        self.setAccessibleName(self.toolTip())
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(
            event.position().toPoint()
        ):
            self.clicked.emit()


def _is_help_request(event: QEvent) -> bool:
    if not isinstance(event, QKeyEvent):
        return False
    return event.key() == Qt.Key.Key_F1 and not event.modifiers()


def make_editor(
    state: ProjectState,
    step: Step,
    field: str,
    *,
    control: Control | None = None,
    style: Style = "auto",
) -> FieldEditor:
    """Return the editor of a field, with a control for its kind unless one is given."""
    about = state.get_facts(step, field)
    return FieldEditor(state, step, field, control or make_control(about, style))


def make_control(about: FieldFacts, style: Style = "auto") -> Control:
    """Return a control for the kind of a field."""
    if style == "text":
        return TextControl()
    if about.lines:
        return LinesControl()
    match about.kind:
        case "choice" if style == "cards":
            details = about.choice_details
            return CardsControl(
                [CardOption(value, title, details[value]) for value, title in about.choices.items()]
            )
        case "choice" if style == "segments" or (style == "auto" and _is_short(about)):
            return SegmentsControl(about.choices)
        case "choice":
            return ComboControl(about.choices)
        case "flag":
            return FlagControl(about)
        case "path":
            return PathControl(about)
        case "list":
            return ChipsControl(about.choices) if about.choices else ListControl()
    return LineControl(about)


def _is_short(about: FieldFacts) -> bool:
    words = about.choices.values()
    return len(words) <= 4 and sum(map(len, words)) <= _SEGMENT_LETTERS


def _format_tooltip(about: FieldFacts) -> str:
    """Return description, bounds and default value, one per line."""
    lines = [about.description]
    unit = f" {tr(about.unit)}" if about.unit else ""
    if about.minimum is not None and about.maximum is not None:
        between = (
            tr("Range: above {low} to {high}{unit}")
            if about.exclusive_minimum
            else tr("Range: {low} to {high}{unit}")
        )
        lines.append(
            between.format(
                low=format_float(about.minimum), high=format_float(about.maximum), unit=unit
            )
        )
    if about.kind in ("integer", "number"):
        lines.append(
            tr("Default: {value}{unit}").format(value=format_float(about.default, "g"), unit=unit)
        )
    return "\n".join(lines)


class FieldGroup(QWidget):
    """Lays out its visible editors without gaps."""

    def __init__(
        self, title: str, editors: Sequence[FieldEditor], *, wide: Collection[str] = ()
    ) -> None:
        """Show all editors, fields in `wide` across both columns; without a `title` there is no heading."""
        super().__init__()
        self._wide = set(wide)
        self._editors = list(editors)
        self._shown: list[FieldEditor] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.XL)
        self._grid.setVerticalSpacing(Spacing.L)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        head = [label(title, "section")] if title else []
        self.setLayout(column(*head, self._grid, spacing=Spacing.S))
        for editor in self._editors:
            editor.setParent(self)
        self.show_only([editor.field for editor in self._editors])

    def show_only(self, fields: Collection[str]) -> None:
        """Show the editors of these fields and hide the others."""
        names = set(fields)
        shown = [editor for editor in self._editors if editor.field in names]
        if shown == self._shown:
            return
        self._shown = shown
        for editor in self._editors:
            self._grid.removeWidget(editor)
            set_visible(editor, editor in shown)
        cell = 0
        for editor in shown:
            width = 2 if editor.field in self._wide else 1
            cell += cell % 2 if width == 2 else 0
            self._grid.addWidget(editor, *divmod(cell, 2), 1, width, Qt.AlignmentFlag.AlignTop)
            cell += width
