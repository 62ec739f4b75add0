"""Storage of conversations and votes, saved in the background shortly after each change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from lora_studio.core.chat import GgufSpeaker
from lora_studio.core.playground import Conversation, Playground, Vote
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs import folder, speakers
from lora_studio.core.runs.speakers import SpeakerOption
from lora_studio.gui.threads import BackgroundReader

#: Milliseconds without a change after which a conversation is saved.
_PAUSE = 600
#: Runs that are looked into for something to talk to, the newest first.
_RUNS = 300


class PlaygroundStore(QObject):
    """Load and save the playground of the open project.

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
        self._place: Playground | None = None
        self._unsaved: dict[str, Conversation] = {}
        self._works: list[BackgroundReader] = []
        self._saving: BackgroundReader | None = None
        self._look: object = None  # stands for the latest look for who can answer
        self._pause = QTimer(self, singleShot=True, interval=_PAUSE)
        self._pause.timeout.connect(self._save_soon)

    def open(self, project: Path | None) -> None:
        """Switch to another project, or none, after saving pending changes."""
        self.flush()
        for work in self._works:
            work.requestInterruption()
        self._place = Playground(project) if project is not None else None
        if (place := self._place) is not None:
            self._begin(
                lambda work: place.conversations(),
                lambda found: self.loaded.emit(found) if place is self._place else None,
            )

    def look(self, runs: Path, own: str, folders: tuple[str, ...]) -> None:
        """Search for models to chat with: the project's model `own`, runs, and adapter
        `folders`.
        """
        place = self._place

        def work(background: BackgroundReader) -> list[SpeakerOption]:
            found = _of_model(own)
            for run in background.cooperative_iter(folder.list_runs(runs)[:_RUNS]):
                found += speakers.of_run(run)
            return [*found, *speakers.of_adapters(folders)]

        def tell(found: object) -> None:
            """Discard the result of a search that a later one has replaced."""
            if place is self._place and look is self._look:
                self.choices_found.emit(found)

        look = self._look = object()
        self._begin(work, tell)

    def keep(self, conversation: Conversation) -> None:
        """Save a conversation shortly."""
        if self._place is not None:
            self._unsaved[conversation.id] = conversation
            self._pause.start()

    def vote(self, vote: Vote) -> None:
        """Add a vote and emit all votes."""
        if (place := self._place) is None:
            return

        def work(_: BackgroundReader) -> list[Vote]:
            place.vote(vote)
            return place.votes()

        self._begin(work, self.voted.emit)

    def ask_votes(self, then: Callable[[object], None]) -> None:
        """Read all votes."""
        if (place := self._place) is not None:
            self._begin(lambda _: place.votes(), then)

    def flush(self) -> None:
        """Save pending changes now."""
        self._pause.stop()
        waiting, self._unsaved = self._unsaved, {}
        for conversation in waiting.values():
            self._write(conversation)

    def leave(self) -> None:
        """Save pending changes and stop all threads."""
        for work in self._works:
            work.drop()
        self.flush()

    def _save_soon(self) -> None:
        place, (waiting, self._unsaved) = self._place, (self._unsaved, {})
        if place is None or not waiting:
            return
        if (
            self._saving in self._works
        ):  # one after another, so that an older state never comes last
            self._unsaved = waiting | self._unsaved
            self._pause.start()
            return

        def work(_: BackgroundReader) -> None:
            for conversation in waiting.values():
                place.save(conversation)

        self._saving = self._begin(work, lambda _: None)

    def _write(self, conversation: Conversation) -> None:
        assert self._place is not None
        try:
            self._place.save(conversation)
        except ProblemError as error:
            self.failed.emit(error.problems[0])

    def _begin(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> BackgroundReader:
        # The result travels with what is done with it: a signal of a thread that leads to a bare
        # function would call it in that thread. The thread travels too: to delete one whose signal
        # still waits for the window would lose that signal.
        def carry_out(
            background: BackgroundReader,
        ) -> tuple[BackgroundReader, Callable[[object], object], object]:
            try:
                return background, then, work(background)
            except ProblemError as error:
                return background, self.failed.emit, error.problems[0]

        thread = BackgroundReader(carry_out, self)
        thread.done.connect(self._deliver)
        thread.failed.connect(self.failed)
        self._works.append(thread)
        thread.start()
        return thread

    def _deliver(
        self, outcome: tuple[BackgroundReader, Callable[[object], object], object]
    ) -> None:
        thread, then, result = outcome
        if thread in self._works:
            self._works.remove(thread)
            thread.wait()  # a moment: it had nothing more to do
            thread.deleteLater()
        then(result)


def _of_model(source: str) -> list[SpeakerOption]:
    """Return the project's model if it is a GGUF file, which llama.cpp runs."""
    path = Path(source)
    if path.suffix.lower() != ".gguf" or not path.is_file():
        return []
    return [SpeakerOption("Base", path.name, GgufSpeaker(file=str(path)))]
