"""Shared parts of commands: model arguments, rejected input, questions to a worker, JSON output."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.client import worker as client_worker
from lora_studio.client.worker import iter_until_ended
from lora_studio.core import formatting, problems
from lora_studio.core.messages import READABLE, join_sentences
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project import access_requests, presets
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.spec import Spec
from lora_studio.core.system import consent
from lora_studio.core.system.paths import expand_home

ProjectArgument = Annotated[Path, typer.Argument(help="Project folder or .lorastudio file.")]
RunArgument = Annotated[Path, typer.Argument(help="Run folder, inside a project's runs folder.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a setting for this run, for example --set training.epochs=1."
    ),
]
PresetOption = Annotated[
    str,
    typer.Option(help=f"Preset: {formatting.join_names([p.name for p in presets.PRESETS], 'or')}."),
]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")]
JsonObjectOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MaxLengthOption = Annotated[int, typer.Option(min=16, help="Maximum sequence length in tokens.")]

_Command = TypeVar("_Command", bound=Callable[..., None])
_Answer = TypeVar("_Answer", bound=events.Event)


def parse_model(source: str) -> ModelSpec:
    """Return the model that an option names; a local path is made absolute."""
    local = expand_home(Path(source))
    return ModelSpec(source=str(local.resolve()) if local.exists() else source)


@contextmanager
def exit_on_problem(display: Display) -> Iterator[None]:
    """Show problems and invalid option values raised inside, and exit with 2."""
    try:
        yield
    except ProblemError as error:
        display.print_problems(error.problems)
        raise typer.Exit(headless.REFUSED) from None
    except ValidationError as error:
        display.print_problems([_make_invalid_problem(error)])
        raise typer.Exit(headless.REFUSED) from None


def add_spec_options(spec: type[Spec], **defaults: Any) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command an option for each field of a spec.

    The command receives them as `**options`. `defaults` override the defaults of the spec.
    """

    def decorate(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, field.default),
                annotation=Annotated[field.annotation, typer.Option(help=field.description)],
            )
            for name, field in spec.model_fields.items()
        ]
        *parameters, _ = signature.parameters.values()
        command.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]  # Typer reads it
        return command

    return decorate


def collect_answers(command: commands.Question, display: Display) -> list[events.Event]:
    """Return all events about one question; shows a progress bar on a terminal.

    If the engine can't start, the answer is `Failed`. Ctrl+C ends the worker and exits.
    """
    try:
        worker = client_worker.Worker.start()
    except ProblemError as error:
        return [events.Failed(problem=error.problems[0])]
    try:
        worker.send(command)
        return list(display.show_progress(iter_until_ended(worker, command.id)))
    except KeyboardInterrupt:
        worker.kill()
        worker.close()
        raise typer.Exit(headless.INTERRUPTED) from None


def ask(command: commands.Question, kind: type[_Answer], display: Display) -> _Answer:
    """Return the event that answers a question; shows a failure and exits."""
    replies = collect_answers(command, display)
    for event in replies:
        match event:
            case events.Failed():
                display.print_problems([event.problem])
                raise typer.Exit(headless.FAILED)
            case events.Cancelled():
                raise typer.Exit(headless.INTERRUPTED)
            case events.Warned():
                display.print_problem(event.problem)
    return next(event for event in replies if isinstance(event, kind))


def ask_all(questions: Sequence[commands.Question], display: Display) -> list[events.Event]:
    """Return all events about several questions to one worker; raises ProblemError."""
    worker = client_worker.Worker.start()
    replies: list[events.Event] = []
    try:
        for question in questions:
            worker.send(question)
        waiting = {question.id for question in questions}
        for event in display.show_progress(worker.iter_events()):
            replies.append(event)
            match event:
                case events.Failed() if event.id in waiting:
                    raise ProblemError(event.problem)
                case events.Done() | events.Cancelled() if event.id in waiting:
                    waiting.discard(event.id)
                    if not waiting:
                        break
    finally:
        worker.kill()
        worker.close()
    return replies


def print_json(value: Any, **first: Any) -> None:
    """Print plain data, or an event without its protocol fields and after `first`, as JSON."""
    if isinstance(value, events.Event):
        fields = value.model_dump(mode="json", context=READABLE, exclude={"id", "time", "kind"})
        value = first | fields
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _make_invalid_problem(error: ValidationError) -> Problem:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "value"
    return problems.error(
        "command.invalid",
        "{name}: {reason}.",
        "Change the value, or omit the option.",
        where=Where(field=name),
        name=name,
        reason=first["msg"].removeprefix("Value error, "),
    )


#: Kinds of requests that data can leave by; without a terminal to ask at, they need `--trust`.
_NEEDS_TRUST = ("send", "write")


def ask_for_project(draft: Draft, display: Display) -> None:
    """Show once what a project from elsewhere asks for, and ask; raises ProblemError.

    Judges and code are asked for when they are used.
    """
    judges, everything = (
        access_requests.list_unallowed_judges(draft),
        access_requests.list_requests(draft),
    )
    if requests := access_requests.list_new_requests(draft, everything):
        display.print_problem(
            warning(
                "project.new_requests",
                "You use this project for the first time on this computer, or it was changed. It asks "
                "for the following: {requests}",
                "If you don't expect that, stop, and check the project file.",
                where=Where(file=str(draft.path)),
                requests=join_sentences([request.text for request in requests]),
            )
        )
        asked = [request for request in requests if request not in judges]
        _require_consent(asked, str(draft.path), display)
    access_requests.accept_requests(
        draft, [request for request in everything if request not in judges]
    )


def ask_for_job(command: commands.Job | commands.Question, display: Display) -> None:
    """Show what the runs of a command ask for if they come from elsewhere, and ask; raises ProblemError."""
    for run in (RunFolder(Path(path)) for path in command.list_runs()):
        try:
            frozen = run.load_project()
        except ProblemError:
            continue  # the job says so
        ask_for_run(run, frozen, display)


def ask_for_run(run: RunFolder, frozen: Project, display: Display) -> None:
    """Show what a run from elsewhere asks for, and ask; raises ProblemError."""
    if requests := access_requests.list_unallowed_of_run(run.path, frozen):
        display.print_problem(
            warning(
                "run.new_requests",
                "This run was created by someone else or on another computer. It asks for the following: {requests}",
                "If you don't expect that, stop, and delete the run.",
                where=Where(file=str(run.path)),
                requests=join_sentences([request.text for request in requests]),
            )
        )
        _require_consent(requests, str(run.path), display)
        access_requests.allow_requests(requests)


def _require_consent(requests: Sequence[AccessRequest], path: str, display: Display) -> None:
    """Ask at a terminal; elsewhere, what data can leave by must be allowed by its hash.

    To type the name of a project allows its model and its data, which are only read.
    """
    digest = access_requests.compute_run_digest(requests)
    if not requests or consent.is_trusted_here(digest):
        return
    if not display.as_json and sys.stdin.isatty() and sys.stderr.isatty():
        is_allowed = typer.confirm("Continue?", default=False, err=True)
    else:
        is_allowed = not any(request.kind in _NEEDS_TRUST for request in requests)
    if is_allowed:
        return
    raise fail(
        "project.access_not_allowed",
        "Nothing was started: you haven't allowed what the project asks for.",
        "If you expect it, run `lora-studio --trust {digest} …`.",
        where=Where(file=path),
        digest=digest,
    )
