"""The Playground page: chat with the base model and fine-tuned models side by side."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import cast

from PySide6.QtCore import QFile, QObject, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import chat, formatting, playground
from lora_studio.core.chat import AnyChatModel
from lora_studio.core.playground import COLUMNS, Conversation
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models
from lora_studio.gui.controls.choices import SegmentsControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.pages.playground.chat_column import ChatColumn, Waiting
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.pages.playground.classifier import ClassifierController, ClassifierView
from lora_studio.gui.pages.playground.dialogs import PlaygroundDialogs
from lora_studio.gui.pages.playground.prompt_card import PromptCard
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    EmptyState,
    button,
    column,
    label,
    row,
)
from lora_studio.gui.widgets.tooltips import plain_tip


class PlaygroundPage(AppPage):
    """The page with up to three chat columns and one prompt box.

    Signals:
        library_requested: show the adapter library.
    """

    library_requested = Signal()

    name = "playground"
    title = "Playground"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build the page; the last conversation of the project is restored when it is loaded."""
        super().__init__(parent, scrolls=False)
        self.state = state
        self.controller = ChatController(state, self)
        self.columns = [self._make_column(number) for number in range(COLUMNS)]
        self.blind_vote = BlindVote(self.controller, self)
        self.blind, self.votes = self.blind_vote.toggle, self.blind_vote.bar
        self.editing: int | None = None
        self.classifies, self._last_classifier = False, ""
        self.dialogs = PlaygroundDialogs(self.controller, self)
        self.classifier = ClassifierView(ClassifierController(state, self))
        self.card = PromptCard()
        self.prompt = self.card.prompt
        self._build_header()
        self._build_layout()
        self._wire()
        self.refresh()

    # --- building -----------------------------------------------------------------------------

    def _make_column(self, number: int) -> ChatColumn:
        chat, controller = ChatColumn(number), self.controller
        chat.chat_model_chosen.connect(lambda chat_model: controller.choose(number, chat_model))
        chat.closed.connect(lambda: controller.remove_column(number))
        chat.regenerate_requested.connect(lambda: self.regenerate([number]))
        chat.version_chosen.connect(
            lambda turn, version: controller.choose_version(number, turn, version)
        )
        chat.tokens_requested.connect(lambda turn: self.dialogs.show_tokens(number, turn))
        chat.edit_requested.connect(self.edit)
        chat.menu.ollama_requested.connect(self._find_ollama)
        chat.menu.library_requested.connect(self.library_requested)
        chat.hint.setText(
            tr(
                "Try a prompt from your training data to see what the model learned, then an "
                "unrelated one to check that it kept its other skills."
            )
        )
        return chat

    def _build_header(self) -> None:
        self.new = button(tr("New chat"), self.start_new, icon="plus")
        self.new.setToolTip(tr("Starts a new conversation; this one stays in the history"))
        self.history = button(tr("History"), icon="chat")
        self.history_menu = HistoryMenu(self.history)
        self.history.setMenu(self.history_menu)
        self.history_menu.aboutToShow.connect(
            lambda: self.history_menu.fill(self.controller.history, self.controller.conversation)
        )
        self.history_menu.chosen.connect(self._show_conversation)
        self.history_menu.trash_clicked.connect(self._trash_conversation)
        self.add = button(tr("Add column"), self.controller.add_column, icon="plus")
        self.add.setToolTip(tr("Adds a model that answers the same prompts"))
        self.tally = button(tr("Vote results"), self.dialogs.show_votes)
        self.mode = SegmentsControl({"chat": mark("Chat"), "classify": mark("Classify")})
        self.mode.show_value("chat")
        self.header.extra.addWidget(self.mode)
        self.library = button(tr("Adapters…"), self.library_requested.emit, icon="lora")
        for part in (self.library, self.tally, self.blind, self.add, self.history, self.new):
            self.header.extra.addWidget(part)

    def _build_layout(self) -> None:
        self.side = QHBoxLayout()
        self.side.setSpacing(Spacing.M)
        talk = QWidget()
        inside = column(self.side, self.votes, self.card)
        inside.setStretch(0, 1)
        talk.setLayout(inside)
        self.empty = EmptyState(
            tr("No model to chat with yet"),
            tr(
                "Choose a model to chat with it here. After training, compare the base model and "
                "your fine-tuned model side by side."
            ),
            button(tr("Go to Model"), lambda: self.go_to.emit("model"), icon="model"),
        )
        self.reason = label("", "caption", wrap=True)
        self.reason.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        empty_layout = cast(QVBoxLayout, self.empty.layout())
        empty_layout.insertWidget(empty_layout.count() - 1, self.reason)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty)
        self.stack.addWidget(talk)
        self.stack.addWidget(self.classifier)
        self.body.addWidget(self.stack)
        self._arrange_columns()
        self.setFocusProxy(self.prompt)

    def _wire(self) -> None:
        controller, card = self.controller, self.card
        controller.changed.connect(self.refresh)
        controller.grew.connect(self._update_answer)
        controller.status_changed.connect(card.status.setText)
        controller.failed.connect(self.state.messages.problem)
        card.sent.connect(self.ask_all)
        card.stop_clicked.connect(controller.stop)
        card.regenerate_clicked.connect(self.regenerate)
        card.keep_clicked.connect(self.save_as_sample)
        card.cpu_clicked.connect(self._choose_cpu)
        card.recalled.connect(lambda: self.edit(len(controller.conversation.turns) - 1))
        card.canceled.connect(self._cancel)
        card.typed.connect(self.save_draft)
        card.sampling_chosen.connect(lambda sampling: controller.update(sampling=sampling))
        card.device_chosen.connect(self._on_device_chosen)
        self.classifier.controller.found.connect(self._on_classifiers_found)
        self.classifier.controller.failed.connect(self.state.messages.problem)
        self.mode.edited.connect(self.set_mode)
        self.blind.toggled.connect(self._on_blind_toggled)
        self.blind_vote.reordered.connect(self._arrange_columns)
        self.blind_vote.voted.connect(self._on_voted)
        self.state.problems_changed.connect(self.refresh)
        self.state.opened.connect(self._on_opened)
        self.state.facts_changed.connect(self._on_facts_changed)
        shortcut = QShortcut(QKeySequence("Ctrl+R"), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.card.regenerate.click)

    # --- called by the window -----------------------------------------------------------------

    def on_shown(self) -> None:
        """Search for models that runs have created meanwhile."""
        self.controller.find_chat_models()
        self.classifier.controller.find_runs()
        self.refresh()

    def press_primary(self) -> None:
        """Send the prompt, or classify the texts."""
        (self.classifier.send if self.classifies else self.card.send).click()

    def on_event(self, event: object) -> None:
        """Search for models when a job has saved an adapter or a model."""
        match event:
            case events.CheckpointSaved() | events.AdapterSaved() | events.Merged():
                if self.isVisible():
                    self.controller.find_chat_models()
                    self.classifier.controller.find_runs()

    def set_mode(self, mode: str) -> None:
        """Show the chat or the classifier, and release the memory of the other one."""
        self.classifies = mode == "classify"
        self.mode.show_value(mode)
        other = self.controller.link if self.classifies else self.classifier.controller.link
        other.release()
        self.setFocusProxy(self.classifier if self.classifies else self.prompt)
        self.refresh()

    def start_chat(self, chat_model: AnyChatModel) -> None:
        """Start a conversation with this model next to the base model; ignored while answering."""
        if self.controller.is_busy:
            self.controller.status_changed.emit(
                tr("Wait for the current answers or stop them before you choose another model.")
            )
            return
        self.set_mode("chat")
        self.start_new()
        if len(self.controller.conversation.chat_models) == 1:
            self.controller.add_column(chat_model)
        elif chat_model not in self.controller.conversation.chat_models:
            self.controller.choose(1, chat_model)
        self.prompt.setFocus()

    def set_library(self, folders: tuple[str, ...]) -> None:
        """Set the folders of the adapter library."""
        if folders != self.controller.library:
            self.controller.library = folders
            self.controller.find_chat_models()

    def stop_background_work(self) -> None:
        """Stop the worker and save."""
        self.save_draft()
        self.card.discard_pending()
        self.controller.stop_background_work()
        self.classifier.controller.stop_background_work()

    # --- user actions -------------------------------------------------------------------------

    def ask_all(self) -> None:
        """Send the prompt to every column."""
        if self.controller.is_busy:
            return
        self._flush_weights()
        if self.blind_vote.is_on and self.blind_vote.revealed:
            self.start_new()
        if self.blind_vote.is_on and not self.controller.conversation.turns:
            self.blind_vote.shuffle()
        self.save_draft()
        if self.controller.send(self.prompt.text(), instead_of=self.editing):
            self.editing = None
            self.card.set_texts("", self.card.system.toPlainText())
            self.refresh()

    def regenerate(self, columns: Sequence[int] = ()) -> None:
        """Generate another answer to the last prompt, in some columns or in all."""
        self._flush_weights()
        self.controller.regenerate(columns)

    def _flush_weights(self) -> None:
        """Apply pending changes of adapter weights."""
        for each in self.columns:
            each.flush_weights()

    def start_new(self) -> None:
        """Start a new conversation."""
        if not self.controller.is_busy:
            self.editing = None
            self.blind_vote.reset()
            self.controller.start_new()
            self.refresh()
            self.prompt.setFocus()

    def edit(self, turn: int) -> None:
        """Move the prompt of a turn back into the prompt box to branch from there."""
        if 0 <= turn < len(self.controller.conversation.turns) and not self.controller.is_busy:
            self.editing = turn
            self.prompt.setPlainText(self.controller.conversation.turns[turn].user)
            self.prompt.selectAll()
            self.prompt.setFocus()
            self.refresh()

    def save_as_sample(self) -> None:
        """Add the current or last prompt to the sample prompts of the training."""
        turns = self.controller.conversation.turns
        text = self.prompt.text().strip() or (turns[-1].user if turns else "")
        prompts = self.state.get("training", "sample_prompts")
        saved_prompts = [str(each) for each in prompts] if isinstance(prompts, list | tuple) else []
        if text and text not in saved_prompts:
            title = tr("Add sample prompt")
            self.state.change(title, [("training", "sample_prompts", [*saved_prompts, text])])
            self.state.messages.success(
                tr(
                    "Added to the sample prompts. The model answers this prompt at every "
                    "evaluation during training."
                )
            )
        self.refresh()

    def _on_voted(self) -> None:
        self.refresh()
        self.prompt.setFocus()

    # --- display ------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Update everything except the answer that is being generated."""
        if not self.isVisible():  # `on_shown` refreshes the page
            return
        controller = self.controller
        blocker = controller.find_blocker()
        self.mode.setVisible(bool(self.classifier.controller.runs))
        self.stack.setCurrentIndex(2 if self.classifies else 0 if blocker else 1)
        self.reason.setText(blocker)
        for position, number in enumerate(self.blind_vote.order):
            self._refresh_column(position, number)
        self._refresh_tools(is_blocked=bool(blocker))
        self._refresh_prompt_box()
        self.blind_vote.show_bar()

    def _refresh_column(self, position: int, number: int) -> None:
        controller, chat = self.controller, self.columns[number]
        count = len(controller.conversation.chat_models)
        chat.setVisible(number < count)
        if number >= count:
            return
        letter = tr("Answer {letter}").format(letter="ABC"[position])
        blind = letter if self.blind_vote.is_hiding else ""
        chat.show_conversation(controller.conversation, blind=blind)
        chat.menu.show_choices(controller.choices)
        chat.close_button.setVisible(count > 1 and not self.blind.isChecked())
        text = controller.waiting.get(number)
        state: Waiting = "" if text is None else "answering" if text else "waiting"
        chat.set_waiting(state)
        chat.set_busy(controller.is_busy)
        if text:
            chat.update_answer(0, text, 0)

    def _refresh_tools(self, *, is_blocked: bool) -> None:
        controller, machine = self.controller, self.state.facts.devices
        conversation, busy = controller.conversation, controller.is_busy
        is_device_busy = controller.is_device_busy() and controller.device != "cpu"
        has_turns = bool(conversation.turns)
        self.card.show_state(busy=busy, answered=has_turns, device_busy=is_device_busy)
        is_voting = self.blind_vote.is_on and has_turns
        can_add = len(conversation.chat_models) < COLUMNS
        self.add.setEnabled(can_add and not busy and not is_voting)
        for part in (self.new, self.history, self.blind, self.mode):
            part.setEnabled(not busy)
        for part in (self.new, self.history, self.blind, self.tally, self.add, self.library):
            part.setVisible(not is_blocked and not self.classifies)
        names = [each.name for each in machine.devices] if machine is not None else []
        devices = [*dict.fromkeys([*names, "cpu"])]
        self.card.show_settings(conversation.sampling, devices, controller.device)

    def _refresh_prompt_box(self) -> None:
        conversation, card = self.controller.conversation, self.card
        if not card.is_typing and self.editing is None:
            card.set_texts(card.prompt.text() or conversation.draft, conversation.system)
        notes = []
        if self.editing is not None:
            notes.append(
                tr(
                    "You're editing an earlier prompt. Send it to branch the conversation from there,"
                    " or press Esc to cancel."
                )
            )
        if reason := self.controller.explain_cpu():
            notes.append(reason)
        card.show_note(" ".join(notes))

    def _arrange_columns(self) -> None:
        while self.side.takeAt(0) is not None:
            pass
        for number in self.blind_vote.order:
            self.side.addWidget(self.columns[number], 1)

    def _update_answer(self, number: int, start: int, text: str, tokens: int) -> None:
        self.columns[number].update_answer(start, text, tokens)

    # --- helpers ------------------------------------------------------------------------------

    def _on_classifiers_found(self) -> None:
        """Show the classifier if it is what the project has trained last, once for each run."""
        runs = self.classifier.controller.runs
        newest = runs[0].folder if runs and runs[0].is_newest else ""
        is_new = newest not in ("", self._last_classifier)
        if is_new or not runs:
            self._last_classifier = newest
        if not runs:
            self.set_mode("chat")
        elif is_new and not self.controller.is_busy:
            self.set_mode("classify")
        else:
            self.refresh()

    def _on_opened(self) -> None:
        self.editing = None
        self.blind_vote.reset()
        self._fill_boxes(self.controller.conversation)

    def _fill_boxes(self, conversation: playground.Conversation) -> None:
        """Show the draft and the system prompt of a conversation."""
        self.card.set_texts(conversation.draft, conversation.system)
        self.refresh()

    def _cancel(self) -> None:
        if self.controller.is_busy:
            self.controller.stop()
        elif self.editing is not None:
            self.editing = None
            self.prompt.clear()
            self.refresh()

    def save_draft(self) -> None:
        """Save prompt and system prompt, unless an earlier prompt is being edited."""
        if self.editing is None:
            self.controller.update(draft=self.prompt.text(), system=self.card.system.toPlainText())

    def _on_blind_toggled(self, _on: bool) -> None:
        self.blind_vote.reset()
        self.blind_vote.restore_order()
        if self.blind.isChecked():
            if len(self.controller.conversation.chat_models) < 2:
                self.controller.add_column()
            self.start_new()
        self.refresh()

    def _on_device_chosen(self, name: str) -> None:
        self.controller.device = name
        self.refresh()

    def _choose_cpu(self) -> None:
        self.controller.device = "cpu"
        self.regenerate()

    def _find_ollama(self) -> None:
        self.ask.emit(commands.InspectOllama(host=self.state.get_ollama_host()))

    def _on_facts_changed(self, name: str) -> None:
        server = self.state.facts.ollama
        if name == "ollama" and server is not None:
            self.controller.show_ollama(
                chat_models.list_ollama_chat_models(server.models, server.host)
            )
        self.refresh()

    def _show_conversation(self, conversation: playground.Conversation) -> None:
        self.editing, self.blind_vote.revealed = None, True
        self.save_draft()
        self.controller.show(conversation)
        self._fill_boxes(conversation)

    def _trash_conversation(self) -> None:
        self.controller.store.flush()
        folder = self.state.draft.folder
        if folder is not None:
            file = playground.Playground(folder).get_file(self.controller.conversation)
            if not file.exists() or QFile.moveToTrash(str(file)):
                self.controller.remove_current()


#: Maximum number of conversations in the menu.
_MAX_LISTED = 30


class HistoryMenu(QMenu):
    """A list of conversations, filled on `aboutToShow`.

    Signals:
        chosen(Conversation): show this conversation.
        trash_clicked: move the current conversation to the trash.
    """

    chosen = Signal(object)
    trash_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)

    def fill(self, conversations: Sequence[Conversation], current: Conversation) -> None:
        """List the conversations and check the current one."""
        self.clear()
        for each in conversations[:_MAX_LISTED]:
            when = formatting.format_short_time(each.created)
            action = self.addAction(f"{each.title or '…'}    {when}".replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(each.id == current.id)
            action.triggered.connect(lambda _=False, each=each: self.chosen.emit(each))
        if not conversations:
            self.addAction(tr("No conversations yet")).setEnabled(False)
        self.addSeparator()
        trash = self.addAction(tr("Move this conversation to the trash"), self.trash_clicked.emit)
        trash.setEnabled(bool(current.turns))


class BlindVote(QObject):
    """Holds the order of the columns and whether their names are hidden.

    Signals:
        reordered: the order of the columns has changed.
        voted: a vote was saved and the names are shown.
    """

    reordered = Signal()
    voted = Signal()

    def __init__(self, controller: ChatController, parent: QObject | None = None) -> None:
        """Start turned off, with the columns in order."""
        super().__init__(parent)
        self._controller = controller
        self.order = list(range(COLUMNS))
        self.revealed = False  # a vote has revealed the names
        self.toggle = QCheckBox(tr("Blind"))
        self.toggle.setToolTip(tr("Shuffles the columns and hides the model names until you vote"))
        self.bar = VoteBar()
        self.bar.voted.connect(self.vote)

    @property
    def is_on(self) -> bool:
        """Whether blind comparison is turned on."""
        return self.toggle.isChecked() and len(self._controller.conversation.chat_models) > 1

    @property
    def is_hiding(self) -> bool:
        """Whether the model names are hidden now."""
        return self.is_on and not self.revealed and bool(self._controller.conversation.turns)

    def reset(self) -> None:
        """Prepare for a new comparison."""
        self.revealed = False

    def restore_order(self) -> None:
        """Restore the original order of the columns."""
        self.order = list(range(COLUMNS))
        self.reordered.emit()

    def shuffle(self) -> None:
        """Shuffle the columns."""
        count = len(self._controller.conversation.chat_models)
        self.order = [*random.sample(range(count), count), *range(count, COLUMNS)]
        self.reordered.emit()

    def vote(self, position: int) -> None:
        """Vote for the answer at a position, -1 for no difference, and show the names."""
        chat_models = self._controller.conversation.chat_models
        columns = self.order[: len(chat_models)]
        vote = self._controller.vote(columns, position)
        self.revealed = True
        names = [localize(chat.format_chat_model_name(chat_models[number])) for number in columns]
        lettered = (f"{letter}: {name}" for letter, name in zip("ABC", names, strict=False))
        template = (
            tr("You voted for no difference ({names}). The next prompt starts a new comparison.")
            if vote.winner is None
            else tr("You voted for {winner} ({names}). The next prompt starts a new comparison.")
        )
        winner = "" if vote.winner is None else names[vote.winner]
        self.voted.emit()
        self.bar.show_result(template.format(winner=winner, names=" · ".join(lettered)))

    def show_bar(self) -> None:
        """Show the vote buttons once every column has answered."""
        conversation = self._controller.conversation
        is_answered = conversation.turns and all(
            (version := conversation.turns[-1].get_answers(number).current) is not None
            and version.problem is None
            for number in range(len(conversation.chat_models))
        )
        if self.is_hiding and is_answered and not self._controller.waiting:
            self.bar.ask(len(conversation.chat_models))
        elif not (self.is_on and self.revealed):
            self.bar.hide()


class VoteBar(QFrame):
    """Shows one button per answer, and one for no difference.

    Signals:
        voted(index): the position of the better answer, -1 for no difference.
    """

    voted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start hidden."""
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.text = label("", wrap=True)
        self.better: list[QPushButton] = []
        for index, letter in enumerate("ABC"):
            vote = button(tr("{answer} is better").format(answer=letter), self._vote_later(index))
            vote.setToolTip(plain_tip(f"Alt+{index + 1}"))
            vote.setShortcut(f"Alt+{index + 1}")
            self.better.append(vote)
        self.tie = button(tr("No difference"), lambda: self.voted.emit(-1))
        self.tie.setToolTip("Alt+0")
        self.tie.setShortcut("Alt+0")
        layout = row(self.text, *self.better, self.tie)
        layout.setStretch(0, 1)
        layout.setContentsMargins(Spacing.M, Spacing.S, Spacing.M, Spacing.S)
        self.setLayout(layout)
        self.hide()

    def _vote_later(self, index: int) -> Callable[[], None]:
        return lambda: self.voted.emit(index)

    def ask(self, columns: int) -> None:
        """Ask which of the answers is better."""
        self.text.setText(tr("Which answer is better? Model names appear after you vote."))
        for index, vote in enumerate(self.better):
            vote.setVisible(index < columns)
        self.tie.show()
        self.show()

    def show_result(self, text: str) -> None:
        """Show the result of the vote."""
        self.text.setText(text)
        for vote in (*self.better, self.tie):
            vote.hide()
        self.show()
