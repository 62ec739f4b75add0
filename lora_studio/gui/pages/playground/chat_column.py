"""One column of a conversation: the model that answers, its turns, and the actions on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from PySide6.QtCore import QPoint, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QImage,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextTable,
)
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import chat, formatting
from lora_studio.core.chat import AdapterChatModel, AnyChatModel, GgufChatModel
from lora_studio.core.playground import AnswerVersion, Conversation, Turn, TurnAnswers
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.chat_models import ChatModelGroup, ChatModelOption
from lora_studio.gui.controls.adapter_weights import BlendPanel
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Size, Spacing, color, get_palette, get_theme, pixmap
from lora_studio.gui.widgets.basics import (
    label,
    make_scroll_area,
    row,
    tool_button,
)
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.rich_text import GrowingText
from lora_studio.gui.widgets.tooltips import plain_tip

Waiting = Literal["", "waiting", "answering"]


class TurnView(QWidget):
    """Shows a prompt with the selected version of its answer.

    Signals:
        edit_clicked: edit the prompt and branch from here.
        regenerate_clicked: generate another answer.
        tokens_clicked: show the exact prompt.
        version_chosen(number): select another version of the answer.
    """

    edit_clicked = Signal()
    regenerate_clicked = Signal()
    tokens_clicked = Signal()
    version_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._answers = TurnAnswers()
        self._is_waiting = self._is_last = self._is_blind = False
        self.prompt = GrowingText(tr("Your prompt"))
        self.prompt.setProperty("plain", "asked")
        self.answer = AnswerText(tr("Answer"))
        self.facts = ElidedLabel("", "caption")
        self.edit = tool_button("edit", tr("Edit and branch from here"), self.edit_clicked.emit)
        self.copy = tool_button("copy", tr("Copy answer"), self._copy)
        self.regenerate = tool_button(
            "refresh", tr("Regenerate (Ctrl+R)"), self.regenerate_clicked.emit
        )
        self.tokens = tool_button("tokens", tr("Show prompt tokens"), self.tokens_clicked.emit)  # fmt: skip
        self.raw = tool_button("code", tr("Show raw text"))
        self.raw.setCheckable(True)
        self.raw.toggled.connect(self.answer.set_raw)
        self.previous = tool_button("back", tr("Previous answer"), lambda: self._switch(-1))
        self.next = tool_button("chevron-right", tr("Next answer"), lambda: self._switch(1))
        self.position = label(role="caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, Spacing.S)
        layout.setSpacing(Spacing.XS)
        layout.addLayout(row(label(tr("You"), "caption"), None, self.edit, spacing=0))
        layout.addWidget(self.prompt)
        layout.addSpacing(Spacing.XS)
        layout.addWidget(self.answer)
        tools = (
            self.previous,
            self.position,
            self.next,
            self.raw,
            self.regenerate,
            self.copy,
            self.tokens,
        )
        layout.addLayout(row(self.facts, *tools, spacing=0))

    def show_turn(self, turn: Turn, column: int) -> None:
        """Show a prompt and the answers of a column to it."""
        self.prompt.show_text(turn.user)
        self._answers = turn.get_answers(column)
        version = self._answers.current
        if version is None:
            self.answer.show_text("")
            self.facts.setText("")
        elif (problem := version.problem) is not None:
            self.answer.show_text(f"✗ {localize(problem.what)} {localize(problem.remedy)}", "error")
            self.facts.setText("")
        else:
            self.answer.show_answer(version.text)
            self.facts.setText(_format_facts(version))
        self.answer.setVisible(bool(self.answer.text()))
        self._show_tools()

    def grow(self, start: int, text: str, tokens: int) -> None:
        """Replace the answer from character `start` to its end."""
        self.answer.show_text(self.answer.text()[:start] + text)
        self.answer.show()
        if not self._is_blind:
            self.facts.setText(tr_n("{n} token", "{n} tokens", tokens) if tokens else "")

    def set_waiting(self, state: Waiting) -> None:
        """Set whether the answer is pending or being generated."""
        if state:
            self.answer.show_text("")
            self.facts.setText(tr("Waiting…") if state == "waiting" else tr("Generating…"))
        self.answer.setVisible(bool(self.answer.text()))
        self._is_waiting = bool(state)
        self._show_tools()

    def set_last(self, last: bool) -> None:
        """Allow only the last answer to be regenerated; later turns depend on earlier answers."""
        self._is_last = last
        self._show_tools()

    def set_blind(self, blind: bool) -> None:
        """Hide details that could reveal the model, such as the speed."""
        self._is_blind = blind
        if blind:
            self.facts.setText("")
        self._show_tools()

    def _show_tools(self) -> None:
        count, idle = len(self._answers.takes), not self._is_waiting
        for part in (self.previous, self.next, self.position):
            part.setVisible(idle and count > 1)
        version = self._answers.current
        self.raw.setVisible(idle and version is not None and has_markup(version.text))
        self.edit.setVisible(idle)
        self.copy.setVisible(idle)
        self.regenerate.setVisible(idle and self._is_last)
        self.tokens.setVisible(idle and not self._is_blind)
        self.position.setText(f"{self._answers.shown + 1} / {count}")
        self.previous.setEnabled(self._answers.shown > 0)
        self.next.setEnabled(self._answers.shown < count - 1)
        self.copy.setEnabled(bool(self.answer.text()))

    def _switch(self, direction: int) -> None:
        self.version_chosen.emit(self._answers.shown + direction)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.answer.text())


def _format_facts(version: AnswerVersion) -> str:
    endings = {"length": tr("token limit reached"), "stopped": tr("stopped")}
    speed = (
        formatting.format_rate(version.tokens_per_s, tr("tokens")) if version.tokens_per_s else ""
    )
    count = tr_n("{n} token", "{n} tokens", version.tokens) if version.tokens else ""
    parts = (count, speed, endings.get(version.ending, ""))
    return " · ".join(part for part in parts if part)


#: Matches Markdown: a fence, heading, list, quote or table, or inline emphasis, code or link.
_MARKUP = re.compile(
    r"^ {0,3}(```|~~~|#{1,6} |[-*+] |\d{1,3}[.)] |> |\|.+\|\s*$)"
    r"|\*\*\S|`[^`\n]+`|\[[^\]\n]+\]\([^)\n]+\)",
    re.MULTILINE,
)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
#: HTML is shown as text: an answer can't embed images, styles or pages.
_FEATURES = (
    QTextDocument.MarkdownFeature.MarkdownDialectGitHub
    | QTextDocument.MarkdownFeature.MarkdownNoHTML
)


class AnswerText(GrowingText):
    """Show plain text while the answer is generated, to keep the selection, and Markdown
    afterwards.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Create an empty text; `name` is the accessible name."""
        super().__init__(name, parent)
        self._text, self._is_rendered = "", False
        self._is_raw = False
        self.document().setDocumentMargin(0)  # aligned with the widgets above and below
        get_theme().changed.connect(self._format_blocks)

    def loadResource(self, kind: int, url: QUrl | str) -> Any:
        """Return an empty image or text: what an answer links to is never loaded.

        Without a value, Qt would read the file that the address of an image names.
        """
        is_image = kind == QTextDocument.ResourceType.ImageResource.value
        return QImage(1, 1, QImage.Format.Format_ARGB32) if is_image else ""

    def text(self) -> str:
        """Return the raw text of the answer."""
        return self._text

    def show_text(self, text: str, role: str = "text") -> None:
        """Show plain text."""
        if self._is_rendered:
            self.setPlainText("")
            self._is_rendered = False
        self._text = text
        super().show_text(text, role)

    def show_answer(self, text: str) -> None:
        """Show a complete answer."""
        if self._is_raw or not has_markup(text):
            self.show_text(text)
        elif not self._is_rendered or text != self._text:
            self._text, self._is_rendered = text, True
            self.document().setMarkdown(to_hard_line_breaks(text), _FEATURES)
            self._tint()
            self._format_blocks()

    def set_raw(self, raw: bool) -> None:
        """Set whether Markdown is shown as plain text."""
        if raw != self._is_raw:
            self._is_raw = raw
            self.show_answer(self._text)

    def _format_blocks(self) -> None:
        """Format paragraphs, headings, code blocks and tables of rendered Markdown."""
        if not self._is_rendered:
            return
        block = self.document().begin()
        while block.isValid():
            following = block.next()
            _set_code_size(block)
            _set_spacing(block, following)
            block = following
        for frame in self.document().rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                _format_table(frame)


def _set_code_size(block: QTextBlock) -> None:
    """Set the font size of code, which otherwise ignores the text size of the window."""
    char_format = QTextCharFormat()
    char_format.setProperty(QTextFormat.Property.FontPixelSize, Size.BODY)
    spans = [
        (part.fragment().position(), part.fragment().length())
        for part in block  # type: ignore[attr-defined]  # its stub lacks the iterator
        if part.fragment().charFormat().fontFixedPitch() or _is_code(block)
    ]
    for start, length in spans:
        cursor = QTextCursor(block)
        cursor.setPosition(start)
        cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
        cursor.mergeCharFormat(char_format)


def _set_spacing(block: QTextBlock, following: QTextBlock) -> None:
    cursor, block_format = QTextCursor(block), block.blockFormat()
    if block_format.headingLevel():
        cursor.select(QTextCursor.SelectionType.BlockUnderCursor)
        char_format = QTextCharFormat()
        char_format.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
        char_format.setProperty(QTextFormat.Property.FontPixelSize, Size.SECTION)
        cursor.mergeCharFormat(char_format)
    if _is_code(block):
        block_format.setNonBreakableLines(False)  # there is no horizontal scroll bar
        block_format.setBackground(color("hover"))
    is_joined = _is_code(block) and _is_code(following)
    is_list = block.textList() is not None and following.textList() is not None
    is_last = not following.isValid() or QTextCursor(block).currentTable() is not None
    block_format.setTopMargin(0)
    margin = 0 if is_joined or is_last else Spacing.XS if is_list else Spacing.S
    block_format.setBottomMargin(margin)
    cursor.setBlockFormat(block_format)


def _format_table(table: QTextTable) -> None:
    table_format = table.format()
    table_format.setBorderCollapse(True)
    table_format.setBorder(1)
    table_format.setBorderBrush(color("line"))
    table_format.setCellPadding(Spacing.XS)
    table_format.setCellSpacing(0)
    table_format.setBottomMargin(Spacing.S)
    table.setFormat(table_format)


def has_markup(text: str) -> bool:
    """Return whether the text contains Markdown markup."""
    return _MARKUP.search(text) is not None


def to_hard_line_breaks(text: str) -> str:
    """Return Markdown with every line break hard, as models mean it; code blocks are unchanged."""
    lines, fence = [], ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not fence:
            fence = match[1]
        elif match and match[1].startswith(fence):
            fence = ""
        elif not fence and line.strip() and not line.lstrip().startswith("|"):
            line += "  "
        lines.append(line)
    return "\n".join(lines)


def _is_code(block: QTextBlock) -> bool:
    block_format = block.blockFormat()
    return block_format.hasProperty(
        QTextFormat.Property.BlockCodeFence
    ) or block_format.hasProperty(QTextFormat.Property.BlockCodeLanguage)


#: Number of runs at the top level of the menu; older ones are in a submenu.
_MAX_RUNS = 12


class ChatModelMenu(QPushButton):
    """Shows the selected model, and opens the menu on click, Space or Down.

    Signals:
        chosen(chat_model): another model was selected.
        ollama_requested: list the models of the Ollama server.
        library_requested: show the adapter library.
    """

    chosen = Signal(object)
    ollama_requested = Signal()
    library_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with the base model."""
        super().__init__(parent)
        self._chat_model: AnyChatModel = AdapterChatModel()
        self._choices: tuple[ChatModelOption, ...] = ()
        self._full_name = ""
        self._menu = QMenu(self)
        self.clicked.connect(self.open_menu)
        self.setProperty("kind", "choice")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.show_chat_model(AdapterChatModel())

    def show_choices(self, choices: Sequence[ChatModelOption]) -> None:
        """Set the models to choose from besides the base model."""
        self._choices = tuple(choices)

    def show_chat_model(self, chat_model: AnyChatModel, name: str = "") -> None:
        """Show a model; `name` replaces its own name during a blind comparison."""
        self._chat_model = chat_model
        self._full_name = name or localize(chat.format_chat_model_name(chat_model))
        self.setAccessibleName(tr("Model: {name}").format(name=self._full_name))
        self.setToolTip(plain_tip(self._full_name))
        self._elide_text()

    def open_menu(self) -> None:
        """Open the menu below the button."""
        self.fill()
        self._menu.popup(self.mapToGlobal(QPoint(0, self.height())))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the menu on Down, like a combo box."""
        if event.key() == Qt.Key.Key_Down:
            self.open_menu()
        else:
            super().keyPressEvent(event)

    def minimumSizeHint(self) -> QSize:
        """Return a width of a few letters."""
        return QSize(90, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Elide the name to the new width."""
        super().resizeEvent(event)
        self._elide_text()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the arrow of a combo box on the right."""
        super().paintEvent(event)
        arrow = pixmap(
            "chevron-down", get_palette().muted if self.isEnabled() else get_palette().line, 16
        )
        painter = QPainter(self)
        side = Size.scaled(16)
        painter.drawPixmap(self.width() - side - Spacing.S, (self.height() - side) // 2, arrow)
        painter.end()

    def _elide_text(self) -> None:
        width = max(40, self.width() - 48)
        self.setText(
            self.fontMetrics()
            .elidedText(self._full_name, Qt.TextElideMode.ElideMiddle, width)
            .replace("&", "&&")
        )

    # --- the menu -----------------------------------------------------------------------------

    def fill(self) -> None:
        """Rebuild the menu."""
        menu = self._menu
        for submenu in menu.findChildren(QMenu):
            submenu.deleteLater()
        menu.clear()
        self._add(menu, tr("Base model"), AdapterChatModel())
        self._add_own(menu)
        self._add_runs(menu)
        menu.addSeparator()
        self._add_ollama(menu, self._list_options(ChatModelGroup.OLLAMA))
        blend = [
            choice for choice in self._choices if isinstance(choice.chat_model, AdapterChatModel)
        ]
        if isinstance(self._chat_model, AdapterChatModel) and blend:
            self._add_blend(menu, blend)
        menu.addAction(tr("Adapter folder…"), self._pick_adapter)
        menu.addAction(tr("GGUF file…"), self._pick_gguf)
        menu.addAction(tr("Adapter library…"), self.library_requested.emit)

    def _list_options(self, group: ChatModelGroup) -> list[ChatModelOption]:
        return [choice for choice in self._choices if choice.group is group]

    def _add_own(self, menu: QMenu) -> None:
        project_chat_models = {
            tr("Base model as GGUF"): self._list_options(ChatModelGroup.BASE),
            tr("Adapter library"): self._list_options(ChatModelGroup.LIBRARY),
        }
        for title, choices in project_chat_models.items():
            if choices:
                self._add_group(menu, title, choices)
        if any(project_chat_models.values()) and self._list_options(ChatModelGroup.RUN):
            menu.addSeparator()

    def _add_runs(self, menu: QMenu) -> None:
        runs: dict[str, list[ChatModelOption]] = {}
        for choice in self._list_options(ChatModelGroup.RUN):
            runs.setdefault(choice.run, []).append(choice)
        older = QMenu(tr("Older runs"), menu)
        for index, (name, choices) in enumerate(runs.items()):
            self._add_group(menu if index < _MAX_RUNS else older, name, choices)
        if len(runs) > _MAX_RUNS:
            menu.addMenu(older)

    def _add_group(self, menu: QMenu, title: str, choices: Sequence[ChatModelOption]) -> None:
        inner = menu.addMenu(title.replace("&", "&&"))
        for choice in choices:
            self._add(inner, localize(choice.title), choice.chat_model)

    def _add_ollama(self, menu: QMenu, choices: Sequence[ChatModelOption]) -> None:
        inner = menu.addMenu("Ollama")
        for choice in choices:
            self._add(inner, localize(choice.title), choice.chat_model)
        inner.addAction(tr("Refresh"), self.ollama_requested.emit)

    def _add_blend(self, menu: QMenu, choices: Sequence[ChatModelOption]) -> None:
        inner = menu.addMenu(tr("Combine with"))
        assert isinstance(self._chat_model, AdapterChatModel)
        current = self._chat_model.adapters
        for choice in choices:
            assert isinstance(choice.chat_model, AdapterChatModel)
            more = choice.chat_model.adapters
            if more[0].folder not in {each.folder for each in current}:
                name = localize(chat.format_chat_model_name(choice.chat_model)).replace("&", "&&")
                inner.addAction(
                    name, self._choose_later(AdapterChatModel(adapters=(*current, *more)))
                )

    def _add(self, menu: QMenu, title: str, chat_model: AnyChatModel) -> None:
        action = menu.addAction(title.replace("&", "&&"), self._choose_later(chat_model))
        action.setCheckable(True)
        action.setChecked(chat_model == self._chat_model)

    def _choose_later(self, chat_model: AnyChatModel) -> Callable[[], None]:
        return lambda: self.chosen.emit(chat_model)

    def _pick_adapter(self) -> None:
        choose_folder(
            self.window(),
            tr("Select adapter folder"),
            lambda name: self.chosen.emit(chat_models.create_adapter_chat_model(name)),
        )

    def _pick_gguf(self) -> None:
        choose_file(
            self.window(),
            tr("Select GGUF file"),
            lambda name: self.chosen.emit(GgufChatModel(file=name)),
            name_filter=tr("GGUF files (*.gguf)"),
        )


class ChatColumn(QFrame):
    """Shows one column of a conversation.

    Signals:
        chat_model_chosen(chat_model): another model, or other adapter weights.
        edit_requested(turn), tokens_requested(turn): edit a prompt or show its tokens.
        regenerate_requested: generate another answer to the last prompt.
        version_chosen(turn, number): select another version of an answer.
        closed: remove the column.
    """

    chat_model_chosen = Signal(object)
    edit_requested = Signal(int)
    tokens_requested = Signal(int)
    regenerate_requested = Signal()
    version_chosen = Signal(int, int)
    closed = Signal()

    def __init__(self, number: int, parent: QWidget | None = None) -> None:
        """Create column `number`, counted from 0 regardless of its position."""
        super().__init__(parent)
        self.number = number
        self.setProperty("surface", "card")
        self.menu = ChatModelMenu()
        self.name = label("", "section")
        self.close_button = tool_button("close", tr("Close column"), self.closed.emit)
        self.blend = BlendPanel()
        self.turns: list[TurnView] = []
        self.hint = label("", "muted", wrap=True)
        self.area = make_scroll_area(None, tr("Conversation"), sideways=True)
        self._list = QVBoxLayout()
        self._build()
        self._follows_end = True
        bar = self.area.verticalScrollBar()
        bar.rangeChanged.connect(self._on_range_changed)
        bar.valueChanged.connect(self._on_scrolled)
        self._weights_timer = QTimer(self, singleShot=True, interval=150)
        self._weights_timer.timeout.connect(self._emit_weights)
        self.menu.chosen.connect(self._weights_timer.stop)  # they belong to the previous model
        self.menu.chosen.connect(self.chat_model_chosen)
        self._blended: AnyChatModel = AdapterChatModel()
        self.blend.changed.connect(self._set_weights)

    def show_conversation(self, conversation: Conversation, *, blind: str = "") -> None:
        """Show the turns of this column; `blind` replaces the model name during a blind
        comparison.
        """
        chat_model = conversation.chat_models[self.number]
        self.menu.show_chat_model(chat_model)
        self.menu.setVisible(not blind)
        self.name.setText(blind)
        self.name.setVisible(bool(blind))
        adapters = chat_model.adapters if isinstance(chat_model, AdapterChatModel) else ()
        self.blend.show_adapters(() if blind else adapters)
        turns = conversation.turns
        while len(self.turns) < len(turns):
            self._add_turn()
        while len(self.turns) > len(turns):
            removed = self.turns.pop()
            removed.hide()
            removed.deleteLater()
        for index, (view, turn) in enumerate(zip(self.turns, turns, strict=True)):
            view.show_turn(turn, self.number)
            view.set_last(index == len(turns) - 1)
            view.set_blind(bool(blind))
        self.hint.setVisible(not turns)

    def set_waiting(self, state: Waiting) -> None:
        """Set the state of the last answer."""
        if self.turns:
            self.turns[-1].set_waiting(state)
        self._follows_end = self._follows_end or bool(state)

    def set_busy(self, busy: bool) -> None:
        """Disable changes of models while any answer is being generated."""
        for view in self.turns:
            view.edit.setEnabled(not busy)
        for part in (self.menu, self.close_button, self.blend):
            part.setEnabled(not busy)

    def flush_weights(self) -> None:
        """Emit pending changes of adapter weights now."""
        if self._weights_timer.isActive():
            self._weights_timer.stop()
            self._emit_weights()

    def update_answer(self, start: int, text: str, tokens: int) -> None:
        """Replace the last answer from the character `start` on."""
        if self.turns:
            self.turns[-1].grow(start, text, tokens)

    def _build(self) -> None:
        inner = QWidget()
        inner.setObjectName("scrolled")
        inner.setLayout(self._list)
        self._list.setContentsMargins(0, 0, Spacing.S, 0)
        self._list.setSpacing(Spacing.L)
        self._list.addWidget(self.hint)
        self._list.addStretch(1)
        self.area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.M, Spacing.M, Spacing.M)
        layout.setSpacing(Spacing.S)
        head = row(self.name, self.menu, self.close_button)
        head.setStretch(1, 1)
        layout.addLayout(head)
        layout.addWidget(self.blend)
        layout.addWidget(self.area, 1)

    def _add_turn(self) -> None:
        view, index = TurnView(), len(self.turns)
        view.edit_clicked.connect(lambda: self.edit_requested.emit(index))
        view.tokens_clicked.connect(lambda: self.tokens_requested.emit(index))
        view.regenerate_clicked.connect(self.regenerate_requested)
        view.version_chosen.connect(lambda number: self.version_chosen.emit(index, number))
        self.turns.append(view)
        self._list.insertWidget(self._list.count() - 1, view)
        self._follows_end = True

    def _set_weights(self, adapters: object) -> None:
        self._blended = AdapterChatModel(adapters=adapters)
        self._weights_timer.start()

    def _emit_weights(self) -> None:
        self.chat_model_chosen.emit(self._blended)

    # --- scrolling ----------------------------------------------------------------------------

    def _on_range_changed(self, _lowest: int, highest: int) -> None:
        if self._follows_end:
            self.area.verticalScrollBar().setValue(highest)

    def _on_scrolled(self, value: int) -> None:
        """Keep the end of the conversation visible unless the user has scrolled up."""
        self._follows_end = value >= self.area.verticalScrollBar().maximum() - Spacing.L
