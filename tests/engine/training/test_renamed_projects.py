"""A project that was moved and renamed with its runs: everything that reads or changes a run still succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.cli.serve import make_command
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.runs import damaged_runs, run_verbs
from tests.helpers.runs.damaged_runs import Damage, RunPair

#: Verbs that need a run that isn't finished, or that is running.
_NOT_FINISHED = {"resume", "cli pause"}


def rename(pair: RunPair, target: Path) -> RunFolder:
    """Move and rename the project folder, the project file, and the run; return the run."""
    target.parent.mkdir()
    pair.run.path.parent.parent.rename(target)
    (target / "pim.lorastudio").rename(target / "Zoë.lorastudio")
    run = target / "runs" / pair.run.path.name
    return RunFolder(run.rename(run.with_name("best so far")))


def find_faults(run: RunFolder, verb: str) -> list[str]:
    """Carry out a verb; return what is wrong with its result."""
    before = run_verbs.take_snapshot(run)
    outcome = run_verbs.VERBS[verb](run)
    faults = run_verbs.find_faults(before, before, run, Damage(".", "rename"), verb, outcome)
    if not outcome.is_done:
        faults.append(f"not done: {outcome.codes} {outcome.output[-500:]}")
    return [f"{verb}: {fault}" for fault in faults]


@pytest.mark.slow
@pytest.mark.thorough
def test_finished_run_of_renamed_project_does_all(tmp_path: Path) -> None:
    pair = damaged_runs.build_finished(tmp_path / "project", rates=(5e-3,))
    run = rename(pair, tmp_path / "elsewhere" / "Zoë's 2nd project")
    faults = []
    for verb in run_verbs.LIGHT | run_verbs.HEAVY:
        if verb not in _NOT_FINISHED:
            faults += find_faults(run, verb)
    assert not faults, "\n".join(faults)
    assert Path(make_command([str(run.path)], port=0, adapter=False, llama_cpp=None).file).is_file()


@pytest.mark.slow
def test_interrupted_run_of_renamed_project_resumes(tmp_path: Path) -> None:
    pair = damaged_runs.build_interrupted(tmp_path / "project", rates=(5e-3,))
    run = rename(pair, tmp_path / "elsewhere" / "Zoë's 2nd project")
    assert not find_faults(run, "resume")
    assert run.read_state() == "trained"
