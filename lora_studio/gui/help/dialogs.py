"""The dialogs of the Help menu: About, diagnostics file, and keyboard shortcuts."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import PySide6
from PySide6.QtCore import QObject, Qt, Signal, qVersion
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QAbstractButton,
    QGridLayout,
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QSplitter,
    QWidget,
)

from lora_studio import __version__
from lora_studio.core import formatting
from lora_studio.core.help import diagnostics
from lora_studio.core.help.diagnostics import ArchiveEntry
from lora_studio.core.protocol import events
from lora_studio.core.system.files import describe_os_error
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, get_monospace_family
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import button, column, label, make_scroll_area
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write
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
        self.table = tables.make_table(
            tr("Package licenses"), [tr("Package"), tr("Version"), tr("License")]
        )
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        for number in (0, 1):
            head.setSectionResizeMode(number, QHeaderView.ResizeMode.ResizeToContents)
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
        tables.fill_table(self.table, [[tables.make_text(tr("Reading…"))]])
        self._reading = BackgroundReader(
            lambda work: list(work.cooperative_iter(diagnostics.list_packages())), self
        )
        self._reading.done.connect(self._fill)
        self._reading.start()
        self.finished.connect(self._reading.drop)

    def _show(self, *_: object) -> None:
        self.facts.show_facts(list_versions(self._state.facts.devices))

    def _fill(self, packages: list[diagnostics.LicensedPackage]) -> None:
        tables.fill_table(
            self.table,
            [
                [tables.make_text(text) for text in (each.name, each.version, each.license_name)]
                for each in packages
            ],
        )

    def _copy(self) -> None:
        text = "\n".join(
            f"{name}: {version}" for name, version in list_versions(self._state.facts.devices)
        )
        QGuiApplication.clipboard().setText(text)


#: Maximum number of characters in the preview; the end is shown, because it matters most in a log.
_PREVIEW_LENGTH = 60_000


class DiagnosticsDialog(Dialog):
    """Lists the files on the left and previews the selected one on the right.

    Signals:
        written(Path): the file was saved.
        failed(str): the file couldn't be saved, for this reason.
    """

    written = Signal(object)
    failed = Signal(str)

    def __init__(
        self, devices: events.DevicesFound | None, project: Path | None, parent: QWidget
    ) -> None:
        """Collect the files in a thread, because logs and events can be large."""
        text = tr(
            "Save these files as one ZIP file to attach to a bug report. Your home folder, "
            "names, keys, and the text of your data are removed. Review the files and clear "
            "those you don't want to share."
        )
        super().__init__(tr("Diagnostics file"), text, parent)
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Files to include"))
        self.preview = QPlainTextEdit(readOnly=True)
        self.preview.setAccessibleName(tr("Content of the selected file"))
        self.preview.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.preview.setStyleSheet(f'font-family: "{get_monospace_family()}";')
        self.preview.setTabChangesFocus(True)
        self.about = label(" ", "muted", wrap=True)  # reserves the height of a line
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.list)
        split.addWidget(self.preview)
        split.setSizes([Size.scaled(230), Size.scaled(470)])
        split.setMinimumSize(Size.scaled(700), 240)
        self.body.addWidget(split, 1)
        self.body.addWidget(self.about)
        self.resize(self.width(), 560)
        self.add_button(button(tr("Cancel"), self.reject))
        self.save = self.add_button(button(tr("Save…"), self._ask, kind="primary"), default=True)
        self.save.setEnabled(False)
        self._entries: list[ArchiveEntry] = []
        self.list.currentRowChanged.connect(self._show)
        report = diagnostics.build_report()
        if devices is not None:
            diagnostics.add_event(report, devices)
        self._work = BackgroundReader(lambda _: diagnostics.collect_entries(report, project), self)
        self._work.done.connect(self._fill)
        self._work.start()
        self.finished.connect(self._work.drop)

    def list_checked(self) -> list[ArchiveEntry]:
        """Return the checked files."""
        return [
            entry
            for row, entry in enumerate(self._entries)
            if self.list.item(row).checkState() == Qt.CheckState.Checked
        ]

    def write(self, file: Path) -> None:
        """Save the checked files and close the dialog."""
        try:
            diagnostics.write_archive(self.list_checked(), file)
        except OSError as error:
            self.failed.emit(f"{file}: {describe_os_error(error)}.")
            return
        self.accept()
        self.written.emit(file)

    def _fill(self, entries: list[ArchiveEntry]) -> None:
        self._entries = entries
        for entry in entries:
            item = QListWidgetItem(
                f"{entry.name}   {formatting.format_size(len(entry.text.encode()))}"
            )
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
            item.setToolTip(plain_tip(localize(entry.about)))
            self.list.addItem(item)
        self.save.setEnabled(bool(entries))
        self.list.setCurrentRow(0)

    def _show(self, row: int) -> None:
        if 0 <= row < len(self._entries):
            entry = self._entries[row]
            self.about.setText(localize(entry.about))
            self.preview.setPlainText(entry.text[-_PREVIEW_LENGTH:])

    def _ask(self) -> None:
        choose_file_to_write(
            self,
            tr("Save the diagnostics file"),
            lambda name: self.write(Path(name)),
            Path.home() / "lora-studio-diagnostics.zip",
            "ZIP (*.zip)",
        )


@dataclass(frozen=True)
class Shortcut:
    """A shortcut, what it does, and the page that it works on ("" for all)."""

    keys: str
    description: str
    page: str = ""


def list_shortcuts(shell: Shell) -> list[Shortcut]:
    """Return every shortcut of the window's actions, buttons and pages, grouped by page."""
    result = {
        Shortcut(
            _format_keys(action.shortcuts()),
            _strip_mnemonic(action.text()),
            _find_page_title(action),
        )
        for action in shell.findChildren(QAction)
        if action.shortcuts()
    }
    result |= {
        Shortcut(_format_keys([button.shortcut()]), _strip_mnemonic(button.text() or button.accessibleName()), _find_page_title(button))
        for button in shell.findChildren(QAbstractButton)
        if not button.shortcut().isEmpty()
    }  # fmt: skip
    result |= {
        Shortcut(_format_keys(shortcut.keys()), shortcut.whatsThis(), _find_page_title(shortcut))
        for shortcut in shell.findChildren(QShortcut)
        if shortcut.whatsThis()
    }
    pages = ["", *(tr(item.title) for item in shell.all_pages)]
    order = list(shell.actions_.commands.values())
    texts = [_strip_mnemonic(action.text()) for action in order]
    return sorted(
        result,
        key=lambda item: (
            pages.index(item.page),
            texts.index(item.description) if item.description in texts else len(texts),
            item.description,
        ),
    )


class ShortcutSheet(Dialog):
    """A dialog with all shortcuts and their actions, grouped by page."""

    def __init__(self, shortcuts: list[Shortcut], parent: QWidget) -> None:
        """Show the shortcuts; the list scrolls."""
        super().__init__(tr("Keyboard shortcuts"), "", parent)
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, Spacing.L, 0)
        grid.setHorizontalSpacing(Spacing.XL)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        page: str | None = None
        for item in shortcuts:
            row = grid.rowCount()
            if item.page != page:
                page = item.page
                grid.addWidget(label(page or tr("Everywhere"), "section"), row, 0, 1, 2)
                row += 1
            keys = label(item.keys, "label")
            keys.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
            grid.addWidget(keys, row, 0)
            grid.addWidget(label(item.description), row, 1)
        area = make_scroll_area(inner, tr("Keyboard shortcuts"))
        area.setMinimumSize(max(Size.scaled(480), inner.sizeHint().width() + Spacing.L), 420)
        self.body.addWidget(area)
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)


def _format_keys(sequences: list[QKeySequence]) -> str:
    form = QKeySequence.SequenceFormat.NativeText
    return ", ".join(dict.fromkeys(sequence.toString(form) for sequence in sequences))


def _strip_mnemonic(text: str) -> str:
    return text.replace("&", "").removesuffix("…")


def _find_page_title(item: QObject) -> str:
    """Return the title of the page that an object is on, "" if it is on none."""
    above: QObject | None = item
    while above is not None:
        if isinstance(above, StepPage | AppPage):
            return tr(above.title)
        above = above.parent()
    return ""
