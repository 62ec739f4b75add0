"""Runs that train on another machine: the exported files, the command, and the way back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests
from lora_studio.core.protocol import commands, events
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.runs import cluster
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.engine import cluster as engine_cluster
from lora_studio.engine import worker_rank
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.runtime.torch_settings import ALLOCATOR_VARIABLES
from lora_studio.engine.training.distributed import launch
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import handle, new_run, write_rows
from tests.helpers.servers.ports import free_port

ROWS = [{"instruction": f"What is {n}?", "output": f"It is {n}, said Pim."} for n in range(20)]


@pytest.fixture
def here(tiny: TinyModel, tmp_path: Path) -> RunFolder:
    """A run whose model and two data sources are outside its folder."""
    first = write_rows(tmp_path / "rows.jsonl", ROWS)
    second = write_rows(tmp_path / "more" / "rows.jsonl", ROWS[:4])
    return new_run(
        tmp_path,
        model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu:2"},
        dataset={"sources": [str(first), str(second.parent)], "validation_share": 0.2},
        training={"epochs": 1, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3},
        lora={"rank": 4, "alpha": 8},
    )


def test_export_contains_everything_with_relative_paths(here: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cluster.export_run(here, out)
    written = (out / "project.toml").read_text("utf-8")
    assert str(tmp_path) not in written.partition("[merging]")[0]
    moved = tmp_path / "elsewhere"
    out.rename(moved)
    there = RunFolder(moved).load_project()
    assert there.model.source == str(moved / "model")
    assert [source.path for source in there.dataset.sources] == [
        str(moved / "data" / "1" / "rows.jsonl"),
        str(moved / "data" / "2" / "more"),
    ]
    assert (moved / "model" / "config.json").is_file()
    assert not cluster.list_missing_files(RunFolder(moved))
    assert os.access(moved / "train.sh", os.X_OK)
    assert (moved / "train.sh").read_text("utf-8").count("accelerate launch") == 1
    for name in ("README.md", "train.slurm", "train.sh"):
        assert "@" not in (moved / name).read_text("utf-8").replace("${BASH[@]}", "").replace("TERM@120", "").replace('"$@"', "")  # fmt: skip
    assert "lora-studio[engine]==" in (moved / "README.md").read_text("utf-8")


def test_consent_for_the_cluster_is_named_and_given_there(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "score.py"
    code.write_text("def score(prompt, answer, row):\n    return 1.0\n")
    rewards = [
        {"kind": "python", "code_file": str(code), "function": "score"},
        {"kind": "judge", "address": "https://judge.example/v1", "model": "m", "criteria": "Good?"},
    ]
    run = new_run(
        tmp_path,
        model={"source": str(tiny("llama3"))},
        dataset={"sources": [str(write_rows(tmp_path / "rows.jsonl", ROWS)), "org/rows"]},
        training={"rewards": rewards, "trackers": ["wandb"]},
    )
    out = tmp_path / "out"
    told = access_requests.describe_cluster_consents(
        access_requests.list_cluster_consents(run.load_project())
    )
    assert told is not None
    for part in ("Weights & Biases", "judge.example", "score.py", "org/rows"):
        assert part in str(told.what)
    cluster.export_run(run, out)
    options = str(told.remedy).partition("./train.sh ")[2].partition("`")[0]
    assert f"./train.sh {options}" in (out / "README.md").read_text("utf-8")
    assert f"add: {options}" in (out / "train.slurm").read_text("utf-8")

    code.unlink()
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "there"))
    monkeypatch.setenv(consent.TRUST_VARIABLE, "")
    there = RunFolder(out.rename(tmp_path / "elsewhere"))
    frozen = there.load_project()
    copied, judge = frozen.training.rewards
    checks: list[Callable[[], object]] = [
        lambda: access_requests.require_run_allowed(there.path, frozen),
        lambda: spec_module.read_trusted_source(Path(copied.code_file)),
        lambda: access_requests.require_judge_allowed(judge, "judge"),
    ]
    for check in checks:
        with pytest.raises(ProblemError, match="haven't allowed"):
            check()
    consent.trust_in_this_process(engine_cluster._read_trusted(options.split()))
    for check in checks:
        check()


def test_no_rank_joins_without_consent(
    here: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "there"))
    monkeypatch.setenv(consent.TRUST_VARIABLE, "")
    monkeypatch.setattr(launch, "join_launched_ranks", lambda *_: pytest.fail("joined"))
    monkeypatch.setattr(worker_rank, "ignore_signals", lambda: None)
    assert engine_cluster._follow(here, 1, 2) == 1
    printed = capsys.readouterr().err
    assert "haven't allowed" in printed
    assert "Traceback" not in printed


def test_settings_of_pytorch_are_set_in_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("TORCH_DISABLE_NATIVE_JIT", *ALLOCATOR_VARIABLES)
    for name in (*settings, "RANK"):
        monkeypatch.setenv(name, "")  # restored at the end
        monkeypatch.delenv(name)
    seen: list[object] = []

    def report(*_: object) -> int:
        seen.append(os.environ.get(settings[0]))
        return 0

    monkeypatch.setattr(engine_cluster, "_report", report)
    monkeypatch.setattr(engine_cluster.memory_guard, "make_memory_countable", lambda: None)
    monkeypatch.setattr(sys, "argv", ["cluster", str(tmp_path)])
    monkeypatch.setattr(os, "_exit", seen.append)
    engine_cluster.main()
    assert seen == ["1", 0]


def test_missing_copies_resolve_to_their_original_paths(here: RunFolder, tmp_path: Path) -> None:
    back = cluster.export_run(here, tmp_path / "out").path
    shutil.rmtree(back / "model")
    shutil.rmtree(back / "data")
    ours, theirs = here.load_project(), RunFolder(back).load_project()
    assert theirs.model.source == ours.model.source
    assert theirs.dataset.sources == ours.dataset.sources


def test_missing_model_is_reported(here: RunFolder, tmp_path: Path) -> None:
    run = cluster.export_run(here, tmp_path / "out", with_model=False)
    manifest = run.read_manifest()
    run.update_manifest(taken_along={})  # on the cluster, the original path doesn't exist
    assert [problem.code for problem in cluster.list_missing_files(run)] == ["cluster.missing"]
    run.update_manifest(taken_along=manifest["taken_along"])


def test_link_in_the_run_copies_no_file_of_the_user(here: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    here.checkpoint(2).mkdir(parents=True)
    (here.checkpoint(2) / "training.pt").symlink_to(tmp_path / "key")
    with pytest.raises(ProblemError) as caught:
        cluster.export_run(here, tmp_path / "out")
    assert caught.value.problems[0].code == "run.link"
    assert not (tmp_path / "out").exists()


def test_links_of_a_data_folder_stay_behind(here: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (folder,) = (
        Path(each.path) for each in here.load_project().dataset.sources if Path(each.path).is_dir()
    )
    (folder / "key.jsonl").symlink_to(tmp_path / "key")
    for name in "ab":  # copied, they would be 2⁴⁰ folders
        (folder / name).symlink_to(folder)
    out = cluster.export_run(here, tmp_path / "out").path / "data" / "2" / "more"
    assert not {"key.jsonl", "a", "b"} & {file.name for file in out.iterdir()}


def test_model_folder_with_a_circle_is_not_copied(here: RunFolder, tmp_path: Path) -> None:
    model = shutil.copytree(here.load_project().model.source, tmp_path / "model")
    (model / "again").symlink_to(model)
    frozen = here.load_project()
    spec = frozen.model.model_copy(update={"source": str(model)})
    here.project_file.write_text(frozen.model_copy(update={"model": spec}).to_toml())
    access_requests.allow_requests(
        access_requests.list_run_requests(here.path, here.load_project())
    )
    with pytest.raises(ProblemError) as caught:
        cluster.export_run(here, tmp_path / "out")
    assert caught.value.problems[0].code == "cluster.not_written"


@pytest.mark.slow
def test_started_run_exports_its_checkpoint_and_adapter(
    here: RunFolder, tiny: TinyModel, tmp_path: Path
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "made")
    frozen = here.load_project()
    lora = frozen.lora.model_copy(update={"start_from": str(adapter)})
    training = frozen.training.model_copy(
        update={"eval_every": 1, "sample_rows": 1, "sample_tokens": 2}
    )
    model = frozen.model.model_copy(update={"device": "cpu"})
    changes = {"lora": lora, "training": training, "model": model}
    here.project_file.write_text(frozen.model_copy(update=changes).to_toml())
    access_requests.allow_requests(
        access_requests.list_run_requests(here.path, here.load_project())
    )

    def pause(event: events.Event, flags: Flags) -> None:
        if isinstance(event, events.Evaluated) and event.step == 2:
            flags.pause.set()

    assert handle(commands.Train(run=str(here.path)), pause).last(events.Done).paused
    shutil.rmtree(adapter)
    there = cluster.export_run(here, tmp_path / "out")
    shutil.rmtree(here.path)
    assert (Path(there.load_project().lora.start_from) / "adapter_config.json").is_file()
    assert there.list_checkpoint_steps() == [2]
    assert list(there.best.iterdir())
    assert there.samples_file.is_file()
    channel = handle(commands.Train(run=str(there.path), resume=True))
    assert channel.of(events.StepDone)[0].step == 3
    assert channel.of(events.AdapterSaved)


def test_nonempty_folder_is_left_alone(here: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ProblemError) as caught:
        cluster.export_run(here, tmp_path / "out")
    assert caught.value.problems[0].code == "cluster.exists"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.thorough
@pytest.mark.slow
def test_exported_run_trains_the_same_and_can_be_merged(here: RunFolder, tmp_path: Path) -> None:
    out = cluster.export_run(here, tmp_path / "out").path
    environment: dict[str, Any] = os.environ | {
        "PER_MACHINE": "2",
        "MAIN_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path(cluster.__file__).parents[2]), *sys.path]),
    }
    done = subprocess.run(["./train.sh"], cwd=out, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "step 5 of 5: loss" in done.stdout
    back = RunFolder(here.path.parent / "from-the-cluster")
    shutil.move(out, back.path)
    shutil.rmtree(back.path / "model")
    assert back.read_state() == "trained"
    assert back.list_checkpoint_steps() == [5]

    project = here.load_project()
    specs = project.model_dump(mode="json", exclude={"name"})
    expected = new_run(tmp_path, **specs | {"model": specs["model"] | {"device": "cpu"}})
    alone = handle(commands.Train(run=str(expected.path)))
    sent = {e.step: e.loss for e in back.iter_events() if isinstance(e, events.StepDone)}
    assert sent == {e.step: pytest.approx(e.loss, rel=1e-4) for e in alone.of(events.StepDone)}
    ours = load_file(expected.adapter / "adapter_model.safetensors")
    for name, value in load_file(back.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, ours[name], rtol=1e-3, atol=2e-5)

    merged = handle(commands.Merge(run=str(back.path)))
    assert merged.of(events.Done), merged.events[-1]
    assert back.read_state() == "merged"
