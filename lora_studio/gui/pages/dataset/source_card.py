"""One source of a dataset: its content, detected format, weight and mapping."""

from __future__ import annotations

from pathlib import PurePath

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import FORMATS
from lora_studio.core.protocol import events
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.dataset.mapping_panel import MappingPanel
from lora_studio.gui.project.data_sources import Plain, get_weight, is_hub
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, set_icon
from lora_studio.gui.widgets.basics import button, column, label, row, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel, Glyph, StatusLabel
from lora_studio.gui.widgets.tooltips import plain_tip

#: Minimum confidence of a format that is called certain, and of one that is called likely.
_SURE, _LIKELY = 0.95, 0.7
#: The warning about a mapping that was guessed.
_GUESSED = "dataset.guessed_columns"
#: The problem of columns that have to be mapped.
_UNKNOWN = "dataset.unknown_format"


class SourceCard(QFrame):
    """A card with two lines, and the mapping in a collapsible panel below.

    Signals:
        changed(dict): fields of the source with their new values.
        removed: remove this source.
    """

    changed = Signal(object)
    removed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty card."""
        super().__init__(parent)
        self.setProperty("surface", "choice")
        self._source: Plain = {}
        self.detected: events.SourceFound | None = None
        self._guessed = ""  # the path for which the mapping was opened
        self._glyph = Glyph("file", "muted")
        self.name = ElidedLabel(role="label")
        self.holds = ElidedLabel(role="muted")
        self.weight = LineEdit()
        set_scaled_sizes(self.weight, width=64)
        self.opener = button(
            tr("Mapping"), self._toggle, kind="link", icon="chevron-right", role="accent"
        )
        self.opener.setCheckable(True)
        self.remove = tool_button("close", tr("Remove this source"), self.removed.emit)
        self.verdict = StatusLabel()
        self.problems = StatusLabel()
        self.panel = MappingPanel()
        self._build()

    def _build(self) -> None:
        tip = tr(
            "With weight 2, each row is used twice per epoch. With 0.5, half of the rows are used."
        )
        times = label(tr("Weight"), "caption")
        times.setBuddy(self.weight)
        self.weight.setToolTip(plain_tip(tip))
        self.weight.setAccessibleName(tr("Weight of this source"))
        self.weight.setAccessibleDescription(tip)
        head = row(
            self._glyph,
            self.name,
            self.holds,
            Spacing.S,
            times,
            self.weight,
            self.opener,
            self.remove,
        )
        head.setStretch(1, 1)
        head.setStretch(2, 2)
        self.holds.setAlignment(Qt.AlignmentFlag.AlignTrailing | Qt.AlignmentFlag.AlignVCenter)
        layout = column(head, self.verdict, self.problems, self.panel, spacing=Spacing.XS)
        layout.setContentsMargins(Spacing.M, Spacing.XS, Spacing.S, Spacing.S)
        self.setLayout(layout)
        self.panel.hide()
        self.problems.hide()
        self.weight.connect_keys(self._emit_weight, self._show_weight)
        self.panel.changed.connect(self.changed)

    # --- display ------------------------------------------------------------------------------

    def show_source(
        self,
        source: Plain,
        detected: events.SourceFound | None,
        *,
        busy: bool = False,
        missing: bool = False,
    ) -> None:
        """Show a source and its details; `busy` while it is read, `missing` if it doesn't exist.

        A mapping that is only a guess, or that has to be chosen, is opened once.
        """
        self._source, self.detected = source, detected
        path = str(source["path"])
        self._show_name(path, hub=is_hub(source))
        self._show_weight()
        self.holds.setText(_describe_content(detected))
        text, role = _describe_format(source, detected, busy)
        if missing:
            text = tr("File or folder not found. Remove it here, or put it back.")
            role = "error"
        self.verdict.set_status(text, role)
        worries = [
            localize_problem(item)
            for item in (detected.problems if detected else ())
            if item.code != _GUESSED  # the line above and the mapping say it
        ]
        refused = detected is not None and detected.format is None
        self.problems.setVisible(bool(worries) and not refused)
        self.problems.set_status("\n".join(worries), "warn")
        self.panel.show_source(source, detected)
        is_open = _is_guess(source, detected) or _is_unknown(detected)
        if is_open and self._guessed != path:
            self._guessed = path
            self.set_open(True)

    def _show_name(self, path: str, *, hub: bool) -> None:
        self.name.full = path
        self.name.setText(path if hub else PurePath(path).name or path)
        self.name.setAccessibleName(path)
        kind = "search" if hub else "file" if PurePath(path).suffix else "folder"
        self._glyph.set_glyph(kind, "muted")
        self.remove.setToolTip(
            plain_tip(
                tr("Remove {text} from the dataset (the file isn't deleted)").format(
                    text=self.name.text()
                )
            )
        )
        self.remove.setAccessibleName(tr("Remove {text}").format(text=self.name.text()))

    def set_open(self, opened: bool) -> None:
        """Show or hide the mapping."""
        self.panel.setVisible(opened)
        self.opener.setChecked(opened)
        icon = "chevron-down" if opened else "chevron-right"
        set_icon(self.opener, icon, "accent")

    def commit(self) -> None:
        """Apply what is being typed."""
        self._emit_weight()
        self.panel.commit()

    # --- user actions -------------------------------------------------------------------------

    def _toggle(self) -> None:
        self.set_open(self.panel.isHidden())

    def _show_weight(self) -> None:
        self.weight.setText(formatting.format_float(get_weight(self._source), "g"))

    def _emit_weight(self) -> None:
        text = self.weight.text().strip().replace(",", ".").lstrip("×x ")
        try:
            typed = float(text)
        except ValueError:
            typed = 0.0
        if not 0.0 < typed <= 100.0:
            self._show_weight()
        elif typed != get_weight(self._source):
            self.changed.emit({"weight": typed})


def _describe_content(detected: events.SourceFound | None) -> str:
    """Return the container and the number of rows."""
    if detected is None:
        return ""
    left_out, skipped = sum(item.count for item in detected.skipped), ""
    rows = (
        tr_n("{n} row", "{n} rows", detected.rows)
        if detected.rows is not None
        else tr("still reading…")
    )
    if left_out:
        skipped = tr("{count} skipped").format(count=formatting.format_number(left_out))
    return "  ·  ".join(part for part in (localize(detected.container), rows, skipped) if part)


def _describe_format(
    source: Plain, detected: events.SourceFound | None, busy: bool
) -> tuple[str, Role]:
    """Return the detected format with its confidence and evidence, and the color role for it."""
    if detected is None:
        return (tr("Reading…") if busy else tr("Not read yet.")), "muted"
    if _is_unknown(detected):
        return tr(
            "We couldn't tell which columns hold the prompt and the answer. Select a format below, and "
            "map its fields to your columns."
        ), "warn"
    if detected.format is None:
        reasons = [localize_problem(item) for item in detected.problems]
        return "\n".join(reasons) or tr("No usable rows found. {evidence}").format(
            evidence=localize(detected.evidence)
        ), "error"
    title = tr(FORMATS[detected.format].name)
    if _is_guess(source, detected) and any(item.code == _GUESSED for item in detected.problems):
        return tr(
            "{format}: a guess, because the column names don't say what they contain. Compare the "
            "first rows below."
        ).format(format=title), "warn"
    chosen = source.get("format", "auto") != "auto"
    certainty = tr("selected by you") if chosen else _describe_confidence(detected.confidence)
    sure = chosen or detected.confidence >= _LIKELY
    if evidence := localize(detected.evidence):
        text = tr("{format} ({confidence}): {evidence}").format(
            format=title, confidence=certainty, evidence=evidence
        )
    else:
        text = tr("{format} ({confidence})").format(format=title, confidence=certainty)
    return text, "ok" if sure else "warn"


def _is_guess(source: Plain, detected: events.SourceFound | None) -> bool:
    """Return whether the format was detected with low confidence."""
    if detected is None or detected.format is None or source.get("format", "auto") != "auto":
        return False
    return detected.confidence < _LIKELY


def _is_unknown(detected: events.SourceFound | None) -> bool:
    """Return whether the columns of a source have to be mapped by the user."""
    if detected is None or detected.format is not None or not detected.columns:
        return False
    return any(item.code == _UNKNOWN for item in detected.problems)


def _describe_confidence(confidence: float) -> str:
    if confidence >= _SURE:
        return tr("high confidence")
    return tr("medium confidence") if confidence >= _LIKELY else tr("low confidence")
