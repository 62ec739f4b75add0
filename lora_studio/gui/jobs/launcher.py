"""Start jobs: check the project, create or find the run, and chain jobs."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from lora_studio.core.export import What
from lora_studio.core.problems import Problem, ProblemError, Step, fail
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.step_records import RecordedStep
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState

#: The next job when the user starts all of them in a row.
_NEXT = {"train": "merge", "merge": "export"}

_DONE = {
    "train": mark("The adapter is trained."),
    "merge": mark("The adapter is merged into the model."),
    "export": mark("The export is complete."),
    "create_ollama": mark("The model is in Ollama."),
    "push": mark("The upload is complete."),
    "evaluate": mark("The evaluation is complete."),
    "import_adapter": mark("The adapter is in a new run. You can merge it now."),
    "import_model": mark("The model is in a new run. You can export it now."),
}


class JobLauncher(QObject):
    """Starts jobs on the open project and reports how they ended.

    Signals:
        started(step): a job started; show the page of this step.
    """

    started = Signal(str)

    def __init__(
        self, state: ProjectState, jobs: JobControl, parent: QObject | None = None
    ) -> None:
        """Follow `jobs` and keep the run of `state` up to date."""
        super().__init__(parent)
        self._state, self._jobs = state, jobs
        self._chain = False
        self._warnings: list[Problem] = []
        jobs.event_received.connect(self._on_event)
        jobs.changed.connect(self._on_changed)
        jobs.ended.connect(self._on_ended)

    def request(self, kind: str) -> None:
        """Start "train", "resume", "merge" or "export", or "all" of them in a row.

        "create_ollama" creates the Ollama model of an exported run and replaces one with the same
        name, so the page asks first. "create_ollama_anyway" also accepts a quality loss beyond the
        limits.
        """
        self._chain = kind == "all"
        try:
            self._start("train" if kind == "all" else kind)
        except ProblemError as error:
            self._report_error(error)

    def request_import(self, source: str, folder: str) -> None:
        """Create a run from the adapter in a folder, or from the project's model as it is.

        Only the model settings must be valid, because nothing is trained.
        """
        self._chain = False
        try:
            self._check_free()
            if not (self._state.save() and self._state.require_accepted()):
                return
            if errors := checks.filter_errors(self._state.list_problems("model")):
                raise ProblemError(errors[0])
            run = self._make_run()
            command = (
                commands.ImportAdapter(run=str(run.path), adapter=folder)
                if source == "adapter"
                else commands.ImportModel(run=str(run.path))
            )
            self._jobs.start(command, run)
            self.started.emit(command.step)
        except ProblemError as error:
            self._report_error(error)

    def request_push(self, repository: str, what: What, private: bool) -> None:
        """Upload the results of the run; the project isn't needed."""
        self._chain = False
        try:
            self._check_free()
            if (run := self._state.run) is None:
                raise fail("run.none", "This project has no runs.", "Train an adapter first.")
            command = commands.Push(
                run=str(run.path), repository=repository, what=what, private=private
            )
            self._jobs.start(command, run)
            self.started.emit(command.step)
        except ProblemError as error:
            self._report_error(error)

    def request_evaluation(self, command: commands.Evaluate, run: RunFolder) -> None:
        """Start or continue an evaluation of a run."""
        self._chain = False
        try:
            self._check_free()
            self._jobs.start(command, run)
        except ProblemError as error:
            self._report_error(error)

    def stop(self) -> None:
        """Stop training after this step, or cancel a job that has nothing to keep; nothing follows."""
        self._chain = False
        if self._jobs.kind == "train" and self._jobs.has_steps:
            self._jobs.stop()
        else:
            self._jobs.cancel()

    def pause(self) -> None:
        """Pause training after this step; nothing follows."""
        self._chain = False
        self._jobs.pause()

    def follow_latest(self) -> str | None:
        """Follow the latest run, and return the step of its running job, if any."""
        self._chain = False
        folder = self._state.runs_folder
        run = run_folder.find_latest(folder) if folder else None
        if run is None:
            return None
        self._jobs.attach(run)
        return "training" if run.is_running() else None

    def start_run(self, run: RunFolder, *, resume: bool = False, show: bool = True) -> None:
        """Train an existing run, such as one of the queue; raise ProblemError if it can't start.

        With `show`, open the page that shows the training.
        """
        self._chain = False
        self._check_free()
        self._jobs.start(commands.Train(run=str(run.path), resume=resume), run)
        if show:
            self.started.emit(commands.Train.step)

    def open_run(self, run: RunFolder) -> None:
        """Use an earlier run for merging and export."""
        self._chain = False
        try:
            if run != self._jobs.run:
                self._check_free()
        except ProblemError as error:
            self._report_error(error)
            return
        self._jobs.attach(run)
        self._state.messages.success(tr("Merge, Export, and the curves on Train now use this run."))

    # --- inside -------------------------------------------------------------------------------

    def _start(self, kind: str) -> None:
        self._check_free()
        if not (self._state.save() and self._state.require_accepted()):
            return
        on_ollama = kind.startswith("create_ollama")
        steps: tuple[Step, ...] = (
            "model",
            "export" if on_ollama else _get_step(kind),
        )
        needed = [problem for step in steps for problem in self._state.list_problems(step)]
        problems = (
            needed if kind in ("merge", "export") or on_ollama else self._state.list_problems()
        )
        if errors := checks.filter_errors(problems):
            raise ProblemError(errors[0])
        command, run = self._new_run() if kind == "train" else self._on_run(kind)
        self._jobs.start(command, run)
        self.started.emit(command.step)

    def _check_free(self) -> None:
        if self._jobs.running:
            raise fail(
                "run.busy", "A job is already running.", "Wait until it finishes, or stop it."
            )

    def _make_run(self) -> RunFolder:
        folder, runs = self._state.draft.folder, self._state.runs_folder
        assert folder is not None
        assert runs is not None
        return run_folder.create_run(runs, self._state.draft.freeze(), folder)

    def _new_run(self) -> tuple[commands.Train, RunFolder]:
        run = self._make_run()
        return commands.Train(run=str(run.path)), run

    def _on_run(
        self, kind: str
    ) -> tuple[
        commands.Train | commands.Merge | commands.Export | commands.CreateOllama, RunFolder
    ]:
        folder, run = self._state.draft.folder, self._state.run
        assert folder is not None
        if run is None:
            raise fail("run.none", "This project has no runs.", "Train an adapter first.")
        if kind == "resume":
            return commands.Train(run=str(run.path), resume=True), run
        step: RecordedStep = "merge" if kind == "merge" else "export"
        if kind.startswith("create_ollama"):
            step = "create_ollama"
        step_records.update_settings(run, self._state.draft.freeze().resolve(folder), step)
        if step == "create_ollama":
            anyway = kind == "create_ollama_anyway"
            return commands.CreateOllama(run=str(run.path), force=True, anyway=anyway), run
        command = commands.Merge if kind == "merge" else commands.Export
        return command(run=str(run.path)), run

    def _report_error(self, error: ProblemError) -> None:
        self._chain = False
        for problem in error.problems:
            self._state.messages.problem(problem)

    def _on_changed(self) -> None:
        jobs = self._jobs
        self._state.set_run(jobs.run, jobs.kind, stopping=jobs.stopping, pausing=jobs.pausing)

    def _on_event(self, event: object) -> None:
        match event:
            case events.Started():
                self._warnings = []
            case events.Warned() if self._state.is_missing_unchosen_ollama(event.problem):
                return
            case events.Warned():
                self._warnings = [*self._warnings, event.problem]
            case events.ModelLoaded():  # the job that it waited for has ended
                self._warnings = [item for item in self._warnings if item.code != "device.busy"]
            case events.Recovered():
                if self._jobs.running:  # not for a run that is only displayed
                    self._state.messages.warning(localize(event.text))
                return
            case _:
                return
        self._state.report("job", self._warnings)

    def _on_ended(self, kind: str, ending: events.Ending) -> None:
        messages = self._state.messages
        match ending:
            case events.Done(paused=True) if kind == "evaluate":
                messages.success(
                    tr("The evaluation is paused. To continue, select Continue evaluation.")
                )
            case events.Done(paused=True):
                self._chain = False
                messages.success(tr("Training is paused. To continue, select Resume."))
            case events.Done(stopped=False) if self._chain and kind in _NEXT:
                try:
                    self._start(_NEXT[kind])
                except ProblemError as error:
                    self._report_error(error)
            case events.Done(stopped=True):
                messages.success(tr("Training stopped. The adapter was saved."))
            case events.Done():
                messages.success(tr(_DONE[kind]))
            case events.Failed():
                messages.problem(ending.problem)
            case events.Cancelled():
                messages.info(tr("Canceled. Everything saved before is intact."))


def _get_step(kind: str) -> Step:
    """Return the step of a job; `resume` trains as well."""
    command = commands.COMMANDS.get(kind, commands.Train)
    return command.step or "training"
