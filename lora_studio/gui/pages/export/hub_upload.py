"""Upload of a run's results to the Hugging Face Hub, with a preview of the model card."""

from __future__ import annotations

from typing import cast

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from lora_studio.core.export import What
from lora_studio.core.messages import listed
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.controls.choices import SegmentsControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, row, set_role
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_page

_TITLES: dict[str, str] = {
    "adapter": mark("Adapter"),
    "merged": mark("Merged model"),
    "gguf": mark("GGUF files"),
}

#: Milliseconds without typing before the preview of the model card is updated.
_PREVIEW_DELAY = 350


def list_uploadable(run: RunFolder) -> list[str]:
    """Return which results of a run can be uploaded: adapter, merged, gguf."""
    exists = {
        "adapter": run.has_adapter,
        "merged": run.has_merged,
        "gguf": run.gguf.is_dir() and any(run.gguf.glob("*.gguf")),
    }
    return [name for name, is_available in exists.items() if is_available]


class HubUpload(QWidget):
    """Shows what can be uploaded, with a button that opens the upload dialog.

    Signals:
        ask(command): send a command to the inspector.
        push_requested(repository, what, private): upload a result.
    """

    ask = Signal(object)
    push_requested = Signal(str, str, bool)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Show the run of `state` whenever `show_run` is called."""
        super().__init__(parent)
        self.state = state
        self.pushed: events.Pushed | None = None
        self.what = label(role="muted", wrap=True)
        self.upload = button(tr("Upload…"), self.open, icon="export")
        self.view_online = button(tr("Open on Hugging Face"), self._view_online, kind="link")
        self._dialog: PushDialog | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.ROW)
        layout.addWidget(self.what)
        layout.addLayout(row(self.upload, self.view_online, None))

    def show_run(self) -> None:
        """Update the texts to the results of the current run."""
        available = list_uploadable(self.state.run) if self.state.run else []
        self.upload.setEnabled(bool(available) and not self.state.running)
        self.view_online.setVisible(self.pushed is not None)
        set_role(self.what, "ok" if self.pushed else "muted")
        if self.pushed is not None:
            self.what.setText(
                tr("✓ {files} uploaded to {repository}.").format(
                    files=tr(_TITLES[self.pushed.what]), repository=self.pushed.repository
                )
            )
        elif available:
            template = (
                tr("Ready to upload: {files}. Sign in once in Settings.")
                if "merged" in available
                else tr(
                    "Ready to upload: {files}. Sign in once in Settings. To upload a merged "
                    "model, merge the adapter first."
                )
            )
            files = localize(listed([_TITLES[name] for name in available]))
            self.what.setText(template.format(files=files))
        else:
            self.what.setText(tr("Nothing to upload yet."))

    def on_event(self, event: object) -> None:
        """Follow previews of the model card and the end of an upload."""
        match event:
            case events.CardPreviewed() if self._dialog is not None:
                self._dialog.show_card(event.text)
            case events.Pushed():
                self.pushed = event
                self.show_run()

    def clear(self) -> None:
        """Reset the state for another run."""
        self.pushed = None

    def open(self) -> None:
        """Open the upload dialog."""
        if self.state.run is None:
            return
        self._dialog = PushDialog(list_uploadable(self.state.run), self.window())
        self._dialog.preview_requested.connect(self._ask_card)
        self._dialog.chosen.connect(self.push_requested)
        self._dialog.destroyed.connect(self._on_closed)
        self._dialog.open()
        self._dialog.preview()

    def _on_closed(self) -> None:
        self._dialog = None

    def _ask_card(self, repository: str, what: str) -> None:
        if self.state.run is not None:
            run = str(self.state.run.path)
            self.ask.emit(
                commands.PreviewCard(run=run, repository=repository, what=cast(What, what))
            )

    def _view_online(self) -> None:
        if self.pushed is not None:
            open_page(self.pushed.url)


class PushDialog(Dialog):
    """Asks for the repository, what to upload, and its visibility; previews the model card.

    Signals:
        preview_requested(repository, what): generate the model card.
        chosen(repository, what, private): start the upload.
    """

    preview_requested = Signal(str, str)
    chosen = Signal(str, str, bool)

    def __init__(self, available: list[str], parent: QWidget | None = None) -> None:
        """Offer the `available` results; preselect the last, which is the easiest to run."""
        super().__init__(tr("Upload to the Hugging Face Hub"), "", parent)
        self.what = SegmentsControl({name: tr(_TITLES[name]) for name in available})
        self.what.setAccessibleName(tr("Files to upload"))
        self._what = available[-1]
        self.what.show_value(self._what)
        self.what.edited.connect(self._choose)
        self.repository = QLineEdit()
        self.repository.setPlaceholderText(tr("name or organization/name"))
        self.repository.setAccessibleName(tr("Repository"))
        self.repository.textChanged.connect(self._on_changed)
        self.private = QCheckBox(tr("Private repository"))
        self.private.setChecked(True)
        self.card = QPlainTextEdit(readOnly=True)
        self.card.setAccessibleName(tr("Model card"))
        self.card.setMinimumSize(560, 260)
        self.card.setPlaceholderText(tr("Generating the model card…"))
        self.body.addLayout(
            column(
                label(tr("Repository"), "label"), self.repository,
                label(tr("Files to upload"), "label"), self.what, self.private,
                label(tr("Model card"), "label"), self.card, spacing=Spacing.S,
            )
        )  # fmt: skip
        self.add_button(button(tr("Cancel"), self.reject))
        upload = button(tr("Upload"), self._accept, kind="primary")
        self.upload = self.add_button(upload, default=True)
        self._timer = QTimer(self, singleShot=True, interval=_PREVIEW_DELAY)
        self._timer.timeout.connect(self.preview)
        self.upload.setEnabled(False)

    def show_card(self, text: str) -> None:
        """Show the generated model card."""
        self.card.setPlainText(text)

    def preview(self) -> None:
        """Request the model card for the current choices."""
        self.preview_requested.emit(self._name() or "model", self._what)

    def _name(self) -> str:
        return self.repository.text().strip()

    def _on_changed(self) -> None:
        self.upload.setEnabled(bool(self._name()))
        self._timer.start()

    def _choose(self, value: object) -> None:
        self._what = str(value)
        self.preview()

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._name(), self._what, self.private.isChecked())
