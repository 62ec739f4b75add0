"""Controller of the playground: sends prompts, collects answers, saves the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core import chat
from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    ChatQuestion,
    GgufChatModel,
    OllamaChatModel,
    Sampling,
)
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.playground import (
    COLUMNS,
    AnswerVersion,
    Conversation,
    Playground,
    Turn,
    TurnAnswers,
    Vote,
)
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models, folder
from lora_studio.core.runs.chat_models import ChatModelGroup, ChatModelOption
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.threads import BackgroundReader


class ChatController(QObject):
    """Runs one conversation at a time, in up to three columns that share a worker.

    Signals:
        changed: `conversation`, `history` or `waiting` has changed.
        grew(column, start, text, tokens): an answer was extended.
        status_changed(text): what is in progress, "" for nothing.
        prompt_shown(event): the requested tokens of a prompt.
        failed(problem): a problem that isn't specific to a column.
    """

    changed = Signal()
    grew = Signal(int, int, str, int)
    status_changed = Signal(str)
    prompt_shown = Signal(object)
    failed = Signal(object)

    def __init__(self, state: ProjectState, parent: QObject | None = None) -> None:
        """Follow the open project."""
        super().__init__(parent)
        self._state = state
        self.link = OnDemandWorker(self)
        self.store = PlaygroundStore(self)
        self.conversation = self._blank = Conversation()
        self.history: list[Conversation] = []
        self.choices: tuple[ChatModelOption, ...] = ()
        self.library: tuple[str, ...] = ()
        self.device = ""  # "" for the project's device
        self.waiting: dict[int, str] = {}  # column -> partial answer
        self._opened: object = None
        self._answer_id = ""  # id of the command whose answers are being generated
        self._prompt_id = ""  # id of the command that shows the tokens of a prompt
        self.link.event_received.connect(self._on_event)
        self.link.held_changed.connect(self._on_held_changed)
        self.link.busy_changed.connect(self.changed)
        self.store.loaded.connect(self._on_loaded)
        self.store.choices_found.connect(self._on_choices_found)
        self.store.failed.connect(self.failed)
        self._proposed: tuple[AnyChatModel, ...] = ()
        state.opened.connect(self.open_project)
        state.device_needed.connect(self._on_device_needed)
        state.run_changed.connect(self._on_run_changed)
        if state.draft.path is not None:  # the page is built when it is first shown
            self.open_project()

    @property
    def is_busy(self) -> bool:
        """Whether answers are being generated; showing the tokens of a prompt doesn't count."""
        return bool(self._answer_id)

    # --- projects -----------------------------------------------------------------------------

    def open_project(self) -> None:
        """Load the conversations of the open project and find its models."""
        self.link.release()
        self.waiting, self._opened, self.history, self.choices = {}, None, [], ()
        self._answer_id = ""
        self.conversation = self._blank = Conversation()
        self.store.open(self._state.draft.folder)
        self.find_chat_models()
        self.changed.emit()

    def find_chat_models(self) -> None:
        """Search for models and adapters to chat with."""
        runs, spec = self._state.runs_folder, self.get_model_spec()
        if runs is not None:
            self.store.find_chat_models(runs, spec.source if spec is not None else "", self.library)

    def find_blocker(self) -> str:
        """Return why no prompt can be sent, "" if one can."""
        if self._state.draft.path is None:
            return tr("Open a project first.")
        spec, model = self.get_model_spec(), self._state.facts.model
        if errors := checks.filter_errors(self._state.list_problems("model")):
            return localize(errors[0].what)
        if spec is None:
            return tr("Choose a model first.")
        if model is not None and model.source == spec.source and model.missing_bytes:
            return tr("The model isn't on this computer yet. Download it on the Model page.")
        return ""

    def stop_background_work(self) -> None:
        """Stop the worker and save: the window is closing."""
        self.link.stop_background_work()
        self.store.stop_background_work()

    # --- the conversation ---------------------------------------------------------------------

    def start_new(self) -> None:
        """Start an empty conversation with the same columns; the history keeps the current one."""
        current = self.conversation
        if current.turns:
            self._set_conversation(
                Conversation(
                    system=current.system,
                    chat_models=current.chat_models,
                    sampling=current.sampling,
                )
            )

    def show(self, conversation: Conversation) -> None:
        """Show a conversation of the history."""
        if not self.is_busy:
            self.conversation = conversation
            self.changed.emit()

    def remove_current(self) -> None:
        """Remove this conversation, whose file was deleted, from the history."""
        removed = self.conversation
        self.conversation = Conversation(chat_models=removed.chat_models)
        self.history = [each for each in self.history if each.id != removed.id]
        self.changed.emit()

    def update(self, **changes: Any) -> None:
        """Change `system`, `sampling` or `draft` of the conversation."""
        if any(getattr(self.conversation, name) != value for name, value in changes.items()):
            self._set_conversation(
                self.conversation.model_copy(update=changes), quiet="draft" in changes
            )

    def choose(self, column: int, chat_model: AnyChatModel) -> None:
        """Set the model that answers in a column; ignored while answers are generated."""
        if self.is_busy:  # its answer would be attributed to the new model
            return
        chat_models = list(self.conversation.chat_models)
        chat_models[column] = chat_model
        self._set_conversation(
            self.conversation.model_copy(update={"chat_models": tuple(chat_models)})
        )

    def add_column(self, chat_model: AnyChatModel | None = None) -> None:
        """Add a column with a chat model, by default the first that no column uses."""
        if len(self.conversation.chat_models) < COLUMNS:
            others: list[AnyChatModel] = [each.chat_model for each in self.choices]
            free = (
                each
                for each in (AdapterChatModel(), *others)
                if each not in self.conversation.chat_models
            )
            added = chat_model or next(free, AdapterChatModel())
            chat_models = (*self.conversation.chat_models, added)
            self._set_conversation(
                self.conversation.model_copy(update={"chat_models": chat_models})
            )

    def remove_column(self, column: int) -> None:
        """Remove a column; the conversation with it stays in the history.

        Ignored while answers are generated, because they are addressed by column number.
        """
        if self.is_busy:
            return
        current = self.conversation
        if current.turns:
            current = current.branch(len(current.turns))
        chat_models = [each for index, each in enumerate(current.chat_models) if index != column]
        turns = [_remove_column(turn, column, len(current.chat_models)) for turn in current.turns]
        changes = {"chat_models": tuple(chat_models), "turns": tuple(turns)}
        self._set_conversation(current.model_copy(update=changes))

    def choose_version(self, column: int, turn: int, number: int) -> None:
        """Select another version of an answer."""
        current = self.conversation.turns[turn]
        answers = current.get_answers(column).model_copy(update={"shown": number})
        self._set_conversation(self.conversation.with_turn(turn, current.put(column, answers)))

    # --- requests -----------------------------------------------------------------------------

    def send(self, text: str, *, instead_of: int | None = None) -> bool:
        """Send a prompt to every column; `instead_of` branches the conversation at a turn."""
        if self.is_busy or not text.strip() or self.find_blocker():
            return False
        conversation = (
            self.conversation if instead_of is None else self.conversation.branch(instead_of)
        )
        turn = Turn(user=text.strip())
        self._set_conversation(
            conversation.model_copy(update={"turns": (*conversation.turns, turn), "draft": ""})
        )
        self._ask(range(len(conversation.chat_models)))
        return True

    def regenerate(self, columns: Sequence[int] = ()) -> None:
        """Generate another answer to the last prompt, in some columns or in all."""
        if not self.is_busy and self.conversation.turns and not self.find_blocker():
            self._ask(columns or range(len(self.conversation.chat_models)))

    def is_device_busy(self) -> bool:
        """Return whether the last prompt wasn't answered because a job uses the device."""
        takes = (
            [each.current for each in self.conversation.turns[-1].answers]
            if self.conversation.turns
            else []
        )
        problems = [take.problem for take in takes if take is not None and take.problem is not None]
        return any(problem.code == "chat.device_busy" for problem in problems)

    def explain_cpu(self) -> str:
        """Return why the chat runs on the CPU although there is a GPU, "" if it doesn't."""
        device = run_preview.get_device(self._state)
        has_gpu = device is None or device.name != "cpu"
        if self.device or not has_gpu or not self._state.is_device_needed():
            return ""
        if self._state.running == "train":
            return tr("Training is using the GPU; chat runs on the CPU.")
        return tr("A job is using the GPU; chat runs on the CPU.")

    def stop(self) -> None:
        """Stop generating; partial answers are kept."""
        self.link.cancel()

    def ask_prompt(self, column: int, turn: int) -> None:
        """Request the exact prompt of a turn as tokens."""
        spec = self.get_model_spec()
        if spec is not None:
            command = commands.ShowPrompt(
                model=spec,
                chat_template=self._get_template(),
                chat_model=self.conversation.chat_models[column],
                messages=self.conversation.build_messages(column, turn),
            )
            self._prompt_id = command.id
            self.link.send(command)

    def vote(self, columns: Sequence[int], winner: int) -> Vote:
        """Save a vote on the last answers; `columns` in display order, `winner` a position or
        -1.
        """
        turn = self.conversation.turns[-1]
        versions = [turn.get_answers(column).current or AnswerVersion() for column in columns]
        vote = Vote(
            prompt=turn.user,
            names=tuple(chat.get_chat_model_key(version.chat_model) for version in versions),
            answers=tuple(version.text for version in versions),
            winner=winner if winner >= 0 else None,
            chat_models=tuple(version.chat_model for version in versions),
        )
        self.store.vote(vote)
        return vote

    def _ask(self, columns: Sequence[int]) -> None:
        spec = self.get_model_spec()
        assert spec is not None
        last = len(self.conversation.turns) - 1
        loaded = tuple(
            each for each in self.conversation.chat_models if not isinstance(each, OllamaChatModel)
        )
        opened = commands.OpenChat(
            model=spec, chat_template=self._get_template(), chat_models=loaded
        )
        without_id = opened.model_copy(update={"id": ""})
        # Also without models: then the models that no column uses anymore leave.
        if without_id != self._opened:
            self._opened = without_id
            self.link.send(opened)
        questions = tuple(
            ChatQuestion(
                column=column,
                chat_model=self.conversation.chat_models[column],
                messages=self.conversation.build_messages(column, last),
                sampling=self.get_next_sampling(column, last),
            )
            for column in columns
        )
        command = commands.AskChat(model=spec, chat_template=self._get_template(), asked=questions)
        self._answer_id = command.id
        self.waiting = dict.fromkeys(columns, "")
        self.link.send(command)
        self.status_changed.emit(tr("Loading…"))
        self.changed.emit()

    def get_next_sampling(self, column: int, turn: int) -> Sampling:
        """Return the sampling settings with a new seed for every version of an answer."""
        versions = len(self.conversation.turns[turn].get_answers(column).takes)
        seed = (self.conversation.sampling.seed + versions) % (2**31 - 1)
        return self.conversation.sampling.model_copy(update={"seed": seed})

    def get_model_spec(self) -> ModelSpec | None:
        """Return the project's model on the device to use now, None if no model is selected."""
        spec = self._state.get_spec("model")
        if not isinstance(spec, ModelSpec):
            return None
        device = self.device or ("cpu" if self._state.is_device_needed() else spec.device)
        return spec.model_copy(update={"device": device})

    def _get_template(self) -> str:
        return str(self._state.get("dataset", "chat_template"))

    # --- answers ------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Progress():
                self.status_changed.emit(localize_stage(event.stage))
            case events.ChatReady():
                self.status_changed.emit("")
            case events.AnswerGrew() if event.column in self.waiting:
                text = self.waiting[event.column][: event.start] + event.text
                self.waiting[event.column] = text
                self.grew.emit(event.column, event.start, event.text, event.tokens)
            case events.Answered() if event.column in self.waiting:
                speed, ending = event.tokens_per_s, event.ending
                self._add_version(
                    event.column,
                    AnswerVersion(
                        text=event.text, tokens=event.tokens, tokens_per_s=speed, ending=ending
                    ),
                )
            case events.AnswerRefused() if event.column in self.waiting:
                self._add_version(event.column, AnswerVersion(problem=event.problem))
            case events.PromptShown() if event.id == self._prompt_id:
                self.prompt_shown.emit(event)
            case events.Failed() if event.id == self._answer_id:
                self._opened = None
                for column in list(self.waiting):
                    self._add_version(column, AnswerVersion(problem=event.problem))
                self._finish()
            case events.Failed():
                self._opened = None
                if event.id == self._prompt_id:
                    self.prompt_shown.emit(event)
            case events.Done() | events.Cancelled() if event.id == self._answer_id:
                self._finish()

    def _add_version(self, column: int, version: AnswerVersion) -> None:
        version = version.model_copy(update={"chat_model": self.conversation.chat_models[column]})
        last = len(self.conversation.turns) - 1
        turn = self.conversation.turns[last]
        self.waiting.pop(column, None)
        self._set_conversation(
            self.conversation.with_turn(
                last, turn.put(column, turn.get_answers(column).add(version))
            )
        )

    def _finish(self) -> None:
        """Finish the request: partial answers are kept as stopped."""
        for column, text in list(self.waiting.items()):
            if text:
                self._add_version(column, AnswerVersion(text=text, ending="stopped"))
        self.waiting, self._answer_id = {}, ""
        self.status_changed.emit("")
        self.changed.emit()

    def _on_held_changed(self, held: bool) -> None:
        if not held:
            self._opened = None
            if self.is_busy:
                self._finish()

    def _on_device_needed(self) -> None:
        """Unload models for a job."""
        if self.link.held and self.device != "cpu":
            self.link.release()
            self.status_changed.emit(
                tr("The playground's models were unloaded to free memory for the job.")
            )

    def _on_run_changed(self) -> None:
        """Search for new models when a job has ended."""
        if not self._state.running:
            self.find_chat_models()
        self.changed.emit()

    def _on_loaded(self, conversations: list[Conversation]) -> None:
        known_ids = {each.id for each in self.history}
        host = self._state.get_ollama_host()
        self.history += [
            each.with_ollama_host(host) for each in conversations if each.id not in known_ids
        ]
        if (
            self.history and self.conversation is self._blank
        ):  # unless the user has started a conversation
            self.conversation = self.history[0]
        self.changed.emit()

    def _on_choices_found(self, choices: list[ChatModelOption]) -> None:
        ollama = [each for each in self.choices if isinstance(each.chat_model, OllamaChatModel)]
        self.choices = (*choices, *ollama)
        adapters = [
            each.chat_model for each in choices if isinstance(each.chat_model, AdapterChatModel)
        ]
        is_default = self.conversation.chat_models in ((AdapterChatModel(),), self._proposed)
        if is_default and adapters and not self.conversation.turns and not self.history:
            # The most likely comparison: the base model and the latest adapter.
            self._proposed = (AdapterChatModel(), adapters[0])
            blank, proposed = self.conversation is self._blank, {"chat_models": self._proposed}
            self.conversation = self.conversation.model_copy(update=proposed)
            self._blank = self.conversation if blank else self._blank
        self.changed.emit()

    def show_ollama(self, choices: Sequence[ChatModelOption]) -> None:
        """Set the models of the Ollama server."""
        others = [each for each in self.choices if not isinstance(each.chat_model, OllamaChatModel)]
        self.choices = (*others, *choices)
        self.changed.emit()

    def _set_conversation(self, conversation: Conversation, *, quiet: bool = False) -> None:
        self.conversation = conversation
        if conversation.turns or conversation.draft:
            others = [each for each in self.history if each.id != conversation.id]
            self.history = [conversation, *others]
            self.store.save_later(conversation)
        if not quiet:
            self.changed.emit()


def _remove_column(turn: Turn, column: int, columns: int) -> Turn:
    answers: list[TurnAnswers] = [
        turn.get_answers(each) for each in range(columns) if each != column
    ]
    return turn.model_copy(update={"answers": tuple(answers)})


#: Milliseconds without a change after which a conversation is saved.
_SAVE_DELAY = 600
#: Maximum number of runs, newest first, that are searched for models.
_MAX_RUNS = 300


class PlaygroundStore(QObject):
    """Loads and saves the conversations and votes of the open project.

    Signals:
        loaded(conversations): those of the project, newest first.
        choices_found(choices): the models to chat with.
        voted(votes): all votes, including the new one.
        failed(problem): something couldn't be read or saved.
    """

    loaded = Signal(object)
    choices_found = Signal(object)
    voted = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self._playground: Playground | None = None
        self._unsaved: dict[str, Conversation] = {}
        self._threads: list[BackgroundReader] = []
        self._saving: BackgroundReader | None = None
        self._search_token: object = None  # identifies the latest search for models
        self._save_timer = QTimer(self, singleShot=True, interval=_SAVE_DELAY)
        self._save_timer.timeout.connect(self._save_soon)

    def open(self, project: Path | None) -> None:
        """Switch to another project, or none, after saving pending changes."""
        self.flush()
        for work in self._threads:
            work.requestInterruption()
        self._playground = Playground(project) if project is not None else None
        if (opened := self._playground) is not None:
            self._begin(
                lambda _: opened.load_conversations(),
                lambda conversations: (
                    self.loaded.emit(conversations) if opened is self._playground else None
                ),
            )

    def find_chat_models(self, runs: Path, own: str, folders: tuple[str, ...]) -> None:
        """Search for models to chat with: the project's model `own`, runs, and adapter
        `folders`.
        """
        opened = self._playground

        def work(thread: BackgroundReader) -> list[ChatModelOption]:
            options = _list_model_options(own)
            for run in thread.cooperative_iter(folder.list_runs(runs)[:_MAX_RUNS]):
                options += chat_models.list_run_chat_models(run)
            return [*options, *chat_models.iter_library_chat_models(folders)]

        def deliver(options: object) -> None:
            """Discard the result of a search that a later one has replaced."""
            if opened is self._playground and token is self._search_token:
                self.choices_found.emit(options)

        token = self._search_token = object()
        self._begin(work, deliver)

    def save_later(self, conversation: Conversation) -> None:
        """Save a conversation shortly."""
        if self._playground is not None:
            self._unsaved[conversation.id] = conversation
            self._save_timer.start()

    def vote(self, vote: Vote) -> None:
        """Add a vote and emit all votes."""
        if (opened := self._playground) is None:
            return

        def work(_: BackgroundReader) -> list[Vote]:
            opened.vote(vote)
            return opened.load_votes()

        self._begin(work, self.voted.emit)

    def ask_votes(self, then: Callable[[object], None]) -> None:
        """Read all votes."""
        if (opened := self._playground) is not None:
            self._begin(lambda _: opened.load_votes(), then)

    def flush(self) -> None:
        """Save pending changes now."""
        self._save_timer.stop()
        waiting, self._unsaved = self._unsaved, {}
        for conversation in waiting.values():
            self._write(conversation)

    def stop_background_work(self) -> None:
        """Save pending changes and stop all threads."""
        for work in self._threads:
            work.drop()
        self.flush()

    def _save_soon(self) -> None:
        opened, (waiting, self._unsaved) = self._playground, (self._unsaved, {})
        if opened is None or not waiting:
            return
        if self._saving in self._threads:  # one at a time, so that the newest state is saved last
            self._unsaved = waiting | self._unsaved
            self._save_timer.start()
            return

        def work(_: BackgroundReader) -> None:
            for conversation in waiting.values():
                opened.save(conversation)

        self._saving = self._begin(work, lambda _: None)

    def _write(self, conversation: Conversation) -> None:
        assert self._playground is not None
        try:
            self._playground.save(conversation)
        except ProblemError as error:
            self.failed.emit(error.problems[0])

    def _begin(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> BackgroundReader:
        # The callback is part of the result, because a signal connected to a plain function would
        # call it in the worker thread. The thread is, too, because deleting it before its queued
        # signal is delivered would lose the signal.
        def run(
            thread: BackgroundReader,
        ) -> tuple[BackgroundReader, Callable[[object], object], object]:
            try:
                return thread, then, work(thread)
            except ProblemError as error:
                return thread, self.failed.emit, error.problems[0]

        thread = BackgroundReader(run, self)
        thread.done.connect(self._deliver)
        thread.failed.connect(self.failed)
        self._threads.append(thread)
        thread.start()
        return thread

    def _deliver(
        self, outcome: tuple[BackgroundReader, Callable[[object], object], object]
    ) -> None:
        thread, then, result = outcome
        if thread in self._threads:
            self._threads.remove(thread)
            thread.wait()  # returns immediately, because the work is done
            thread.deleteLater()
        then(result)


def _list_model_options(source: str) -> list[ChatModelOption]:
    """Return the project's model if it is a GGUF file, which llama.cpp runs."""
    path = Path(source)
    if path.suffix.lower() != ".gguf" or not path.is_file():
        return []
    return [ChatModelOption(ChatModelGroup.BASE, path.name, GgufChatModel(file=str(path)))]
