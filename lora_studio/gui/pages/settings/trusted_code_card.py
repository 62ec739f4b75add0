"""The card that lists code from elsewhere that the user allowed to run."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from lora_studio.core import timestamps
from lora_studio.core.system import consent
from lora_studio.core.system.files import describe_os_error
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, button, column, label, row


class TrustedCodeCard(Card):
    """Each consent with its folder and date, and a button that withdraws it.

    Signals:
        failed(reason): a consent couldn't be withdrawn.
    """

    failed = Signal(object)

    def __init__(self) -> None:
        """Show the stored consents."""
        super().__init__(tr("Trusted code"))
        self._entries: QWidget | None = None
        self.buttons: list[QPushButton] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the consents again; other windows and commands may have added some."""
        if self._entries is not None:
            # Until it is deleted, it would take the place of the new entries.
            self.body.removeWidget(self._entries)
            self._entries.hide()
            self._entries.deleteLater()
        self._entries = QWidget()
        layout = QVBoxLayout(self._entries)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        self.buttons = []
        trusted = consent.read_trusted()
        if not trusted:
            layout.addWidget(
                label(tr("No code of models or projects is allowed to run."), "muted", wrap=True)
            )
        for digest, entry in trusted.items():
            layout.addLayout(self._make_entry(digest, entry))
        self.add(self._entries)

    def _make_entry(self, digest: str, entry: dict[str, Any]) -> QVBoxLayout:
        folder = str(entry.get("folder", ""))
        titles = {"llama_cpp": tr("llama.cpp programs"), "reward": tr("Code of a reward")}
        title = titles.get(str(entry.get("kind")), tr("Model code"))
        since = tr("allowed {day}").format(day=_format_day(entry))
        remove = button(tr("Withdraw"), partial(self._revoke, digest), kind="link")
        self.buttons.append(remove)
        remove.setAccessibleName(tr("Withdraw the consent for {folder}").format(folder=folder))
        return column(
            row(label(title), label(since, "caption"), None, remove),
            label(folder, "caption", wrap=True),
            spacing=Spacing.XS,
        )

    def _revoke(self, digest: str) -> None:
        try:
            consent.revoke(digest)
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        self.refresh()


def _format_day(entry: dict[str, Any]) -> str:
    try:
        return timestamps.format_day(
            datetime.fromisoformat(str(entry["trusted"])).date().isoformat()
        )
    except (KeyError, ValueError):
        return "?"
