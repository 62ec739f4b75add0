"""Dialogs of the playground: tokens of a prompt, and results of blind votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import (
    QApplication,
    QHeaderView,
    QTableWidget,
    QWidget,
)

from lora_studio.core import chat, formatting, playground
from lora_studio.core.playground import Vote
from lora_studio.core.protocol import events
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.text_size import Size
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write
from lora_studio.gui.widgets.token_view import TokenView

_SIZE = (760, 520)


class TokensDialog(Dialog):
    """Shows the exact prompt of an answer as tokens."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Create the dialog; `name` is the model whose prompt `show_prompt` will show."""
        super().__init__(tr("Prompt for {name}").format(name=name), "", parent)
        self.resize(*_SIZE)
        self.view = TokenView(training=False)
        self.view.show_tokens((), tr("Loading the prompt…"))
        self.note = label("", "muted", wrap=True)
        self.note.hide()
        self.body.addWidget(self.view, 1)
        self.body.addWidget(self.note)
        self._text = ""
        self.copy = self.add_button(button(tr("Copy text"), self._copy, icon="copy"))
        self.copy.setEnabled(False)
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def show_prompt(self, event: events.PromptShown) -> None:
        """Show the prompt."""
        self._text = event.text
        self.copy.setEnabled(bool(event.text))
        if event.tokens:
            self.view.show_tokens(event.tokens)
        else:
            self.view.show_tokens((), event.text or tr("Nothing to show."))
        self.show_note(localize(event.note))

    def show_note(self, text: str) -> None:
        """Show a note about the prompt, or why there is none."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _copy(self) -> None:
        QApplication.clipboard().setText(self._text)


class TallyDialog(Dialog):
    """Shows how often each model won, and exports the votes as CSV."""

    def __init__(self, votes: Sequence[Vote], parent: QWidget | None = None) -> None:
        """Count the votes."""
        text = tr_n(
            "{n} vote in blind tests of this project. A tie counts as half a win for each model.",
            "{n} votes in blind tests of this project. A tie counts as half a win for each model.",
            len(votes),
        )
        super().__init__(tr("Blind test results"), text, parent)
        self._votes = tuple(votes)
        self.table = _make_tally_table(playground.count_votes(votes))
        self.resize(Size.scaled(_SIZE[0]), Size.scaled(380))
        self.body.addWidget(self.table, 1)
        self.error = label("", "error", wrap=True)
        self.error.hide()
        self.body.addWidget(self.error)
        self.export = self.add_button(button(tr("Export…"), self.pick, icon="export"))
        self.export.setEnabled(bool(votes))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def pick(self) -> None:
        """Ask for the CSV file."""
        title = tr("Export votes")
        choose_file_to_write(self, title, self.write, Path("votes.csv"), "CSV (*.csv)")

    def write(self, name: str) -> None:
        """Write one line per vote to a CSV file."""
        try:
            write_atomic(Path(name), playground.to_csv(self._votes))
        except OSError as error:
            self.error.setText(
                tr("Can't write {file}: {reason}.").format(
                    file=name, reason=describe_os_error(error)
                )
            )
            self.error.show()


def _make_tally_table(tallies: Sequence[playground.VoteTally]) -> QTableWidget:
    """Return a table with one line for each model."""
    heads = (tr("Model"), tr("Votes"), tr("Won"), tr("Ties"), tr("Win rate"))
    table = tables.make_table(tr("Votes by model"), heads, numbers=True)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    tables.fill_table(
        table,
        [
            [
                tables.make_text(_format_chat_model_name(each.name), each.name),
                *map(tables.make_number, map(str, (each.votes, each.wins, each.ties))),
                tables.make_number(formatting.format_percent(each.rate)),
            ]
            for each in tallies
        ],
    )
    return table


class PlaygroundDialogs(QObject):
    """Opens the dialogs of a page, each at most once."""

    def __init__(self, controller: ChatController, page: QWidget) -> None:
        """Request the contents of the dialogs from `controller`."""
        super().__init__(page)
        self._controller, self._page = controller, page
        self._tokens: TokensDialog | None = None
        controller.prompt_shown.connect(self._show_prompt)

    def show_tokens(self, number: int, turn: int) -> None:
        """Show the exact prompt of a column as tokens."""
        chat_model = self._controller.conversation.chat_models[number]
        self._tokens = TokensDialog(
            localize(chat.format_chat_model_name(chat_model)), self._page.window()
        )
        self._tokens.finished.connect(self._forget_tokens)
        self._tokens.open()
        self._controller.ask_prompt(number, turn)

    def show_votes(self) -> None:
        """Show the votes of the project."""
        self._controller.store.ask_votes(self._show_tally)

    def _show_prompt(self, event: events.PromptShown | events.Failed) -> None:
        if self._tokens is None:
            return
        if isinstance(event, events.Failed):
            self._tokens.show_note(
                f"{localize(event.problem.what)} {localize(event.problem.remedy)}"
            )
        else:
            self._tokens.show_prompt(event)

    def _forget_tokens(self) -> None:
        self._tokens = None

    def _show_tally(self, votes: object) -> None:
        """Open the dialog, unless a second click has opened it already."""
        assert isinstance(votes, list)
        window = self._page.window()
        if not any(dialog.isVisible() for dialog in window.findChildren(TallyDialog)):
            TallyDialog(votes, window).open()


def _format_chat_model_name(name: str) -> str:
    """Return the name of a model for display, with runs named by their start time."""
    return " + ".join(localize(formatting.format_run_name(part)) for part in name.split(" + "))
