"""Messages to the user, and the most helpful action for a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Signal

from lora_studio.core import llama_cpp
from lora_studio.core.messages import Text
from lora_studio.core.model import remote_code
from lora_studio.core.problems import Problem
from lora_studio.core.rewards import spec
from lora_studio.core.system import offline
from lora_studio.core.system.consent import ForeignCode
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.widgets.external_open import is_opened, open_path

#: Problems that setting up the engine solves.
ENGINE_PROBLEMS = (
    "engine.missing", "engine.version", "engine.gone", "engine.check", "engine.python_lacks",
)  # fmt: skip


@dataclass(frozen=True)
class SuggestedAction:
    """A button next to a problem: its label, and what it does, called with the window and the problem.

    The window is above this package, so its type is unknown here. `page` is the page that the action shows.
    An action without `is_in_dialog` is only beside the message, not in the dialog that explains it.
    """

    label: str
    run: Callable[[Any, Problem], object]
    page: str = ""
    is_in_dialog: bool = True


_SIGN_IN = SuggestedAction(mark("Sign in…"), lambda window, _: window.sign_in())
_SET_UP_ENGINE = SuggestedAction(
    mark("Set up the engine…"), lambda window, problem: window.engine.solve(problem)
)


def _review_code(find: Callable[[Path], ForeignCode | None]) -> SuggestedAction:
    """Return the action that shows the code of a folder and asks for consent to run it."""
    return SuggestedAction(
        mark("Review code…"),
        lambda window, problem: window.help.ask_for_consent(find, _get_file(problem)),
    )


#: Code of a problem -> its action, unless a fix changes settings.
_ACTIONS: dict[str, SuggestedAction] = {
    **dict.fromkeys(
        ("model.gated", "dataset.gated", "model.token", "dataset.token", "hub.no_token", "hub.not_allowed"), _SIGN_IN
    ),
    "model.code_not_trusted": _review_code(remote_code.find_code),
    "export.code_not_trusted": _review_code(llama_cpp.find_programs),
    "training.code_not_trusted": _review_code(spec.find_code),
    "run.access_not_allowed": SuggestedAction(
        mark("Review…"), lambda window, problem: window.help.ask_for_access(_get_file(problem))
    ),
    "project.open_elsewhere": SuggestedAction(
        mark("Show that window"), lambda window, problem: window.lock.call(_get_file(problem)), is_in_dialog=False
    ),
    "run.interrupted": SuggestedAction(
        mark("Resume"), lambda window, problem: window.open_and_resume(_get_file(problem)), is_in_dialog=False
    ),
    "model.gpu_not_used": _SET_UP_ENGINE,
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


def suggest_action(problem: Problem) -> SuggestedAction | None:
    """Return the fix if there is one, else the page, else the file; None if only an explanation helps."""
    if problem.fix is not None:
        label = localize(problem.fix.label)
        return SuggestedAction(label, lambda window, problem: window.apply_fix(problem))
    if problem.code.endswith("offline") and offline.is_on():
        return SuggestedAction(
            tr("Turn off offline mode"), lambda window, _: window.set_offline(on=False)
        )
    if (action := _ACTIONS.get(problem.code)) is not None:
        return replace(action, label=tr(action.label))
    if (step := problem.where.step) is not None:
        return _show_page(step)
    if problem.code in MEMORY_PROBLEMS:
        return _show_page("training")
    family = problem.code.partition(".")[0]
    if family == "engine":
        return replace(_SET_UP_ENGINE, label=tr(_SET_UP_ENGINE.label))
    file = _get_file(problem) if problem.where.file else None
    if file is not None and (file.is_dir() or (file.is_file() and not is_opened(file))):
        return SuggestedAction(tr("Open folder"), _open_file)
    if file is not None and file.is_file():
        is_log = file.suffix in (".txt", ".log")
        return SuggestedAction(tr("Open log") if is_log else tr("Open file"), _open_file)
    if (page := _PAGES.get(problem.code) or _PAGES.get(family)) is not None:
        return _show_page(page)
    return None


def _show_page(page: str) -> SuggestedAction:
    label = tr("Go to {page}").format(page=tr((STEP_TITLES | PAGE_TITLES)[page]))
    return SuggestedAction(
        label, lambda window, problem: window.show_field(page, problem.where.field or ""), page
    )


def _get_file(problem: Problem) -> Path:
    return Path(problem.where.file or "")


def _open_file(window: Any, problem: Problem) -> None:
    open_path(_get_file(problem))


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
