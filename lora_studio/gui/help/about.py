"""About: versions of everything at work, and the licences of what it stands on."""

from __future__ import annotations

import platform

import PySide6
from PySide6.QtCore import Qt, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from lora_studio import __version__
from lora_studio.core.help import licenses
from lora_studio.core.protocol import events
from lora_studio.gui.language import mark, tr
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.widgets import plain_table
from lora_studio.gui.widgets.basics import button, column, label
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.fact_list import FactList

_ICONS = mark("The icons were drawn for LoRA Studio and are under its licence, Apache-2.0.")


def versions(devices: events.DevicesFound | None) -> list[tuple[str, str]]:
    """Name and version of the program, of what the window runs on, and of the engine as it told."""
    found = [
        ("LoRA Studio", __version__),
        ("Python", platform.python_version()),
        ("Qt", f"{qVersion()}, PySide {PySide6.__version__}"),
        (tr("System"), platform.platform()),
    ]
    if devices is not None:
        found += [(name, version) for name, version in sorted(devices.packages.items())]
    return found


class AboutDialog(Dialog):
    """Versions at the top, licences below; both can be copied."""

    def __init__(self, state: ProjectState, parent: QWidget) -> None:
        """`state` knows what the engine told about itself; licences are read in a thread."""
        super().__init__(tr("About LoRA Studio"), "", parent)
        self._state = state
        self.facts = FactList()
        self._show()
        state.facts_changed.connect(self._show)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels([tr("Package"), tr("Version"), tr("Licence")])
        self.table.setAccessibleName(tr("Licences of the packages"))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        plain_table.set_up(self.table)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.setMinimumSize(Size.scaled(560), 200)
        self.body.addLayout(
            column(
                self.facts,
                label(tr("Licences"), "section"),
                label(tr("LoRA Studio is free software under the Apache License 2.0."), wrap=True),
                label(tr(_ICONS), "muted", wrap=True),
                self.table,
                spacing=Spacing.M,
            )
        )
        self.add_button(button(tr("Copy versions"), self._copy, icon="copy"))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)
        self.table.setRowCount(1)
        self.table.setItem(0, 0, QTableWidgetItem(tr("Reading…")))
        self._reading = BackgroundReader(
            lambda work: list(work.cooperative_iter(licenses.packages())), self
        )
        self._reading.done.connect(self._fill)
        self._reading.start()
        self.finished.connect(self._reading.drop)

    def _show(self, *_: object) -> None:
        self.facts.show_facts(versions(self._state.facts.devices))

    def _fill(self, found: list[licenses.LicensedPackage]) -> None:
        self.table.setRowCount(len(found))
        for row, package in enumerate(found):
            for place, text in enumerate((package.name, package.version, package.licence)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                self.table.setItem(row, place, item)
        self.table.resizeColumnToContents(0)

    def _copy(self) -> None:
        text = "\n".join(
            f"{name}: {version}" for name, version in versions(self._state.facts.devices)
        )
        QGuiApplication.clipboard().setText(text)
