"""Editor for the title, tags and notes of the selected runs."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.runs.annotations import RunAnnotations, clean_tags
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.text_editors import NoteEditor
from lora_studio.gui.widgets.tooltips import plain_tip


class RunNotes(QWidget):
    """Edits annotations and saves them on Enter and on focus loss. With several runs, only tags can be edited.

    Signals:
        edited(changes): a list of (folder, RunAnnotations) to save.
    """

    edited = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without runs."""
        super().__init__(parent)
        self._runs: list[RunSummary] = []
        self._name = ""
        self.title, self.tags, self.notes = LineEdit(), LineEdit(), NoteEditor()
        self.tags.setPlaceholderText(tr("Comma-separated"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.XS)
        for title, part in (
            (tr("Title"), self.title), (tr("Tags"), self.tags), (tr("Notes"), self.notes),
        ):  # fmt: skip
            caption = label(title, "label")
            caption.setBuddy(part)
            part.setAccessibleName(title)
            layout.addWidget(caption)
            layout.addWidget(part, 1 if part is self.notes else 0)
            layout.addSpacing(Spacing.S)
        for line in (self.title, self.tags):
            line.connect_keys(self.commit, self._refresh)
        self.notes.editing_finished.connect(self.commit)
        self._refresh()

    def show_runs(self, runs: Sequence[RunSummary], name: str = "") -> None:
        """Show the selected runs after saving pending edits; `name` is the placeholder for an
        empty title.
        """
        is_same = [run.folder for run in runs] == [run.folder for run in self._runs]
        is_typing = any(part.hasFocus() for part in (self.title, self.tags, self.notes))
        if is_same and (is_typing or list(runs) == self._runs):
            self._runs = list(runs)
            return
        self.commit()
        self._runs, self._name = list(runs), name
        self._refresh()

    def commit(self) -> None:
        """Save pending edits."""
        tags = clean_tags((self.tags.text(),))
        shared = self._list_shared_tags()
        changes = []
        for run in self._runs:
            about = run.about
            remaining = tuple(tag for tag in about.tags if tag not in shared or tag in tags)
            edits: dict[str, object] = {
                "tags": remaining + tuple(t for t in tags if t not in remaining)
            }
            if len(self._runs) == 1:
                edits = {
                    "tags": tags, "title": self.title.text().strip(),
                    "notes": self.notes.toPlainText().strip(),
                }  # fmt: skip
            annotations = RunAnnotations.model_validate(about.model_dump() | edits)
            if annotations != about:
                run.about = annotations
                changes.append((run.folder, annotations))
        if changes:
            self.edited.emit(changes)

    def _list_shared_tags(self) -> list[str]:
        if not self._runs:
            return []
        first, *others = self._runs
        return [tag for tag in first.tags if all(tag in run.tags for run in others)]

    def _refresh(self) -> None:
        annotations = self._runs[0].about if len(self._runs) == 1 else RunAnnotations()
        self.title.setText(annotations.title)
        self.notes.setPlainText(annotations.notes)
        self.tags.setText(", ".join(self._list_shared_tags()))
        self.title.setPlaceholderText(self._name if len(self._runs) == 1 else "")
        self.title.setEnabled(len(self._runs) == 1)
        self.notes.setEnabled(len(self._runs) == 1)
        self.tags.setEnabled(bool(self._runs))
        self.tags.setToolTip(
            plain_tip(
                tr("Tags that all selected runs share. Other tags are kept.")
                if len(self._runs) > 1
                else ""
            )
        )
