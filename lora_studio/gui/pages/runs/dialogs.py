"""Confirmation dialog for deleting runs or their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.runs.index import RunSummary
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.dialog import Dialog


class DeleteDialog(Dialog):
    """Asks whether to delete runs or only their checkpoints, and shows the disk space that this frees.

    Signals:
        all_chosen, checkpoints_chosen: move the runs or their checkpoints to the trash.
    """

    all_chosen = Signal()
    checkpoints_chosen = Signal()

    def __init__(
        self, runs: Sequence[RunSummary], name: str, parent: QWidget | None = None
    ) -> None:
        """Ask about `runs`; `name` is the display name of the first one."""
        total = sum(run.bytes for run in runs)
        checkpoints = sum(run.checkpoint_bytes for run in runs)
        title = (
            tr("Delete {name}?").format(name=name)
            if len(runs) == 1
            else tr_n("Delete {n} run?", "Delete {n} runs?", len(runs))
        )
        super().__init__(title, _describe_consequences(runs), parent)
        self.add_button(button(tr("Cancel"), self.reject), default=True)
        self.checkpoints = self.add_button(
            button(
                tr("Delete checkpoints only ({size})").format(
                    size=formatting.format_size(checkpoints)
                ),
                lambda: self._decide(self.checkpoints_chosen),
            )
        )
        self.checkpoints.setToolTip(
            tr("Keeps everything else. Unfinished runs can no longer be resumed.")
        )
        self.checkpoints.setVisible(bool(checkpoints))
        self.all = self.add_button(
            button(
                tr("Delete ({size})").format(size=formatting.format_size(total)),
                lambda: self._decide(self.all_chosen),
                kind="danger",
                icon="trash",
                role="error",
            )
        )

    def _decide(self, signal: object) -> None:
        self.accept()
        signal.emit()  # type: ignore[attr-defined]  # PySide types signals as descriptors alone


def _describe_consequences(runs: Sequence[RunSummary]) -> str:
    """Return what deleting these runs means, in two or three sentences."""
    sentences = [
        tr(
            "Settings, metrics, adapter, merged model, and GGUF files ({size}) move to the trash."
        ).format(size=formatting.format_size(sum(run.bytes for run in runs)))
    ]
    if resumable := sum(run.is_resumable for run in runs):
        sentences.append(
            tr("The run can no longer be resumed.")
            if len(runs) == 1
            else tr_n(
                "{n} of the runs can no longer be resumed.",
                "{n} of the runs can no longer be resumed.",
                resumable,
            )
        )
    sentences.append(tr("Empty the trash to free the disk space."))
    return " ".join(sentences)
