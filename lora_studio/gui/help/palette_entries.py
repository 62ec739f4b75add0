"""Everything that Ctrl+K finds in a window, gathered when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.core.project.project import SPECS
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.command_search import Kind, SearchEntry
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell_facts
from lora_studio.gui.widgets.basics import Card


def entries(window: Shell) -> list[SearchEntry]:
    """Commands that can be given now, places, settings of the open project, recent projects."""
    return [
        *_actions(window),
        *_buttons(window),
        *_settings(window),
        *_program_settings(window),
        *_projects(window),
    ]


def keys_of(action: QAction) -> str:
    """The first shortcut as the system writes it, "" for none."""
    return action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)


def _actions(window: Shell) -> Iterator[SearchEntry]:
    for name, action in window.actions_.commands.items():
        if action.isEnabled() and name != "find":
            title = action.text().removesuffix("…")
            kind: Kind = "page" if name.startswith("go_") else "command"
            detail = action.statusTip()
            yield SearchEntry(kind, title, action.trigger, detail, keys=keys_of(action))


def _buttons(window: Shell) -> Iterator[SearchEntry]:
    """What can be pressed on the page that is shown."""
    shown = window.stack
    place = window.title_of(window.page_name)
    for button in shown.findChildren(QPushButton):
        if button.text() and button.isVisible() and button.isEnabled():
            tip = button.toolTip().partition("\n")[0]
            yield SearchEntry("command", button.text().removesuffix("…"), button.click, tip, place)


def _settings(window: Shell) -> Iterator[SearchEntry]:
    if not window.has_project:
        return
    for step, page in window.pages.items():
        for field, editor in page.editors.items():
            about = tell_facts(SPECS[editor.step], field)
            value = _shown(editor)
            detail = f"{value} – {about.description}" if value else about.description
            yield SearchEntry(
                "setting", about.title, _jumping(window, step, field), detail, tr(page.title)
            )


def _program_settings(window: Shell) -> Iterator[SearchEntry]:
    """What is set for the program rather than for a project: its controls, and the cards they are on."""
    page = window.settings
    place, seen = tr(page.title), set[str]()
    for control in page.findChildren(Control):
        if name := control.accessibleName():
            seen.add(name)
            yield SearchEntry("setting", name, _focusing(window, control), "", place)
    for card in page.findChildren(Card):
        if (title := card.title.text()) and title not in seen:
            yield SearchEntry("setting", title, _focusing(window, card), "", place)


def _shown(editor: FieldEditor) -> str:
    """The value in a few words, "" where it has none or a long one."""
    value = editor.state.get(editor.step, editor.field)
    if isinstance(value, bool):
        return tr("on") if value else tr("off")
    text = "" if value is None or isinstance(value, list | tuple | dict) else str(value)
    choice = editor.about.choices.get(text, text)
    unit = f" {editor.about.unit}" if editor.about.unit and choice else ""
    return f"{choice}{unit}" if len(choice) <= 40 and "\n" not in choice else ""


def _projects(window: Shell) -> Iterator[SearchEntry]:
    for file in window.preferences.recent_projects():
        if file != window.state.draft.path:
            yield SearchEntry("project", file.stem, _opening(window, file), str(file.parent))


def _jumping(window: Shell, step: str, field: str) -> Callable[[], None]:
    return lambda: window.show_field(step, field)


def _focusing(window: Shell, widget: QWidget) -> Callable[[], None]:
    def go() -> None:
        window.show_page("settings")
        (widget.focusProxy() or widget).setFocus()
        if not widget.hasFocus() and isinstance(widget, Card):
            first = next(
                (made for made in widget.findChildren(QPushButton) if made.isVisible()), None
            )
            (first or window.settings).setFocus()

    return go


def _opening(window: Shell, file: Path) -> Callable[[], object]:
    return lambda: window.open_project(file)
