"""The project menu and all actions with their shortcuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence, QUndoStack
from PySide6.QtWidgets import QMenu, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import set_icon
from lora_studio.gui.widgets.tooltips import plain_tip


class Actions(QObject):
    """The actions of the window; as they belong to it, their shortcuts work on every page."""

    def __init__(self, window: QWidget, undo: QUndoStack) -> None:
        """Create empty menus; undo and redo come from the project's stack."""
        super().__init__(window)
        self._window = window
        self.menu = QMenu(window)
        self.recent = QMenu(tr("Recent"), self.menu)
        self.help = QMenu(self.menu)
        # WORKAROUND: PySide can lose the Python wrappers of actions that the stack creates while they exist.
        self.undo, self.redo = QAction(tr("Undo"), self), QAction(tr("Redo"), self)
        for action, can, named in (
            (self.undo, undo.canUndoChanged, undo.undoTextChanged),
            (self.redo, undo.canRedoChanged, undo.redoTextChanged),
        ):
            action.setEnabled(False)
            can.connect(action.setEnabled)
            named.connect(_make_text_updater(action))
        self.undo.triggered.connect(undo.undo)
        self.redo.triggered.connect(undo.redo)
        self.undo.setShortcut(QKeySequence("Ctrl+Z"))
        self.redo.setShortcuts([QKeySequence("Ctrl+Shift+Z"), QKeySequence("Ctrl+Y")])
        self._commands: dict[str, QAction] = {}
        self._project_actions: list[QAction] = []

    @property
    def commands(self) -> dict[str, QAction]:
        """Every action by name."""
        return self._commands

    def add(
        self,
        name: str,
        text: str,
        keys: str,
        slot: Callable[[], object],
        *,
        icon: str = "",
        menu: bool | Literal["help"] = True,
        project: bool = False,
    ) -> QAction:
        """Add an action with its shortcuts; `menu` also adds it to the project menu or to Help.

        `name` is its key in `commands`. An action with `project` is only enabled while a project is open.
        """
        action = QAction(text, self)
        if keys:
            action.setShortcuts([QKeySequence(key) for key in keys.split()])
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.triggered.connect(lambda _=False: slot())
        self._window.addAction(action)
        self._commands[name] = action
        if menu:
            (self.help if menu == "help" else self.menu).addAction(action)
        if icon:
            set_icon(action, icon)
        if project:
            self._project_actions.append(action)
        return action

    def set_project_enabled(self, allowed: bool) -> None:
        """Enable or disable the actions that need a project."""
        for action in self._project_actions:
            action.setEnabled(allowed)

    def add_help_menu(self, title: str) -> None:
        """Add the Help menu to the project menu."""
        self.help.setTitle(title)
        self.menu.addMenu(self.help)

    def add_undo(self) -> None:
        """Add undo and redo to the menu; their texts name the edit."""
        for name, action in (("undo", self.undo), ("redo", self.redo)):
            self._commands[name] = action
            self._window.addAction(action)
            self.menu.addAction(action)

    def add_recent(self) -> None:
        """Add the list of recent projects to the menu."""
        self.menu.addMenu(self.recent)

    def fill_recent(self, titles: dict[Path, str], slot: Callable[[Path], object]) -> None:
        """Fill the list of recent projects: their names, and the folder of those with the same name."""
        self.recent.clear()
        self.recent.setEnabled(bool(titles))
        self.recent.setToolTipsVisible(True)
        counts = Counter(titles.values())
        for file, title in titles.items():
            words = title if counts[title] == 1 else f"{title}    {file.parent}"
            action = self.recent.addAction(words.replace("&", "&&"))
            action.setToolTip(plain_tip(str(file)))
            action.triggered.connect(lambda _=False, file=file: slot(file))


def _make_text_updater(action: QAction) -> Callable[[str], None]:
    """Return a slot that appends the edit to be undone to the action's text."""
    word = action.text()

    def name(what: str) -> None:
        action.setText(f"{word}: {what}" if what else word)

    return name
