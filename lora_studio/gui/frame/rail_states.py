"""The state of each step that the rail shows: to do, ready, problem, running or paused."""

from __future__ import annotations

from lora_studio.core.project import checks
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui.frame.rail import RailState
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.state import ProjectState

#: Steps that end with the result of a job; the others only have settings.
_JOB_STEPS = ("training", "merging", "export")


def get_step_state(page: StepPage, state: ProjectState, jobs: JobControl) -> RailState:
    """Return the state of a page's step; a running job ranks before problems."""
    if state.draft.path is None:
        return RailState("todo", "")
    if jobs.running and COMMANDS[jobs.kind].step == page.step:
        share = jobs.progress.share
        doing = tr("stopping") if jobs.stopping else tr("running")
        doing = tr("pausing") if jobs.pausing else doing
        return RailState("running", doing if share is None else f"{doing}, {100 * share:.0f} %")
    problems = checks.filter_by_step(state.list_problems(), page.step)
    errors = [item for item in checks.filter_errors(problems) if not item.code.endswith(".none")]
    if errors:
        return RailState("problem", tr_n("{n} problem", "{n} problems", len(errors)))
    if outdated := page.describe_outdated():
        return RailState("paused", outdated)
    if page.is_done():
        if unchecked := page.describe_unchecked():
            return RailState("todo", unchecked)
        return RailState("ready", tr("done") if page.step in _JOB_STEPS else tr("ready"))
    resting = page.describe_paused()
    is_optional = page.step == "merging" and state.exports_without_merge()
    waiting = tr("optional") if is_optional else tr("to do")
    return RailState("paused" if resting else "todo", resting or waiting)


def describe_saved(state: ProjectState) -> str:
    """Return text that says whether the project is saved."""
    if state.draft.path is None:
        return ""
    if state.draft.read_only is not None:
        return tr("read-only, not saved") if state.dirty else tr("read-only")
    return tr("not saved") if state.dirty else tr("saved")
