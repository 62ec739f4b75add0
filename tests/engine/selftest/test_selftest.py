"""The self-test: correct models pass, and a fault planted at any stage is detected and named."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core.export import DIRECT_SOURCE, MERGED_SOURCE, QUANTIZATIONS, Quantization
from lora_studio.core.merging import MergingSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine import jobs
from lora_studio.engine.devices import devices, lock
from lora_studio.engine.devices import load as load_module
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.selftest import judging, limits, reading, selftest
from lora_studio.engine.selftest.judging import Reference, Stage, StageComparison
from lora_studio.engine.selftest.selftest import RunComparer
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import FAMILIES, random_adapter, write_config
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import heldout_rows, tiny_run

# PEFT's warning about adapters for experts.
pytestmark = pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A correctly merged run of a tiny Llama."""
    new_run = tiny_run("llama3", tmp_path)
    merge.merge(new_run, recorded_job()[0])
    return new_run


def check(
    run: RunFolder, files: dict[str, Path] | None = None
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
    return str(warning.problem.what)


# --- the measure ------------------------------------------------------------------------------


def test_agreement_matches_a_hand_computed_example() -> None:
    reference = np.log(np.array([[0.5, 0.5, 1e-30], [0.8, 0.1, 0.1]], np.float32))
    logits = np.log(np.array([[0.25, 0.75, 1e-30], [0.1, 0.8, 0.1]], np.float32)) + 3
    same, divergence = reading.compare_logits(reference, logits)
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    second = 0.8 * math.log(0.8 / 0.1) + 0.1 * math.log(0.1 / 0.8)
    assert same == 1  # both likeliest tokens of the first row are as likely
    assert divergence == pytest.approx(first + second, rel=1e-5)
    assert reading.compare_logits(reference, reference) == (2, pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize(("gap", "same"), [(0.05, 1), (0.08, 0)])
def test_nearly_equal_tokens_count_as_the_same(gap: float, same: int) -> None:
    reference = np.array([[0.0, -gap, -3.0]], np.float32)
    logits = np.array([[-0.01, 0.0, -3.0]], np.float32)
    assert reading.compare_logits(reference, logits, limits.get_tie("float32"))[0] == same
    assert reading.compare_logits(reference, logits)[0] == 0


def test_padding_columns_do_not_change_agreement() -> None:
    dice = np.random.default_rng(0)
    reference, logits = dice.normal(size=(2, 40, 50)).astype(np.float32)
    padded = np.concatenate([logits, np.full((40, 14), 5.0, np.float32)], axis=1)
    assert reading.compare_logits(reference, padded) == reading.compare_logits(reference, logits)


#: A number of positions large enough to rule out chance.
MANY = 10**8

#: Parameters of the two models whose losses are known.
SMALL, LARGE = 135e6, 8e9


@pytest.mark.parametrize("parameters", [1e6, SMALL, 1e9, LARGE, 70e9])
def test_every_quantization_has_sourced_limits_or_a_reason(
    parameters: float,
) -> None:
    for name, facts in QUANTIZATIONS.items():
        result = limits.get_limit(name, "float32", MANY, parameters)
        assert bool(result.source) != bool(result.unjudged), name
        if result.source:
            assert 0.2 < result.top1 < 1, name
            assert (result.kl == limits.EXACT.kl) == (facts.bits >= 16), name
        if facts.only_for and facts.bits < 3:
            assert f"works only for {facts.only_for}" in str(result.unjudged)


def test_larger_model_has_stricter_limits() -> None:
    sizes = (SMALL, 1e9, LARGE)
    for name in ("Q6_K", "Q4_K_M", "IQ4_XS", "Q3_K_M"):
        kl = [limits.get_limit(name, "float32", MANY, size).kl for size in sizes]
        assert kl == sorted(kl, reverse=True)
        assert kl[0] > kl[2], name
        assert limits.estimate_divergence(name, LARGE) < limits.estimate_divergence(name, SMALL)
    assert limits.estimate_divergence("Q2_K", LARGE) == pytest.approx(0.45)
    assert limits.get_limit("Q2_K", "float32", MANY, SMALL).unjudged
    assert limits.get_limit("Q2_K", "float32", MANY, LARGE).source


def test_exact_stages_have_the_strictest_limits() -> None:
    for stage, dtype, exact in (
        ("merged", "float32", limits.EXACT),
        ("converted", "bfloat16", limits.EXACT_IN_16_BITS),
    ):
        result = limits.get_limit(stage, dtype, MANY, SMALL)
        assert result.top1 == pytest.approx(exact.top1, abs=1e-3)
        assert result.kl == exact.kl


def test_limits_allow_for_chance_only_at_few_positions() -> None:
    few, many = (limits.get_limit("merged", "bfloat16", count, SMALL) for count in (35, 5_000))
    assert few.is_met(33 / 35, 2e-5)
    assert not few.is_met(28 / 35, 2e-5)
    assert not many.is_met(4_700 / 5_000, 2e-5)
    assert few.kl == many.kl


@pytest.mark.parametrize(
    ("stage", "top1", "kl", "verdict"),
    [
        pytest.param("merged", 0.99, 0.0005, "passed", id="exact"),
        pytest.param("merged", 0.90, 0.0005, "failed", id="merged-with-other-tokens"),
        pytest.param("Q4_K_M", 0.90, 0.08, "passed", id="usable-quantization"),
        pytest.param("Q4_K_M", 0.79, 0.08, "lossy", id="too-few-bits"),
    ],
)
def test_verdict_is_passed_exactly_within_the_limits_shown(
    stage: str, top1: float, kl: float, verdict: str
) -> None:
    least = limits.get_limit(stage, "float32", MANY, SMALL)
    shown = limits.get_passing_limit(stage, least)
    assert limits.judge(stage, least, top1, kl, faults=False) == verdict
    assert shown.is_met(top1, kl) == (verdict == "passed")
    assert shown.top1 >= least.top1
    assert shown.kl <= least.kl


@pytest.mark.parametrize(
    ("stage", "top1", "kl", "faults", "expected"),
    [
        ("Q4_K_M", 0.92, 0.03, False, "passed"),
        ("Q4_K_M", 0.92, 0.03, True, "failed"),
        ("Q4_K_M", 0.40, 3.0, False, "failed"),
        ("Q2_K", 0.71, 0.44, False, "lossy"),
        ("IQ1_S", 0.50, 2.2, False, "lossy"),
        ("IQ1_S", 0.50, 40.0, False, "lossy"),
        ("IQ1_S", 0.50, math.nan, False, "failed"),
        ("Q2_K", 0.71, 2.44, False, "failed"),
        ("TQ1_0", 0.01, 9.0, False, "lossy"),
        ("merged", 0.92, 0.03, False, "failed"),
        ("F16", 0.99, math.nan, False, "failed"),
    ],
)
def test_verdict_distinguishes_loss_of_bits_from_failure(
    stage: str, top1: float, kl: float, faults: bool, expected: str
) -> None:
    least = limits.get_limit(stage, "float32", 1_000, LARGE)
    assert limits.judge(stage, least, top1, kl, faults=faults) == expected


def test_older_result_without_verdict_fails_unless_passed() -> None:
    facts = {
        "kind": "self_tested", "stage": "Q8_0", "conversations": 1, "positions": 1,
        "tokens_equal": True, "top1": 0.1, "kl": 9.0, "top1_limit": 0.9, "kl_limit": 0.1,
    }  # fmt: skip
    assert events.parse(json.dumps(facts | {"passed": False})).verdict == "failed"  # type: ignore[union-attr]  # a SelfTested event
    assert events.parse(json.dumps(facts | {"passed": True})).verdict == "passed"  # type: ignore[union-attr]  # a SelfTested event


# --- correct models ---------------------------------------------------------------------------


#: The kinds of files; fewer of them test one family in the slow tier.
KINDS: tuple[Quantization, ...] = ("F16", "BF16", "Q8_0", "Q4_K_M")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype", "quantizations"),
    [
        pytest.param(
            "qwen3_moe", "auto", ("F16", "Q8_0"), id="qwen3_moe", marks=pytest.mark.thorough
        ),
        *(
            pytest.param(family, dtype, KINDS, id=f"{family}-{dtype}", marks=pytest.mark.thorough)
            for family in FAMILIES
            for dtype in ("auto", "fp16", "bf16", "fp32")
        ),
    ],
)
def test_correct_merge_and_conversion_pass(
    family: str,
    dtype: Literal["auto", "fp16", "bf16", "fp32"],
    quantizations: tuple[Quantization, ...],
    tmp_path: Path,
) -> None:
    if family.endswith("_moe"):
        quantizations += ("MXFP4_MOE",)
    run = tiny_run(family, tmp_path, quantizations=quantizations)
    project = run.load_project()
    run.write_project(project.model_copy(update={"merging": MergingSpec(dtype=dtype)}))
    job, _ = recorded_job()
    merge.merge(run, job)
    results, _ = check(run, conversion.write(run, run.load_project(), job))
    assert results.keys() == {"merged", *quantizations}
    for result in results.values():
        assert result.passed, result
        assert result.faults == ()
        assert "compared by value" in str(result.compared)
        assert result.tokens_equal
        assert result.conversations >= 32
        assert result.positions >= 1000
    report = json.loads(run.selftest_file.read_text("utf-8"))
    assert report["passed"] is True
    assert report["reference"] == "base + adapter, computed in float32"
    assert [stage["stage"] for stage in report["stages"]] == list(results)
    assert not list(run.temporary.iterdir())


@pytest.mark.slow
def test_few_conversations_are_used_and_reported(run: RunFolder) -> None:
    run.heldout_file.write_text(json.dumps(heldout_rows(1)[0]) + "\n", "utf-8")
    results, recorder = check(run)
    assert results["merged"].passed
    assert results["merged"].conversations == 1
    read, few = (str(log.text) for log in recorder.of(events.LogLine))
    assert "reads 1 held-out conversation" in read
    assert "all held-out conversations" in few


def test_merged_model_in_16_bits_has_the_limit_of_16_bits() -> None:
    """Base + adapter may run on the CPU in 32 bits because the GPU is full, the merged model on the GPU."""
    reference = Reference(np.zeros((0, 1)), "float32", 8_000_000_000, [])
    stage = Stage("merged", lambda _: np.zeros(0), None, (), StageComparison())
    for dtype, exact in (("float32", limits.EXACT), ("bfloat16", limits.EXACT_IN_16_BITS)):
        limit = judging.choose_limit(replace(stage, computed_in=dtype), reference, 1000)
        assert limit.kl == exact.kl, dtype


def test_gpu_is_held_only_while_a_model_is_on_it(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.heldout_file.write_text(json.dumps(heldout_rows(1)[0]) + "\n", "utf-8")
    held: list[str] = []
    seen: list[tuple[str, list[str]]] = []

    @contextmanager
    def hold(_model: ModelSpec, _run: RunFolder, doing: str, _job: Any) -> Iterator[None]:
        assert not held
        held.append(doing)
        yield
        held.clear()

    def observe(place: Any, name: str) -> None:
        original = getattr(place, name)

        def call(*arguments: Any, **named: Any) -> Any:
            seen.append((name, [*held]))
            return original(*arguments, **named)

        monkeypatch.setattr(place, name, call)

    load = loading.load
    had_room: list[str] = []

    def load_in_turn(spec: ModelSpec, *arguments: Any) -> loading.LoadedModel:
        """Load on a made-up GPU that has room for the first model only."""
        if spec.device != "cpu" and had_room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        had_room.append(spec.source)
        return load(spec.model_copy(update={"device": "cpu"}), *arguments)

    project = run.load_project()
    automatic = project.model.model_copy(update={"device": "auto"})
    run.write_project(project.model_copy(update={"model": automatic}))
    monkeypatch.setattr(devices, "choose_device", _choose_a_gpu)
    monkeypatch.setattr(devices, "list_supported_gpus", lambda: [0])
    monkeypatch.setattr(load_module, "get_free_bytes", lambda _: None)
    monkeypatch.setattr(loading, "load", load_in_turn)
    monkeypatch.setattr(lock, "hold_devices", hold)
    monkeypatch.setattr(RunComparer, "compare_files", lambda *_: {"F16": StageComparison()})
    for place, name in ((loading, "load"), (RunComparer, "compare_merged"), (selftest, "Llama")):
        observe(place, name)
    file = tmp_path / "damaged.gguf"
    file.write_bytes(b"GGUF")
    results, _ = check(run, {"F16": file})
    assert results["merged"].passed
    loads = [("load", ["self-test"]), ("load", ["self-test"]), ("load", [])]
    assert seen == [("compare_merged", []), *loads, ("Llama", [])]


def _choose_a_gpu(wanted: str) -> torch.device:
    return torch.device("cpu") if wanted == "cpu" else torch.device("cuda", 0)


@pytest.mark.slow
def test_gpu_too_small_for_16_bits_leaves_it_to_the_cpu(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that trains a model in 4 bits may have no room for the same model in 16."""
    run.heldout_file.write_text(json.dumps(heldout_rows(1)[0]) + "\n", "utf-8")
    project = run.load_project()
    automatic = project.model.model_copy(update={"device": "auto"})
    run.write_project(project.model_copy(update={"model": automatic}))
    tried: list[str] = []
    load = loading.load

    def load_on_cpu(spec: ModelSpec, *arguments: Any) -> loading.LoadedModel:
        tried.append(spec.device)
        if spec.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load(spec, *arguments)

    monkeypatch.setattr(devices, "choose_device", _choose_a_gpu)
    monkeypatch.setattr(devices, "list_supported_gpus", lambda: [0])
    monkeypatch.setattr(lock, "hold_devices", lambda *_: nullcontext())
    monkeypatch.setattr(load_module, "get_free_bytes", lambda _: None)
    monkeypatch.setattr(loading, "load", load_on_cpu)
    results, _ = check(run)
    assert results["merged"].passed
    assert tried == ["auto", "cpu"] * 2


def test_missing_heldout_rows_give_a_warning_and_no_result(run: RunFolder) -> None:
    run.heldout_file.unlink()
    results, recorder = check(run)
    assert results == {}
    assert recorder.of(events.Warned)[0].problem.code == "selftest.no_conversations"
    assert not run.selftest_file.exists()


def test_deleted_adapter_is_damage_not_a_lack_of_conversations(run: RunFolder) -> None:
    checksums.record_checksums(run, run.adapter)
    shutil.rmtree(run.adapter)
    with pytest.raises(ProblemError) as refused:
        check(run)
    assert refused.value.problems[0].code == "run.damaged_adapter"


def test_export_refuses_a_damaged_tokenizer_or_merged_model(run: RunFolder) -> None:
    checksums.record_checksums(run, run.adapter)
    (run.adapter / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ProblemError) as refused:
        conversion.may_add_bos(run, run.load_project())
    assert refused.value.problems[0].code == "run.damaged_adapter"
    (run.merged / "config.json").unlink()
    with pytest.raises(ProblemError) as refused:
        conversion.write(run, run.load_project(), recorded_job()[0])
    assert refused.value.problems[0].code == "run.damaged_merged"


def test_merged_model_without_its_settings_fails(run: RunFolder) -> None:
    (run.merged / "config.json").unlink()
    results, recorder = check(run)
    assert not results["merged"].passed
    assert "config.json is missing" in fault(recorder)


@pytest.mark.slow
def test_missing_exported_file_is_named(run: RunFolder) -> None:
    file = run.get_gguf_file(run.load_project().name, "Q8_0")
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    checksums.record_checksums(run, run.gguf, [file.name])
    file.unlink()
    job, recorder = recorded_job()
    jobs.run_command(commands.SelfTest(run=str(run.path)), job)
    (warned,) = recorder.of(events.Warned)
    assert warned.problem.code == "selftest.file_missing"
    assert recorder.of(events.SelfTested)


@pytest.mark.slow
def test_cancel_stops_the_test_and_leaves_no_files(run: RunFolder) -> None:
    job, recorder = recorded_job()
    recorder.on_event = lambda event: (
        job.flags.cancel.set() if str(getattr(event, "stage", "")) == "self-test: merged" else None
    )
    with pytest.raises(CancelledError):
        selftest.run(run, run.load_project(), {}, job)
    assert not run.selftest_file.exists()
    assert not list(run.temporary.iterdir())


# --- faults in the merge ----------------------------------------------------------------------


def merge_wrongly(run: RunFolder, change: Callable[[Path], None]) -> None:
    """Merge a changed adapter, while the run keeps the correct one."""
    correct = run.path / "kept"
    shutil.copytree(run.adapter, correct)
    change(run.adapter)
    merge.merge(run, recorded_job()[0])
    shutil.rmtree(run.adapter)
    correct.rename(run.adapter)


def wrong_scale(adapter: Path, by: float = 1.1) -> None:
    file = adapter / adapter_files.CONFIG
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] * by}), "utf-8")


@pytest.mark.slow
def test_wrong_merge_is_detected_with_its_cause(run: RunFolder) -> None:
    merge_wrongly(run, wrong_scale)
    results, recorder = check(run)
    assert not results["merged"].passed
    assert results["merged"].kl is None
    assert results["merged"].verdict == "failed"
    message = fault(recorder)
    assert "The merged model differs from what was trained" in message
    assert "the updates were merged at 1.10 times their scale" in message
    assert json.loads(run.selftest_file.read_text("utf-8"))["passed"] is False


@pytest.mark.slow
@pytest.mark.parametrize("honored", [True, False])
def test_weighted_adapters_are_tested_at_their_weights(
    honored: bool, run: RunFolder, tmp_path: Path
) -> None:
    base, second = tmp_path / "base", tmp_path / "second"
    random_adapter(base, second, seed=7)
    chosen = MergingSpec(weight=1 / 3, further=(f"{second}=-0.5",))
    if honored:
        both = [adapter_files.read(run.adapter, 1 / 3), adapter_files.read(second, -0.5)]
        merge.merge_into(run.merged, base, both, chosen, recorded_job()[0])
        checksums.record_checksums(run, run.merged)
    project = run.load_project().model_copy(update={"merging": chosen})
    (result,) = selftest.run(run, project, {}, recorded_job()[0])
    assert result.verdict == ("passed" if honored else "failed")


@pytest.mark.slow
def test_unmerged_base_weights_are_detected(run: RunFolder) -> None:
    shutil.copyfile(
        run.path.parents[1] / "base" / safetensors_files.SINGLE,
        run.merged / safetensors_files.SINGLE,
    )
    results, _ = check(run)
    assert results["merged"].verdict == "failed"
    assert "was not merged" in str(results["merged"].cause)


# --- rounding of the merged model ----------------------------------------------------------------


def merge_small_updates(run: RunFolder, dtype: Literal["auto", "bf16", "fp16"] = "auto") -> None:
    """Merge updates so small that bfloat16, in which the base is stored, rounds most of them away."""
    file = run.adapter / "adapter_model.safetensors"
    result = {
        name: value / (30 if "lora_B" in name else 1) for name, value in load_file(file).items()
    }
    save_file(result, file)
    project = run.load_project().model_copy(update={"merging": MergingSpec(dtype=dtype)})
    run.project_file.write_text(project.to_toml(), "utf-8")
    merge.merge(run, recorded_job()[0])


def allow_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tighten the limits: a tiny random model answers nearly the same whatever it loses."""
    monkeypatch.setattr(limits, "EXACT", limits.Limit(0.9, 1e-7))


@pytest.mark.slow
def test_rounded_away_updates_are_lossy_with_a_fix(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_no_loss(monkeypatch)
    merge_small_updates(run)
    results, recorder = check(run)
    assert results["merged"].verdict == "lossy"
    assert results["merged"].passed
    assert "rounding to bfloat16 changes the adapter's updates by" in str(results["merged"].cause)
    (warning,) = recorder.of(events.Warned)
    assert warning.problem.code == "selftest.rounded"
    assert warning.problem.fix is not None
    assert warning.problem.fix.changes == (("merging", "dtype", "fp16"),)


def export_with_test(run: RunFolder, **settings: Any) -> tuple[dict[str, Any], Recorder]:
    """Export as a job does, and return the results of the self-test by stage."""
    export = run.load_project().export.model_copy(update=settings)
    project = run.load_project().model_copy(update={"export": export})
    step_records.update_settings(run, project, "export")
    project = run.load_project()
    job, recorder = recorded_job()
    with conversion.convert_run(run, project, job) as made:
        results = selftest.run(run, project, made.get_stages(), job)
    return {result.stage: result for result in results}, recorder


@pytest.mark.slow
def test_files_of_a_rounded_model_come_from_the_adapter(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_no_loss(monkeypatch)
    merge_small_updates(run)
    merged, _ = check(run)
    results, recorder = export_with_test(run, quantizations=("Q8_0",))
    assert results["converted"].kl < merged["merged"].kl / 10
    assert run.read_manifest()["gguf"]["from"] == DIRECT_SOURCE
    assert any("because rounding changed" in str(log.text) for log in recorder.of(events.LogLine))


@pytest.mark.slow
def test_rounding_of_the_merged_model_is_not_a_converter_fault(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXACT", limits.Limit(1.0, 1e-5))
    merge_small_updates(run)
    merged, _ = check(run)
    assert merged["merged"].verdict == "lossy"
    results, _ = export_with_test(run, quantizations=("Q8_0",), convert_from="merged")
    assert run.read_manifest()["gguf"]["from"] == MERGED_SOURCE
    assert results["converted"].verdict != "failed", results["converted"].faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "quantization", "stage"),
    [
        pytest.param("auto", "BF16", "BF16", id="BF16 file"),
        pytest.param("bf16", "Q8_0", "converted", id="precision chosen"),
    ],
)
def test_direct_files_may_lose_what_the_merged_model_lost(
    dtype: Literal["auto", "bf16"],
    quantization: Quantization,
    stage: str,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "EXACT", limits.Limit(1.0, 1e-5))
    merge_small_updates(run, dtype)
    merged, _ = check(run)
    assert merged["merged"].verdict == "lossy"
    results, _ = export_with_test(run, quantizations=(quantization,), convert_from="adapter")
    assert run.read_manifest()["gguf"]["from"] == DIRECT_SOURCE
    assert results[stage].verdict != "failed", results[stage].faults


@pytest.mark.slow
def test_direct_file_is_compared_with_its_own_precision(run: RunFolder) -> None:
    first, _ = export_with_test(run, quantizations=("Q8_0",), convert_from="adapter")
    second, _ = export_with_test(run, quantizations=("BF16",), convert_from="adapter")
    assert first["Q8_0"].passed
    assert second["BF16"].passed
    files = {name: run.get_gguf_file("Harbour", name) for name in ("Q8_0", "BF16")}
    job, _ = recorded_job()
    results = selftest.run(run, run.load_project(), files, job, fresh=True)
    assert [(r.stage, r.verdict, r.faults) for r in results if not r.passed] == []
    recorded = run.read_manifest()["gguf"]["files"]
    assert (recorded["Q8_0"]["dtype"], recorded["BF16"]["dtype"]) == ("fp16", "auto")


@pytest.mark.slow
def test_wrong_merge_of_small_updates_is_not_called_rounding(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_no_loss(monkeypatch)
    merge_small_updates(run)
    merge_wrongly(run, lambda adapter: wrong_scale(adapter, 3.0))
    results, recorder = check(run)
    assert results["merged"].verdict == "failed"
    assert "times their scale" in fault(recorder)


def test_shares_are_written_alike_in_every_message() -> None:
    limit = limits.Limit(0.918, 0.067)
    (fault_text,) = judging._find_measured_faults(limit, 0.898, 0.0657)
    assert str(fault_text) == "its top-1 agreement is 89.8 % (minimum 91.8 %)"


def test_file_limits_allow_for_loss_of_the_merged_model() -> None:
    alone = limits.get_limit("converted", "float32", MANY, SMALL)
    lost = limits.InheritedLoss(top1=0.9, kl=0.003)
    made_of_it = limits.get_limit("converted", "float32", MANY, SMALL, lost)
    assert not alone.is_met(1.0, 0.0031)
    assert not alone.is_met(0.9, 0.0005)
    assert limits.judge("converted", made_of_it, 0.9, 0.0031, faults=False) == "lossy"
    assert limits.judge("converted", made_of_it, 0.8, 0.0031, faults=False) == "failed"
    assert limits.judge("converted", made_of_it, 1.0, 0.0031, faults=False) == "lossy"
    assert limits.judge("converted", made_of_it, 1.0, 0.0005, faults=False) == "passed"
    assert limits.judge("converted", made_of_it, 1.0, 0.0045, faults=False) == "failed"


def test_file_as_bad_as_its_lossy_merged_model_does_not_pass() -> None:
    lost = limits.InheritedLoss(top1=0.85, kl=0.12)
    for stage, top1, kl in (("Q8_0", 0.81, 0.165), ("converted", 0.83, 0.0005)):
        least = limits.get_limit(stage, "float32", MANY, SMALL, lost)
        assert limits.judge(stage, least, top1, kl, faults=False) == "lossy"
        alone = limits.get_limit(stage, "float32", MANY, SMALL)
        assert limits.judge(stage, alone, top1, kl, faults=False) == "failed"


# --- recorded results -------------------------------------------------------------------------


@pytest.mark.slow
def test_unchanged_merged_model_is_tested_only_once(
    run: RunFolder,
) -> None:
    first, _ = check(run)
    second, recorder = check(run)
    assert second["merged"].kl == first["merged"].kl
    assert not recorder.of(events.ModelLoaded)
    assert any("tested before" in str(log.text) for log in recorder.of(events.LogLine))
    untied_head(run.merged)
    changed, _ = check(run)
    assert changed["merged"].verdict == "failed"


@pytest.mark.slow
def test_result_of_a_damaged_merged_model_is_not_reused(run: RunFolder) -> None:
    check(run)
    file = run.merged / safetensors_files.SINGLE
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    content = bytearray(file.read_bytes())
    content[-1] ^= 0x40
    file.write_bytes(content)
    os.utime(file, ns=times)
    results, recorder = check(run)
    assert results["merged"].verdict == "failed"
    assert not any("tested before" in str(log.text) for log in recorder.of(events.LogLine))


@pytest.mark.slow
def test_report_is_complete_after_faulty_and_repaired_export(run: RunFolder) -> None:
    check(run)
    file = converted_wrongly(run, lambda _: None)
    content = file.read_bytes()
    file.write_bytes(content[:-1000])
    results, _ = check(run, {"F16": file})
    assert not results["F16"].passed
    report = json.loads(run.selftest_file.read_text("utf-8"))
    assert report["positions"] == results["merged"].positions
    assert report["answers"][0].keys() == {"prompt", "base + adapter", "merged"}
    file.write_bytes(content)
    results, _ = check(run, {"F16": file})
    assert results["F16"].passed
    report = json.loads(run.selftest_file.read_text("utf-8"))
    assert report["answers"][0].keys() == {"prompt", "base + adapter", "merged", "F16"}


@pytest.mark.slow
def test_file_is_tested_beside_failed_merged_model(run: RunFolder) -> None:
    (run.merged / "added_tokens.json").write_text("{}", "utf-8")
    results, _ = check(run)
    assert not results["merged"].passed
    file = converted_wrongly(run, lambda _: None)
    results, _ = check(run, {"F16": file})
    assert not results["merged"].passed
    assert results["F16"].passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("merged", "chosen"),
    [
        pytest.param({"dtype": "fp16"}, {"dtype": "auto"}, id="float16, then the base's"),
        pytest.param({"dtype": "fp32"}, {"dtype": "fp16"}, id="float32, then float16"),
        pytest.param({}, {"dtype": "fp32", "shard_size_gb": 1e-4}, id="the base's, then float32"),
    ],
)
def test_merged_model_passes_after_storage_settings_change(
    merged: dict[str, Any], chosen: dict[str, Any], tmp_path: Path
) -> None:
    run = tiny_run("llama3", tmp_path)
    project = run.load_project()
    run.write_project(project.model_copy(update={"merging": MergingSpec(**merged)}))
    merge.merge(run, recorded_job()[0])
    run.write_project(project.model_copy(update={"merging": MergingSpec(**chosen)}))
    results, _ = check(run)
    assert results["merged"].passed
    assert results["merged"].faults == ()


@pytest.mark.slow
def test_answers_of_every_stage_are_recorded(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    # Merged in 32 bits, because answers of a random model change with rounding to 16 bits.
    exact = run.load_project().model_copy(update={"merging": MergingSpec(dtype="fp32")})
    run.project_file.write_text(exact.to_toml(), "utf-8")
    merge.merge(run, recorded_job()[0])
    check(run)
    rows = json.loads(run.selftest_file.read_text("utf-8"))["answers"]
    assert len(rows) == reading.ANSWERS
    for row in rows:
        assert set(row) == {"prompt", "base + adapter", "merged"}
        assert row["merged"] == row["base + adapter"]


# --- faults in the conversion -----------------------------------------------------------------


def converted_wrongly(
    run: RunFolder, change: Callable[[Path], None], llama_cpp: Path | None = None
) -> Path:
    """Convert a changed merged model to GGUF, while the run keeps the correct one."""
    wrong = run.path / "wrong"
    shutil.copytree(run.merged, wrong)
    change(wrong)
    file = run.path / "wrong.gguf"
    own = llama_cpp or Path(run.load_project().export.llama_cpp)
    conversion.convert(wrong, file, "Harbour", str(own), recorded_job()[0])
    return file


def untied_head(model: Path) -> None:
    tensors = load_file(model / safetensors_files.SINGLE)
    head = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"] = head[torch.randperm(len(head), generator=torch.manual_seed(0))]
    save_file(tensors, model / safetensors_files.SINGLE)
    write_config(model, tie_word_embeddings=False)


@pytest.mark.slow
def test_wrong_conversion_is_detected_though_merge_is_correct(run: RunFolder) -> None:
    results, recorder = check(run, {"F16": converted_wrongly(run, untied_head)})
    assert results["merged"].passed
    assert not results["F16"].passed
    assert "The F16 file differs from what was trained" in fault(recorder)
    assert "output.weight is not part of the trained model" in fault(recorder)


@pytest.mark.slow
def test_fault_of_the_converter_is_found_by_its_tokens(run: RunFolder, tmp_path: Path) -> None:
    splits = llama_cpp_folder(tmp_path / "other", llama="qwen2")
    project = run.load_project()
    spec = project.export.model_copy(update={"llama_cpp": str(splits)})
    step_records.update_settings(run, project.model_copy(update={"export": spec}), "export")
    results, recorder = check(run, {"F16": converted_wrongly(run, lambda _: None, splits)})
    assert not results["F16"].passed
    assert results["F16"].tokens_equal is False
    assert "its tokens differ" in fault(recorder)


@pytest.mark.slow
def test_failed_stage_does_not_stop_the_next(run: RunFolder) -> None:
    right = converted_wrongly(run, lambda _: None)
    torn = run.path / "torn.gguf"
    torn.write_bytes(right.read_bytes()[:-5000])
    os.truncate(run.merged / safetensors_files.SINGLE, 50_000)
    results, recorder = check(run, {"F16": right, "Q8_0": torn})
    assert [result.verdict for result in results.values()] == ["failed", "passed", "failed"]
    assert "the file is truncated" in str(results["merged"].faults[0])
    assert "the file is truncated: it has" in str(results["Q8_0"].faults[0])
    for warning in recorder.of(events.Warned):
        assert warning.problem.code == "selftest.failed"
        assert "Don't use it" in str(warning.problem.remedy)
    report = json.loads(run.selftest_file.read_text("utf-8"))
    assert report["passed"] is False


@pytest.mark.slow
def test_file_is_measured_without_its_llama_cpp(run: RunFolder) -> None:
    file = converted_wrongly(run, lambda _: None)
    shutil.rmtree(run.load_project().export.llama_cpp)
    results, _ = check(run, {"F16": file})
    assert results["F16"].passed
    assert "not compared by value" in str(results["F16"].compared)


@pytest.mark.slow
def test_values_are_compared_without_heldout_rows(run: RunFolder) -> None:
    run.heldout_file.unlink()
    write_config(run.merged, rms_norm_eps=1e-3)
    results, _ = check(run)
    assert results["merged"].verdict == "failed"
    assert "rms_norm_eps is 0.001" in str(results["merged"].faults[0])


@pytest.mark.slow
def test_file_that_misses_the_end_of_turn_is_detected(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    for folder in (tmp_path / "base", run.adapter):
        # An end-of-turn token that llama.cpp doesn't know by name.
        for file in folder.glob("*.json*"):
            if file.suffix in (".json", ".jinja"):
                file.write_text(
                    file.read_text("utf-8").replace("<|eot_id|>", "<|over_to_you|>"), "utf-8"
                )
        template = folder / "chat_template.jinja"
        template.write_text(
            template.read_text("utf-8").replace("<|eot_id|>", "<|over_to_you|>"), "utf-8"
        )
    merge.merge(run, recorded_job()[0])

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
    assert "tokenizer.ggml.eos_token_id is" in fault(recorder)


# --- as jobs ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_merge_job_ends_with_a_self_test(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    job, recorder = recorded_job()
    jobs.run_command(commands.Merge(run=str(run.path)), job)
    kinds = [event.kind for event in recorder.events]
    assert kinds.index("merged") < kinds.index("self_tested")
    (tested,) = recorder.of(events.SelfTested)
    assert (tested.stage, tested.verdict) == ("merged", "passed")


@pytest.mark.slow
def test_repeated_self_test_runs_anew_and_needs_a_model(run: RunFolder) -> None:
    check(run)
    job, recorder = recorded_job()
    jobs.run_command(commands.SelfTest(run=str(run.path)), job)
    assert recorder.of(events.ModelLoaded)
    shutil.rmtree(run.merged)
    job, recorder = recorded_job()
    with pytest.raises(ProblemError) as caught:
        jobs.run_command(commands.SelfTest(run=str(run.path)), job)
    assert caught.value.problems[0].code == "selftest.not_merged"
    (warned,) = recorder.of(events.Warned)
    assert warned.problem.code == "selftest.merged_missing"


@pytest.mark.slow
def test_merge_of_a_model_trained_in_4_bits_says_what_it_changes(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    model = run.load_project().model.model_copy(update={"precision": "4bit"})
    run.write_project(run.load_project().model_copy(update={"model": model}))
    planned = merge.preview_merge(run, MergingSpec(), recorded_job()[0])
    (warning,) = planned.problems
    assert warning.code == "merging.other_precision"
    assert 0.01 < float(str(warning.what.values["share"])) < 1.0
    merge.merge(run, recorded_job()[0])
    results, recorder = check(run)
    assert results["merged"].verdict == "passed"
    (warned,) = recorder.of(events.Warned)
    assert warned.problem.code == "selftest.other_precision"
    values = warned.problem.what.values
    assert float(str(values["kl"])) > 10 * limits.EXACT.kl
    assert values["trained"] != values["merged"]
    report = json.loads((run.path / "selftest.json").read_text("utf-8"))
    assert report["as_trained"]["kl"] == values["kl"]


@pytest.mark.slow
def test_float16_keeps_updates_that_bfloat16_rounds_away(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge_small_updates(run)
    coarse, _ = check(run)
    fine = run.load_project().model_copy(update={"merging": MergingSpec(dtype="fp16")})
    run.project_file.write_text(fine.to_toml(), "utf-8")
    merge.merge(run, recorded_job()[0])
    close, _ = check(run)
    assert close["merged"].kl < coarse["merged"].kl / 10


@pytest.mark.slow
def test_self_test_says_what_a_merged_model_misses(run: RunFolder) -> None:
    (run.merged / "config.json").unlink()
    job, recorder = recorded_job()
    jobs.run_command(commands.SelfTest(run=str(run.path)), job)
    (tested,) = recorder.of(events.SelfTested)
    assert (tested.stage, tested.verdict) == ("merged", "failed")
    assert "config.json is missing" in str(tested.faults[0])
