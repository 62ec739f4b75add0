"""Damage in a run folder: it is named, made good where possible, and never delivered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from tests.engine.training.test_best_adapter import eval_losses, start  # noqa: F401
from tests.helpers.runs.jobs import handle, train

WEIGHTS = "adapter_model.safetensors"


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-20] ^= 0xFF
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


DAMAGE = [halve, flip, empty, Path.unlink]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that `finished` copies; the first test trains it."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def finished(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    eval_losses: Callable[[list[float]], None],  # noqa: F811 - likewise
    trained: Path,
) -> RunFolder:
    """A run whose best adapter is not its last one."""
    eval_losses([1.5, 1.7])
    run = start()
    if not trained.exists():
        train(run)
        shutil.copytree(run.path, trained)
    shutil.copytree(trained, run.path, dirs_exist_ok=True)
    return run


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_damaged_best_adapter_is_never_delivered(
    finished: RunFolder, damage: Callable[[Path], None]
) -> None:
    damage(finished.get_best_adapter(4) / WEIGHTS)
    damage(finished.adapter / WEIGHTS)
    resumed = train(finished, resume=True)
    codes = [event.problem.code for event in resumed.of(events.Warned)]
    assert codes == ["training.best_damaged"]
    assert resumed.last(events.AdapterSaved).best_loss is None
    assert load_file(finished.adapter / WEIGHTS)
    assert checksums.find_damage(finished, finished.adapter) is None


def test_saved_adapter_stays_when_only_its_source_is_damaged(finished: RunFolder) -> None:
    whole = (finished.adapter / WEIGHTS).read_bytes()
    halve(finished.get_best_adapter(4) / WEIGHTS)
    resumed = train(finished, resume=True)
    assert resumed.last(events.AdapterSaved).step == 4
    assert (finished.adapter / WEIGHTS).read_bytes() == whole


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_damaged_adapter_is_not_merged_but_resume_rewrites_it(
    finished: RunFolder, damage: Callable[[Path], None]
) -> None:
    damage(finished.adapter / WEIGHTS)
    merged = handle(commands.Merge(run=str(finished.path)))
    assert merged.last(events.Failed).problem.code == "run.damaged_adapter"
    assert not finished.has_merged
    assert train(finished, resume=True).of(events.Done)
    assert checksums.find_damage(finished, finished.adapter) is None


@pytest.mark.slow
def test_damaged_sample_answers_do_not_stop_a_resume(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
) -> None:
    run = start(sample_prompts=["Hi"], sample_tokens=2, epochs=1)
    train(run)
    whole = run.samples_file.read_bytes()
    for content in (b"", b"{", b"[]", b'{"base": 7}', b"\xff", b"[" * 99_999):
        run.samples_file.write_bytes(content)
        assert train(run, resume=True).of(events.Done), content
        assert run.samples_file.read_bytes() in (whole, content), content


@pytest.mark.parametrize(
    "content", ["{\n", "[]\n", '{"messages": 7}\n', '{"messages": [{"role": 1}]}\n', "null\n"]
)
def test_damaged_held_out_rows_are_named(tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path)
    run.heldout_file.write_text(content)
    with pytest.raises(ProblemError) as raised:
        read_heldout(run)
    (problem,) = raised.value.problems
    assert (problem.code, problem.where.file) == ("run.damaged_file", str(run.heldout_file))


def test_link_in_a_run_stops_a_job_before_it_writes(finished: RunFolder, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "diary.txt").write_text("Dear diary")
    (finished.path / "merged").symlink_to(private)
    ended = handle(commands.Merge(run=str(finished.path)))
    assert ended.last(events.Failed).problem.code == "run.link"
    assert [file.name for file in private.iterdir()] == ["diary.txt"]
