"""Storage of conversations and votes, saved in the background shortly after each change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core.chat import GgufSpeaker
from lora_studio.core.playground import Conversation, Playground, Vote
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs import folder, speakers
from lora_studio.core.runs.speakers import SpeakerGroup, SpeakerOption
from lora_studio.gui.threads import BackgroundReader

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

    def find_speakers(self, runs: Path, own: str, folders: tuple[str, ...]) -> None:
        """Search for models to chat with: the project's model `own`, runs, and adapter
        `folders`.
        """
        opened = self._playground

        def work(thread: BackgroundReader) -> list[SpeakerOption]:
            options = _list_model_options(own)
            for run in thread.cooperative_iter(folder.list_runs(runs)[:_MAX_RUNS]):
                options += speakers.list_run_speakers(run)
            return [*options, *speakers.iter_library_speakers(folders)]

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

    def leave(self) -> None:
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


def _list_model_options(source: str) -> list[SpeakerOption]:
    """Return the project's model if it is a GGUF file, which llama.cpp runs."""
    path = Path(source)
    if path.suffix.lower() != ".gguf" or not path.is_file():
        return []
    return [SpeakerOption(SpeakerGroup.BASE, path.name, GgufSpeaker(file=str(path)))]
