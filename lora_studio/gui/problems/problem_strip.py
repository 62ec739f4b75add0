"""The strip at the bottom of the window with all problems of the project."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.problems import Problem
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.problems.suggested_actions import STEP_TITLES
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, get_palette, get_theme, pixmap, set_icon
from lora_studio.gui.widgets.basics import button, clear_layout, label, make_scroll_area, separator
from lora_studio.gui.widgets.glyph import ElidedLink

#: Maximum number of problems that the folded strip shows.
_IN_LINE = 2
#: Characters of a problem in the folded strip, which elides what has no room.
_LONGEST = 140


class ProblemStrip(QFrame):
    """One line that unfolds to a list; hidden without problems.

    Signals:
        field_requested(step, field): show the field of a problem; `field` may be empty.
        fix_requested(problem): apply its fix.
        explanation_requested(problem): explain it.
    """

    field_requested = Signal(str, str)
    fix_requested = Signal(object)
    explanation_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start folded."""
        super().__init__(parent)
        self.setProperty("surface", "strip")
        self._problems: list[Problem] = []
        self._index = -1  # index of the problem that `show_next` has shown
        self._glyph = QLabel()
        set_scaled_sizes(self._glyph, width=16, height=16)
        self.count = label("", "label")
        self._line = QHBoxLayout()
        self._line.setSpacing(Spacing.XS)
        self._more = button("", self._toggle, kind="link")
        self._more.setAccessibleName(tr("All problems"))
        self._list = make_scroll_area(None, tr("All problems"), sideways=True)
        self._list.hide()
        top = QHBoxLayout()
        top.setContentsMargins(Spacing.XL, Spacing.S, Spacing.XL, Spacing.S)
        top.setSpacing(Spacing.S)
        top.addWidget(self._glyph)
        top.addWidget(self.count)
        top.addLayout(self._line, 1)
        top.addWidget(self._more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(top)
        layout.addWidget(self._list)
        get_theme().changed.connect(self._show)
        self.hide()

    @property
    def problems(self) -> list[Problem]:
        """The shown problems."""
        return self._problems

    def show_problems(self, problems: list[Problem]) -> None:
        """Show problems: errors first, then warnings, then steps still to do."""
        ranked = sorted(problems, key=_rank_problem)
        if ranked != self._problems:  # new links would lose the keyboard's focus
            self._problems, self._index = ranked, -1
            self._show()

    def show_next(self) -> None:
        """Show the field or step of the next problem that has one, and start over after the last."""
        located = [problem for problem in self._problems if problem.where.step is not None]
        if located:
            following = (
                self._problems[self._index + 1 :] if self._index < len(self._problems) else []
            )
            chosen = next((p for p in following if p.where.step is not None), located[0])
            self._index = self._problems.index(chosen)
            self._open_problem(chosen)

    def _show(self) -> None:
        self.setVisible(bool(self._problems))
        clear_layout(self._line)
        if not self._problems:
            self._list.hide()
            return
        worst = _get_role(self._problems[0])
        self._glyph.setPixmap(pixmap(_GLYPHS[worst], getattr(get_palette(), worst), 16))
        self.count.setText(_count_problems(self._problems))
        for number, problem in enumerate(self._problems[:_IN_LINE]):
            if number:
                self._line.addWidget(label("·", "muted"))
            self._line.addWidget(self._make_link(problem))
        self._line.addStretch(1)
        hidden = len(self._problems) - _IN_LINE
        opened = not self._list.isHidden()
        self._more.setText(
            tr("Less")
            if opened
            else tr("All {count}").format(count=len(self._problems))
            if hidden > 0
            else tr("More")
        )
        set_icon(self._more, "chevron-down" if opened else "chevron-right", "accent")
        if opened:
            self._fill_list()

    def _make_link(self, problem: Problem) -> QPushButton:
        what = localize(problem.what)
        link = ElidedLink(_shorten(what), f"{what} {localize(problem.remedy)}")
        link.clicked.connect(lambda: self._open_problem(problem))
        return link

    def _open_problem(self, problem: Problem) -> None:
        if problem.where.step is not None:
            self.field_requested.emit(problem.where.step, problem.where.field or "")
        else:
            self.explanation_requested.emit(problem)

    def _toggle(self) -> None:
        self.set_open(self._list.isHidden())

    def set_open(self, opened: bool) -> None:
        """Show or hide the list of all problems."""
        self._list.setVisible(opened)
        self._show()

    def _fill_list(self) -> None:
        inner = QWidget()
        inner.setObjectName("scrolled")
        rows = QVBoxLayout(inner)
        rows.setContentsMargins(Spacing.XL, 0, Spacing.XL, Spacing.S)
        rows.setSpacing(0)
        for problem in self._problems:
            rows.addWidget(separator())
            rows.addLayout(self._make_row(problem))
        rows.addStretch(1)
        self._list.setWidget(inner)
        width = max(self.width(), self.minimumWidth())
        self._list.setFixedHeight(min(190, rows.heightForWidth(width)))

    def _make_row(self, problem: Problem) -> QHBoxLayout:
        glyph = QLabel()
        set_scaled_sizes(glyph, width=16, height=16)
        role = _get_role(problem)
        glyph.setPixmap(pixmap(_GLYPHS[role], getattr(get_palette(), role), 16))
        step = label(tr(STEP_TITLES.get(problem.where.step or "", mark("Project"))), "muted")
        set_scaled_sizes(step, width=84)
        layout = QHBoxLayout()
        layout.setContentsMargins(0, 6, 0, 6)
        layout.setSpacing(Spacing.S)
        layout.addWidget(glyph)
        layout.addWidget(step)
        layout.addWidget(
            label(f"{localize(problem.what)} {localize(problem.remedy)}", wrap=True), 1
        )
        if problem.fix is not None:
            layout.addWidget(
                button(
                    localize(problem.fix.label),
                    lambda: self.fix_requested.emit(problem),
                    kind="link",
                )
            )
        if problem.where.step is not None:
            layout.addWidget(button(tr("Show"), lambda: self._open_problem(problem), kind="link"))
        layout.addWidget(
            button(tr("What now?"), lambda: self.explanation_requested.emit(problem), kind="link")
        )
        return layout


_GLYPHS: dict[Role, str] = {"error": "error", "warn": "warning", "muted": "state-todo"}


def is_todo(problem: Problem) -> bool:
    """Return whether the problem is only a choice that the user hasn't made yet."""
    return problem.code.endswith(".none")


def _get_role(problem: Problem) -> Role:
    if is_todo(problem):
        return "muted"
    return "error" if problem.severity == "error" else "warn"


def _rank_problem(problem: Problem) -> int:
    return {"error": 0, "warn": 1, "muted": 2}[_get_role(problem)]


def _count_problems(problems: list[Problem]) -> str:
    wrong = sum(not is_todo(problem) for problem in problems)
    return f"{tr_n('{n} problem', '{n} problems', wrong)}:" if wrong else tr("Still to do:")


def _shorten(text: str) -> str:
    plain = text.split("\n")[0].removesuffix(".")
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
