"""Ask on the command line before a project or run from elsewhere reads, writes, or contacts anything outside its folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from lora_studio.cli.console import Display
from lora_studio.core.messages import join_sentences
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project import (
    access_requests,
    judge_consent,
    known_projects,
    run_consent,
)
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent

#: Kinds of requests that data can leave by; without a terminal to ask at, they need `--trust`.
_NEEDS_TRUST = ("send", "write")


def ask_for_project(draft: Draft, display: Display) -> None:
    """Show once what a project from elsewhere asks for, and ask; raises ProblemError.

    Judges and code are asked for when they are used.
    """
    judges, everything = judge_consent.list_unallowed(draft), access_requests.list_requests(draft)
    if requests := known_projects.list_new(draft, everything):
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
    known_projects.accept(draft, [request for request in everything if request not in judges])


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
    if requests := run_consent.list_unallowed(run.path, frozen):
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
        run_consent.remember(requests)


def _require_consent(requests: Sequence[AccessRequest], path: str, display: Display) -> None:
    """Ask at a terminal; elsewhere, what data can leave by must be allowed by its hash.

    To type the name of a project allows its model and its data, which are only read.
    """
    digest = run_consent.compute_digest(requests)
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
