"""Problems found in the data, each with its rows and a fix that is stored in the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.formatting import format_number
from lora_studio.core.messages import Template, Text
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Finding
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Role, Spacing
from lora_studio.gui.widgets.basics import button, column, label, make_scroll_area, row, separator
from lora_studio.gui.widgets.glyph import Glyph
from lora_studio.gui.widgets.tooltips import plain_tip

_FIXED: tuple[str, Role] = ("check", "ok")
_SIGNS: dict[str, tuple[str, Role]] = {
    "error": ("error", "error"),
    "warning": ("warning", "warn"),
    "hint": ("info", "muted"),
}


class FindingsView(Control):
    """Editor of the fixes: one click applies a fix, another undoes it.

    Signals:
        rows_requested(Finding): show the rows of a finding.
        change_requested(field, value): change another setting of this step, as a finding suggests.
    """

    rows_requested = Signal(object)
    change_requested = Signal(str, object)
    has_title = True

    def __init__(
        self, about: FieldFacts, in_words: Callable[[str, Any], str], parent: QWidget | None = None
    ) -> None:
        """Create an empty view; `in_words` returns the button text for setting a field to a value."""
        super().__init__(parent)
        self._titles, self._in_words = about.choices, in_words
        self._fixes: tuple[str, ...] = ()
        self._linted: events.DatasetLinted | None = None
        self._note = ""
        self._buttons: dict[str, QWidget] = {}  # the button of each repair
        self._area = make_scroll_area(None, about.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.addWidget(self._area)
        self.setFocusProxy(self._area)
        self._fill()

    def show_value(self, value: Any) -> None:
        """Show which fixes are active."""
        fixes = tuple(value) if isinstance(value, list | tuple) else ()
        if fixes != self._fixes:
            self._fixes = fixes
            self._fill()

    def show_findings(self, linted: events.DatasetLinted | None, note: str = "") -> None:
        """Show the findings; `note` says why there are none yet."""
        if (linted, note) != (self._linted, self._note):
            self._linted, self._note = linted, note
            self._fill()

    def open_count(self) -> int:
        """Return the number of findings that aren't fixed."""
        findings = self._linted.findings if self._linted else ()
        return sum(not self._is_fixed(item) for item in findings)

    def count(self) -> int:
        """Return the number of listed findings, fixed ones included."""
        findings = self._linted.findings if self._linted else ()
        return len(findings) + sum(all(item.fix != fix for item in findings) for fix in self._fixes)

    # --- helpers ------------------------------------------------------------------------------

    def _fill(self) -> None:
        self._buttons = {}
        inner = QWidget()
        inner.setObjectName("scrolled")
        rows = QVBoxLayout(inner)
        rows.setContentsMargins(0, 0, Spacing.S, 0)
        rows.setSpacing(0)
        findings = self._linted.findings if self._linted else ()
        if text := self._format_heading(findings):
            rows.addWidget(label(text, "muted", wrap=True))
            rows.addSpacing(Spacing.S)
        for finding in findings:
            rows.addWidget(separator())
            rows.addWidget(self._make_row(finding))
        for fix in self._fixes:
            if all(finding.fix != fix for finding in findings):
                rows.addWidget(separator())
                rows.addWidget(self._make_repair(fix))
        rows.addStretch(1)
        self._area.setWidget(inner)

    def _format_heading(self, findings: Sequence[Finding]) -> str:
        if self._note:
            return self._note
        if self._linted is None:
            return tr("Data problems appear here once all rows are read.")
        checked = (
            tr_n(
                "{n} row checked. Fixes are saved in the project; your files don't change.",
                "{n} rows checked. Fixes are saved in the project; your files don't change.",
                self._linted.rows,
            )
            if findings
            else tr_n(
                "{n} row checked. No problems found.",
                "{n} rows checked. No problems found.",
                self._linted.rows,
            )
        )
        return (
            f"{checked}\n{_describe_pairs(self._linted.pairs)}" if self._linted.pairs else checked
        )

    def _make_row(self, finding: Finding) -> QWidget:
        fixed = self._is_fixed(finding)
        name, role = _FIXED if fixed else _SIGNS[finding.severity]
        title = f"{localize(finding.title)}  ·  {tr_n('{n} row', '{n} rows', finding.count)}"
        texts = column(
            label(title, "label", wrap=True),
            label(localize(finding.what), "muted", wrap=True),
            spacing=2,
        )
        buttons = [self._show_rows(finding)] if finding.rows else []
        if finding.fix is not None:
            buttons.append(self._fix_button(finding.fix, fixed, localize(finding.title)))
        elif finding.change is not None:
            buttons.append(self._make_change_button(*finding.change))
        if fixed:
            texts.addWidget(
                label(tr("Fixed: {fix}").format(fix=self._titles.get(finding.fix or "", "")), "ok")
            )
        return _make_finding_row(name, role, texts, buttons)

    def _make_repair(self, fix: str) -> QWidget:
        texts = column(
            label(self._titles.get(fix, fix), "label", wrap=True),
            label(tr("Active, but no row needs it now."), "muted", wrap=True),
            spacing=2,
        )
        return _make_finding_row(
            "check", "ok", texts, [self._fix_button(fix, True, self._titles.get(fix, fix))]
        )

    def _show_rows(self, finding: Finding) -> QWidget:
        widget = button(tr("Show rows"), lambda: self.rows_requested.emit(finding), kind="link")
        widget.setAccessibleName(tr("Show rows: {title}").format(title=localize(finding.title)))
        return widget

    def _fix_button(self, fix: str, fixed: bool, title: Template | Text) -> QWidget:
        widget = button(tr("Undo fix") if fixed else tr("Fix"), lambda: self._toggle(fix))
        widget.setMinimumWidth(96)
        widget.setToolTip(plain_tip(self._titles.get(fix, fix)))
        name = tr("Undo fix: {title}") if fixed else tr("Fix: {title}")
        widget.setAccessibleName(name.format(title=title))
        self._buttons[fix] = widget
        return widget

    def _make_change_button(self, field: str, value: Any) -> QWidget:
        return button(
            self._in_words(field, value), lambda: self.change_requested.emit(field, value)
        )

    def _is_fixed(self, finding: Finding) -> bool:
        return finding.fix is not None and finding.fix in self._fixes

    def _toggle(self, fix: str) -> None:
        remaining = [name for name in self._fixes if name != fix]
        self.edited.emit(remaining if fix in self._fixes else [*remaining, fix])
        self.left.emit()
        if (rebuilt := self._buttons.get(fix)) is not None:
            rebuilt.setFocus(Qt.FocusReason.OtherFocusReason)  # the rows were rebuilt


def _describe_pairs(pairs: events.SearchPairCounts) -> str:
    """Return what pairs for search consist of."""
    return tr_n(
        "{n} pair, {negatives} with a hard negative: {queries} different queries, {passages} different passages.",
        "{n} pairs, {negatives} with a hard negative: {queries} different queries, {passages} different passages.",
        pairs.pairs,
        negatives=format_number(pairs.with_negative),
        queries=format_number(pairs.queries),
        passages=format_number(pairs.passages),
    )


def _make_finding_row(icon: str, role: Role, texts: Any, buttons: Sequence[QWidget]) -> QWidget:
    """Return a row of an icon, text, and buttons on the right."""
    widget = QWidget()
    glyph = Glyph(icon, role)
    layout = row(glyph, texts, *buttons, spacing=Spacing.M)
    layout.setContentsMargins(0, Spacing.M, 0, Spacing.M)
    layout.setAlignment(glyph, Qt.AlignmentFlag.AlignTop)
    layout.setStretch(1, 1)
    for button_ in buttons:
        layout.setAlignment(button_, Qt.AlignmentFlag.AlignTop)
    widget.setLayout(layout)
    return widget
