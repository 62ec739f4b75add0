"""The dialog in which the user reviews code that came from elsewhere, and allows it to run."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QWidget

from lora_studio.core import limits
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label
from lora_studio.gui.widgets.dialog import Dialog

#: Bytes of a file that are shown; no model's code file is longer.
_MAX_SHOWN = 400_000

#: Size of the code view in pixels.
_VIEW_SIZE = (720, 360)


class ConsentDialog(Dialog):
    """Shows where code came from and every line of it, with a button that allows it to run.

    Signals:
        allowed: the user has allowed the code, and this is stored.
        failed(reason): the consent couldn't be stored.
    """

    allowed = Signal()
    failed = Signal(object)

    def __init__(self, code: ForeignCode, parent: QWidget) -> None:
        """Show the code's files, the first one open."""
        super().__init__(tr("Allow this code to run?"), _explain(code), parent)
        self._code = code
        self.files = QComboBox()
        self.files.setAccessibleName(tr("File"))
        self.files.addItems(code.files)
        self.source = QPlainTextEdit(readOnly=True)
        self.source.setAccessibleName(tr("Code"))
        self.source.setProperty("mono", True)
        self.source.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.source.setMinimumSize(*_VIEW_SIZE)
        self.files.currentTextChanged.connect(self._show_file)
        self.body.addLayout(
            column(
                label(str(code.folder), "caption", wrap=True),
                self.files,
                self.source,
                label(
                    tr(
                        "This applies to exactly this code. If a file changes, you're asked again. "
                        "You can withdraw it in Settings."
                    ),
                    "muted",
                    wrap=True,
                ),
                spacing=Spacing.M,
            )
        )
        self.buttons.insertStretch(0)
        self.allow = self.add_button(button(tr("Allow this code"), self._allow, kind="danger"))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject), default=True)
        self._show_file(self.files.currentText())

    def _show_file(self, name: str) -> None:
        """Show a file if it is the one that was hashed, as the user would allow that one."""
        try:
            content = read_bytes(self._code.folder / name, limits.LARGE_FILE)
        except OSError as error:
            self.source.setPlainText(localize(describe_os_error(error)))
            return
        if not consent.is_as_hashed(self._code, name, content):
            self.allow.setEnabled(False)
            self.source.setPlainText(
                tr("This file has changed. Close this dialog and review the code again.")
            )
        elif b"\0" in content:
            self.source.setPlainText(tr("This is a compiled program."))
        else:
            shown = content[:_MAX_SHOWN].decode("utf-8", "replace")
            is_long = len(content) > _MAX_SHOWN
            notice = tr("This file is too long to be shown in full. This is how it begins:")
            self.source.setPlainText(f"{notice}\n\n{shown}" if is_long else shown)

    def _allow(self) -> None:
        self.accept()
        try:
            consent.trust(self._code)
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        else:
            self.allowed.emit()


def _explain(code: ForeignCode) -> str:
    count = len(code.files)
    if code.kind == "model":
        return tr_n(
            "The model includes {n} Python file. It would run with your permissions: it can read, "
            "change, and send any of your files. Only allow it if you trust its author.",
            "The model includes {n} Python files. They would run with your permissions: they can "
            "read, change, and send any of your files. Only allow them if you trust their author.",
            count,
        )
    if code.kind == "reward":
        return tr(
            "A reward of this project is a Python function. It runs in a process of its own, without network "
            "and with limits of time and memory, but it can read and change your files. Only allow it if you "
            "trust its author."
        )
    return tr_n(
        "The project uses its own llama.cpp with {n} program. It would run with your permissions. "
        "Only allow it if you know where it came from.",
        "The project uses its own llama.cpp with {n} programs. They would run with your "
        "permissions. Only allow them if you know where they came from.",
        count,
    )
