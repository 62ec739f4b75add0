"""Export the shown evaluation to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QMenu, QPushButton, QWidget

from lora_studio.core.evaluation import report, tables
from lora_studio.core.evaluation.preferences import PreferenceVote
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.gui import language
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.library import ReadEvaluation
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write

#: The formats by the suffix of the file.
WRITERS: dict[str, Callable[[EvaluationResults, Iterable[PreferenceVote]], str]] = {
    ".csv": tables.to_csv,
    ".json": tables.to_json,
    ".html": lambda results, votes: report.build_report(
        results, votes, translate=localize, language=language.get_current()
    ),
}


class ExportMenu(QPushButton):
    """A button with a menu of formats.

    Signals:
        written(path): a file was written.
        failed(problem): a file can't be written.
    """

    written = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the button, disabled until there is an evaluation."""
        super().__init__(tr("Export"), parent)
        self._shown: ReadEvaluation | None = None
        self._tasks = TaskRunner(self.failed.emit, QObject(self))
        menu = QMenu(self)
        titles = {
            ".html": tr("HTML report…"),
            ".csv": tr("CSV, every answer…"),
            ".json": tr("JSON…"),
        }
        for suffix, title in titles.items():
            if suffix in WRITERS:
                menu.addAction(title, partial(self.ask, suffix))
        self.setMenu(menu)
        self.setEnabled(False)

    def set_evaluation(self, shown: ReadEvaluation | None) -> None:
        """Set what is exported."""
        self._shown = shown
        self.setEnabled(shown is not None)

    def ask(self, suffix: str) -> None:
        """Ask for the file."""
        if self._shown is not None:
            proposal = Path(f"evaluation-{self._shown.folder.path.name}{suffix}")
            choose_file_to_write(
                self.window(), tr("Export evaluation"), self._write, proposal, f"*{suffix}"
            )

    def write(self, path: Path) -> None:
        """Write the evaluation in the format of the file's suffix, in the background."""
        if (shown := self._shown) is not None:
            writer = WRITERS.get(path.suffix.lower(), tables.to_json)
            self._tasks.start(partial(_write, shown, writer, path), self.written.emit)

    def leave(self) -> None:
        """End the background work."""
        self._tasks.leave()

    def _write(self, name: str) -> None:
        self.write(Path(name))


def _write(
    shown: ReadEvaluation,
    writer: Callable[[EvaluationResults, Iterable[PreferenceVote]], str],
    path: Path,
    _thread: BackgroundReader,
) -> Path:
    try:
        write_atomic(path, writer(shown.results, shown.votes))
    except OSError as error:
        raise fail(
            "evaluation.not_exported",
            "The evaluation can't be written to {file}: {reason}.",
            "Choose another folder, or check that the disk is writable and not full.",
            where=Where(file=str(path.parent)),
            file=str(path),
            reason=describe_os_error(error),
        ) from error
    return path
