"""Keeps what is done in the playground: saved a moment after each change, off the window's thread."""

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
    """The playground of one project after another.

    Signals:
        loaded(conversations): those of the project, the latest first.
        choices_found(choices): who can answer.
        voted(votes): every vote, the new one included.
        failed(problem): something could not be read or saved.
    """

    loaded = Signal(object)
    choices_found = Signal(object)
    voted = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """No project yet."""
        super().__init__(parent)
        self._place: Playground | None = None
        self._unsaved: dict[str, Conversation] = {}
        self._works: list[BackgroundReader] = []
        self._saving: BackgroundReader | None = None
        self._look: object = None  # stands for the latest look for who can answer
        self._pause = QTimer(self, singleShot=True, interval=_PAUSE)
        self._pause.timeout.connect(self._save_soon)

    def open(self, project: Path | None) -> None:
        """Another project, or none; what the one before has unsaved is saved at once."""
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
        """Looks for who can answer: `own` is the project's model, `folders` hold adapters."""
        place = self._place

        def work(background: BackgroundReader) -> list[SpeakerOption]:
            found = _of_model(own)
            for run in background.cooperative_iter(folder.list_runs(runs)[:_RUNS]):
                found += speakers.of_run(run)
            return [*found, *speakers.of_adapters(folders)]

        def tell(found: object) -> None:
            """An older look may end after a later one."""
            if place is self._place and look is self._look:
                self.choices_found.emit(found)

        look = self._look = object()
        self._begin(work, tell)

    def keep(self, conversation: Conversation) -> None:
        """Saves a conversation in a moment."""
        if self._place is not None:
            self._unsaved[conversation.id] = conversation
            self._pause.start()

    def vote(self, vote: Vote) -> None:
        """Adds a vote and tells all of them."""
        if (place := self._place) is None:
            return

        def work(_: BackgroundReader) -> list[Vote]:
            place.vote(vote)
            return place.votes()

        self._begin(work, self.voted.emit)

    def ask_votes(self, then: Callable[[object], None]) -> None:
        """Reads every vote."""
        if (place := self._place) is not None:
            self._begin(lambda _: place.votes(), then)

    def flush(self) -> None:
        """Saves now: the window closes, or another project is opened."""
        self._pause.stop()
        waiting, self._unsaved = self._unsaved, {}
        for conversation in waiting.values():
            self._write(conversation)

    def leave(self) -> None:
        """Saves, and ends every thread."""
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
    """The project's own model where it is a GGUF file, as llama.cpp runs it."""
    path = Path(source)
    if path.suffix.lower() != ".gguf" or not path.is_file():
        return []
    return [SpeakerOption("Base", path.name, GgufSpeaker(file=str(path)))]
