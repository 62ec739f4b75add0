"""The self-test: check that merged model and GGUF files are and predict what was trained.

First every value is compared with a fresh computation of base + adapter (`stage_comparisons.py`).
What equals it is then measured, to find what a comparison can't: rounding, the loss of a
quantization, and faults of the converter itself.

Base + adapter is the merged combination: the adapter at its weight, and any further ones. Every
stage reads the same held-out conversations. At the positions where an answer is predicted, the
top-1 token and the whole distribution are compared: KL(p ‖ q) = Σ p (log p − log q), in nats, where
p is the distribution of base + adapter and q that of the stage (Kullback & Leibler 1951). The
reference's log probabilities are stored on disk, so that two models are never in memory at once.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lora_studio.core.lora.adapters import AdapterMix
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums, heldout, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.mounts import create_folder
from lora_studio.engine.chat import adapters
from lora_studio.engine.devices import lock
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading, safetensors_files, sources
from lora_studio.engine.model.inference_loading import release_gpu, run_where_it_fits
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.selftest import (
    earlier_results,
    label_probabilities,
    limits,
    problems,
    reading,
    vectors,
)
from lora_studio.engine.selftest.comparison import StageComparison
from lora_studio.engine.selftest.expected_model import measure_rounding
from lora_studio.engine.selftest.judging import (
    Cause,
    Reference,
    Stage,
    judge_stage,
    report_faults,
)
from lora_studio.engine.selftest.oracle.trained_tensors import merge_rounded
from lora_studio.engine.selftest.problems import MergedLoss
from lora_studio.engine.selftest.reading import SelfTestCase
from lora_studio.engine.selftest.stage_comparisons import RunComparer
from lora_studio.engine.tokens import encoder

#: Rounding explains a loss that is at most so many times what it costs alone.
_SAME_LOSS = 1.5


def run(
    folder: RunFolder,
    project: Project,
    files: Mapping[str, Path],
    job: JobContext,
    *,
    fresh: bool = False,
    all_rows: bool = False,
) -> list[events.SelfTested]:
    """Test the merged model and GGUF files, by stage, of a run; emit and save the results.

    First every value is compared with what was trained; a stage that differs fails and isn't
    measured. The others answer the held-out conversations; without any, they have no result. The
    merged model's earlier result is reused if neither the model nor its reference has changed,
    unless `fresh`. The check of GGUF files that doesn't use the converter reads a sample of rows of large
    tensors, or `all_rows`. A failed stage also emits a warning with the cause. Raises ProblemError when
    base or adapter can't be used.
    """
    earlier = None if fresh else earlier_results.read_earlier_result(folder, job)
    selftest_report.delete(folder)
    checksums.require_intact(folder, folder.adapter, on_block=job.check)
    if not folder.adapter.is_dir():  # of a model that wasn't trained
        job.emit(events.Warned(problem=problems.no_conversations_problem()))
        return []
    cases: list[SelfTestCase] = []
    writes_text = _writes_text(folder)
    if heldout.is_expected(folder) and writes_text:
        tokenizer = loading.load_tokenizer(folder.adapter, trust=project.model.trust_remote_code)
        cases = reading.read_cases(folder, project, tokenizer)
    if not cases and writes_text:
        job.emit(events.Warned(problem=problems.no_conversations_problem()))
    elif cases:
        _log_coverage(cases, job)
    if earlier is not None and not files:
        selftest_report.write(folder, earlier)
        return [earlier_results.emit_earlier_result(earlier, job)]
    with _create_scratch_folder(folder) as scratch:
        comparer = RunComparer(folder, project, scratch, job, all_rows=all_rows)
        return _Test(folder, project, cases, comparer, scratch, job).run(files, earlier)


class _Test:
    """One self-test: its conversations, and the results and answers of its stages so far."""

    def __init__(
        self,
        folder: RunFolder,
        project: Project,
        cases: list[SelfTestCase],
        comparer: RunComparer,
        scratch: Path,
        job: JobContext,
    ) -> None:
        self._folder, self._project, self._cases = folder, project, cases
        self._comparer, self._scratch, self._job = comparer, scratch, job
        self._results: list[events.SelfTested] = []
        self._answers: dict[str, list[str]] = {}
        pooling = vectors.get_pooling(folder)
        self._vectors = pooling and vectors.VectorComparer(folder, project, pooling, job)
        self._reference: Reference | None = None
        self._trained_loss: MergedLoss | None = None
        self._earlier: dict[str, Any] = {}

    def run(
        self, files: Mapping[str, Path], earlier: dict[str, Any] | None
    ) -> list[events.SelfTested]:
        """Test all stages and save the report."""
        if earlier is not None:
            self._results.append(earlier_results.emit_earlier_result(earlier, self._job))
            self._earlier = earlier
            texts = [entry["merged"] for entry in earlier["answers"] if "merged" in entry]
            if texts:  # none if the merged model wasn't measured
                self._answers["merged"] = texts
        elif self._folder.has_merged:
            comparison = self._comparer.compare_merged()
            measure = self._choose(partial(self._measure_merged, comparison), "merged", comparison)
            self._test_stage("merged", comparison, measure)
        elif damage := self._find_merged_damage():
            missing = StageComparison((damage,))
            self._results.append(report_faults("merged", missing, self._job))
        comparisons = self._comparer.compare_files(files)
        for stage, file in files.items():
            comparison = comparisons[stage]
            measure = self._choose(
                partial(self._measure_gguf, stage, file, comparison), stage, comparison, file
            )
            self._test_stage(stage, comparison, measure)
        self._compare_with_trained_precision()
        self._write_report()
        return self._results

    def _compare_with_trained_precision(self) -> None:
        """Say how far the merged weights are from what was trained, if the base was in 4 or 8 bits then.

        Training adapted the base's rounded weights; the merge, and the reference of all stages, has those
        before they were rounded.
        """
        model = self._project.model
        if self._reference is None:
            return
        spec, mix = _choose_reference(self._folder, self._project, self._job)
        trained_on = sources.resolve(model, self._job)
        stored = loading.get_quantization_method(loading.read_config(trained_on, model))
        is_other = spec.source != str(trained_on) if stored else "bit" in model.precision
        if not is_other:
            return

        def measure(placed: ModelSpec) -> MergedLoss:
            loaded = loading.load(placed, self._job)
            tuned = adapters.AdapterSwitch(loaded.model).to(mix)
            return self._measure_loss(partial(reading.read_in_torch, tuned))

        try:
            trained = run_where_it_fits(model, self._job, measure, on_gpu=self._hold_gpu)
        except ProblemError as error:
            if is_caused_by_system(error):
                raise
            reason = error.problems[0].what
            self._job.emit(events.Log(text=text("The model as trained can't be measured: {reason}", reason=reason)))  # fmt: skip
            return
        self._trained_loss = trained
        self._job.emit(events.Warned(problem=problems.other_precision_problem(trained, stored or model.precision)))  # fmt: skip

    def _measure_loss(self, read: Callable[[SelfTestCase], np.ndarray]) -> MergedLoss:
        """Return the loss of the model that was trained, and of base + adapter as the stages have it."""
        reference = self._get_reference().log_probabilities
        agreeing, divergence, done, losses = 0, 0.0, 0, [0.0, 0.0]
        for case in self._cases:
            self._job.check()
            rows = np.asarray(reference[done : done + len(case.positions)])
            trained = reading.log_softmax(read(case))
            same, kl = reading.compare_logits(trained, rows)
            following = [case.ids[position + 1] for position in case.positions]
            for number, values in enumerate((trained, rows)):
                losses[number] -= float(values[np.arange(len(following)), following].sum())
            agreeing, divergence, done = agreeing + same, divergence + kl, done + len(rows)
        return MergedLoss(losses[0] / done, losses[1] / done, agreeing / done, divergence / done)

    def _test_stage(
        self, stage: str, comparison: StageComparison, measure: Callable[[], events.SelfTested]
    ) -> None:
        """Report what differs, else measure; a stage that can't be loaded is a failed one."""
        if comparison.compared and not comparison.is_exact and not comparison.faults:
            message = text("{stage}: {compared}.", stage=stage, compared=comparison.compared)
            self._job.emit(events.Log(text=message))
        if comparison.faults:
            self._results.append(report_faults(stage, comparison, self._job))
        elif self._cases or not _writes_text(self._folder):
            try:
                self._results.append(measure())
            except ProblemError as error:
                code = error.problems[0].code
                if code.startswith(("device.", "disk.")) or is_caused_by_system(error):
                    raise
                unusable = StageComparison((error.problems[0].what,), compared=comparison.compared)
                self._results.append(report_faults(stage, unusable, self._job))

    def _find_merged_damage(self) -> Text | None:
        """Return what a merged model without settings lacks, None if the run has no merged model."""
        folder = self._folder.merged
        if not folder.is_dir():
            return None
        return checksums.find_damage(self._folder, folder, on_block=self._job.check)

    @contextmanager
    def _hold_gpu(self) -> Iterator[None]:
        """Hold the GPUs while a model is on them.

        Most of a self-test needs no GPU: it compares values and runs llama.cpp.
        """
        with lock.hold_devices(self._project.model, self._folder, "self-test", self._job):
            try:
                yield
            finally:
                release_gpu()

    def _get_reference(self) -> Reference:
        """Return base + adapter's predictions, computed when the first stage needs them."""
        if self._reference is None:
            self._reference = _compute_reference(
                self._folder, self._project, self._cases, self._scratch, self._job, self._hold_gpu
            )
        return self._reference

    def _choose(
        self,
        measure: Callable[[], events.SelfTested],
        stage: str,
        comparison: StageComparison,
        file: Path | None = None,
    ) -> Callable[[], events.SelfTested]:
        """Return what measures a stage: `measure`, by its answers, or for models without answers by what they predict."""
        if label_probabilities.is_classifier(self._folder):
            return partial(
                label_probabilities.measure_merged,
                self._folder,
                self._project,
                comparison,
                self._job,
            )
        if self._vectors is None:
            return measure
        return partial(self._vectors.measure, stage, file, comparison)

    def _measure_merged(self, comparison: StageComparison) -> events.SelfTested:
        if not comparison.is_reproduced:  # then damage would go unnoticed
            checksums.require_intact(self._folder, self._folder.merged, on_block=self._job.check)
        project = self._project
        spec = ModelSpec(
            source=str(self._folder.merged),
            precision=_without_quantization(project.model).precision,
            device=project.model.device,
            trust_remote_code=project.model.trust_remote_code,
        )
        reference = self._get_reference()
        return run_where_it_fits(
            spec,
            self._job,
            lambda placed: self._judge_merged(placed, comparison, reference),
            on_gpu=self._hold_gpu,
        )

    def _judge_merged(
        self, spec: ModelSpec, comparison: StageComparison, reference: Reference
    ) -> events.SelfTested:
        project, cases = self._project, self._cases
        loaded = loading.load(spec, self._job)

        def tokenize(text: str) -> list[int]:
            return loaded.tokenizer(text, add_special_tokens=False).input_ids

        faults: list[Text] = []
        renderer = encoder.Encoder(loaded.tokenizer, project.dataset)
        if any(renderer.render_text(case.sample) != case.text for case in cases):
            faults.append(text("its chat template renders conversations differently"))
        stops = loaded.model.generation_config.eos_token_id
        stop_ids = {loaded.tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
        faults += reading.find_stop_faults(cases, stop_ids.__contains__)
        stage = Stage(
            name="merged",
            read=lambda case: reading.read_in_torch(loaded.model, case),
            token_fault=reading.find_token_fault(cases, tokenize),
            faults=tuple(faults),
            comparison=comparison,
            computed_in=safetensors_files.get_dtype_name(loaded.dtype),
            find_rounding=self._find_rounding,
        )
        result = judge_stage(stage, cases, reference, self._job)
        self._answers["merged"] = reading.generate_in_torch(
            loaded.model, loaded.tokenizer, cases, "merged", self._job
        )
        return result

    def _find_rounding(self, kl: float) -> Cause:
        """Return rounding if that alone costs base + adapter as much as a stage has lost, `kl` in nats.

        PEFT merges the adapter in memory, and torch rounds its weights.
        """
        share, dtype = measure_rounding(self._comparer.open_merged(), self._job)
        if not dtype:
            return Cause()
        alone = self._measure_rounded(getattr(torch, dtype))
        if kl > _SAME_LOSS * alone + limits.EXACT.kl:
            return Cause()
        message = text(
            "rounding to {dtype} changes the adapter's updates by {share:percent} and alone costs {nats:.2g} "
            "nats",
            dtype=dtype,
            share=share,
            nats=alone,
        )
        return Cause(message, dtype)

    def _measure_rounded(self, dtype: torch.dtype) -> float:
        """Return the KL divergence of base + adapter after its changed weights are rounded to `dtype`."""
        spec, mix = _choose_reference(self._folder, self._project, self._job)
        reference = self._get_reference()

        def measure(placed: ModelSpec) -> float:
            loaded = loading.load(placed, self._job)
            tuned = adapters.AdapterSwitch(loaded.model).to(mix)
            merge_rounded(tuned, dtype)
            divergence, done = 0.0, 0
            for case in self._cases:
                self._job.check()
                rows = reference.log_probabilities[done : done + len(case.positions)]
                divergence += reading.compare_logits(np.asarray(rows), reading.read_in_torch(tuned, case))[1]  # fmt: skip
                done += len(case.positions)
            return divergence / done

        return run_where_it_fits(spec, self._job, measure, on_gpu=self._hold_gpu)

    def _measure_gguf(
        self, name: str, file: Path, comparison: StageComparison
    ) -> events.SelfTested:
        if file.parent == self._folder.gguf and not comparison.is_reproduced:
            checksums.require_intact(self._folder, file.parent, [file.name], self._job.check)
        reference, cases, job = self._get_reference(), self._cases, self._job
        longest = max(len(case.ids) for case in cases)
        context = longest + reading.ANSWER_TOKENS + 8
        with Llama(file, context=context, cancelled=job.flags.cancel.is_set) as llama:
            stage = Stage(
                name=name,
                read=lambda case: llama.compute_logits(case.ids, case.positions),
                token_fault=reading.find_token_fault(cases, llama.tokenize),
                faults=tuple(reading.find_stop_faults(cases, llama.is_end_of_generation)),
                comparison=comparison,
                inherited=self._get_inherited(name),
                is_conversion_proven=any(limits.is_exact(r.stage) and r.stage != "merged" and r.verdict == "passed" for r in self._results),
            )  # fmt: skip
            result = judge_stage(stage, cases, reference, job)
            self._answers[name] = reading.generate_in_llama(llama, cases, name, job)
            return result

    def _get_inherited(self, stage: str) -> limits.InheritedLoss:
        """Return what a file has lost before its conversion: nothing unless it has the data types of a rounded model."""
        merged = next((r for r in self._results if r.stage == "merged"), None)
        if merged is None or merged.verdict != "lossy":
            return limits.InheritedLoss()
        if not self._comparer.is_stored_like_merged(stage):
            return limits.InheritedLoss()
        return limits.InheritedLoss(merged.top1 or 0.0, merged.kl or 0.0)

    def _write_report(self) -> None:
        results = self._results
        if not results:
            return
        report = {
            "conversations": len(self._cases),
            **self._describe_reference(),
            "passed": all(result.passed for result in results),
            "stages": [result.model_dump(exclude={"kind", "id", "time"}) for result in results],
            **({"as_trained": asdict(self._trained_loss)} if self._trained_loss else {}),
            "merged_from": earlier_results.compute_fingerprint(self._folder),
        }
        selftest_report.write(self._folder, report)

    def _describe_reference(self) -> dict[str, Any]:
        """Return what the report says of base + adapter; the earlier report's if no stage read it."""
        reference = self._reference
        if reference is None:
            empty: dict[str, Any] = {"positions": 0, "reference": "", "answers": []}
            return {key: self._earlier.get(key, value) for key, value in empty.items()}
        answers = {"base + adapter": reference.answers} | self._answers
        return {
            "positions": len(reference.log_probabilities),
            "reference": f"base + adapter, computed in {reference.computed_in}",
            "answers": _build_comparison(self._cases, answers),
        }


def _writes_text(folder: RunFolder) -> bool:
    """Return whether a run's model writes text, unlike embedding models and classifiers."""
    return vectors.get_pooling(folder) is None and not label_probabilities.is_classifier(folder)


def _build_comparison(
    cases: list[SelfTestCase], answers: dict[str, list[str]]
) -> list[dict[str, str]]:
    """Return one row per question: the prompt and each stage's answer."""
    prompts = [case.prompt for case in cases if case.prompt][: reading.ANSWERS]
    return [
        {"prompt": prompt, **{stage: texts[index] for stage, texts in answers.items()}}
        for index, prompt in enumerate(prompts)
    ]


# --- what is computed -------------------------------------------------------------------------


def _compute_reference(
    folder: RunFolder,
    project: Project,
    cases: list[SelfTestCase],
    scratch: Path,
    job: JobContext,
    hold_gpu: Callable[[], AbstractContextManager[None]],
) -> Reference:
    spec, mix = _choose_reference(folder, project, job)

    def compute(placed: ModelSpec) -> Reference:
        loaded = loading.load(placed, job)
        switch = adapters.AdapterSwitch(loaded.model)
        tokenizer = switch.get_tokenizer(loaded.tokenizer, mix)
        return _read_reference(switch.to(mix), tokenizer, cases, scratch, job)

    return run_where_it_fits(spec, job, compute, on_gpu=hold_gpu)


def _choose_reference(
    folder: RunFolder, project: Project, job: JobContext
) -> tuple[ModelSpec, AdapterMix]:
    """Return the base and the adapters that the merged model was made from; raises ProblemError."""
    source = str(merge.resolve_base(project.model, project.merging, job, folder))
    spec = _without_quantization(project.model).model_copy(update={"source": source})
    chosen = merge.get_chosen_adapters(folder, project.merging)
    return spec, AdapterMix(name="merged", adapters=tuple(chosen))


def _read_reference(
    tuned: Any,
    tokenizer: PreTrainedTokenizerBase,
    cases: list[SelfTestCase],
    scratch: Path,
    job: JobContext,
) -> Reference:
    rows = sum(len(case.positions) for case in cases)
    stored: np.memmap | None = None
    done = 0
    for number, case in enumerate(cases):
        job.report_progress(
            reading.get_stage_text("base + adapter"), number, len(cases), "conversations"
        )
        values = reading.log_softmax(reading.read_in_torch(tuned, case))
        if stored is None:
            shape = (rows, values.shape[1])
            disk.require_free_space(scratch, 4 * math.prod(shape), "The self-test")
            stored = disk.map_new_file(scratch / "reference", np.float32, shape)
        stored[done : done + len(values)] = values
        done += len(values)
    assert stored is not None
    computed_in = safetensors_files.get_dtype_name(next(tuned.parameters()).dtype)
    answers = reading.generate_in_torch(tuned, tokenizer, cases, "base + adapter", job)
    parameters = sum(value.numel() for value in tuned.parameters())
    return Reference(stored, computed_in, parameters, answers)


def _without_quantization(spec: ModelSpec) -> ModelSpec:
    """Return the spec without 4-bit or 8-bit loading: the 16-bit original is merged."""
    return spec.model_copy(update={"precision": "auto"} if "bit" in spec.precision else {})


def _log_coverage(cases: list[SelfTestCase], job: JobContext) -> None:
    positions = sum(len(case.positions) for case in cases)
    message = counted(
        len(cases),
        "The self-test reads {n} held-out conversation ({positions} answer positions).",
        "The self-test reads {n} held-out conversations ({positions} answer positions).",
        positions=positions,
    )
    job.emit(events.Log(text=message))
    if len(cases) < reading.CONVERSATIONS or positions < reading.POSITIONS:
        message = text(
            "These are all held-out conversations. {conversations} conversations with {positions} "
            "answer positions would give a more reliable result.",
            conversations=reading.CONVERSATIONS,
            positions=reading.POSITIONS,
        )
        job.emit(events.Log(text=message))


@contextmanager
def _create_scratch_folder(folder: RunFolder) -> Iterator[Path]:
    file = folder.temporary / "selftest"
    create_folder(file)
    try:
        yield file
    finally:
        shutil.rmtree(file, ignore_errors=True)
