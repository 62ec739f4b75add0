"""The hub side of the export page: what of a run can be uploaded, where to, and the card with it."""

from __future__ import annotations

from typing import cast

from PySide6.QtCore import QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from lora_studio.core.export import What
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.controls.choices import SegmentsControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, row, set_role
from lora_studio.gui.widgets.dialog import Dialog

_WORDS: dict[str, str] = {
    "adapter": mark("Adapter"),
    "merged": mark("Merged model"),
    "gguf": mark("GGUF files"),
}

#: Milliseconds without typing before the card is made anew.
_PAUSE = 350


def uploadable(run: RunFolder) -> list[str]:
    """What of a run there is to be uploaded."""
    there = {
        "adapter": run.has_adapter,
        "merged": run.has_merged,
        "gguf": run.gguf.is_dir() and any(run.gguf.glob("*.gguf")),
    }
    return [name for name, is_there in there.items() if is_there]


class HubUpload(QWidget):
    """One line on what can be uploaded, and the button that asks where to.

    Signals:
        ask(command): a question for the inspector.
        push_requested(repository, what, private): the user wants it.
    """

    ask = Signal(object)
    push_requested = Signal(str, str, bool)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Follows the run of `state` when `show_run` is called."""
        super().__init__(parent)
        self.state = state
        self.pushed: events.Pushed | None = None
        self.what = label(role="muted", wrap=True)
        self.upload = button(tr("Upload…"), self.open, icon="export")
        self.look = button(tr("Open its page"), self._look, kind="link")
        self._dialog: PushDialog | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.ROW)
        layout.addWidget(self.what)
        layout.addLayout(row(self.upload, self.look, None))

    def show_run(self) -> None:
        """Shows what the run has now."""
        found = uploadable(self.state.run) if self.state.run else []
        self.upload.setEnabled(bool(found) and not self.state.running)
        self.look.setVisible(self.pushed is not None)
        set_role(self.what, "ok" if self.pushed else "muted")
        if self.pushed is not None:
            what, where = tr(_WORDS[self.pushed.what]), self.pushed.repository
            text = tr("✓ {what} uploaded to {repository}.").format(what=what, repository=where)
            self.what.setText(text)
        elif found:
            text = tr("To share: {what}. Sign in once, on the Model page.").format(
                what=", ".join(tr(_WORDS[name]) for name in found)
            )
            if "merged" not in found:
                text += " " + tr("To upload the merged model, merge first.")
            self.what.setText(text)
        else:
            self.what.setText(tr("There is nothing to upload yet."))

    def take(self, event: object) -> None:
        """Watches for cards and for the end of an upload."""
        match event:
            case events.CardPreviewed() if self._dialog is not None:
                self._dialog.show_card(event.text)
            case events.Pushed():
                self.pushed = event
                self.show_run()

    def forget(self) -> None:
        """Another run: nothing of it was uploaded yet."""
        self.pushed = None

    def open(self) -> None:
        """Asks where to."""
        if self.state.run is None:
            return
        self._dialog = PushDialog(uploadable(self.state.run), self.window())
        self._dialog.preview_requested.connect(self._ask_card)
        self._dialog.chosen.connect(self.push_requested)
        self._dialog.destroyed.connect(self._closed)
        self._dialog.open()
        self._dialog.preview()

    def _closed(self) -> None:
        self._dialog = None

    def _ask_card(self, repository: str, what: str) -> None:
        if self.state.run is not None:
            run = str(self.state.run.path)
            self.ask.emit(
                commands.PreviewCard(run=run, repository=repository, what=cast(What, what))
            )

    def _look(self) -> None:
        if self.pushed is not None:
            QDesktopServices.openUrl(QUrl(self.pushed.url))


class PushDialog(Dialog):
    """Repository, what, who may see it, and the card that will be its front page.

    Signals:
        preview_requested(repository, what): the card is wanted.
        chosen(repository, what, private): the user wants it uploaded.
    """

    preview_requested = Signal(str, str)
    chosen = Signal(str, str, bool)

    def __init__(self, there: list[str], parent: QWidget | None = None) -> None:
        """`there` is what the run has; the last of it, which needs least to run, is proposed."""
        super().__init__(tr("Upload to the Hugging Face hub"), "", parent)
        self.what = SegmentsControl({name: tr(_WORDS[name]) for name in there})
        self.what.setAccessibleName(tr("What to upload"))
        self._what = there[-1]
        self.what.show_value(self._what)
        self.what.edited.connect(self._choose)
        self.repository = QLineEdit()
        self.repository.setPlaceholderText(tr("name, or organisation/name"))
        self.repository.setAccessibleName(tr("Repository"))
        self.repository.textChanged.connect(self._changed)
        self.private = QCheckBox(tr("Private: only you see it"))
        self.private.setChecked(True)
        self.card = QPlainTextEdit(readOnly=True)
        self.card.setAccessibleName(tr("Model card"))
        self.card.setMinimumSize(560, 260)
        self.card.setPlaceholderText(tr("The card is being made…"))
        self.body.addLayout(
            column(
                label(tr("Repository"), "label"), self.repository,
                label(tr("What"), "label"), self.what, self.private,
                label(tr("Model card"), "label"), self.card, spacing=Spacing.S,
            )
        )  # fmt: skip
        self.add_button(button(tr("Cancel"), self.reject))
        upload = button(tr("Upload"), self._accept, kind="primary")
        self.upload = self.add_button(upload, default=True)
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE)
        self._timer.timeout.connect(self.preview)
        self.upload.setEnabled(False)

    def show_card(self, text: str) -> None:
        """The card as it will be."""
        self.card.setPlainText(text)

    def preview(self) -> None:
        """Asks for the card of what is chosen now."""
        self.preview_requested.emit(self._name() or "model", self._what)

    def _name(self) -> str:
        return self.repository.text().strip()

    def _changed(self) -> None:
        self.upload.setEnabled(bool(self._name()))
        self._timer.start()

    def _choose(self, value: object) -> None:
        self._what = str(value)
        self.preview()

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._name(), self._what, self.private.isChecked())
