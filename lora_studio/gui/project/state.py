"""The open project: undoable changes, autosave and problems."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from lora_studio.core.export import ExportSpec, is_direct_export
from lora_studio.core.messages import Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, ProblemError, Step
from lora_studio.core.project import access_requests, checks, presets, project
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import SPECS, Draft
from lora_studio.core.protocol import events
from lora_studio.core.runs import selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.spec import FieldFacts, Spec, list_facts
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize, localize_facts
from lora_studio.gui.problems.suggested_actions import Messages
from lora_studio.gui.project import data_sources

#: Milliseconds without a change after which a project with a file is saved.
AUTOSAVE_DELAY = 800


@dataclass
class ProjectFacts:
    """The latest answers of the query workers; None while there is none."""

    model: events.ModelInspected | None = None
    dataset: events.DatasetInspected | None = None
    lengths: events.LengthsMeasured | None = None
    plan: events.DatasetPlanned | None = None
    findings: events.DatasetLinted | None = None
    devices: events.DevicesFound | None = None
    ollama: events.OllamaFound | None = None

    def store(self, event: object) -> str | None:
        """Store an answer and return the name of the attribute that holds it, None for other events."""
        name = _FACT_OF.get(type(event))
        if name is not None:
            setattr(self, name, event)
        return name


_FACT_OF: dict[type, str] = {
    events.ModelInspected: "model",
    events.DatasetInspected: "dataset",
    events.LengthsMeasured: "lengths",
    events.DatasetPlanned: "plan",
    events.DatasetLinted: "findings",
    events.DevicesFound: "devices",
    events.OllamaFound: "ollama",
}


class ProjectState(QObject):
    """The draft of the open project with its problems, facts and run.

    Signals:
        confirmation_needed(Draft, list[AccessRequest]): a project from elsewhere is to be opened.
        adoption_needed(list[AccessRequest], function): settings that weren't typed ask for this; call the function
            to apply them.
        opening: another project is about to be opened, so listeners of `opened` must exist.
        opened: another project is open; read everything again.
        value_changed(step, field): one field has another value.
        problems_changed(list[Problem]): all current problems.
        saved(Path): the project file was written.
        dirty_changed(bool): whether there are unsaved changes.
        facts_changed(name): this attribute of `facts` was set or cleared.
        device_needed: a job needs the GPU, so models on it have to be unloaded.
        run_changed: `run`, `running`, `stopping` or `pausing` has changed.
    """

    confirmation_needed = Signal(object, list)
    adoption_needed = Signal(list, object)
    opening = Signal()
    opened = Signal()
    value_changed = Signal(str, str)
    problems_changed = Signal(list)
    saved = Signal(object)
    dirty_changed = Signal(bool)
    facts_changed = Signal(str)
    device_needed = Signal()
    run_changed = Signal()

    def __init__(self, messages: Messages | None = None, parent: QObject | None = None) -> None:
        """Start with an untitled project that has no file."""
        super().__init__(parent)
        self.messages = messages or Messages(self)
        self.draft = Draft()
        #: The project as it was opened, which wasn't typed in this window, and what of it the user has accepted.
        self._opened, self._accepted = Draft(), set[AccessRequest]()
        self._specs: dict[Step, Spec | None] = {}  # as last resolved
        self.facts = ProjectFacts()
        self.run: RunFolder | None = None
        #: Kind of the running job: "train", "merge", "export", or "" for none.
        self.running = ""
        #: Whether the running job was asked to end and hasn't yet, and whether that is to pause it.
        self.stopping = self.pausing = False
        self.undo = QUndoStack(self)
        self.undo.cleanChanged.connect(self._on_clean_changed)
        self._reported: dict[str, list[Problem]] = {}
        self._problems = checks.check(self.draft)
        self._autosave = QTimer(self, singleShot=True, interval=AUTOSAVE_DELAY)
        self._autosave.timeout.connect(self._save_by_itself)

    # --- opening and saving -------------------------------------------------------------------

    def new(self) -> None:
        """Start an untitled project with default values."""
        self._load_draft(Draft())

    def open(self, path: Path, *, shown: Collection[AccessRequest] = ()) -> bool:
        """Open a project file or folder; return False if it can't be, after a message.

        A project from elsewhere isn't opened until the user has confirmed what it asks for. `shown` are the
        requests that the user has just confirmed; if the project now asks for more, it is asked again.
        """
        try:
            draft = project.load(path.absolute())
        except ProblemError as error:
            self._report_error(error)
            return False
        requests = access_requests.list_requests(draft)
        new = access_requests.list_new_requests(draft, requests)
        if any(request not in shown for request in new):
            self.confirmation_needed.emit(draft, new)
            return False
        is_new = draft.path is not None and not access_requests.is_known_project(draft.path)
        access_requests.accept_requests(draft, requests)
        self._load_draft(draft, requests)
        if is_new and not new:
            self.messages.info(
                tr("This project is new on this computer. It asks for nothing outside its folder.")
            )
        return True

    def create(self, folder: Path, name: str) -> bool:
        """Create a project in a folder and open it; on failure, post a message and return False."""
        try:
            draft = project.create(folder.absolute(), name)
        except ProblemError as error:
            self._report_error(error)
            return False
        access_requests.accept_requests(draft, requests := access_requests.list_requests(draft))
        self._load_draft(draft, requests)
        return True

    def make_read_only(self, why: Problem) -> None:
        """Stop saving the project, for a reason that is reported as a problem."""
        if self.draft.read_only is None:
            self.draft.read_only = why
        self.draft.loaded_problems.append(why)
        self.check_again()

    def save(self, path: Path | None = None) -> bool:
        """Save the project file; on failure, post a message and return False."""
        self._autosave.stop()
        try:
            written = self.draft.save(path)
            self._specs.clear()  # paths are relative to the folder
        except ProblemError as error:
            self._report_error(error)
            return False
        unaccepted = self._list_unaccepted()
        requests = access_requests.list_requests(self.draft)
        access_requests.accept_requests(
            self.draft, [each for each in requests if each not in unaccepted]
        )
        self.undo.setClean()
        self.check_again()
        self.saved.emit(written)
        return True

    def save_as(self, folder: Path, name: str) -> bool:
        """Save a copy in its own folder and continue with it.

        Files in the old project's folder are referred to by their full paths. Runs aren't copied.
        """
        old_folder = self.draft.folder
        draft = copy.deepcopy(self.draft)
        draft.loaded_problems = [item for item in draft.loaded_problems if item != draft.read_only]
        draft.name, draft.read_only = name, None
        if old_folder and (
            sources := data_sources.to_plain(draft.values["dataset"].get("sources"))
        ):
            draft.values["dataset"]["sources"] = data_sources.move_sources(sources, old_folder)
        for step, spec in SPECS.items():
            for about in list_facts(spec):
                value = draft.values[step].get(about.name)
                if (
                    old_folder
                    and about.path
                    and isinstance(value, str)
                    and (old_folder / value).exists()
                ):
                    draft.values[step][about.name] = str(old_folder / value) if value else value
        try:
            draft.save(folder.absolute() / f"{project.to_file_name(name)}{project.SUFFIX}")
        except ProblemError as error:
            self._report_error(error)
            return False
        access_requests.accept_requests(draft, requests := access_requests.list_requests(draft))
        self.undo.setClean()  # the changes were saved in the copy
        self._load_draft(draft, requests)
        return True

    def require_accepted(self) -> bool:
        """Return whether the user has typed or accepted all that the project asks for; ask otherwise.

        A file of the project that became a link since it was opened leads elsewhere, and was never shown.
        """
        if unaccepted := self._list_unaccepted():
            self.confirmation_needed.emit(self.draft, unaccepted)
        return not unaccepted

    def _list_unaccepted(self) -> list[AccessRequest]:
        """Return what the project asks for that was neither accepted when it was opened nor typed since."""
        requests = access_requests.list_requests(self.draft)
        new = [request for request in requests if request not in self._accepted]
        not_typed = access_requests.list_requests(self._opened) if new else ()
        return [request for request in new if request in not_typed]

    @property
    def dirty(self) -> bool:
        """Whether there are unsaved changes."""
        return not self.undo.isClean()

    @property
    def name(self) -> str:
        """The project's name."""
        return self.draft.name

    @property
    def runs_folder(self) -> Path | None:
        """The folder of the project's runs, None without a file."""
        return self.draft.folder / "runs" if self.draft.folder else None

    # --- values -------------------------------------------------------------------------------

    def get_facts(self, step: Step, field: str) -> FieldFacts:
        """Return title, help, unit, bounds and default of a field."""
        return localize_facts(SPECS[step], field)

    def get(self, step: Step, field: str) -> Any:
        """Return the value of a field, valid or not."""
        return self.draft.get(step, field)

    def is_set(self, step: Step, field: str) -> bool:
        """Return whether the field has been set explicitly."""
        return field in self.draft.values[step]

    def set(self, step: Step, field: str, value: Any) -> None:
        """Change one field; consecutive edits of it are one undo step."""
        self.change(self.get_facts(step, field).title, [(step, field, value)], merges=True)

    def change(self, title: str, changes: Iterable[Change], *, merges: bool = False) -> None:
        """Change several fields as one undo step, skipping equal values.

        Fields that follow one of them change as well. With `merges`, it is merged with the same
        change just before, as while a slider moves.
        """
        linked = presets.list_linked_changes(self._get_before_edit, list(changes))
        real = [
            (step, name, value)
            for step, name, value in linked
            if self._is_different(step, name, value)
        ]
        if real:
            old_values = [
                (step, name, self.draft.values[step].get(name, UNSET)) for step, name, _ in real
            ]
            self.undo.push(Edit(self._put, title, old_values, real, merges=merges))

    def adopt(
        self, title: str, changes: Iterable[Change], allowed: Iterable[AccessRequest] = ()
    ) -> bool:
        """Change fields to values that the user hasn't typed, such as those of a run or of a fix.

        They may come from somebody else: if the project would ask for more with them than it did, or than
        what the user has `allowed` elsewhere, the user is asked before, and False is returned.
        """
        values = list(changes)
        changed = Draft(
            self.draft.name,
            {step: dict(fields) for step, fields in self.draft.values.items()},
            self.draft.path,
        )
        for step, name, value in values:
            changed.set(step, name, value)
        known = {*access_requests.list_requests(self.draft), *allowed}
        new = access_requests.list_new_requests(changed, access_requests.list_requests(changed))
        requests = [request for request in new if request not in known]
        if requests:
            self.adoption_needed.emit(requests, partial(self.change, title, values))
        else:
            self.change(title, values)
        return not requests

    def apply_fix(self, fix: Fix) -> None:
        """Apply a fix of a problem, after a question if it makes the project ask for more."""
        self.adopt(localize(fix.label), fix.changes)

    def _get_before_edit(self, step: Step, field: str) -> Any:
        """Return the value before the last edit if that changed this field, the current one otherwise.

        A ratio is that of before the first digit was typed, since those on the way are rounded.
        """
        edit = self.undo.command(self.undo.index() - 1) if self.undo.index() else None
        values = (
            {(s, name): value for s, name, value in edit.before} if isinstance(edit, Edit) else {}
        )
        if not presets.RATIOS.keys() & values.keys():
            return self.get(step, field)
        value = values.get((step, field), self.get(step, field))
        return self.get_facts(step, field).default if value is UNSET else value

    def restore_history(self, history: UndoStack) -> None:
        """Restore the undo history of another window on the same project."""
        restore(self.undo, history, self._put, self._format_title)

    def _format_title(self, edit: Edit) -> str:
        """Return the title of an edit in the current language."""
        match edit.list_fields():
            case [setting, *others] if others in ([], [presets.RATIOS.get(setting)]):
                return self.get_facts(*setting).title
        return edit.text()

    def get_ollama_host(self) -> str:
        """Return the address of Ollama; "" means this computer.

        An address with a password is only in this process's environment, which workers that are
        already running don't see.
        """
        return str(self.get("export", "ollama_host")) or os.environ.get("OLLAMA_HOST", "")

    def exports_without_merge(self, *, has_merged: bool = False, is_rounded: bool = False) -> bool:
        """Return whether Export creates files directly from the base model and the adapter.

        `is_rounded`: rounding has changed the merged model of the current run noticeably.
        """
        export = self.get_spec("export")
        is_rounded = (
            is_rounded and self.run is not None and selftest_report.is_merged_in_bfloat16(self.run)
        )
        return isinstance(export, ExportSpec) and is_direct_export(
            export, has_merged=has_merged, is_rounded=is_rounded
        )

    def is_missing_unchosen_ollama(self, problem: Problem) -> bool:
        """Return whether a problem only says that no Ollama server runs, and the user hasn't chosen an address.

        The Export page says how to get one, so it isn't a problem of a job or a question.
        """
        return problem.code == "ollama.not_running" and not self.get_ollama_host()

    def get_spec(self, step: Step) -> Spec | None:
        """Return the spec of a step with absolute paths, None if a value in it is invalid."""
        if step not in self._specs:  # called hundreds of times per edit
            self._specs[step] = self.draft.get_spec(step)
        return self._specs[step]

    # --- problems and facts -------------------------------------------------------------------

    def list_problems(self, step: Step | None = None, field: str | None = None) -> list[Problem]:
        """Return all problems, or those of one step or field."""
        return [
            problem
            for problem in self._problems
            if (step is None or problem.where.step == step)
            and (field is None or problem.where.field == field)
        ]

    def report(self, source: str, problems: Sequence[Problem]) -> None:
        """Set the problems that `source`, such as a worker or a page, reports."""
        if list(problems) != self._reported.get(source, []):
            self._reported[source] = list(problems)
            self.check_again()

    def check_again(self) -> None:
        """Check the project, including the disk, and emit `problems_changed` if problems changed."""
        self._specs.clear()  # whether a name is a folder or a Hub ID depends on the disk
        problems = checks.check(self.draft)
        problems += _deduplicate(item for source in self._reported.values() for item in source)
        if problems != self._problems:
            self._problems = problems
            self.problems_changed.emit(problems)

    def set_answer(self, event: object) -> None:
        """Store an answer of a worker."""
        if name := self.facts.store(event):
            self.facts_changed.emit(name)

    def forget(self, name: str) -> None:
        """Drop an outdated answer; `name` is an attribute of `facts`."""
        if getattr(self.facts, name) is not None:
            setattr(self.facts, name, None)
            self.facts_changed.emit(name)

    def set_run(
        self,
        run: RunFolder | None,
        running: str = "",
        *,
        stopping: bool = False,
        pausing: bool = False,
    ) -> None:
        """Set the run that merging and export use, the kind of the running job, and how it ends."""
        job = (run, running, stopping, pausing)
        if job != (self.run, self.running, self.stopping, self.pausing):
            was_needed = self.is_device_needed()
            self.run, self.running, self.stopping, self.pausing = job
            if self.is_device_needed() and not was_needed:
                self.device_needed.emit()
            self.run_changed.emit()

    def is_device_needed(self) -> bool:
        """Return whether the running job needs the GPU that the playground would use."""
        spec = self.get_spec("model")
        busy = self.running not in ("", "push", "create_ollama")
        return busy and isinstance(spec, ModelSpec) and spec.devices[0] != "cpu"

    # --- helpers ------------------------------------------------------------------------------

    def _is_different(self, step: Step, field: str, value: Any) -> bool:
        current = self.get(step, field)
        same_type = type(current) is type(value) or {type(current), type(value)} == {list, tuple}
        return not same_type or (
            list(current) != list(value)
            if same_type and isinstance(current, list | tuple)
            else current != value
        )

    def _apply(self, step: Step, field: str, value: Any) -> None:
        self._specs.pop(step, None)
        if value is UNSET:
            self.draft.values[step].pop(field, None)
        else:
            self.draft.set(step, field, value)

    def _put(self, changes: Iterable[Change]) -> None:
        changed = list(changes)
        for step, name, value in changed:
            self._apply(step, name, value)
        self._on_applied((step, name) for step, name, _ in changed)

    def _on_applied(self, changed: Iterable[tuple[Step, str]]) -> None:
        for step, field in changed:
            self.value_changed.emit(step, field)
        self.check_again()
        if self.draft.path and self.draft.read_only is None:
            self._autosave.start()

    def _load_draft(self, draft: Draft, accepted: Iterable[AccessRequest] = ()) -> None:
        if self._autosave.isActive():
            self._save_by_itself()
        self.opening.emit()
        self.draft, self._specs = draft, {}
        self._opened, self._accepted = copy.deepcopy(draft), {*accepted}
        self.undo.clear()
        self.facts = ProjectFacts(devices=self.facts.devices)
        self._reported = {}
        self.run, self.running, self.stopping, self.pausing = None, "", False, False
        self._problems = checks.check(draft)
        self.opened.emit()
        self.problems_changed.emit(self._problems)
        self.run_changed.emit()

    def _on_clean_changed(self, clean: bool) -> None:
        self.dirty_changed.emit(not clean)

    def _save_by_itself(self) -> None:
        if self.dirty:
            self.save()

    def _report_error(self, error: ProblemError) -> None:
        for problem in error.problems:
            self.messages.problem(problem)


def _deduplicate(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems without duplicates, as an error if one of them is."""
    unique: dict[tuple[str, Text], Problem] = {}
    for problem in problems:
        key = problem.code, problem.what
        if key not in unique or problem.severity == "error":
            unique[key] = problem
    return list(unique.values())


#: Represents a field that isn't set and uses its default.
UNSET = object()

#: A field of a step, and a value for it.
Change = tuple[Step, str, Any]

#: A function that sets fields to values.
Put = Callable[[Sequence[Change]], None]


class Edit(QUndoCommand):
    """A change of one or more fields; consecutive edits of the same field merge."""

    def __init__(
        self,
        put: Put,
        title: str,
        before: Sequence[Change],
        after: Sequence[Change],
        *,
        merges: bool = False,
        asleep: bool = False,
    ) -> None:
        """Create an edit; `before` and `after` have the same fields.

        With `merges`, it is merged with the same edit just before.
        While it is `asleep`, undo and redo change nothing.
        """
        super().__init__(title)
        self.before, self.after, self.merges = tuple(before), tuple(after), merges
        self.asleep = asleep
        self._put = put

    def redo(self) -> None:
        if not self.asleep:
            self._put(self.after)

    def undo(self) -> None:
        if not self.asleep:
            self._put(self.before)

    def id(self) -> int:
        """Return an ID; Qt merges neighbors with the same ID, and -1 never merges."""
        has_list = any(isinstance(value, list | tuple) for _, _, value in self.after)
        if self.asleep or has_list or (len(self.after) != 1 and not self.merges):
            return -1
        return hash(tuple(self.list_fields())) & 0x3FFFFFFF

    def mergeWith(self, other: QUndoCommand) -> bool:
        """Merge a newer edit of the same field."""
        if not isinstance(other, Edit) or other.list_fields() != self.list_fields():
            return False
        self.after = other.after
        return True

    def list_fields(self) -> list[tuple[Step, str]]:
        """Return the changed fields."""
        return [(step, name) for step, name, _ in self.after]


@dataclass(frozen=True)
class UndoStack:
    """The edits of an undo stack; those from `position` on can be redone."""

    edits: tuple[Edit, ...]
    position: int


def get_undo_stack(stack: QUndoStack) -> UndoStack:
    """Return the edits of a stack."""
    commands = (stack.command(index) for index in range(stack.count()))
    return UndoStack(tuple(edit for edit in commands if isinstance(edit, Edit)), stack.index())


def restore(stack: QUndoStack, saved: UndoStack, put: Put, titled: Callable[[Edit], str]) -> None:
    """Fill an empty stack with the edits of another one; values don't change and count as saved.

    `titled` gives each edit a new name.
    """
    copies = [
        Edit(put, titled(edit), edit.before, edit.after, merges=edit.merges, asleep=True)
        for edit in saved.edits
    ]
    for edit in copies:
        stack.push(edit)
    while stack.index() > saved.position:
        stack.undo()
    stack.setClean()
    for edit in copies:
        edit.asleep = False
