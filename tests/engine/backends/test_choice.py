"""The choice between PEFT and Unsloth, and that both give the same events, run folder and losses."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.client.worker import Worker
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends import choice
from lora_studio.engine.backends.unsloth import prepare_with_unsloth
from lora_studio.engine.devices.devices import list_devices
from tests.engine.conftest import TinyModel
from tests.helpers.models.fake_gpus import FakeGpus, Gpu
from tests.helpers.models.tiny_models import write_config
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, new_run, write_rows

Start = Callable[..., RunFolder]

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(24)
]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    def make(backend: str = "auto", **specs: dict[str, Any]) -> RunFolder:
        training = {
            "epochs": 1, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3,
            "save_every": 2, "backend": backend,
        }  # fmt: skip
        settings = {
            "model": {"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            "dataset": {"sources": [str(write_rows(tmp_path / "rows.jsonl", ROWS))]},
            "training": training,
            "lora": {"rank": 4, "alpha": 8},
        }
        return new_run(
            tmp_path, **{step: settings[step] | specs.get(step, {}) for step in settings}
        )

    return make


def choose(run: RunFolder, resume: bool = False) -> tuple[str, str]:
    """Return the name of the chosen backend and the message about it."""
    channel = RecordingChannel()
    name = choice.choose_backend(run, make_job(channel), resume=resume)
    return name, str(channel.last(events.LogLine).text)


# --- the choice -------------------------------------------------------------------------------


def test_automatic_backend_is_peft_though_unsloth_is_installed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGpus([Gpu("3090", "a")], monkeypatch).install()
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda _: True)
    run = start(model={"device": "cuda:0"})
    assert choose(run) == ("peft", "The training backend is PEFT. It is the default.")
    assert run.read_manifest()["backend"]["why"] == "It is the default."


def test_missing_compiler_is_reported_as_training_starts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGpus([Gpu("3090", "a")], monkeypatch).install()
    monkeypatch.setattr(choice.programs, "find_missing_build_tool", lambda: "compiler")
    assert list_devices().missing_build_tool == "compiler"  # before that, too
    channel = RecordingChannel()
    choice.choose_backend(start(model={"device": "cuda:0"}), make_job(channel), resume=False)
    problem = channel.last(events.Warned).problem
    assert problem.code == "training.no_build_tool"
    assert "sudo apt install gcc" in str(problem.remedy)


def test_unsloth_is_refused_where_triton_cannot_build(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    table = FakeGpus([Gpu("3090", "a")], monkeypatch, names=("sm_60", "sm_86")).install()
    imported: list[str] = []
    monkeypatch.setattr(choice.importlib, "import_module", imported.append)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(choice.importlib.metadata, "version", lambda _: "1.0")
    on_gpu = {"model": {"device": "cuda:0"}}
    assert choose(start("unsloth", **on_gpu))[0] == "unsloth"
    assert imported == ["unsloth"]
    begun = start(**on_gpu)
    begun.update_manifest(backend={"name": "unsloth", "why": "", "version": "1"})
    monkeypatch.setattr(choice.programs, "find_missing_build_tool", lambda: "compiler")
    for run, resume in ((start("unsloth", **on_gpu), False), (begun, True)):
        with pytest.raises(ProblemError, match="can't be built"):
            choose(run, resume=resume)
    monkeypatch.setattr(choice.programs, "find_missing_build_tool", lambda: None)
    table.cards[0].major = 6
    with pytest.raises(ProblemError, match="no code for this GPU"):
        choose(begun, resume=True)
    assert imported == ["unsloth"]


def test_unsloth_loads_no_gptq_model_and_on_a_limited_gpu(
    start: Start, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FakeGpus([Gpu("3090", "a")], monkeypatch).install()
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(platform, "release", lambda: "5.15-microsoft-standard-WSL2")
    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=None))
    folder = Path(shutil.copytree(tiny("llama3"), tmp_path / "gptq"))
    write_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    run = start("unsloth", model={"source": str(folder), "device": "cuda:0"})
    with pytest.raises(ProblemError, match="GPTQ"):
        prepare_with_unsloth(run.load_project(), make_job(), tmp_path)
    assert table.limits.keys() == {0}


def test_resumed_training_keeps_its_backend(start: Start) -> None:
    run = start()
    run.update_manifest(backend={"name": "peft", "why": "", "version": "1"})
    assert (
        choose(run, resume=True)[1]
        == "The training backend is PEFT. The run started with this backend."
    )


def test_paused_run_resumes_with_settings_that_are_refused_now(start: Start) -> None:
    run = start(training={"gradient_checkpointing": "unsloth"})
    with pytest.raises(ProblemError, match="needs the Unsloth backend"):
        choose(run)
    run.update_manifest(backend={"name": "peft", "why": "", "version": "1"})
    assert choose(run, resume=True)[0] == "peft"


def test_missing_unsloth_fails_only_when_requested(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert choose(start())[0] == "peft"
    monkeypatch.setattr(choice.programs, "find_missing_build_tool", lambda: "compiler")
    with pytest.raises(ProblemError, match="isn't installed") as caught:
        choose(start("unsloth"))
    assert caught.value.problems[0].where.field == "backend"


@pytest.mark.parametrize(
    ("field", "model", "lora", "training"),
    [
        ("quant_type", {"precision": "4bit", "quant_type": "fp4"}, {}, {}),
        ("double_quant", {"precision": "4bit", "double_quant": False}, {}, {}),
        ("precision", {"precision": "8bit"}, {}, {}),
        ("device", {"device": "cpu:2"}, {}, {}),
        ("bias", {}, {"bias": "lora_only"}, {}),
        ("init", {}, {"init": "olora"}, {}),
        ("modules_to_save", {}, {"modules_to_save": ("down_proj",)}, {}),
        ("gradient_checkpointing", {}, {}, {"gradient_checkpointing": "unsloth", "backend": "auto"}),
    ],
    ids=[
        "fp4",
        "single quantization",
        "8-bit",
        "CPU index",
        "bias",
        "init",
        "modules_to_save",
        "checkpointing of Unsloth",
    ],
)  # fmt: skip
def test_unsupported_setting_is_reported_at_its_field_with_fix(
    field: str, model: dict[str, Any], lora: dict[str, Any], training: dict[str, Any]
) -> None:
    specs = (
        ModelSpec(**model), LoraSpec(**lora), TrainingSpec(**({"backend": "unsloth"} | training))
    )  # fmt: skip
    (problem,) = combinations.check(*specs)
    assert problem.where.field == field
    assert problem.fix is not None
    fixed = {"model": specs[0], "lora": specs[1], "training": specs[2]}
    step = problem.fix.step
    fixed[step] = fixed[step].model_copy(update={problem.fix.field: problem.fix.value})
    assert not combinations.check(*fixed.values())


def test_choosing_backend_does_not_import_transformers() -> None:
    code = "import sys; import lora_studio.engine.backends.choice; print('transformers' in sys.modules, 'peft' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- both at work -----------------------------------------------------------------------------


def losses(sent: list[Event]) -> list[float]:
    return [event.loss for event in sent if isinstance(event, events.StepDone)]


def kinds(sent: list[Event]) -> set[str]:
    """Return the kinds of the events, without counts, which depend on timing."""
    return {event.kind for event in sent} - {"hello", "progress"}


@pytest.mark.slow
def test_unsloth_matches_peft_offline_and_after_resume(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("unsloth") is None:
        pytest.skip("Unsloth is not installed")
    reached = tmp_path / "reached.txt"
    monkeypatch.setenv(
        "LORA_STUDIO_ENGINE", f"{sys.executable} -m tests.helpers.servers.offline_engine {reached}"
    )
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    peft_run, run, halved, packed = start("peft"), start("unsloth"), start("unsloth"), start(
        "unsloth",
        model={"precision": "4bit"},
        lora={"use_dora": True, "own_ranks": ["q_proj=2"], "modules_to_save": ["norm"]},
        training={"gradient_checkpointing": "unsloth"},
    )  # fmt: skip
    worker = Worker.start()
    incoming = worker.iter_events()

    def perform(command: commands.Job, stop: bool = False) -> list[Event]:
        worker.send(command)
        sent: list[Event] = []
        while not (sent and isinstance(sent[-1], events.Done | events.Failed | events.Cancelled)):
            event = next(incoming)
            sent.append(event)
            if stop and isinstance(event, events.CheckpointSaved):
                worker.send(commands.Stop(target=command.id))
                stop = False
        assert isinstance(sent[-1], events.Done), sent[-1]
        return sent

    try:
        by_unsloth = perform(commands.Train(run=str(run.path)))
        perform(commands.Train(run=str(halved.path)), stop=True)
        perform(commands.Train(run=str(halved.path), resume=True))
        of_packed = perform(commands.Train(run=str(packed.path)))
    finally:
        worker.close()
    by_peft = handle(commands.Train(run=str(peft_run.path))).events
    assert not reached.exists(), reached.read_text()
    assert run.read_manifest()["backend"]["name"] == "unsloth"

    # The same curve, events, run folder and settings of the adapter.
    assert losses(by_unsloth)[-1] == pytest.approx(losses(by_peft)[-1], rel=1e-4)
    assert kinds(by_unsloth) == kinds(by_peft)
    assert {f.name for f in run.path.iterdir()} - {"log.txt"} == {f.name for f in peft_run.path.iterdir()}  # fmt: skip
    settings = [
        json.loads((r.adapter / "adapter_config.json").read_text()) for r in (run, peft_run)
    ]
    for each in settings:
        each["target_modules"] = sorted(each["target_modules"])
    assert settings[0] == settings[1]
    trained, expected = (
        load_file(r.adapter / "adapter_model.safetensors") for r in (run, peft_run)
    )
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=1e-5)

    # Resuming is exact to the last bit, and a merge accepts the adapter like any other.
    name = "adapter_model.safetensors"
    assert (halved.adapter / name).read_bytes() == (run.adapter / name).read_bytes()
    assert losses(of_packed)[-1] < losses(of_packed)[0] - 0.3
    merged = handle(commands.Merge(run=str(run.path)))
    assert [result.passed for result in merged.of(events.SelfTested)] == [True]
