"""The dialog that previews the contents of a diagnostics file before it is saved."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QSplitter,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.help import diagnostics
from lora_studio.core.help.diagnostics import ArchiveEntry
from lora_studio.core.protocol import events
from lora_studio.core.system.files import describe_os_error
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import get_monospace_family
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write
from lora_studio.gui.widgets.tooltips import plain_tip

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
