"""Controller of the playground: sends prompts, collects answers, saves the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QObject, Signal

from lora_studio.core import chat
from lora_studio.core.chat import AdapterSpeaker, AnySpeaker, ChatQuestion, OllamaSpeaker, Sampling
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.playground import (
    COLUMNS,
    AnswerVersion,
    Conversation,
    Turn,
    TurnAnswers,
    Vote,
)
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.speakers import SpeakerOption
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.playground.store import PlaygroundStore
from lora_studio.gui.project.state import ProjectState


class ChatController(QObject):
    """Run one conversation at a time, in up to three columns that share a worker.

    Signals:
        changed: `conversation`, `history` or `waiting` has changed.
        grew(column, start, text, tokens): an answer was extended.
        status_changed(text): what is in progress, "" for nothing.
        prompt_shown(event): the requested tokens of a prompt.
        failed(problem): a problem that isn't specific to a column.
    """

    changed = Signal()
    grew = Signal(int, int, str, int)
    said = Signal(str)
    prompt_shown = Signal(object)
    failed = Signal(object)

    def __init__(self, state: ProjectState, parent: QObject | None = None) -> None:
        """Follow the open project."""
        super().__init__(parent)
        self._state = state
        self.link = OnDemandWorker(self)
        self.store = PlaygroundStore(self)
        self.kept = self._blank = Conversation()
        self.all: list[Conversation] = []
        self.choices: tuple[SpeakerOption, ...] = ()
        self.library: tuple[str, ...] = ()
        self.device = ""  # "": that of the project
        self.waiting: dict[int, str] = {}  # columns without their answer yet -> what is there of it
        self._opened: object = None
        self._asking = ""
        self._prompting = ""  # id of the question for a prompt's tokens
        self.link.event_received.connect(self._take)
        self.link.held_changed.connect(self._held_changed)
        self.link.busy_changed.connect(self.changed)
        self.store.loaded.connect(self._loaded)
        self.store.choices_found.connect(self._choices_found)
        self.store.failed.connect(self.failed)
        self._proposed: tuple[AnySpeaker, ...] = ()
        state.opened.connect(self.open_project)
        state.run_changed.connect(self._run_changed)
        if state.draft.path is not None:  # the place is built when somebody first goes there
            self.open_project()

    @property
    def busy(self) -> bool:
        """Whether answers are being generated; showing the tokens of a prompt doesn't count."""
        return bool(self._asking)

    # --- projects -----------------------------------------------------------------------------

    def open_project(self) -> None:
        """Load the conversations of the open project and find its models."""
        self.link.rest()
        self.waiting, self._opened, self.all, self.choices = {}, None, [], ()
        self._asking = ""
        self.kept = self._blank = Conversation()
        self.store.open(self._state.draft.folder)
        self.look()
        self.changed.emit()

    def look(self) -> None:
        """Search for models and adapters to chat with."""
        runs, spec = self._state.runs_folder, self._spec()
        if runs is not None:
            self.store.look(runs, spec.source if spec is not None else "", self.library)

    def missing(self) -> str:
        """Return why no prompt can be sent, "" if one can."""
        if self._state.draft.path is None:
            return tr("Open a project first.")
        spec, known = self._spec(), self._state.facts.model
        if wrong := checks.errors(self._state.problems("model")):
            return tell(wrong[0].what)
        if spec is None:
            return tr("Choose a model first.")
        if known is not None and known.source == spec.source and known.missing_bytes:
            return tr("The model isn’t on this computer yet. Download it on the Model page.")
        return ""

    def leave(self) -> None:
        """Stop the worker and save: the window is closing."""
        self.link.leave()
        self.store.leave()

    # --- the conversation ---------------------------------------------------------------------

    def new(self) -> None:
        """Start an empty conversation with the same columns; the current one stays in the
        history.
        """
        kept = self.kept
        if kept.turns:
            fresh = Conversation(system=kept.system, speakers=kept.speakers, sampling=kept.sampling)
            self._become(fresh)

    def show(self, kept: Conversation) -> None:
        """Show a conversation of the history."""
        if not self.busy:
            self.kept = kept
            self.changed.emit()

    def forget(self) -> None:
        """Remove this conversation, whose file was deleted, from the history."""
        gone, self.kept = self.kept.id, Conversation(speakers=self.kept.speakers)
        self.all = [each for each in self.all if each.id != gone]
        self.changed.emit()

    def update(self, **changes: Any) -> None:
        """Change `system`, `sampling` or `draft` of the conversation."""
        if any(getattr(self.kept, name) != value for name, value in changes.items()):
            self._become(self.kept.model_copy(update=changes), quiet="draft" in changes)

    def choose(self, column: int, speaker: AnySpeaker) -> None:
        """Set the model that answers in a column; ignored while answers are generated."""
        if self.busy:  # what comes would be taken for an answer of theirs
            return
        speakers = list(self.kept.speakers)
        speakers[column] = speaker
        self._become(self.kept.model_copy(update={"speakers": tuple(speakers)}))

    def add_column(self, speaker: AnySpeaker | None = None) -> None:
        """Add a column with a speaker, by default the first that no column uses."""
        if len(self.kept.speakers) < COLUMNS:
            others: list[AnySpeaker] = [each.speaker for each in self.choices]
            free = (each for each in (AdapterSpeaker(), *others) if each not in self.kept.speakers)
            added = speaker or next(free, AdapterSpeaker())
            speakers = (*self.kept.speakers, added)
            self._become(self.kept.model_copy(update={"speakers": speakers}))

    def remove_column(self, column: int) -> None:
        """Remove a column; the conversation with it stays in the history.

        Ignored while answers are generated, because they are addressed by column number.
        """
        if self.busy:
            return
        kept = self.kept.branched(len(self.kept.turns)) if self.kept.turns else self.kept
        speakers = [who for place, who in enumerate(kept.speakers) if place != column]
        turns = [_without(turn, column, len(kept.speakers)) for turn in kept.turns]
        changes = {"speakers": tuple(speakers), "turns": tuple(turns)}
        self._become(kept.model_copy(update=changes))

    def take_chosen(self, column: int, turn: int, number: int) -> None:
        """Select another version of an answer."""
        asked = self.kept.turns[turn]
        answers = asked.of(column).model_copy(update={"shown": number})
        self._become(self.kept.with_turn(turn, asked.put(column, answers)))

    # --- asking -------------------------------------------------------------------------------

    def send(self, text: str, *, instead_of: int | None = None) -> bool:
        """Send a prompt to every column; `instead_of` branches the conversation at a turn."""
        if self.busy or not text.strip() or self.missing():
            return False
        kept = self.kept if instead_of is None else self.kept.branched(instead_of)
        turn = Turn(user=text.strip())
        self._become(kept.model_copy(update={"turns": (*kept.turns, turn), "draft": ""}))
        self._ask(range(len(kept.speakers)))
        return True

    def again(self, columns: Sequence[int] = ()) -> None:
        """Generate another answer to the last prompt, in some columns or in all."""
        if not self.busy and self.kept.turns and not self.missing():
            self._ask(columns or range(len(self.kept.speakers)))

    def is_kept_out(self) -> bool:
        """Return whether the last prompt wasn't answered because a job uses the device."""
        takes = [each.current for each in self.kept.turns[-1].answers] if self.kept.turns else []
        found = [take.problem for take in takes if take is not None and take.problem is not None]
        return any(problem.code == "chat.device_busy" for problem in found)

    def stop(self) -> None:
        """Stop generating; partial answers are kept."""
        self.link.cancel()

    def ask_prompt(self, column: int, turn: int) -> None:
        """Request the exact prompt of a turn as tokens."""
        spec = self._spec()
        if spec is not None:
            command = commands.ShowPrompt(
                model=spec,
                chat_template=self._template(),
                speaker=self.kept.speakers[column],
                messages=self.kept.messages(column, turn),
            )
            self._prompting = command.id
            self.link.send(command)

    def vote(self, columns: Sequence[int], winner: int) -> Vote:
        """Save a vote on the last answers; `columns` in display order, `winner` a position or
        -1.
        """
        turn = self.kept.turns[-1]
        takes = [turn.of(column).current or AnswerVersion() for column in columns]
        vote = Vote(
            prompt=turn.user,
            names=tuple(chat.title(take.speaker) for take in takes),
            answers=tuple(take.text for take in takes),
            winner=winner if winner >= 0 else None,
        )
        self.store.vote(vote)
        return vote

    def _ask(self, columns: Sequence[int]) -> None:
        spec = self._spec()
        assert spec is not None
        last = len(self.kept.turns) - 1
        loaded = tuple(each for each in self.kept.speakers if not isinstance(each, OllamaSpeaker))
        opened = commands.OpenChat(model=spec, chat_template=self._template(), speakers=loaded)
        about = opened.model_copy(update={"id": ""})
        if about != self._opened and loaded:
            self._opened = about
            self.link.send(opened)
        asked = tuple(
            ChatQuestion(
                column=column,
                speaker=self.kept.speakers[column],
                messages=self.kept.messages(column, last),
                sampling=self._sampling(column, last),
            )
            for column in columns
        )
        command = commands.AskChat(model=spec, chat_template=self._template(), asked=asked)
        self._asking = command.id
        self.waiting = dict.fromkeys(columns, "")
        self.link.send(command)
        self.said.emit(tr("Loading…"))
        self.changed.emit()

    def _sampling(self, column: int, turn: int) -> Sampling:
        """Return the sampling settings with a new seed for every version of an answer."""
        given = len(self.kept.turns[turn].of(column).takes)
        seed = (self.kept.sampling.seed + given) % (2**31 - 1)
        return self.kept.sampling.model_copy(update={"seed": seed})

    def _spec(self) -> ModelSpec | None:
        """Return the project's model on the device to use now, None if no model is selected."""
        spec = self._state.spec("model")
        if not isinstance(spec, ModelSpec):
            return None
        device = self.device or ("cpu" if self.device_taken() else spec.devices[0])
        return spec.model_copy(update={"device": device})

    def device_taken(self) -> bool:
        """Return whether a running job needs the device that chat would use."""
        spec = self._state.spec("model")
        busy = self._state.running not in ("", "push", "create_ollama")
        return busy and isinstance(spec, ModelSpec) and spec.devices[0] != "cpu"

    def _template(self) -> str:
        return str(self._state.get("dataset", "chat_template"))

    # --- what comes back ----------------------------------------------------------------------

    def _take(self, event: events.Event) -> None:
        match event:
            case events.Progress():
                self.said.emit(tell(event.stage))
            case events.ChatReady():
                self.said.emit("")
            case events.AnswerGrew() if event.column in self.waiting:
                text = self.waiting[event.column][: event.start] + event.text
                self.waiting[event.column] = text
                self.grew.emit(event.column, event.start, event.text, event.tokens)
            case events.Answered() if event.column in self.waiting:
                speed, ending = event.tokens_per_s, event.ending
                self._answered(
                    event.column,
                    AnswerVersion(
                        text=event.text, tokens=event.tokens, tokens_per_s=speed, ending=ending
                    ),
                )
            case events.AnswerRefused() if event.column in self.waiting:
                self._answered(event.column, AnswerVersion(problem=event.problem))
            case events.PromptShown() if event.id == self._prompting:
                self.prompt_shown.emit(event)
            case events.Failed() if event.id == self._asking:
                self._opened = None
                for column in list(self.waiting):
                    self._answered(column, AnswerVersion(problem=event.problem))
                self._settle()
            case events.Failed():
                self._opened = None
                if event.id == self._prompting:
                    self.prompt_shown.emit(event)
            case events.Done() | events.Cancelled() if event.id == self._asking:
                self._settle()

    def _answered(self, column: int, take: AnswerVersion) -> None:
        take = take.model_copy(update={"speaker": self.kept.speakers[column]})
        last = len(self.kept.turns) - 1
        turn = self.kept.turns[last]
        self.waiting.pop(column, None)
        self._become(self.kept.with_turn(last, turn.put(column, turn.of(column).add(take))))

    def _settle(self) -> None:
        """Finish the request: partial answers are kept as stopped."""
        for column, text in list(self.waiting.items()):
            if text:
                self._answered(column, AnswerVersion(text=text, ending="stopped"))
        self.waiting, self._asking = {}, ""
        self.said.emit("")
        self.changed.emit()

    def _held_changed(self, held: bool) -> None:
        if not held:
            self._opened = None
            if self.busy:
                self._settle()

    def _run_changed(self) -> None:
        """Unload models when a job needs the device; search for new models when it has ended."""
        if self.device_taken() and self.link.held and self.device != "cpu":
            self.link.rest()
            self.said.emit(tr("The playground’s models were unloaded to free memory for the job."))
        if not self._state.running:
            self.look()
        self.changed.emit()

    def _loaded(self, conversations: list[Conversation]) -> None:
        known = {each.id for each in self.all}
        self.all += [each for each in conversations if each.id not in known]
        if self.all and self.kept is self._blank:  # whoever has begun already goes on with that
            self.kept = self.all[0]
        self.changed.emit()

    def _choices_found(self, choices: list[SpeakerOption]) -> None:
        ollama = [each for each in self.choices if isinstance(each.speaker, OllamaSpeaker)]
        self.choices = (*choices, *ollama)
        adapters = [each.speaker for each in choices if isinstance(each.speaker, AdapterSpeaker)]
        untouched = self.kept.speakers in ((AdapterSpeaker(),), self._proposed)
        if untouched and adapters and not self.kept.turns and not self.all:
            # What is wanted first: the base beside what was trained last.
            self._proposed = (AdapterSpeaker(), adapters[0])
            blank, proposed = self.kept is self._blank, {"speakers": self._proposed}
            self.kept = self.kept.model_copy(update=proposed)
            self._blank = self.kept if blank else self._blank
        self.changed.emit()

    def show_ollama(self, choices: Sequence[SpeakerOption]) -> None:
        """Set the models of the Ollama server."""
        others = [each for each in self.choices if not isinstance(each.speaker, OllamaSpeaker)]
        self.choices = (*others, *choices)
        self.changed.emit()

    def _become(self, kept: Conversation, *, quiet: bool = False) -> None:
        self.kept = kept
        if kept.turns or kept.draft:
            self.all = [kept, *(each for each in self.all if each.id != kept.id)]
            self.store.keep(kept)
        if not quiet:
            self.changed.emit()


def _without(turn: Turn, column: int, columns: int) -> Turn:
    answers: list[TurnAnswers] = [turn.of(place) for place in range(columns) if place != column]
    return turn.model_copy(update={"answers": tuple(answers)})
