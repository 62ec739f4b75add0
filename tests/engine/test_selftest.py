"""The self-test: right models pass, and a fault planted at any stage is found and named."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core import events
from lora_studio.core.export import Quantization
from lora_studio.core.problems import ProblemError
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine import adapters, merging, selftest, weights
from lora_studio.engine.export import gguf
from lora_studio.engine.failures import CancelledError
from tests.helpers.llama_cpp_folder import llama_cpp_folder
from tests.helpers.recorded_job import Recorder, recorded_job
from tests.helpers.tiny_models import FAMILIES, write_config
from tests.helpers.tiny_run import heldout_rows, tiny_run

# PEFT's advice about adapters for experts.
pytestmark = pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")

Q_PROJ = "base_model.model.model.layers.1.self_attn.v_proj"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of a tiny Llama, merged as it should be."""
    made = tiny_run("llama3", tmp_path)
    merging.merge(made, recorded_job()[0])
    return made


def check(
    run: RunFolder, files: dict[Quantization, Path] | None = None
) -> tuple[dict[str, events.SelfTested], Recorder]:
    job, recorder = recorded_job()
    results = selftest.run(run, run.load_project(), files or {}, job)
    assert recorder.of(events.SelfTested) == [
        result.model_copy(update={"id": "test"}) for result in results
    ]
    return {result.stage: result for result in results}, recorder


def fault(recorder: Recorder) -> str:
    (warning,) = recorder.of(events.Warned)
    assert warning.problem.code == "selftest.failed"
    return warning.problem.what


# --- the measure ------------------------------------------------------------------------------


def test_agreement_and_divergence_of_a_case_worked_out_by_hand() -> None:
    reference = np.log(np.array([[0.5, 0.5, 1e-30], [0.8, 0.1, 0.1]], np.float32))
    logits = np.log(np.array([[0.25, 0.75, 1e-30], [0.1, 0.8, 0.1]], np.float32)) + 3
    same, divergence = selftest.agreement(reference, logits)
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    second = 0.8 * math.log(0.8 / 0.1) + 0.1 * math.log(0.1 / 0.8)
    assert same == 0
    assert divergence == pytest.approx(first + second, rel=1e-5)
    assert selftest.agreement(reference, reference) == (2, pytest.approx(0.0, abs=1e-12))


def test_columns_for_tokens_that_do_not_exist_change_nothing() -> None:
    dice = np.random.default_rng(0)
    reference, logits = dice.normal(size=(2, 40, 50)).astype(np.float32)
    padded = np.concatenate([logits, np.full((40, 14), 5.0, np.float32)], axis=1)
    assert selftest.agreement(reference, padded) == selftest.agreement(reference, logits)


def test_every_quantisation_has_limits_that_loosen_with_fewer_bits() -> None:
    assert set(selftest.LIMITS) == {"merged", *get_args(Quantization)}
    found = [selftest.LIMITS[name] for name in get_args(Quantization)]
    assert [limit.top1 for limit in found] == sorted((x.top1 for x in found), reverse=True)
    assert [limit.kl for limit in found] == sorted(limit.kl for limit in found)


# --- right ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_merged_and_converted_rightly_passes(family: str, tmp_path: Path) -> None:
    run = tiny_run(family, tmp_path, quantizations=("F16", "Q8_0"))
    job, _ = recorded_job()
    merging.merge(run, job)
    results, _ = check(run, gguf.write(run, run.load_project(), job))
    assert list(results) == ["merged", "Q8_0", "F16"]
    for result in results.values():
        assert result.passed, result
        assert result.tokens_equal
        assert result.conversations >= 32
        assert result.positions >= 1000
    kept = json.loads(run.selftest_file.read_text("utf-8"))
    assert kept["passed"] is True
    assert kept["reference"] == "base + adapter, computed in float32"
    assert [stage["stage"] for stage in kept["stages"]] == list(results)
    assert not list(run.temporary.iterdir())


def test_too_few_conversations_are_used_and_said_to_be_few(run: RunFolder) -> None:
    run.heldout_file.write_text(json.dumps(heldout_rows(1)[0]) + "\n", "utf-8")
    results, recorder = check(run)
    assert results["merged"].passed
    assert results["merged"].conversations == 1
    (log,) = recorder.of(events.Log)
    assert "reads 1 conversations" in log.text
    assert "all that were held out" in log.text


def test_nothing_held_out_is_a_warning_and_no_result(run: RunFolder) -> None:
    run.heldout_file.unlink()
    results, recorder = check(run)
    assert results == {}
    assert recorder.of(events.Warned)[0].problem.code == "selftest.no_conversations"
    assert not run.selftest_file.exists()


def test_a_cancel_ends_the_test_and_leaves_nothing_behind(run: RunFolder) -> None:
    job, recorder = recorded_job()
    recorder.on_event = lambda event: (
        job.flags.cancel.set() if getattr(event, "stage", "") == "self-test: merged" else None
    )
    with pytest.raises(CancelledError):
        selftest.run(run, run.load_project(), {}, job)
    assert not run.selftest_file.exists()
    assert not list(run.temporary.iterdir())


# --- faults in the merge ----------------------------------------------------------------------


def merge_wrongly(run: RunFolder, change: Callable[[Path], None]) -> None:
    """Merges a changed adapter, while the run keeps the right one."""
    kept = run.path / "kept"
    shutil.copytree(run.adapter, kept)
    change(run.adapter)
    merging.merge(run, recorded_job()[0])
    shutil.rmtree(run.adapter)
    kept.rename(run.adapter)


def wrong_scale(adapter: Path) -> None:
    file = adapter / adapters.CONFIG
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] * 1.1}), "utf-8")


def missing_module(adapter: Path) -> None:
    file = adapter / adapters.WEIGHTS
    save_file({k: v for k, v in load_file(file).items() if not k.startswith(Q_PROJ)}, file)


def swapped_halves_of_layers(adapter: Path) -> None:
    file = adapter / adapters.WEIGHTS
    swapped = {
        name.replace("layers.0.", "layers.x.")
        .replace("layers.1.", "layers.0.")
        .replace("layers.x.", "layers.1."): value
        for name, value in load_file(file).items()
    }
    save_file(swapped, file)


@pytest.mark.parametrize("change", [wrong_scale, missing_module, swapped_halves_of_layers])
def test_a_wrong_merge_is_caught(change: Callable[[Path], None], run: RunFolder) -> None:
    merge_wrongly(run, change)
    results, recorder = check(run)
    assert not results["merged"].passed
    assert results["merged"].tokens_equal
    assert results["merged"].kl > results["merged"].kl_limit
    assert "The merged model is not what was trained" in fault(recorder)
    assert json.loads(run.selftest_file.read_text("utf-8"))["passed"] is False


def test_a_swapped_chat_template_is_caught_and_named(run: RunFolder) -> None:
    file = run.merged / "chat_template.jinja"
    file.write_text(file.read_text("utf-8").replace("<|eot_id|>", "<|eom_id|>"), "utf-8")
    results, recorder = check(run)
    assert not results["merged"].passed
    assert "chat template" in fault(recorder)


def test_another_tokenizer_is_caught_and_named(run: RunFolder) -> None:
    file = run.merged / "tokenizer.json"
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    content["model"]["merges"] = content["model"]["merges"][:10]
    file.write_text(json.dumps(content), "utf-8")
    results, recorder = check(run)
    assert not results["merged"].passed
    assert not results["merged"].tokens_equal
    assert "its tokens differ in conversation 1" in fault(recorder)


def test_a_wrong_end_token_is_caught_and_named(run: RunFolder) -> None:
    for name in ("generation_config.json", "tokenizer_config.json"):
        file = run.merged / name
        content = json.loads(file.read_text("utf-8"))
        content |= {"eos_token_id": 1} if "generation" in name else {"eos_token": "<|end_of_text|>"}
        file.write_text(json.dumps(content), "utf-8")
    results, recorder = check(run)
    assert not results["merged"].passed
    assert "does not stop" in fault(recorder)


# --- faults in the conversion -----------------------------------------------------------------


def converted_wrongly(
    run: RunFolder, change: Callable[[Path], None], llama_cpp: Path | None = None
) -> Path:
    """A GGUF file of a changed merged model, while the run keeps the right one."""
    wrong = run.path / "wrong"
    shutil.copytree(run.merged, wrong)
    change(wrong)
    file = run.path / "wrong.gguf"
    own = llama_cpp or Path(run.load_project().export.llama_cpp)
    gguf.convert(wrong, file, "Harbour", str(own), recorded_job()[0])
    return file


def untied_head(model: Path) -> None:
    tensors = load_file(model / weights.SINGLE)
    head = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"] = head[torch.randperm(len(head), generator=torch.manual_seed(0))]
    save_file(tensors, model / weights.SINGLE)
    write_config(model, tie_word_embeddings=False)


def one_layer_left_out(model: Path) -> None:
    tensors = load_file(model / weights.SINGLE)
    save_file({k: v for k, v in tensors.items() if "layers.1." not in k}, model / weights.SINGLE)
    write_config(model, num_hidden_layers=1)


def wrong_rotary_base(model: Path) -> None:
    config = json.loads((model / "config.json").read_text("utf-8"))
    write_config(model, rope_parameters=config["rope_parameters"] | {"rope_theta": 500.0})


@pytest.mark.slow
@pytest.mark.parametrize("change", [untied_head, one_layer_left_out, wrong_rotary_base])
def test_a_wrong_conversion_is_caught_though_the_merge_is_right(
    change: Callable[[Path], None], run: RunFolder
) -> None:
    results, recorder = check(run, {"F16": converted_wrongly(run, change)})
    assert results["merged"].passed
    assert not results["F16"].passed
    assert results["F16"].tokens_equal
    assert "The F16 file is not what was trained" in fault(recorder)


@pytest.mark.slow
def test_a_file_that_splits_text_differently_is_caught_by_its_tokens(
    run: RunFolder, tmp_path: Path
) -> None:
    splits = llama_cpp_folder(tmp_path / "other", llama="qwen2")
    results, recorder = check(run, {"F16": converted_wrongly(run, lambda _: None, splits)})
    assert not results["F16"].passed
    assert not results["F16"].tokens_equal
    assert "its tokens differ" in fault(recorder)


@pytest.mark.slow
def test_a_file_that_does_not_stop_where_answers_end_is_caught(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    for folder in (tmp_path / "base", run.adapter):
        # An end token that llama.cpp does not know by name.
        for file in folder.glob("*.json*"):
            if file.suffix in (".json", ".jinja"):
                file.write_text(
                    file.read_text("utf-8").replace("<|eot_id|>", "<|over_to_you|>"), "utf-8"
                )
        template = folder / "chat_template.jinja"
        template.write_text(
            template.read_text("utf-8").replace("<|eot_id|>", "<|over_to_you|>"), "utf-8"
        )
    merging.merge(run, recorded_job()[0])

    def nothing(model: Path) -> None: ...

    def other_end(model: Path) -> None:
        file = model / "tokenizer_config.json"
        content = json.loads(file.read_text("utf-8")) | {"eos_token": "<|end_of_text|>"}
        file.write_text(json.dumps(content), "utf-8")
        write_config(model, eos_token_id=1)
        (model / "generation_config.json").unlink()

    right, _ = check(run, {"F16": converted_wrongly(run, nothing)})
    assert right["F16"].passed
    shutil.rmtree(run.path / "wrong")
    wrong, recorder = check(run, {"F16": converted_wrongly(run, other_end)})
    assert not wrong["F16"].passed
    assert "does not stop" in fault(recorder)


@pytest.mark.slow
def test_a_file_that_llama_cpp_cannot_open_is_a_problem(run: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "torn.gguf"
    file.write_bytes(b"GGUF and no more")
    with pytest.raises(ProblemError) as caught:
        check(run, {"Q8_0": file})
    assert caught.value.problems[0].code == "gguf.not_loaded"
