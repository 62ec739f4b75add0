"""The script in a run folder: it doesn't need LoRA Studio and reproduces the losses of the run."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.training import kernel_choice
from lora_studio.engine.training.reproduction import script
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import make_teacher, random_adapter
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run, write_rows

CHATS: list[Any] = [
    {"instruction": f"What is {n} and {n}?" + " Please." * (n % 5), "output": f"It is {n + n}, said Pim."}
    for n in range(21)
]  # fmt: skip
PAIRS: list[Any] = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!" * (1 + n % 2)}
    for n in range(13)
]  # fmt: skip
LABELS: list[Any] = [
    {"prompt": f"What is {n}?", "completion": f"It is {n}, said Pim.", "label": bool(n % 2)}
    for n in range(13)
]
SEARCHES: list[Any] = [
    {
        "query": f"What is {n % 9}?",
        "positive": f"It is {n % 11}, said Pim.",
        "negative": "No." * (n % 2),
    }
    for n in range(13)
]
LABELED: list[Any] = [
    {
        "text": f"Pim writes {n} {'ships' if n % 3 else 'lamps'}." * (1 + n % 2),
        "label": "ab"[n % 3 > 0],
    }
    for n in range(13)
]
TEXTS: list[Any] = [{"text": f"The harbour master writes {n} ships. " * (n % 6 + 1)} for n in range(9)]  # fmt: skip

#: Accumulation, warm-up, cosine, clipping that clips, several epochs, an incomplete last step.
THOROUGH = {
    "epochs": 3, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3,
    "warmup_share": 0.2, "schedule": "cosine", "max_grad_norm": 0.5, "weight_decay": 0.01,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Settings of a run; `within` is the allowed relative difference of losses."""

    family: str = "llama3"
    rows: list[Any] = field(default_factory=lambda: CHATS)
    within: float = 1e-5
    starts_from_adapter: bool = False
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


CASES = {
    "fine-tuning": Case(),
    "sliding windows": Case("gemma3"),
    "scaled logits": Case(
        "granite", settings={"training": {"schedule": "linear", "gradient_checkpointing": "on"}}
    ),
    "text": Case(
        rows=TEXTS,
        settings={
            "dataset": {"max_length": 40},
            "training": {"schedule": "warmup_stable_decay", "group_by_length": True},
        },
    ),
    "a teacher": Case(
        settings={
            "training": {
                "teacher": "own",
                "teacher_precision": "fp32",
                "distillation_temperature": 2.0,
                "distillation_top_k": 16,
            }
        }
    ),
    "DPO": Case("qwen3", PAIRS, settings={"training": {"preference": "dpo", "beta": 0.3}}),
    "robust DPO": Case(
        "qwen3",
        PAIRS,  # a rate at which the loss stays above 0, since losses are compared relative to themselves
        settings={"training": {"dpo_loss": "robust", "learning_rate": 1e-3}},
    ),
    "IPO": Case("qwen3", PAIRS, settings={"training": {"dpo_loss": "ipo"}}),
    "ORPO": Case("qwen3", PAIRS, settings={"training": {"preference": "orpo"}}),
    "SimPO": Case("qwen3", PAIRS, settings={"training": {"preference": "simpo"}}),
    "reward model": Case(
        "qwen3", PAIRS, settings={"training": {"preference": "reward", "packing": False}}
    ),
    "reward model in bfloat16": Case(
        "qwen3",
        PAIRS,
        within=1e-2,
        starts_from_adapter=True,
        settings={
            "model": {"precision": "bf16"},
            "lora": {"dropout": 0.1},
            "training": {
                "preference": "reward",
                "neftune_alpha": 5.0,
                "lora_plus_ratio": 4.0,
                "learning_rate": 1e-3,
            },
        },
    ),
    "KTO": Case("qwen3", LABELS),
    "embeddings": Case(
        rows=SEARCHES,
        settings={
            "lora": {"blocks": "1", "own_ranks": ["q_proj=2"]},
            "training": {"learning_rate": 1e-3},
        },
    ),
    "embeddings by mean, dropout and noise": Case(
        "qwen3",
        SEARCHES,
        settings={
            "lora": {"dropout": 0.1},
            "training": {"pooling": "mean", "neftune_alpha": 5.0, "packing": False},
        },
    ),
    "embeddings in bfloat16": Case(
        "qwen3",
        SEARCHES,
        within=5e-2,  # a similarity counts 20 times
        settings={
            "model": {"precision": "bf16"},
            "training": {"pooling": "mean", "learning_rate": 1e-3},
        },
    ),
    "classifier": Case("qwen3", LABELED, settings={"lora": {"dropout": 0.1}}),
    "classifier in bfloat16": Case(
        rows=LABELED,
        within=1e-2,
        settings={
            "model": {"precision": "bf16"},
            "training": {"class_weights": "balanced", "packing": False, "learning_rate": 1e-3},
        },
    ),
    "dropout and noise": Case(
        settings={"lora": {"dropout": 0.2}, "training": {"neftune_alpha": 5.0}}
    ),
    "start from an adapter": Case(
        "qwen3", PAIRS, starts_from_adapter=True, settings={"training": {"dpo_loss": "hinge"}}
    ),
    "dropout without packing": Case(
        settings={"lora": {"dropout": 0.2}, "training": {"packing": False, "neftune_alpha": 5.0}}
    ),
    "a rate that falls on plateaus": Case(
        within=0.1,  # rounding grows at a rate at which validation rows get worse
        settings={
            "training": {"schedule": "reduce_on_plateau", "eval_every": 2, "learning_rate": 0.05},
            "dataset": {"validation_share": 0.2},
        },
    ),
    "DoRA, rsLoRA, LoRA+": Case(
        settings={
            "lora": {"use_dora": True, "use_rslora": True, "own_ranks": ["q_proj=2:8"]},
            "training": {"lora_plus_ratio": 8.0, "learning_rate": 1e-3},
        }
    ),
    "PiSSA": Case(settings={"lora": {"init": "pissa", "targets": "attention"}}),
    "stacked experts": Case(
        "qwen3_moe",
        settings={"lora": {"targets": "names", "target_names": ["q_proj", "gate_up_proj"]}},
    ),
    "MiSS": Case(
        settings={"lora": {"adapter_type": "miss", "rank": 24, "dropout": 0.1, "blocks": "1"}}
    ),
    "MiSS on four bits": Case(
        within=1e-2, settings={"lora": {"adapter_type": "miss"}, "model": {"precision": "4bit"}}
    ),
    "EVA": Case(settings={"lora": {"init": "eva"}}),
    "LoftQ": Case(
        within=1e-2, settings={"lora": {"init": "loftq"}, "model": {"precision": "4bit"}}
    ),
    "DPO from PiSSA, with DoRA": Case(
        "qwen3",
        PAIRS,
        settings={
            "training": {"preference": "dpo", "learning_rate": 1e-3},
            "lora": {"init": "pissa", "use_dora": True, "targets": "attention", "dropout": 0.1},
        },
    ),
    "fully trained module": Case("mistral", settings={"lora": {"modules_to_save": ["lm_head"]}}),
    "norms, DoRA and LoRA+": Case(
        "qwen3",
        settings={
            "lora": {"modules_to_save": ["norm"], "use_dora": True},
            "training": {"lora_plus_ratio": 4.0, "learning_rate": 1e-3, "weight_decay": 0.5},
        },
    ),
    "labeled answers from OLoRA": Case("qwen3", LABELS, settings={"lora": {"init": "olora"}}),
    "labeled answers, four bits, noise": Case(
        "qwen3",
        LABELS,
        within=1e-2,
        settings={
            "lora": {"dropout": 0.1},
            "model": {"precision": "4bit"},
            "training": {"neftune_alpha": 5.0},
        },
    ),
    "labeled answers": Case(
        "qwen3",
        LABELS,
        starts_from_adapter=True,
        settings={
            "lora": {"dropout": 0.1},
            "training": {"neftune_alpha": 5.0, "lora_plus_ratio": 4.0, "learning_rate": 1e-3},
        },
    ),
    "pairs from PiSSA": Case(
        "qwen3",
        PAIRS,
        within=1e-2,
        settings={
            "model": {"precision": "bf16"},
            "lora": {"init": "pissa", "dropout": 0.1, "targets": "attention"},
            "training": {
                "neftune_alpha": 5.0,
                "lora_plus_ratio": 4.0,
                "optimizer": "schedule_free_adamw",
                "learning_rate": 1e-3,
            },
        },
    ),
    "noise in bfloat16": Case(
        within=1e-2,
        settings={
            "model": {"precision": "bf16"},
            "lora": {"dropout": 0.2},
            "training": {"neftune_alpha": 5.0},
        },
    ),
    "bfloat16": Case(within=1e-2, settings={"model": {"precision": "bf16"}}),
    "fully trained module in bfloat16": Case(
        "qwen3",
        within=1e-2,
        settings={
            "model": {"precision": "bf16"},
            "lora": {"modules_to_save": ["norm"]},
        },
    ),
    "new tokens": Case("mistral", settings={"lora": {"new_tokens": ["said Pim", "<lamp>"]}}),
    "four bits": Case(within=1e-2, settings={"model": {"precision": "4bit"}}),
    "schedule-free": Case("gemma2", settings={"training": {"optimizer": "schedule_free_adamw"}}),
    "8-bit optimizer": Case(settings={"training": {"optimizer": "adamw_8bit"}}),
}

#: Cases whose features others have one by one.
_COMBINED = {
    "robust DPO",
    "reward model in bfloat16",
    "dropout without packing",
    "DPO from PiSSA, with DoRA",
    "norms, DoRA and LoRA+",
    "labeled answers from OLoRA",
    "labeled answers, four bits, noise",
    "pairs from PiSSA",
    "noise in bfloat16",
    "fully trained module in bfloat16",
    "MiSS on four bits",
}
NAMES = [
    pytest.param(name, marks=pytest.mark.thorough) if name in _COMBINED else name for name in CASES
]


def make_run(folder: Path, tiny: TinyModel, case: Case) -> tuple[RunFolder, RecordingChannel]:
    """Train a case; return the run and all events."""
    settings: dict[str, Any] = {
        "model": {"source": str(tiny(case.family)), "precision": "fp32", "device": "cpu"},
        "dataset": {
            "sources": [str(write_rows(folder / "rows.jsonl", case.rows))],
            "validation_share": 0.0,
            "max_length": 256,
        },
        "training": THOROUGH,
        "lora": {"rank": 4, "alpha": 8},
    }
    if case.starts_from_adapter:
        begun = random_adapter(tiny(case.family), folder / "begun", lora_dropout=0.2)
        settings["lora"]["start_from"] = str(begun)
    for step, changes in case.settings.items():
        settings[step] = settings[step] | changes
    if settings["training"].get("teacher"):
        settings["training"]["teacher"] = str(make_teacher(tiny(case.family), folder / "teacher"))
    run = new_run(folder, **settings)
    return run, handle(commands.Train(run=str(run.path)))


@pytest.fixture(scope="module")
def repeated(
    tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel, request: pytest.FixtureRequest
) -> dict[str, tuple[RunFolder, RecordingChannel]]:
    """The selected cases, trained, with their scripts run by a new interpreter."""
    marked = [item for item in request.session.items if "repeated" in item.fixturenames]
    names = dict.fromkeys(item.callspec.params["name"] for item in marked)
    runs = {name: make_run(tmp_path_factory.mktemp("case"), tiny, CASES[name]) for name in names}
    each = (
        "import runpy, sys, torch; torch.set_num_threads(1)\n"
        "files, sys.argv[1:] = sys.argv[1:], []\n"
        "for file in files:\n"
        "    runpy.run_path(file, run_name='__main__')"
    )
    scripts = [str(run.train_script) for run, _ in runs.values()]
    done = subprocess.run(
        [sys.executable, "-c", each, *scripts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return runs


def reproduced(run: RunFolder, column: str) -> list[float]:
    with (run.path / "reproduced" / "losses.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_script_reproduces_every_loss_of_the_run(repeated: Any, name: str) -> None:
    run, channel = repeated[name]
    steps = channel.of(events.StepDone)
    expected = [step.loss for step in steps]
    assert reproduced(run, "loss") == pytest.approx(expected, rel=CASES[name].within)
    rates = [step.learning_rate for step in steps]
    assert reproduced(run, "learning_rate") == pytest.approx(rates, rel=1e-6)
    assert steps[-1].loss < steps[0].loss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fine-tuning", "PiSSA", "fully trained module", "schedule-free"])
def test_script_writes_the_same_adapter_in_peft_layout(repeated: Any, name: str) -> None:
    run, _ = repeated[name]
    folder = run.path / "reproduced" / "adapter"
    base = AutoModelForCausalLM.from_pretrained(run.load_project().model.source)
    peft.PeftModel.from_pretrained(base, folder)
    own = load_file(run.adapter / "adapter_model.safetensors")
    for key, value in load_file(folder / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, own[key], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_script_is_formatted_code(repeated: Any, name: str) -> None:
    run, _ = repeated[name]
    check_code(run.train_script)


def check_code(script: Path) -> None:
    assert "lora_studio" not in script.read_text("utf-8")
    # The rewards next to it are first-party, so they are imported after installed packages.
    own = ["--config", f"src = ['{script.parent}']"]
    check = ["--isolated", "--target-version", "py311", *own, str(script)]
    for command in (["format", "--check"], ["check", "--select", "F,E7,E9,I"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *check], capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


#: What imports of installed packages and transformers' progress bar print.
_FOREIGN = re.compile(r"Loading weights|Failed to load |W\d+ .*_pytree")
ONE_STEP = Case(settings={"training": THOROUGH | {"max_steps": 1}})


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_script_runs_on_another_computer_and_ends_quietly(
    tmp_path: Path, tiny: TinyModel, precision: str
) -> None:
    settings = ONE_STEP.settings | {"model": {"precision": precision}}
    run, channel = make_run(tmp_path, tiny, Case(settings=settings))
    base = str(tiny("llama3"))
    shutil.copytree(base, tmp_path / "elsewhere")
    source = run.train_script.read_text("utf-8")
    assert source.count(base) == 1
    run.train_script.write_text(source.replace(base, str(tmp_path / "missing")), "utf-8")
    command = [sys.executable, str(run.train_script), str(tmp_path / "elsewhere")]
    quiet = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    lines = [line for line in done.stderr.splitlines() if line and not _FOREIGN.match(line)]
    assert (done.returncode, lines) == (0, [])
    assert reproduced(run, "loss") == pytest.approx([channel.last(events.StepDone).loss], rel=1e-2)


def test_run_folder_has_script_rows_and_versions(tmp_path: Path, tiny: TinyModel) -> None:
    run, _ = make_run(tmp_path, tiny, ONE_STEP)
    check_code(run.train_script)
    assert "torch==" in run.lock_list.read_text("utf-8")
    lengths, ids = np.load(run.data / "lengths.npy"), np.load(run.data / "ids.npy")
    assert len(lengths) == len(CHATS)
    assert lengths.sum() == len(ids) == len(np.load(run.data / "trained.npy"))
    assert sorted(np.load(run.data / "order.npy").ravel()) == sorted(
        {*np.load(run.data / "order.npy").ravel()}
    )
    # One step, whose four rows share a micro-batch.
    assert np.load(run.data / "order.npy").shape == (1, 1, 4)


def test_script_of_a_gpu_chooses_the_kernels_of_the_run(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = script.render_script

    def render_for_gpu(run: RunFolder, facts: Any, folder: Path) -> Any:
        facts.tuned.base.device = torch.device("cuda:0")
        return render(run, facts, folder)

    run, _ = make_run(tmp_path, tiny, ONE_STEP)
    assert "torch.set_float32" not in (source := run.train_script.read_text("utf-8"))
    assert "torch.backends" not in source
    monkeypatch.setattr(script, "render_script", render_for_gpu)
    monkeypatch.setattr(kernel_choice, "has_tf32", lambda _: True)
    try:
        run, _ = make_run(tmp_path, tiny, ONE_STEP)
    finally:
        torch.set_float32_matmul_precision("highest")
    source = run.train_script.read_text("utf-8")
    assert 'torch.set_float32_matmul_precision("high")' in source
    assert "torch.backends.cuda.enable_cudnn_sdp(False)" in source
    check_code(run.train_script)


def test_lock_list_pins_required_packages_without_hosts() -> None:
    lines = script.list_locked_requirements(["bitsandbytes"]).splitlines()
    assert lines[0].startswith("# Python 3.")
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines[1:])
    pinned = dict(line.split("==") for line in lines[1:])
    assert {"torch", "transformers", "peft", "bitsandbytes", "safetensors", "jinja2"} <= {*pinned}
    assert pinned["torch"] == torch.__version__.partition("+")[0]
    assert "trl" not in pinned


def test_training_continues_if_its_script_cannot_be_written(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script, "create_folder_atomic", full)
    run, channel = make_run(tmp_path, tiny, ONE_STEP)
    warned = channel.of(events.Warned)
    assert [event.problem.code for event in warned] == ["training.not_reproducible"]
    assert "No space left" in str(warned[0].problem.what)
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert not run.train_script.exists()
