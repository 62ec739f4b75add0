"""The command palette: a search line with a list of matches, used by keyboard."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
)
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence, QPainter
from PySide6.QtWidgets import (
    QDialog,
    QLineEdit,
    QListView,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project.project import SPECS
from lora_studio.core.project.search_terms import SYNONYMS, to_american
from lora_studio.core.spec import get_facts
from lora_studio.gui.controls.controls import Control, format_value
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.theme import Size, Spacing, body_font, color
from lora_studio.gui.widgets.basics import Card, label
from lora_studio.gui.widgets.tooltips import plain_tip

_WIDTH, _ROWS = 620, 9

_Index = QModelIndex | QPersistentModelIndex


class _Matches(QAbstractListModel):
    """List model of the matches; screen readers get the whole line."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.entries: list[SearchEntry] = []

    def show(self, entries: list[SearchEntry]) -> None:
        self.beginResetModel()
        self.entries = entries
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.entries)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entries[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return entry.title
            case Qt.ItemDataRole.UserRole:
                return entry
            case Qt.ItemDataRole.ToolTipRole:
                return plain_tip(entry.detail)
            case Qt.ItemDataRole.AccessibleTextRole:
                parts = (entry.title, tr(KIND_TITLES[entry.kind]), entry.page, entry.keys)
                return ", ".join(part for part in parts if part)
        return None


class _Line(QStyledItemDelegate):
    """Paints title and detail on the left, keys or kind on the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        """Return room for two lines of text."""
        metrics = option.fontMetrics
        return QSize(_WIDTH, 2 * metrics.height() + Spacing.M)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Paint one entry."""
        entry: SearchEntry = index.data(Qt.ItemDataRole.UserRole)
        area: QRect = option.rect
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("selected"))
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 6, 6)
        inner = area.adjusted(Spacing.M, Spacing.XS, -Spacing.M, -Spacing.XS)
        side = entry.keys or " · ".join(
            part for part in (entry.page, tr(KIND_TITLES[entry.kind])) if part
        )
        painter.setFont(body_font(Size.CAPTION))
        painter.setPen(color("muted"))
        width = painter.fontMetrics().horizontalAdvance(side)
        top = inner.height() // 2
        upper = QRect(
            inner.left(), inner.top(), inner.width(), top if entry.detail else inner.height()
        )
        lower = QRect(inner.left(), inner.top() + top, inner.width(), inner.height() - top)
        near, far = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(upper, far | middle, side)
        painter.drawText(
            lower,
            near | middle,
            painter.fontMetrics().elidedText(
                entry.detail, Qt.TextElideMode.ElideRight, inner.width()
            ),
        )
        painter.setFont(body_font())
        painter.setPen(color("text"))
        room = inner.width() - width - Spacing.M
        title = painter.fontMetrics().elidedText(entry.title, Qt.TextElideMode.ElideRight, room)
        painter.drawText(upper, near | middle, title)
        painter.restore()


class CommandPalette(QDialog):
    """A popup that closes when an entry is run, on Esc, or on a click outside."""

    def __init__(self, entries: Sequence[SearchEntry], parent: QWidget) -> None:
        """Open over the upper part of `parent`; an empty query shows everything."""
        super().__init__(parent, Qt.WindowType.Dialog | Qt.WindowType.FramelessWindowHint)
        self.setWindowTitle(tr("Command palette"))
        self.setProperty("surface", "palette")
        self.setModal(True)
        self._entries, self._over = list(entries), parent
        self.line = QLineEdit(placeholderText=tr("Search settings, commands, pages, and projects"))
        self.line.setAccessibleName(tr("Command palette"))
        self.list = QListView(uniformItemSizes=True)
        self.list.setAccessibleName(tr("Search results"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._model = _Matches(self)
        self.list.setModel(self._model)
        self.list.setItemDelegate(_Line(self.list))
        self.nothing = label("", "muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.M, Spacing.M, Spacing.M)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.line)
        layout.addWidget(self.nothing)
        layout.addWidget(self.list, 1)
        self.line.textChanged.connect(self._search)
        for widget in (self.line, self.list):
            widget.installEventFilter(self)
        self.list.clicked.connect(self._run)
        self.finished.connect(self.deleteLater)
        self._search("")
        self._move_over(parent)

    @property
    def matches(self) -> list[SearchEntry]:
        """The shown entries, best first."""
        return self._model.entries

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Handle the keys of the list while the focus is in the search line."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS, Qt.Key.Key_PageUp: -_ROWS}  # fmt: skip
            key = Qt.Key(event.key())
            if key in steps:
                self._move(steps[key], around=abs(steps[key]) == 1)
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(self.list.currentIndex())
                return True
        return super().eventFilter(watched, event)

    def _search(self, query: str) -> None:
        self._model.show(find(self._entries, query))
        has_matches = bool(self.matches)
        self.list.setVisible(has_matches)
        self.nothing.setVisible(not has_matches)
        self.nothing.setText(
            tr("No results for “{query}”. Try a different search.").format(query=query)
        )
        if has_matches:
            self.list.setCurrentIndex(self._model.index(0, 0))

    def _move(self, by: int, *, around: bool) -> None:
        count = len(self.matches)
        if count:
            target = self.list.currentIndex().row() + by
            target = target % count if around else max(0, min(count - 1, target))
            self.list.setCurrentIndex(self._model.index(target, 0))

    def _run(self, index: QModelIndex) -> None:
        if not index.isValid():
            return
        entry = self.matches[index.row()]
        self.accept()
        QTimer.singleShot(0, self._over, entry.run)  # after the focus has returned to the window

    def _move_over(self, parent: QWidget) -> None:
        metrics = self.fontMetrics()
        height = _ROWS * (2 * metrics.height() + Spacing.M) + 80
        width = min(Size.scaled(_WIDTH), parent.width() - 2 * Spacing.XL)
        self.setFixedSize(width, min(height, parent.height() - 2 * Spacing.XL))
        middle = parent.mapToGlobal(parent.rect().center())
        self.move(middle.x() - width // 2, parent.mapToGlobal(parent.rect().topLeft()).y() + 64)


Kind = Literal["command", "page", "setting", "project"]

KIND_TITLES: dict[Kind, str] = {
    "command": mark("Command"),
    "page": mark("Page"),
    "setting": mark("Setting"),
    "project": mark("Project"),
}


@dataclass(frozen=True)
class SearchEntry:
    """An entry that the search can find: a setting or page to show, or a command to run.

    `detail`, `page` and the synonyms in `terms` are searched too; `keys` is only shown.
    """

    kind: Kind
    title: str
    run: Callable[[], object]
    detail: str = ""
    page: str = ""
    keys: str = ""
    terms: str = ""


def find(entries: Iterable[SearchEntry], query: str) -> list[SearchEntry]:
    """Return the entries that match, best first; all of them for an empty query.

    Every word must match. Matches rank in this order: start of the title, start of a word in it,
    within the title, a synonym, the detail. If a word doesn't match, titles with all letters of the query in order
    also match. Among equal ranks, an exact title comes first, then the order of `entries`.
    """
    words = _normalize(query).split()
    if not words:
        return list(entries)
    costs = ((_rate_entry(entry, words), entry) for entry in entries)
    matches = [(cost, entry) for cost, entry in costs if cost is not None]
    return [entry for _, entry in sorted(matches, key=lambda item: item[0])]


def _rate_entry(entry: SearchEntry, words: list[str]) -> tuple[int, int] | None:
    title, detail = _normalize(entry.title), _normalize(f"{entry.detail} {entry.page}")
    terms = _normalize(entry.terms)
    total = 0
    for word in words:
        cost = _rate_word(word, title, terms, detail)
        if cost is None:
            letters = "".join(words)
            return (
                (100, len(title))
                if len(letters) > 2 and _has_letters_in_order(letters, title)
                else None
            )
        total += cost
    return (total, int(title != " ".join(words)))


def _rate_word(word: str, title: str, terms: str, detail: str) -> int | None:
    if title.startswith(word):
        return 0
    if _is_word_start(word, title):
        return 1
    if word in title:
        return 2
    if _is_word_start(word, terms):
        return 3
    if _is_word_start(word, detail):
        return 5
    return 8 if len(word) > 2 and (word in detail or word in terms) else None


def _is_word_start(word: str, text: str) -> bool:
    return any(part.startswith(word) for part in text.split())


def _has_letters_in_order(letters: str, title: str) -> bool:
    rest = iter(title)
    return all(letter in rest for letter in letters)


def _normalize(text: str) -> str:
    """Return text without case, accents and British spellings: "Größe" matches "grosse"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return to_american("".join(part for part in parts if not unicodedata.combining(part)))


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
