"""The user's consent to what a run reads, writes, or contacts outside its project.

A run may come from somebody else, and names its model, data, adapters, folders, trackers, and servers itself. A job
starts if this user created the run, has opened a project in its folder that asks for the same, or has allowed exactly
these requests. Code is asked for by its content (`core/system/consent.py`), judges in `judge_consent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lora_studio.core.messages import join_sentences
from lora_studio.core.problems import STEPS, Where, fail
from lora_studio.core.project import known_projects
from lora_studio.core.project.access_requests import RUNS, AccessRequest, list_requests_outside
from lora_studio.core.project.project import SUFFIX, Draft, Project
from lora_studio.core.system import consent
from lora_studio.core.system.consent import DigestRecord

_RECORD = DigestRecord("allowed_runs.json")


def list_requests(run: Path, frozen: Project) -> list[AccessRequest]:
    """Return what a run asks for outside its project; the paths of `frozen` are absolute."""
    home = find_home(run)
    values = {step: frozen.get_spec(step).model_dump() for step in STEPS}
    return list_requests_outside(Draft(frozen.name, values, home / f"run{SUFFIX}"))


def is_allowed(run: Path, frozen: Project) -> bool:
    """Return whether the user has allowed all that a run asks for."""
    return not list_unallowed(run, frozen)


def list_unallowed(run: Path, frozen: Project) -> list[AccessRequest]:
    """Return what a run asks for if the user hasn't allowed it: all of it, because it is allowed as a whole."""
    requests = list_requests(run, frozen)
    if not requests or consent.is_trusted_here(digest := compute_digest(requests)):
        return []
    accepted = known_projects.list_accepted(find_home(run))
    if digest in _RECORD or all(request.key in accepted for request in requests):
        return []
    return requests


def find_home(run: Path) -> Path:
    """Return the folder that a run may read: that of its project, or its own if it isn't in one.

    A folder is that of a project if it has a project file; `~/runs` makes no project of `~`.
    """
    run = run.resolve()
    folder = run.parent.parent
    return folder if run.parent.name == RUNS and any(folder.glob(f"*{SUFFIX}")) else run


def remember(requests: Sequence[AccessRequest]) -> None:
    """Record that the user allows a run to do this; if that can't be stored, it counts for this process.

    The requests are those that the user was shown, or those of a run that this user has created.
    """
    if requests and not _RECORD.add(digest := compute_digest(requests)):
        consent.trust_in_this_process([digest])


def require_allowed(run: Path, frozen: Project) -> None:
    """Raise ProblemError if a run asks for something that the user hasn't allowed."""
    if requests := list_unallowed(run, frozen):
        raise fail(
            "run.access_not_allowed",
            "This run was created by someone else or on another computer. It asks for something that you "
            "haven't allowed yet: {requests}",
            "If you expect that, allow it in the window, or run `lora-studio --trust {digest} …`.",
            where=Where(file=str(run)),
            requests=join_sentences([request.text for request in requests]),
            digest=compute_digest(requests),
        )


def compute_digest(requests: Sequence[AccessRequest]) -> str:
    """Return the hash under which the user can allow requests."""
    keys = sorted(request.key for request in requests)
    return consent.compute_digest("\0".join(["run", *keys]).encode("utf-8", "surrogatepass"))
