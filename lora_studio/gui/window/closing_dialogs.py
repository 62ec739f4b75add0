"""Dialogs shown before the window closes: about a job, a folder being copied, or unsaved changes."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Signal, SignalInstance
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.dialog import Dialog

Decision = Literal["background", "pause", "stop"]


class ClosingDialog(Dialog):
    """Asks what to do with the running job. Closing the dialog keeps the window open.

    Signals:
        decided(decision): "background", "pause" (training only) or "stop".
    """

    decided = Signal(str)

    def __init__(self, kind: str, parent: QWidget | None = None) -> None:
        """Show the choices for a job of this `kind`."""
        text = tr("It can continue in the background. Reopen the project to see it again.")
        title = tr("{job} is running").format(job=localize(COMMANDS[kind].title))
        super().__init__(title, text, parent)
        stop = tr("Stop and save") if kind == "train" else tr("Cancel job")
        self.stay = self.add_button(button(tr("Cancel"), self.reject))
        self.stop = self.add_button(button(stop, lambda: self._end("stop")))
        self.pause = self.add_button(button(tr("Pause"), lambda: self._end("pause"), icon="pause"))
        self.pause.setVisible(kind == "train")
        self.background = self.add_button(
            button(tr("Continue in the background"), self._continue, kind="primary"), default=True
        )

    def _continue(self) -> None:
        self.accept()
        self.decided.emit("background")

    def _end(self, decision: Decision) -> None:
        for choice in (self.stop, self.pause, self.background):
            choice.setEnabled(False)
        self.text.setText(
            tr("Pausing after this step. The window then closes.")
            if decision == "pause"
            else tr("Stopping after this step. The window then closes.")
        )
        self.decided.emit(decision)


class CopyingDialog(Dialog):
    """Asks what to do with a folder that is being copied. Closing the dialog keeps the window open.

    Signals:
        wait_chosen: close when the copy is complete.
        cancel_chosen: cancel the copy and close.
    """

    wait_chosen = Signal()
    cancel_chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the choices; Cancel keeps the window open."""
        text = tr("A folder for a cluster is being copied. An incomplete copy can't be used.")
        super().__init__(tr("Finish copying first?"), text, parent)
        self.add_button(button(tr("Cancel"), self.reject))
        self.cancel = self.add_button(
            button(tr("Cancel copying"), lambda: self._emit_decision(self.cancel_chosen))
        )
        wait = button(
            tr("Close when finished"), lambda: self._emit_decision(self.wait_chosen), kind="primary"
        )
        self.wait = self.add_button(wait, default=True)

    def _emit_decision(self, chosen: SignalInstance) -> None:
        self.cancel.setEnabled(False)
        self.wait.setEnabled(False)
        self.text.setText(tr("The window closes in a moment."))
        chosen.emit()


class UnsavedDialog(Dialog):
    """Asks what to do with changes that couldn't be saved automatically.

    Signals:
        save_as_clicked: save them to another folder.
        discard_clicked: close without saving.
    """

    save_as_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Show the choices for the project `name`."""
        text = tr("If you don't save, the changes since you opened the project are lost.")
        super().__init__(tr("Save the changes to {name}?").format(name=name), text, parent)
        self.discard = self.add_button(button(tr("Discard"), self._discard, kind="danger"))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save_as = self.add_button(
            button(tr("Save as…"), self._save_as, kind="primary"), default=True
        )

    def _discard(self) -> None:
        self.accept()
        self.discard_clicked.emit()

    def _save_as(self) -> None:
        self.accept()
        self.save_as_clicked.emit()
