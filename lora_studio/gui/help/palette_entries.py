"""Collect the entries that the command palette (Ctrl+K) searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.core.project.project import SPECS
from lora_studio.core.project.search_terms import SYNONYMS
from lora_studio.core.spec import get_facts
from lora_studio.gui.controls.controls import Control, format_value
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.command_search import Kind, SearchEntry
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.widgets.basics import Card


def list_entries(shell: Shell) -> list[SearchEntry]:
    """Return enabled commands, pages, settings of project and program, and recent projects."""
    return [
        *_list_commands(shell),
        *_list_buttons(shell),
        *_list_project_settings(shell),
        *_list_program_settings(shell),
        *_list_projects(shell),
    ]


def format_shortcut(action: QAction) -> str:
    """Return the first shortcut as the system writes it, "" for none."""
    return action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)


def _list_commands(shell: Shell) -> Iterator[SearchEntry]:
    for name, action in shell.actions_.commands.items():
        if action.isEnabled() and name != "find":
            kind: Kind = "page" if name.startswith("go_") else "command"
            yield SearchEntry(
                kind,
                action.text().removesuffix("…"),
                action.trigger,
                action.statusTip(),
                keys=format_shortcut(action),
                terms=SYNONYMS.get(name, ""),
            )


def _list_buttons(shell: Shell) -> Iterator[SearchEntry]:
    """Yield the enabled buttons of the shown page."""
    page = shell.get_title(shell.page_name)
    for button in shell.stack.findChildren(QPushButton):
        if button.text() and button.isVisible() and button.isEnabled():
            tip = button.toolTip().partition("\n")[0]
            yield SearchEntry("command", button.text().removesuffix("…"), button.click, tip, page)


def _list_project_settings(shell: Shell) -> Iterator[SearchEntry]:
    if not shell.has_project:
        return
    for step, page in shell.pages.items():
        for field, editor in page.editors.items():
            if not editor.is_searchable:
                continue
            facts = localize_facts(SPECS[editor.step], field)
            value = _format_short_value(editor)
            yield SearchEntry(
                "setting",
                facts.title,
                _make_field_opener(shell, step, field),
                f"{value} – {facts.description}" if value else facts.description,
                tr(page.title),
                terms=_join_terms(
                    f"{editor.step}.{field}", get_facts(SPECS[editor.step], field).title
                ),
            )


def _list_program_settings(shell: Shell) -> Iterator[SearchEntry]:
    """Yield the controls of the Settings page, and the cards without a control of the same name."""
    page = shell.settings
    title, names = tr(page.title), set[str]()
    terms: dict[QWidget, str] = {
        page.look: SYNONYMS["settings.theme"],
        page.text_size: SYNONYMS["settings.text_size"],
        page.language: SYNONYMS["settings.language"],
        page.engine_card: SYNONYMS["settings.engine"],
        page.network: SYNONYMS["settings.network"],
        page.trusted_code: SYNONYMS["settings.trusted_code"],
    }
    for control in page.findChildren(Control):
        if name := control.accessibleName():
            names.add(name)
            focus = _make_focuser(shell, control)
            yield SearchEntry("setting", name, focus, "", title, terms=terms.get(control, ""))
    for card in page.findChildren(Card):
        if (name := card.title.text()) and name not in names:
            focus = _make_focuser(shell, card)
            yield SearchEntry("setting", name, focus, "", title, terms=terms.get(card, ""))


def _join_terms(key: str, title: str) -> str:
    """Return the synonyms of a field and its English title, which people find in tutorials."""
    return f"{title} {SYNONYMS.get(key, '')}"


def _format_short_value(editor: FieldEditor) -> str:
    """Return the value in a few words, "" if it has none or a long one."""
    value = editor.state.get(editor.step, editor.field)
    if isinstance(value, bool):
        return tr("on") if value else tr("off")
    if isinstance(value, list | tuple | dict):
        return ""
    text = format_value(value, editor.facts)
    choice = editor.facts.choices.get(text, text)
    unit = f" {tr(editor.facts.unit)}" if editor.facts.unit and choice else ""
    return f"{choice}{unit}" if len(choice) <= 40 and "\n" not in choice else ""


def _list_projects(shell: Shell) -> Iterator[SearchEntry]:
    for file in shell.preferences.list_recent_projects():
        if file != shell.state.draft.path:
            title = shell.preferences.get_recent_title(file)
            opener = _make_project_opener(shell, file)
            yield SearchEntry("project", title, opener, str(file.parent))


def _make_field_opener(shell: Shell, step: str, field: str) -> Callable[[], None]:
    return lambda: shell.show_field(step, field)


def _make_focuser(shell: Shell, widget: QWidget) -> Callable[[], None]:
    def focus() -> None:
        shell.show_page("settings")
        (widget.focusProxy() or widget).setFocus()
        if not widget.hasFocus() and isinstance(widget, Card):
            buttons = (part for part in widget.findChildren(QPushButton) if part.isVisible())
            next(buttons, shell.settings).setFocus()

    return focus


def _make_project_opener(shell: Shell, file: Path) -> Callable[[], object]:
    return lambda: shell.open_project(file)
