"""The card with offline mode, the hosts that were contacted, and those that features would contact."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QCheckBox, QGridLayout, QWidget

from lora_studio.client import network_report
from lora_studio.core import timestamps
from lora_studio.core.network import connections, record
from lora_studio.core.network.purposes import TITLES, PossibleContact, format_address
from lora_studio.core.network.record import Contact
from lora_studio.core.system import offline
from lora_studio.core.system.files import describe_os_error
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, CollapsibleSection, button, label, row
from lora_studio.gui.widgets.fact_list import align_at_top

#: Contacts that are shown; the command line shows all.
_MAX_ROWS = 40
#: Milliseconds between two reads of the records while the card is visible.
_INTERVAL = 3000


class NetworkCard(Card):
    """Offline mode and the network report of this window and its workers.

    Signals:
        offline_chosen(on): turn offline mode on or off.
        failed(reason): the record couldn't be deleted.
    """

    offline_chosen = Signal(bool)
    failed = Signal(object)

    def __init__(self) -> None:
        """Show the contacts so far; `refresh` shows newer ones."""
        super().__init__(tr("Network"))
        self._ollama_host = ""
        self.offline = QCheckBox(tr("Offline mode"))
        self.offline.clicked.connect(lambda on: self.offline_chosen.emit(on))
        self.contacts = _Table()
        self.none = label(tr("No host was contacted since this window opened."), "muted", wrap=True)
        self.note = label(
            tr(
                "The record of the last 7 days is kept on this computer only. Amounts of data are unknown "
                "(–) or incomplete (≥) for uv, Weights & Biases, and Xet, which transfers files of more than "
                "50 GB."
            ),
            "caption",
            wrap=True,
        )
        self.clear_button = button(tr("Delete record"), self._clear, kind="link")
        self.possible = _Table()
        more = CollapsibleSection(tr("What each feature would contact"))
        self.proxies = label("", "caption", wrap=True)
        more.add(self.possible, self.proxies)
        self.more = more
        self.add(
            row(self.offline, None),
            label(_explain_offline_mode(), "caption", wrap=True),
            label(tr("Contacted since this window opened"), "label"),
            self.none,
            self.contacts,
            self.note,
            row(self.clear_button, None),
            more,
        )
        self._timer = QTimer(self, interval=_INTERVAL)
        self._timer.timeout.connect(self.refresh)
        self.show_offline()
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Follow the contacts while the card is visible."""
        super().showEvent(event)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Stop following the contacts."""
        super().hideEvent(event)
        self._timer.stop()

    def show_offline(self) -> None:
        """Show whether offline mode is on, also if the environment sets it."""
        self.offline.setChecked(offline.is_on())

    def set_ollama_host(self, host: str) -> None:
        """Show the server in the project's settings among those that features would contact."""
        self._ollama_host = host

    def refresh(self) -> None:
        """Read the records of this window's processes and the user's settings again."""
        contacts = network_report.read_contacts(connections.get_session())
        self.none.setVisible(not contacts)
        self.contacts.setVisible(bool(contacts))
        self.contacts.show_rows(
            (tr("Host"), tr("Purpose"), tr("Sent / received"), tr("Last contact")),
            [_format_contact(contact) for contact in contacts[:_MAX_ROWS]],
        )
        self.possible.show_rows(
            (tr("Feature"), tr("Hosts"), tr("When")),
            [_format_possible(one) for one in network_report.list_possible(self._ollama_host)],
        )
        proxies = network_report.list_proxies()
        self.proxies.setText(
            tr("Connections can go through your proxy {hosts}.").format(hosts=", ".join(proxies))
        )
        self.proxies.setVisible(bool(proxies))

    def _clear(self) -> None:
        try:
            record.clear_records()
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        self.refresh()


def _explain_offline_mode() -> str:
    return tr(
        "In offline mode, LoRA Studio doesn't contact any other computer. An Ollama server on this "
        "computer still works. Running jobs of the open project go offline at once; jobs of other "
        "projects only when they start again."
    )


class _Table(QWidget):
    """Rows of selectable texts below a row of titles, with wrapped lines."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: list[list[str]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)

    def show_rows(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Replace everything that has changed, so that a selection stays."""
        cells = [list(titles), *map(list, rows)]
        if cells == self._cells:
            return
        self._cells = cells
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for index, texts in enumerate(cells):
            for column, text in enumerate(texts):
                cell = label(text, "muted" if index == 0 else "body", wrap=True)
                align_at_top(cell)
                self._grid.addWidget(cell, index, column, Qt.AlignmentFlag.AlignTop)
        for column in range(len(titles)):
            self._grid.setColumnStretch(column, 1)

    def get_rows(self) -> list[list[str]]:
        """Return the shown texts, the titles first."""
        return self._cells


def _format_contact(contact: Contact) -> tuple[str, str, str, str]:
    host = format_address(contact.host, contact.port)
    if contact.is_local:
        host = tr("{host} (this computer)").format(host=host)
    return (
        host,
        localize(TITLES[contact.purpose]),
        " / ".join(network_report.format_bytes(contact)),
        timestamps.format_short_time(contact.last),
    )


def _format_possible(one: PossibleContact) -> tuple[str, str, str]:
    return localize(TITLES[one.purpose]), "\n".join(one.hosts) or "–", localize(one.when)
