"""Messages to the user, and the most helpful action for a problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem
from lora_studio.core.system import offline
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.widgets.external_open import is_opened

ActionKind = Literal[
    "fix", "page", "file", "window", "engine", "resume", "online", "sign_in", "consent", "explain"
]

#: Problems that setting up the engine solves.
ENGINE_PROBLEMS = (
    "engine.missing", "engine.version", "engine.gone", "engine.check", "engine.python_lacks",
)  # fmt: skip

#: Code of a problem -> its action and the label of it, unless a fix changes settings. `HelpCommands.run_action`
#: runs each kind. The file of a problem with "consent" is the folder of the code or of the run.
_ACTIONS: dict[str, tuple[ActionKind, str]] = {
    **dict.fromkeys(
        ("model.gated", "dataset.gated", "model.token", "dataset.token", "hub.no_token", "hub.not_allowed"),
        ("sign_in", mark("Sign in…")),
    ),
    **dict.fromkeys(
        ("model.code_not_trusted", "export.code_not_trusted", "training.code_not_trusted"),
        ("consent", mark("Review code…")),
    ),
    "run.access_not_allowed": ("consent", mark("Review…")),
    "project.open_elsewhere": ("window", mark("Show that window")),
    "run.interrupted": ("resume", mark("Resume")),
    "model.gpu_not_used": ("engine", mark("Set up the engine…")),
}  # fmt: skip

#: Problems of device memory, which the Train page itemizes.
MEMORY_PROBLEMS = ("worker.out_of_memory", "device.out_of_memory", "training.does_not_fit")

#: Code of a problem, or its first part -> page to show when it names neither a step nor a file.
_PAGES: dict[str, str] = {
    "chat.no_adapter": "training", "chat.no_template": "model", "chat.no_model": "merging",
    "chat.not_merged": "merging", "chat.no_gguf": "export",
    "merging.no_adapter": "training", "export.no_adapter": "training", "run.no_adapter": "training",
    "export.not_merged": "merging", "selftest.not_merged": "merging", "project.newer": "settings",
    "model": "model", "lora": "lora", "dataset": "dataset", "lint": "dataset",
    "training": "training", "cluster": "training", "estimate": "training",
    "merging": "merging", "import": "merging", "adapters": "merging",
    "export": "export", "gguf": "export", "imatrix": "export", "quantize": "export",
    "ollama": "export", "selftest": "export", "template": "export", "serve": "export",
    "evaluation": "evaluation", "run": "runs", "queue": "runs", "grid": "runs", "update": "settings",
}  # fmt: skip

STEP_TITLES: dict[str, str] = {
    "model": mark("Model"), "lora": mark("LoRA"), "dataset": mark("Dataset"),
    "training": mark("Train"), "merging": mark("Merge"), "export": mark("Export"),
}  # fmt: skip

#: Pages that aren't steps, except Home.
PAGE_TITLES: dict[str, str] = {
    "runs": mark("Runs"), "evaluation": mark("Evaluate"), "playground": mark("Playground"),
    "settings": mark("Settings"),
}  # fmt: skip


@dataclass(frozen=True)
class SuggestedAction:
    """The action of a button next to a problem, its label, and the `page` of a "page" action."""

    kind: ActionKind
    label: str
    page: str = ""


def suggest_action(problem: Problem) -> SuggestedAction:
    """Return the fix if there is one, else the page, else the file, else an explanation."""
    if problem.fix is not None:
        return SuggestedAction("fix", localize(problem.fix.label))
    if problem.code.endswith("offline") and offline.is_on():
        return SuggestedAction("online", tr("Turn off offline mode"))
    if (found := _ACTIONS.get(problem.code)) is not None:
        return SuggestedAction(found[0], tr(found[1]))
    if (step := problem.where.step) is not None:
        return _show_page(step)
    if problem.code in MEMORY_PROBLEMS:
        return _show_page("training")
    family = problem.code.partition(".")[0]
    if family == "engine":
        return SuggestedAction("engine", tr("Set up the engine…"))
    file = Path(problem.where.file) if problem.where.file else None
    if file is not None and (file.is_dir() or (file.is_file() and not is_opened(file))):
        return SuggestedAction("file", tr("Open folder"))
    if file is not None and file.is_file():
        is_log = file.suffix in (".txt", ".log")
        return SuggestedAction("file", tr("Open log") if is_log else tr("Open file"))
    if (page := _PAGES.get(problem.code) or _PAGES.get(family)) is not None:
        return _show_page(page)
    return SuggestedAction("explain", tr("What now?"))


def _show_page(page: str) -> SuggestedAction:
    title = tr((STEP_TITLES | PAGE_TITLES)[page])
    return SuggestedAction("page", tr("Go to {page}").format(page=title), page)


Level = Literal["success", "info", "warning", "error"]


@dataclass(frozen=True)
class Toast:
    """A message to show, and the problem behind it if there is one."""

    level: Level
    text: Text | str
    problem: Problem | None = None


class Messages(QObject):
    """Collects messages; a view calls `connect_view` once.

    Signals:
        posted: a message to show, in the order of posting.
    """

    posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Queue messages until a view connects."""
        super().__init__(parent)
        self._waiting: list[Toast] = []
        self._connected = False

    def success(self, text: Text | str) -> None:
        """Post that something the user asked for is done."""
        self._post(Toast("success", text))

    def info(self, text: Text | str) -> None:
        """Post information, such as what must be done first."""
        self._post(Toast("info", text))

    def warning(self, text: Text | str) -> None:
        """Post a warning: it needs attention but doesn't stop anything."""
        self._post(Toast("warning", text))

    def error(self, text: Text | str) -> None:
        """Post a failure."""
        self._post(Toast("error", text))

    def problem(self, problem: Problem) -> None:
        """Post a problem that has no field, or that ended an action of the user."""
        self._post(Toast(problem.severity, problem.what, problem))

    def connect_view(self) -> None:
        """Emit the queued messages now, and later messages immediately."""
        self._connected = True
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.posted.emit(message)

    def _post(self, message: Toast) -> None:
        if self._connected:
            self.posted.emit(message)
        else:
            self._waiting.append(message)
