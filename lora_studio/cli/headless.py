"""Run the steps of a project one after another, without a window."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lora_studio.cli import common
from lora_studio.cli.console import Display, print_report
from lora_studio.client import (
    oom_supervisor,
    sleep_inhibitor,
)
from lora_studio.client import (
    worker as client_worker,
)
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import Link, find_unfinished_command, iter_until_ended
from lora_studio.core.messages import NO_TEXT, Text, listed, text
from lora_studio.core.problems import STEPS, Problem, ProblemError, Step, Where, fail
from lora_studio.core.project import access_requests, checks, presets, project
from lora_studio.core.project.project import SETTINGS, SPECS, Draft
from lora_studio.core.project.search_terms import suggest_settings
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_label_report, get_task
from lora_studio.core.spec import get_facts
from lora_studio.core.training import recipe_checks

#: Exit status of a failed job, of invalid input, and of a job that the user ended.
FAILED, REFUSED, INTERRUPTED = 1, 2, 130

#: Exit status of a proof by its outcome; `not_proven` is without a difference, but not all could be asked.
PROOF_STATUSES = {"proven": 0, "different": FAILED, "not_proven": 3, "proven_in_part": 4}

STAGES: dict[str, type[commands.Train] | type[commands.Merge] | type[commands.Export]] = {
    "Train": commands.Train,
    "Merge": commands.Merge,
    "Export": commands.Export,
}


def open_project(
    path: Path, overrides: Sequence[str], display: Display, preset: str = ""
) -> Draft | None:
    """Return the draft of a valid project; otherwise show all problems and return None.

    A preset is applied before the overrides, and its changes are shown.
    """
    try:
        draft = project.load(path)
        common.ask_for_project(draft, display)
        if preset:
            chosen = presets.find_preset(preset)
            changes = tuple(item.text for item in presets.apply_preset(draft, chosen))
            display.print_note(
                text("Preset {preset}: {changes}.", preset=chosen.title, changes=changes)
                if changes
                else text("Preset {preset}: no changes.", preset=chosen.title)
            )
            if chosen.evidence:
                display.print_note(text(chosen.evidence))
        apply_overrides(draft, overrides, display)
        if any(override.startswith("training.rewards") for override in overrides):
            # the user has typed them
            access_requests.accept_requests(draft, access_requests.list_requests(draft))
    except ProblemError as error:
        display.print_problems(error.problems)
        return None
    problems = checks.check(draft)
    if checks.filter_errors(problems):
        display.print_problems(problems)
        return None
    for problem in problems:
        display.print_problem(problem)
    return draft


def apply_overrides(draft: Draft, overrides: Sequence[str], display: Display) -> None:
    """Apply `step.field=value` settings; raises ProblemError if one doesn't exist.

    Settings that follow one of them, such as alpha the rank, are changed and shown.
    """
    parsed = [_parse_override(draft, override) for override in overrides]
    linked = presets.list_linked_changes(draft.get, parsed)
    for step, field, value in linked:
        draft.set(step, field, value)
    for step, field, value in linked[len(parsed) :]:
        display.print_note(
            text(
                "{setting} is set to {value:d}, which keeps its ratio to the rank. Set it yourself "
                "with --set to change that.",
                setting=f"{step}.{field}",
                value=value,
            )
        )


def _parse_override(draft: Draft, override: str) -> tuple[Step, str, Any]:
    setting, equals, value = override.partition("=")
    step_name, _, field = setting.strip().partition(".")
    step = next((step for step in STEPS if step == step_name), None)
    where = Where(step=step, field=field if equals else None)
    if step is None or field not in SPECS[step].model_fields:
        suggested = suggest_settings(setting, SETTINGS)
        if suggested:
            remedy = "Did you mean {suggested}?"
        elif step:
            remedy = "Use step.field=value. Fields of {step}: {names}."
        else:
            remedy = "Use step.field=value. Steps: {names}."
        raise fail(
            "project.unknown_field",
            "Unknown setting: {override}.",
            remedy,
            where=where,
            override=override,
            step=step or "",
            suggested=listed(suggested, "or"),
            names=tuple(SPECS[step].model_fields) if step else STEPS,
        )
    if not equals:
        raise fail(
            "project.no_value",
            "--set {setting} has no value.",
            "Use --set {setting}=VALUE.",
            where=where,
            setting=setting.strip(),
        )
    if not isinstance(draft.get(step, field), (list, tuple)):
        return step, field, value
    return step, field, _parse_list(step, field, value)


def _parse_list(step: Step, field: str, value: str) -> list[Any]:
    """Return the entries of a list: of a JSON list or object, else separated by commas, or by lines where
    entries have commas; raises ProblemError for JSON that ends early.
    """
    begins_json = re.match(r"\s*(\{|\[\s*[\[{\"\]])", value)
    try:
        parsed = json.loads(value) if value.lstrip().startswith(("[", "{")) else None
    except ValueError as error:
        if begins_json:
            raise fail(
                "project.invalid_json",
                "--set {setting}: the value isn't valid JSON: {reason}.",
                "Put the value in single quotes, and names and texts inside it in double quotes.",
                where=Where(step=step, field=field),
                setting=f"{step}.{field}",
                reason=str(error),
            ) from None
        parsed = None
    if parsed is not None:
        return parsed if isinstance(parsed, list) else [parsed]
    between = "\n" if get_facts(SPECS[step], field).lines else ","
    return [part.strip() for part in value.split(between) if part.strip()]


def create_run(draft: Draft) -> RunFolder:
    """Create a run folder for a valid draft; raises ProblemError."""
    assert draft.folder is not None
    return folder.create_run(draft.folder / "runs", draft.freeze(), draft.folder)


def run_stages(run: RunFolder, stages: Sequence[str], display: Display) -> int:
    """Run stages on a run and return 0, or the exit status of the first one that failed.

    A stage that completes but fails its self-test doesn't stop the next; the status is 1 in the end.
    A reward model is only trained, and a classifier isn't exported.
    Ctrl+C stops training after the current step and keeps the adapter; a second one cancels. SIGTERM
    pauses training, so that `resume` can continue it.
    """
    is_as_trained = True
    for stage in stages:
        task = get_task(run.read_manifest())
        if stage == "Export" and task is not None and task.has_classes:
            display.print_line(
                text(
                    "A classifier isn't exported as GGUF. The merged model: {folder}",
                    folder=str(run.merged),
                )
            )
            break
        display.print_title(stage)
        command = STAGES[stage](run=str(run.path))
        if status := run_stage(command, display):
            return status
        is_as_trained = is_as_trained and not has_failed_selftest(run, command)
        if stage == "Train" and len(stages) > 1 and (reason := explain_end(run)):
            display.print_line(reason)
            break
    return 0 if is_as_trained else FAILED


def explain_end(run: RunFolder) -> Text:
    """Return why a trained run is neither merged nor exported, "" if it can be; raises ProblemError."""
    task = get_task(run.read_manifest())
    folder = str(run.adapter)
    if task is not None and task.is_reward_model(run.load_project().training.preference):
        return text(
            "A reward model scores answers and can't write them, so it is neither merged nor "
            "exported. Its adapter: {folder}",
            folder=folder,
        )
    return NO_TEXT


def has_failed_selftest(run: RunFolder, command: commands.Job) -> bool:
    """Return whether a self-test of this command found something that wasn't trained.

    After an export from base and adapter, the merged model's own test doesn't count.
    """
    mine = [e for e in run.iter_events_of("self_tested", "gguf_written") if e.id == command.id]
    written = [event for event in mine if isinstance(event, events.GgufWritten)]
    tested = [event for event in mine if isinstance(event, events.SelfTested)]
    return not all(t.passed for t in selftest_report.list_tests_of_files(written, tested))


def run_stage(command: commands.Job, display: Display) -> int:
    """Run one stage and return 0 only if it completed without being stopped or paused."""
    ending = perform(command, display)
    if isinstance(ending, events.Done) and isinstance(command, commands.Train):
        _print_label_table(RunFolder(Path(command.run)), display)
    if isinstance(ending, events.Done) and (ending.stopped or ending.paused):
        return INTERRUPTED
    return get_exit_status(ending)


def _print_label_table(run: RunFolder, display: Display) -> None:
    """Print how well a trained classifier predicts each label; nothing for other tasks."""
    if not display.as_json and (report := get_label_report(run.read_manifest())) is not None:
        print_report(report, display)


def perform(command: commands.Job, display: Display) -> events.Ending | None:
    """Run one job in its own worker, show its events, and keep the system awake until it ends."""
    display.outlive_output()  # as with a closed terminal
    links: list[Link] = []
    start = oom_supervisor.RestartingWorker.start
    try:
        common.ask_for_job(command, display)
        with (
            forward_ctrl_c(links, command),
            sleep_inhibitor.prevent_sleep(f"LoRA Studio: {command.kind}"),
        ):
            stream: Iterator[events.Event] = client_worker.perform(command, links.append, start)
            if isinstance(command, commands.Train):
                stream = _add_recipe_warnings(stream, RunFolder(Path(command.run)))
            return display.follow(stream)
    except ProblemError as error:
        display.print_problems(error.problems)
        return events.Failed(problem=error.problems[0])


def _add_recipe_warnings(stream: Iterator[events.Event], run: RunFolder) -> Iterator[events.Event]:
    """Yield the events of a training, and warnings about its recipe once the task of its data is known.

    The Train page shows them beside the settings.
    """
    for event in stream:
        yield event
        if isinstance(event, events.RowCounts):
            for problem in recipe_checks.check_for(event.task, run.load_project().training):
                if problem.severity == "warning":
                    yield events.Warned(id=event.id, problem=problem)


def perform_outside(command: commands.Question, display: Display) -> events.Ending | None:
    """Run a command that doesn't change a run in its own worker, and show its events."""
    try:
        common.ask_for_job(command, display)
        worker = client_worker.Worker.start()
        with forward_ctrl_c([worker], command):
            worker.send(command)
            return display.follow(iter_until_ended(worker, command.id))
    except ProblemError as error:
        display.print_problems(error.problems)
        return events.Failed(problem=error.problems[0])


def watch(run: RunFolder, display: Display) -> int:
    """Show the events of a run from the start and follow it while it is running."""
    oom_supervisor.start_guard(run)
    ending = display.follow(WatchedRun(run).iter_events())
    return 0 if ending is None else get_exit_status(ending)


def pause(run: RunFolder, display: Display) -> int:
    """Pause the training of a run in any worker and wait until it has paused.

    Raises ProblemError if no training is in progress.
    """
    command = find_unfinished_command(run, "train")
    if command is None:
        raise fail(
            "run.not_running",
            "No training is in progress for this run.",
            "List the runs of a project with `lora-studio runs PROJECT`.",
            where=Where(file=str(run.path)),
        )
    watched = WatchedRun(run)
    watched.send(commands.Pause(target=command))
    display.print_note("Training will pause after the current step.")
    ending = None
    for event in watched.iter_events():
        if isinstance(event, events.Ending) and event.id == command:
            ending = event
            display.show(event)
    return get_exit_status(ending)


def get_exit_status(ending: events.Ending | None) -> int:
    """Return the exit status for the ending of a job."""
    match ending:
        case events.Done():
            return 0
        case events.Cancelled():
            return INTERRUPTED
    return FAILED


def find_missing(run: RunFolder, stage: str) -> Problem | None:
    """Return what a stage needs but the run doesn't have, or None."""
    is_ready = {
        "Merge": run.adapter.is_dir(),
        "Export": run.adapter.is_dir() or run.merged.is_dir(),
    }.get(stage, True)
    if is_ready:
        return None
    return Problem(
        code="run.incomplete",
        what="The run has no adapter yet.",
        remedy="Run `lora-studio train` first.",
        where=Where(file=str(run.path)),
    )


@contextmanager
def forward_ctrl_c(links: list[Link], command: commands.Job | commands.Question) -> Iterator[None]:
    """Forward Ctrl+C to the workers: the first stops training and keeps the adapter, the second cancels.

    SIGTERM pauses training. Closing the terminal leaves the job running.
    """
    pressed = 0

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        for link in links:
            if pressed == 1 and isinstance(command, commands.Train):
                link.send(commands.Stop(target=command.id))
            elif pressed <= 2:
                link.cancel(command.id)
            else:
                link.kill()

    def on_terminate(_signal: int, _frame: FrameType | None) -> None:
        for link in links:
            if isinstance(command, commands.Train):
                link.send(commands.Pause(target=command.id))
            else:
                link.cancel(command.id)

    def on_hangup(_signal: int, _frame: FrameType | None) -> None:
        for link in links:
            link.detach()

    handlers: dict[int, Any] = {signal.SIGINT: on_interrupt, signal.SIGTERM: on_terminate}
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:  # not under nohup
        handlers[hangup] = on_hangup
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
