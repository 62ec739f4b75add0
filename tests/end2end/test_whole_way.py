"""The whole way of each architecture: train, resume, merge, export, answer, and repeat the training with train.py."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from safetensors.torch import load_file

from lora_studio.core import llama_cpp as llama_cpp_programs
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.core.tasks.samples import Message
from tests.conftest import get_shared
from tests.helpers.models.architectures import ARCHITECTURES, write_architecture
from tests.helpers.models.llama_cpp_folder import SPLITS, llama_cpp_folder
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run, write_rows
from tests.helpers.runs.tiny_run import heldout_rows
from tests.helpers.servers import llama_server, real_ollama

pytestmark = pytest.mark.end2end

#: One architecture of each kind, in the fast tier.
_EACH_KIND = ("qwen3", "lfm2", "qwen3_moe", "qwen3_5")
#: Those of the slow tier; the thorough one has all.
_COMMON = ("llama", "gemma3", "gemma4", "gpt_oss", "granitemoehybrid", "ministral3", "qwen3_vl", "smolvlm")  # fmt: skip

#: Architectures whose encoders llama.cpp's converter reads from other checkpoints only.
_WITHOUT_PROJECTOR = ("internvl",)

_QUESTION = ((Message(role="user", content="Which lamp burns longest?"),),)
_PAIRS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(12)
]


def walk(
    name: str, folder: Path, server: Path | None = None, ollama_host: str = ""
) -> dict[str, str]:
    """Take a tiny model of an architecture the whole way; return for each step "" or what went wrong.

    `server` is llama-server; without it or the address of Ollama, their steps are left out.
    """
    base = write_architecture(name, folder / "base")
    config = json.loads((base / "config.json").read_text("utf-8"))
    model_type = config.get("text_config", config)["model_type"]
    split = SPLITS.get(ARCHITECTURES[name].tokens_of, "llama-bpe")
    tools = llama_cpp_folder(folder / "llama.cpp", **{model_type: split})
    if server is not None:
        shutil.copy2(server, tools / server.name)
        consent.trust(llama_cpp_programs.find_programs(tools))
    cells: dict[str, str] = {}

    def new(kind: str, rows: list[dict[str, Any]]) -> RunFolder:
        return new_run(
            folder / kind,
            model={"source": str(base), "device": "cpu"},
            lora={"rank": 4, "alpha": 8},
            dataset={
                "sources": [str(write_rows(folder / f"{kind}.jsonl", rows))],
                "max_length": 256,
                "validation_share": 0.4,
            },
            training={
                "max_steps": 2, "cadence": "steps", "save_every": 1, "micro_batch": 2,
                "gradient_accumulation": 1, "learning_rate": 5e-3,
            },
            export={
                "quantizations": ["F16", "Q8_0"], "llama_cpp": str(tools),
                "ollama_create": bool(ollama_host), "ollama_host": ollama_host,
            },
        )  # fmt: skip

    def do(step: str, command: Any) -> RecordingChannel:
        done = handle(command)
        refusals = [str(event.problem) for event in done.of(events.Failed)]
        cells[step] = "; ".join(refusals)
        return done

    run = new("sft", heldout_rows(24))
    path = str(run.path)
    trained = do("SFT", commands.Train(run=path))
    if cells["SFT"]:
        return cells
    cells["resume"] = _resume(run)
    cells["train.py"] = _run_script(run, trained)
    do("DPO", commands.Train(run=str(new("dpo", _PAIRS).path)))
    merged = do("merge", commands.Merge(run=path))
    if cells["merge"]:
        return cells
    if reason := merged.of(events.Merged)[-1].by_peft:
        cells["merge"] = f"in memory: {reason}"
    cells["files"] = _compare_files(base, run.merged)
    exported = do("export", commands.Export(run=path))
    if ollama_host:
        is_seeing = bool(ARCHITECTURES[name].vision) and name not in _WITHOUT_PROJECTOR
        cells["Ollama"] = _check_created(exported, ollama_host, is_seeing=is_seeing)
    if ARCHITECTURES[name].vision:
        written = [event.quantization for event in exported.of(events.GgufWritten)]
        is_known = name not in _WITHOUT_PROJECTOR
        cells["projector"] = "" if ("projector" in written) == is_known else f"wrote {written}"
    tested = {event.stage: event for event in exported.of(events.SelfTested)}
    for stage in dict.fromkeys(("merged", "F16", "Q8_0", *tested)):
        cells[f"self-test {stage}"] = _judge(tested.get(stage))
    answered = do(
        "answer",
        commands.Generate(
            run=path, sources=("tuned", "merged", "gguf"), conversations=_QUESTION, max_tokens=4
        ),
    )
    if not cells["answer"] and len(answered.of(events.Generated)) != 3:
        cells["answer"] = f"{len(answered.of(events.Generated))} of 3 answers"
    if server is not None:
        cells["llama-server"] = _serve(run, tools)
    return cells


def _resume(run: RunFolder) -> str:
    """Train the second step again from the first checkpoint; the adapter must be the same."""
    before = load_file(run.adapter / "adapter_model.safetensors")
    shutil.rmtree(run.checkpoint(2))
    shutil.rmtree(run.adapter)
    failed = handle(commands.Train(run=str(run.path), resume=True)).of(events.Failed)
    if failed:
        return str(failed[0].problem)
    after = load_file(run.adapter / "adapter_model.safetensors")
    differing = [key for key, value in before.items() if not value.equal(after[key])]
    return f"{len(differing)} adapter weights differ" if differing else ""


def _run_script(run: RunFolder, trained: RecordingChannel) -> str:
    command = get_shared().command(str(run.train_script))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr[-500:]
    with (run.path / "reproduced" / "losses.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    expected = [step.loss for step in trained.of(events.StepDone)]
    return "" if losses == pytest.approx(expected, rel=2e-2) else f"{losses} instead of {expected}"


def _compare_files(base: Path, merged: Path) -> str:
    """Compare the stored weights: the same names, and those that aren't the text decoder's byte for byte."""
    before, after = _load(base), _load(merged)
    if before.keys() != after.keys():
        return f"names differ: {sorted(before.keys() ^ after.keys())[:3]}"
    changed = {key for key, value in before.items() if not value.equal(after[key])}
    beside = ("visual", "vision", "mtp", "audio", "projector", "connector")
    touched = [key for key in changed if any(part in key for part in beside)]
    if touched:
        return f"changed although not trained: {touched[:3]}"
    return "" if changed else "nothing changed"


def _load(folder: Path) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        weights |= load_file(file)
    return weights


def _judge(tested: events.SelfTested | None) -> str:
    if tested is None:
        return "not tested"
    if tested.passed and tested.tokens_equal is not False:
        return ""
    faults = "; ".join(str(fault) for fault in tested.faults)
    return f"{tested.verdict}, top-1 {tested.top1}, KL {tested.kl}: {faults} {tested.cause}"


def _check_created(exported: RecordingChannel, host: str, *, is_seeing: bool) -> str:
    created, derived = exported.of(events.OllamaCreated), exported.of(events.TemplateDerived)
    if not created or not derived:
        return "not created"
    if not derived[-1].proven:
        return "its template isn't proven"
    with ollama.Client(host=host) as client:
        shown = client.show(created[-1].name)
    codes = [event.problem.code for event in exported.of(events.Warned)]
    is_seeing = is_seeing and "ollama.no_projector" not in codes  # of a server before 0.30.4
    if is_seeing != ("vision" in (shown.capabilities or ())):
        return f"it has the capabilities {shown.capabilities}"
    missing = [stop for stop in derived[-1].stops if stop not in (shown.parameters or "")]
    return f"the server has no stop {missing}" if missing else ""


def _serve(run: RunFolder, tools: Path) -> str:
    """Serve the Q8_0 file and ask it; return what went wrong."""
    answers: list[str] = []

    def ask(event: Any, flags: Any) -> None:
        if isinstance(event, events.ServerReady):
            body = {
                "model": event.model,
                "max_tokens": 4,
                "messages": [{"role": "user", "content": "Which lamp burns longest?"}],
            }
            headers = {"Authorization": f"Bearer {event.key}"}
            url = f"{event.address}/chat/completions"
            reply = httpx.post(url, json=body, headers=headers, timeout=60)
            answers.append(reply.text if reply.status_code != 200 else "")
            flags.cancel.set()

    file = run.get_gguf_file(run.load_project().name, "Q8_0")
    command = commands.Serve(
        runs=(ServedRun(run=str(run.path)),), file=str(file), llama_cpp=str(tools)
    )
    failed = handle(command, ask).of(events.Failed)
    if failed:
        return str(failed[0].problem)
    return answers[0] if answers else "no answer"


@pytest.fixture
def _quick_converter() -> Iterator[None]:
    """Run llama.cpp's converter in a preloaded interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        get_shared().run_converters(patch.setattr)
        yield


def _require_passing(cells: dict[str, str]) -> None:
    assert {step: reason for step, reason in cells.items() if reason} == {}
    assert "answer" in cells  # the last step


@pytest.mark.usefixtures("_quick_converter")
@pytest.mark.parametrize("name", _EACH_KIND)
def test_one_of_each_kind_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    _require_passing(walk(name, tmp_path))


def _list_common_and_others() -> list[Any]:
    others = [name for name in ARCHITECTURES if name not in _COMMON]
    thorough = (pytest.param(name, marks=pytest.mark.thorough) for name in others)
    return [*_COMMON, *thorough]


@pytest.mark.slow
@pytest.mark.usefixtures("_quick_converter")
@pytest.mark.parametrize("name", _list_common_and_others())
def test_architecture_goes_the_whole_way_to_servers(
    name: str, tmp_path: Path, ollama_server: real_ollama.Server
) -> None:
    build = llama_server.install()
    if isinstance(build, str):
        pytest.skip(build)
    _require_passing(walk(name, tmp_path, build.program, ollama_server.host))


def test_readme_lists_the_architectures() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    table = text[text.index("## Models") : text.index("## Requirements")]
    missing = [
        name for name, each in ARCHITECTURES.items() if (each.model_type or name) not in table
    ]
    assert missing == []
