"""The Playground page: chat with the base model and fine-tuned models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from PySide6.QtCore import QFile, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QHBoxLayout,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import playground
from lora_studio.core.chat import AnySpeaker
from lora_studio.core.playground import COLUMNS
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import speakers
from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.pages.playground.blind_vote import BlindVote
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.pages.playground.column import ChatColumn
from lora_studio.gui.pages.playground.dialogs import PanelDialog
from lora_studio.gui.pages.playground.history_menu import HistoryMenu
from lora_studio.gui.pages.playground.prompt_card import PromptCard
from lora_studio.gui.pages.playground.turn_view import Waiting
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import EmptyState, button, column, label


class PlaygroundPage(AppPage):
    """Show up to three columns with one prompt box.

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
        self.desk = ChatController(state, self)
        self.columns = [self._column(number) for number in range(COLUMNS)]
        self.compared = BlindVote(self.desk, self)
        self.blind, self.votes = self.compared.toggle, self.compared.bar
        self.editing: int | None = None
        self.aside = PanelDialog(self.desk, self)
        self.card = PromptCard()
        self.prompt = self.card.prompt
        self._build_header()
        self._lay_out()
        self._wire()
        self.refresh()

    # --- building -----------------------------------------------------------------------------

    def _column(self, number: int) -> ChatColumn:
        made, desk = ChatColumn(number), self.desk
        made.speaker_chosen.connect(lambda speaker: desk.choose(number, speaker))
        made.closed.connect(lambda: desk.remove_column(number))
        made.again_wanted.connect(lambda: self.again([number]))
        made.take_chosen.connect(lambda turn, take: desk.take_chosen(number, turn, take))
        made.tokens_wanted.connect(lambda turn: self.aside.show_tokens(number, turn))
        made.edit_wanted.connect(self.edit)
        made.menu.ollama_wanted.connect(self._look_for_ollama)
        made.menu.library_requested.connect(self.library_requested)
        made.hint.setText(
            tr(
                "Try a prompt from your training data to see what the model learned, then an "
                "unrelated one to check that it kept its other skills."
            )
        )
        return made

    def _build_header(self) -> None:
        self.new = button(tr("New chat"), self.begin, icon="plus")
        self.new.setToolTip(tr("Starts a new conversation; this one stays in the history"))
        self.history = button(tr("History"), icon="chat")
        self.earlier = HistoryMenu(self.history)
        self.history.setMenu(self.earlier)
        self.earlier.aboutToShow.connect(lambda: self.earlier.fill(self.desk.all, self.desk.kept))
        self.earlier.chosen.connect(self._show_earlier)
        self.earlier.thrown_away.connect(self._throw_away)
        self.add = button(tr("Add column"), self.desk.add_column, icon="plus")
        self.add.setToolTip(tr("Adds a model that answers the same prompts"))
        self.tally = button(tr("Votes"), self.aside.show_votes)
        self.library = button(tr("Adapters…"), self.library_requested.emit, icon="lora")
        for part in (self.library, self.tally, self.blind, self.add, self.history, self.new):
            self.header.extra.addWidget(part)

    def _lay_out(self) -> None:
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
        self.why = label("", "caption", wrap=True)
        self.why.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        middle = cast(QVBoxLayout, self.empty.layout())
        middle.insertWidget(middle.count() - 1, self.why)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty)
        self.stack.addWidget(talk)
        self.body.addWidget(self.stack)
        self._place_columns()
        self.setFocusProxy(self.prompt)

    def _wire(self) -> None:
        desk = self.desk
        desk.changed.connect(self.refresh)
        desk.grew.connect(self._grow)
        desk.said.connect(self.card.status.setText)
        desk.failed.connect(self.state.messages.problem)
        card = self.card
        card.sent.connect(self.ask_all)
        card.stop_wanted.connect(desk.stop)
        card.again_wanted.connect(self.again)
        card.keep_wanted.connect(self.keep_prompt)
        card.processor_wanted.connect(self._use_processor)
        card.recalled.connect(lambda: self.edit(len(desk.kept.turns) - 1))
        card.given_up.connect(self._give_up)
        card.typed.connect(self._keep_draft)
        card.sampling_chosen.connect(lambda sampling: desk.update(sampling=sampling))
        card.device_chosen.connect(self._device_chosen)
        self.blind.toggled.connect(self._blind_toggled)
        self.compared.reordered.connect(self._place_columns)
        self.compared.voted.connect(self._voted)
        self.state.problems_changed.connect(self.refresh)
        self.state.opened.connect(self._project_opened)
        self.state.facts_changed.connect(self._facts_changed)
        shortcut = QShortcut(QKeySequence("Ctrl+R"), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.card.again.click)

    # --- what the window asks -----------------------------------------------------------------

    def on_shown(self) -> None:
        """Search for models that runs have created since."""
        self.desk.look()
        self.refresh()

    def press_primary(self) -> None:
        """Send the prompt."""
        self.card.send.click()

    def on_event(self, event: object) -> None:
        """Search for models when a job has saved an adapter or a model."""
        match event:
            case events.CheckpointSaved() | events.AdapterSaved() | events.Merged():
                if self.isVisible():
                    self.desk.look()

    def talk_to(self, speaker: AnySpeaker) -> None:
        """Start a conversation with this model next to the base model; ignored while answering."""
        if self.desk.busy:
            self.desk.said.emit(
                tr("Wait for the current answers or stop them before you choose another model.")
            )
            return
        self.begin()
        if len(self.desk.kept.speakers) == 1:
            self.desk.add_column(speaker)
        elif speaker not in self.desk.kept.speakers:
            self.desk.choose(1, speaker)
        self.prompt.setFocus()

    def set_library(self, folders: tuple[str, ...]) -> None:
        """Set the folders of the adapter library."""
        if folders != self.desk.library:
            self.desk.library = folders
            self.desk.look()

    def leave(self) -> None:
        """Stop the worker and save."""
        self._keep_draft()
        self.card.rest()
        self.desk.leave()

    # --- what the user does -------------------------------------------------------------------

    def ask_all(self) -> None:
        """Send the prompt to every column."""
        if self.desk.busy:
            return
        self._settle()
        if self.compared.is_on and self.compared.revealed:
            self.begin()
        if self.compared.is_on and not self.desk.kept.turns:
            self.compared.shuffle()
        self._keep_draft()
        if self.desk.send(self.prompt.text(), instead_of=self.editing):
            self.editing = None
            self.card.write("", self.card.system.toPlainText())
            self.refresh()

    def again(self, columns: Sequence[int] = ()) -> None:
        """Generate another answer to the last prompt, in some columns or in all."""
        self._settle()
        self.desk.again(columns)

    def _settle(self) -> None:
        """Apply pending changes of adapter weights."""
        for each in self.columns:
            each.settle()

    def begin(self) -> None:
        """Start a new conversation."""
        if not self.desk.busy:
            self.editing = None
            self.compared.begin()
            self.desk.new()
            self.refresh()
            self.prompt.setFocus()

    def edit(self, turn: int) -> None:
        """Move the prompt of a turn back into the prompt box to branch from there."""
        if 0 <= turn < len(self.desk.kept.turns) and not self.desk.busy:
            self.editing = turn
            self.prompt.setPlainText(self.desk.kept.turns[turn].user)
            self.prompt.selectAll()
            self.prompt.setFocus()
            self.refresh()

    def keep_prompt(self) -> None:
        """Add the current or last prompt to the sample prompts of the training."""
        turns = self.desk.kept.turns
        text = self.prompt.text().strip() or (turns[-1].user if turns else "")
        now = self.state.get("training", "sample_prompts")
        known = [str(each) for each in now] if isinstance(now, list | tuple) else []
        if text and text not in known:
            title = tr("Add sample prompt")
            self.state.change(title, [("training", "sample_prompts", [*known, text])])
            self.state.messages.info(
                tr(
                    "Added to the sample prompts. The model answers it at every evaluation during "
                    "training."
                )
            )
        self.refresh()

    def _voted(self) -> None:
        self.refresh()
        self.prompt.setFocus()

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Update everything except the answer that is being generated."""
        if not self.isVisible():  # nobody looks: `on_shown` does it
            return
        desk, missing = self.desk, self.desk.missing()
        self.stack.setCurrentIndex(0 if missing else 1)
        self.why.setText(missing)
        count, busy = len(desk.kept.speakers), desk.busy
        hidden = self.compared.is_hiding
        for place, number in enumerate(self.compared.order):
            shown = self.columns[number]
            shown.setVisible(number < count)
            if number < count:
                letter = tr("Answer {letter}").format(letter="ABC"[place])
                shown.show_conversation(desk.kept, blind=letter if hidden else "")
                shown.menu.show_choices(desk.choices)
                shown.close_.setVisible(count > 1 and not self.blind.isChecked())
                waits: Waiting = "answering" if desk.waiting.get(number) else "waiting"
                shown.set_waiting(waits if number in desk.waiting else "")
                shown.set_busy(busy)
                if text := desk.waiting.get(number):
                    shown.grow(0, text, 0)
        self._show_tools(busy, count, bool(missing))
        self._show_prompt_box()
        self.compared.show_bar()

    def _show_tools(self, busy: bool, count: int, missing: bool) -> None:
        desk, found = self.desk, self.state.facts.devices
        kept_out = desk.is_kept_out() and desk.device != "cpu"
        self.card.show_state(busy=busy, answered=bool(desk.kept.turns), kept_out=kept_out)
        voting = self.compared.is_on and bool(desk.kept.turns)
        self.add.setEnabled(count < COLUMNS and not busy and not voting)
        for part in (self.new, self.history, self.blind):
            part.setEnabled(not busy)
        for part in (self.new, self.history, self.blind, self.tally, self.add, self.library):
            part.setVisible(not missing)
        names = [each.name for each in found.devices] if found is not None else []
        self.card.show_settings(desk.kept.sampling, [*dict.fromkeys([*names, "cpu"])], desk.device)

    def _show_prompt_box(self) -> None:
        kept, card = self.desk.kept, self.card
        if not card.is_typing and self.editing is None:
            card.write(card.prompt.text() or kept.draft, kept.system)
        notes = []
        if self.editing is not None:
            notes.append(
                tr(
                    "You’re editing an earlier prompt. Send it to branch the conversation from there,"
                    " or press Esc to cancel."
                )
            )
        if self.desk.device_taken() and not self.desk.device:
            notes.append(tr("Training is using the GPU; chat runs on the CPU."))
        card.say(" ".join(notes))

    def _place_columns(self) -> None:
        while self.side.takeAt(0) is not None:
            pass
        for number in self.compared.order:
            self.side.addWidget(self.columns[number], 1)

    def _grow(self, number: int, start: int, text: str, tokens: int) -> None:
        self.columns[number].grow(start, text, tokens)

    # --- smaller things -----------------------------------------------------------------------

    def _project_opened(self) -> None:
        self.editing = None
        self.compared.begin()
        self._write(self.desk.kept)

    def _write(self, kept: playground.Conversation) -> None:
        """Show the draft and the system prompt of a conversation."""
        self.card.write(kept.draft, kept.system)
        self.refresh()

    def _give_up(self) -> None:
        if self.desk.busy:
            self.desk.stop()
        elif self.editing is not None:
            self.editing = None
            self.prompt.clear()
            self.refresh()

    def _keep_draft(self) -> None:
        if self.editing is None:
            self.desk.update(draft=self.prompt.text(), system=self.card.system.toPlainText())

    def _blind_toggled(self, _on: bool) -> None:
        self.compared.begin()
        self.compared.straighten()
        if self.blind.isChecked():
            if len(self.desk.kept.speakers) < 2:
                self.desk.add_column()
            self.begin()
        self.refresh()

    def _device_chosen(self, name: str) -> None:
        self.desk.device = name
        self.refresh()

    def _use_processor(self) -> None:
        self.desk.device = "cpu"
        self.again()

    def _look_for_ollama(self) -> None:
        self.ask.emit(commands.InspectOllama(host=self.state.ollama_host()))

    def _facts_changed(self, name: str) -> None:
        found = self.state.facts.ollama
        if name == "ollama" and found is not None:
            self.desk.show_ollama(speakers.in_ollama(found.models, found.host))
        self.refresh()

    def _show_earlier(self, kept: playground.Conversation) -> None:
        self.editing, self.compared.revealed = None, True
        self._keep_draft()
        self.desk.show(kept)
        self._write(kept)

    def _throw_away(self) -> None:
        self.desk.store.flush()
        folder = self.state.draft.folder
        if folder is not None:
            file = playground.Playground(folder).file(self.desk.kept)
            if not file.exists() or QFile.moveToTrash(str(file)):
                self.desk.forget()
