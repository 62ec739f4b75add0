"""The About dialog: versions of program and engine, and licenses of all packages."""

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
from lora_studio.core.help import diagnostics
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
from lora_studio.gui.widgets.tooltips import plain_tip

_ICONS = mark("The icons were drawn for LoRA Studio and use the same license, Apache-2.0.")


def list_versions(devices: events.DevicesFound | None) -> list[tuple[str, str]]:
    """Return names and versions of the program, its runtime and the packages of the engine."""
    result = [
        ("LoRA Studio", __version__),
        ("Python", platform.python_version()),
        ("Qt", f"{qVersion()}, PySide {PySide6.__version__}"),
        (tr("System"), platform.platform()),
    ]
    if devices is not None:
        result += [(name, version) for name, version in sorted(devices.packages.items())]
    return result


class AboutDialog(Dialog):
    """Shows versions at the top and licenses below."""

    def __init__(self, state: ProjectState, parent: QWidget) -> None:
        """Show the engine versions that `state` knows; read the licenses in a thread."""
        super().__init__(tr("About LoRA Studio"), "", parent)
        self._state = state
        self.facts = FactList()
        self._show()
        state.facts_changed.connect(self._show)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels([tr("Package"), tr("Version"), tr("License")])
        self.table.setAccessibleName(tr("Package licenses"))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        plain_table.set_up_table(self.table)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        for number in (0, 1):
            head.setSectionResizeMode(number, QHeaderView.ResizeMode.ResizeToContents)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.setMinimumSize(Size.scaled(560), 200)
        self.body.addLayout(
            column(
                self.facts,
                label(tr("Licenses"), "section"),
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
            lambda work: list(work.cooperative_iter(diagnostics.list_packages())), self
        )
        self._reading.done.connect(self._fill)
        self._reading.start()
        self.finished.connect(self._reading.drop)

    def _show(self, *_: object) -> None:
        self.facts.show_facts(list_versions(self._state.facts.devices))

    def _fill(self, packages: list[diagnostics.LicensedPackage]) -> None:
        self.table.setRowCount(len(packages))
        for row, package in enumerate(packages):
            for column_index, text in enumerate(
                (package.name, package.version, package.license_name)
            ):
                item = QTableWidgetItem(text)
                item.setToolTip(plain_tip(text))
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                self.table.setItem(row, column_index, item)

    def _copy(self) -> None:
        text = "\n".join(
            f"{name}: {version}" for name, version in list_versions(self._state.facts.devices)
        )
        QGuiApplication.clipboard().setText(text)
