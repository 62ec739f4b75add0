"""The dialogs about a project or a run from elsewhere: what it asks for, before any of it happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core.project.access_requests import AccessKind, AccessRequest
from lora_studio.core.project.project import Draft
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, make_scroll_area
from lora_studio.gui.widgets.dialog import Dialog

#: Largest height of the list in pixels; longer ones scroll.
_MAX_HEIGHT = 320


class ForeignProjectDialog(Dialog):
    """Lists what a project asks for beyond its folder, with a button that opens it.

    Signals:
        allowed: the user wants to open the project.
    """

    allowed = Signal()

    def __init__(
        self, draft: Draft, requests: Sequence[AccessRequest], is_known: bool, parent: QWidget
    ) -> None:
        """Show the requests, grouped by kind; `is_known` for a project that changed elsewhere."""
        super().__init__(
            tr("This project asks for more than before")
            if is_known
            else tr("This project is new on this computer"),
            _explain(is_known=is_known).format(name=draft.name),
            parent,
        )
        self.body.addLayout(column(label(str(draft.path), "caption", wrap=True), _list(requests)))
        if any(request.kind == "code" for request in requests):
            note = tr("You're asked again, with the code in view, before any of it runs.")
            self.body.addWidget(label(note, "muted", wrap=True))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.open_project = self.add_button(
            button(tr("Open project"), self._allow, kind="primary"), default=True
        )

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


class ForeignRunDialog(Dialog):
    """Lists what a run asks for beyond its project, with a button that allows it.

    Signals:
        allowed: the user wants the run's jobs to do that.
    """

    allowed = Signal()

    def __init__(self, run: Path, requests: Sequence[AccessRequest], parent: QWidget) -> None:
        """Show the requests, grouped by kind."""
        super().__init__(
            tr("This run is new on this computer"),
            tr(
                "“{name}” was created by someone else or on another computer. Allow it only if you expect what it asks "
                "for. None of this has happened yet."
            ).format(name=run.name),
            parent,
        )
        self.body.addLayout(column(label(str(run), "caption", wrap=True), _list(requests)))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.allow = self.add_button(button(tr("Allow"), self._allow, kind="primary"), default=True)

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


class ForeignSettingsDialog(Dialog):
    """Lists what settings that the user hasn't typed ask for, with a button that applies them.

    Signals:
        allowed: the user wants the settings.
    """

    allowed = Signal()

    def __init__(self, requests: Sequence[AccessRequest], parent: QWidget) -> None:
        """Show the requests, grouped by kind."""
        super().__init__(
            tr("These settings ask for more"),
            tr(
                "With these settings, the project also asks for the following. Apply them only if you expect that. "
                "None of this has happened yet."
            ),
            parent,
        )
        self.body.addLayout(column(_list(requests)))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject))
        self.apply = self.add_button(
            button(tr("Apply settings"), self._allow, kind="primary"), default=True
        )

    def _allow(self) -> None:
        self.accept()
        self.allowed.emit()


def _explain(*, is_known: bool) -> str:
    if is_known:
        return tr(
            "“{name}” was changed outside of LoRA Studio. It now also asks for the following. "
            "None of this has happened yet."
        )
    return tr(
        "“{name}” hasn't been opened here before. Open it only if you expect what it asks for. "
        "None of this has happened yet."
    )


def _list(requests: Sequence[AccessRequest]) -> QWidget:
    titles: dict[AccessKind, str] = {
        "code": tr("Programs that would run"),
        "send": tr("Data that would leave this computer"),
        "write": tr("Folders outside the project that would be written to"),
        "read": tr("Files outside the project that would be read"),
        "download": tr("Downloads"),
    }
    content = QWidget()
    groups = column(spacing=Spacing.M)
    for kind, title in titles.items():
        lines = [localize(request.text) for request in requests if request.kind == kind]
        if lines:
            groups.addLayout(
                column(
                    label(title, "caption"),
                    *(label(line, wrap=True) for line in lines),
                    spacing=Spacing.XS,
                )
            )
    groups.addStretch()
    content.setLayout(groups)
    groups.setContentsMargins(0, 0, 0, 0)
    area = make_scroll_area(content, tr("What the project asks for"), sideways=True)
    area.setMinimumHeight(min(content.sizeHint().height(), _MAX_HEIGHT))
    return area
