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

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from lora_studio.core.export import DIRECT_SOURCE, MERGED_SOURCE
from lora_studio.core.lora.adapters import AdapterMix
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.model.embedding_files import Pooling
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums, heldout, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.system.files import create_folder
from lora_studio.engine.chat import adapters
from lora_studio.engine.devices import lock
from lora_studio.engine.export.gguf import conversion, direct_gguf, quantizer
from lora_studio.engine.export.gguf.converter import FirstPass, find_converter
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.model import (  # fmt: skip
    capped_attention,
    gguf_header,
    loading,
    safetensors_files,
    sources,
)
from lora_studio.engine.model.loading import release_gpu, run_where_it_fits
from lora_studio.engine.model.safetensors_files import PlannedFile
from lora_studio.engine.runtime import disk, model_code
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system, translate_library_errors
from lora_studio.engine.runtime.llama_cpp import BATCH, EmbeddingLlama, Llama
from lora_studio.engine.runtime.llama_trial import require_computable
from lora_studio.engine.selftest import judging, limits, problems, reading
from lora_studio.engine.selftest.expected_model import (
    ExpectedModel,
    measure_rounding,
    open_expected,
)
from lora_studio.engine.selftest.gguf_comparison import ConvertedFile, GgufComparer
from lora_studio.engine.selftest.judging import (
    Cause,
    Reference,
    Stage,
    StageComparison,
    judge_stage,
    report_faults,
)
from lora_studio.engine.selftest.merged_comparison import compare_merged
from lora_studio.engine.selftest.oracle.trained_tensors import merge_rounded
from lora_studio.engine.selftest.problems import MergedLoss
from lora_studio.engine.selftest.reading import SelfTestCase
from lora_studio.engine.tokens import encoder

#: `enum llama_pooling_type` (llama.h).
_POOLING_TYPES: dict[Pooling, int] = {"mean": 1, "last": 3}


def get_pooling(run: RunFolder) -> Pooling | None:
    """Return how a run's model pools, None if it isn't an embedding model."""
    recorded = run.read_manifest().get("embedding")
    pooling = recorded.get("pooling") if isinstance(recorded, dict) else None
    return pooling if pooling in ("last", "mean") else None


def has_own_weights_only(run: RunFolder, project: Project) -> bool:
    """Return whether the merged model has the run's own adapter, as it was trained, and no other."""
    chosen = merge.get_chosen_adapters(run, project.merging)
    return [(adapter.folder, adapter.weight) for adapter in chosen] == [(str(run.adapter), 1.0)]


@dataclass(frozen=True)
class TextVectors:
    """The tokens of texts, and their normalized vectors, [texts, size] float32; `parameters` of the model."""

    ids: list[list[int]]
    vectors: np.ndarray
    parameters: int = 0


class VectorComparer:
    """Measure the stages of a self-test by their vectors of held-out texts.

    They are compared with those of base and adapter in 32-bit, or with the merged model's if it combines
    several adapters.
    """

    def __init__(self, run: RunFolder, project: Project, pooling: Pooling, job: JobContext) -> None:
        """Read the texts; raises ProblemError."""
        self._run, self._project, self._pooling, self._job = run, project, pooling, job
        self._texts = heldout.read_texts(run)[:_TEXTS]
        self._expected: TextVectors | None = None
        self._is_conversion_proven = False

    def measure(
        self, stage: str, file: Path | None, comparison: StageComparison
    ) -> events.SelfTested:
        """Report how well a stage's vectors agree: those of a GGUF file, or of the merged model without one.

        A stage without anything to compare with was compared by value. Raises ProblemError.
        """
        expected = self._compute_expected(stage) if self._texts else None
        if expected is None:
            result = events.SelfTested(stage=stage, passed=True, compared=comparison.compared)
            self._job.emit(result)
            return result
        actual, faults = self._embed_in_llama(file) if file else (self._embed_merged(), [])
        if actual.ids != expected.ids:
            faults.append(text("it splits texts into other tokens"))
        cosines = (expected.vectors * actual.vectors).sum(1) if len(actual.vectors) else np.zeros(0)
        is_own_loss = comparison.is_reproduced and self._is_conversion_proven
        limit = judging.get_limit(stage, expected.parameters, is_own_loss=is_own_loss)
        result = judging.report_vectors(stage, cosines, limit, faults, comparison, self._job)
        if file and limits.is_exact(stage) and result.passed:
            self._is_conversion_proven = True
        return result

    def _compute_expected(self, stage: str) -> TextVectors | None:
        """Return what was trained, computed once; None if only the merged model itself could tell."""
        if self._expected is None:
            if has_own_weights_only(self._run, self._project):
                project = self._project
                base = merge.resolve_base(project.model, project.merging, self._job, self._run)
                self._expected = self._embed_in_torch(base, self._run.adapter)
            elif stage != "merged" and self._run.has_merged:
                self._expected = self._embed_merged()
        return self._expected

    def _embed_merged(self) -> TextVectors:
        return self._embed_in_torch(self._run.merged, None)

    def _embed_in_torch(self, folder: Path, adapter: Path | None) -> TextVectors:
        return embed_texts(
            folder, adapter, self._texts, self._pooling, self._job, limit=self._get_longest(), trust=self._project.model.trust_remote_code
        )  # fmt: skip

    def _get_longest(self) -> int:
        """Return how many tokens of a text are compared."""
        return min(self._project.dataset.max_length, BATCH)

    def _embed_in_llama(self, file: Path) -> tuple[TextVectors, list[Text]]:
        """Return the vectors of a GGUF file, none if it doesn't pool as trained, and what is wrong with it."""
        with EmbeddingLlama(file, cancelled=self._job.flags.cancel.is_set) as llama:
            ids = [
                encoder.truncate(np.array(llama.tokenize(each, add_special=True)), self._get_longest()).tolist()
                for each in self._texts
            ]  # fmt: skip
            if llama.pooling_type != _POOLING_TYPES[self._pooling]:
                return TextVectors(ids, np.zeros((0, 0))), [text("it pools in another way")]
            vectors = []
            for number, each in enumerate(ids):
                _report(number, len(ids), self._job)
                vectors.append(llama.embed(each))
        return TextVectors(ids, np.stack([each for each in vectors if each is not None])), []


def embed_texts(
    folder: Path,
    adapter: Path | None,
    texts: Sequence[str],
    pooling: Pooling,
    job: JobContext,
    *,
    limit: int,
    trust: bool,
) -> TextVectors:
    """Return the vectors of texts from a model's files, as other programs load them; raises ProblemError.

    They are computed in 32-bit on the CPU, from at most `limit` tokens of each text.
    """
    _report(0, len(texts), job)
    tokenizer = loading.load_tokenizer(adapter or folder, trust=trust)
    network = _load_network(folder, adapter, trust=trust)
    ids = [encoder.truncate(np.array(tokenizer(each).input_ids), limit).tolist() for each in texts]
    vectors = []
    for number, each in enumerate(ids):
        _report(number, len(texts), job)
        with torch.no_grad():
            states = network(input_ids=torch.tensor([each])).last_hidden_state[0]
        pooled = states[-1] if pooling == "last" else states.mean(0)
        vectors.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
    parameters = sum(value.numel() for value in network.parameters())
    return TextVectors(ids, np.stack(vectors), parameters)


def _load_network(folder: Path, adapter: Path | None, *, trust: bool) -> Any:
    """Return a model without its output layer, in 32-bit; raises ProblemError."""
    from peft import PeftModel
    from transformers import AutoModel

    is_allowed = model_code.is_allowed(folder, requested=trust)
    with translate_library_errors(
        lambda reason: adapter_files.foreign_adapter_error(adapter or folder, reason)
    ):
        network: Any = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=is_allowed,
            local_files_only=True,
        )
        capped_attention.enable_attention_softcapping(network)
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter), torch_device="cpu")
    return network.eval()


def _report(done: int, total: int, job: JobContext) -> None:
    job.report_progress(text("comparing vectors"), done, total, "texts")
    job.check()


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
    earlier = None if fresh else read_earlier_result(folder, job)
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
        return [emit_earlier_result(earlier, job)]
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
        self._is_computable = False
        pooling = get_pooling(folder)
        self._vectors = pooling and VectorComparer(folder, project, pooling, job)
        self._reference: Reference | None = None
        self._trained_loss: MergedLoss | None = None
        self._earlier: dict[str, Any] = {}

    def run(
        self, files: Mapping[str, Path], earlier: dict[str, Any] | None
    ) -> list[events.SelfTested]:
        """Test all stages and save the report."""
        if earlier is not None:
            self._results.append(emit_earlier_result(earlier, self._job))
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
            self._job.emit(events.LogLine(text=text("The model as trained can't be measured: {reason}", reason=reason)))  # fmt: skip
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
            self._job.emit(events.LogLine(text=message))
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
        if is_classifier(self._folder):
            return partial(
                measure_merged,
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
        if not self._is_computable:  # the other files have the same layers
            require_computable(file, job)
            self._is_computable = True
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
                rounds_products=_rounds_products(file),
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
            "merged_from": compute_fingerprint(self._folder),
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
    return get_pooling(folder) is None and not is_classifier(folder)


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
            reading.format_reading_stage("base + adapter"), number, len(cases), "conversations"
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
    job.emit(events.LogLine(text=message))
    if len(cases) < reading.CONVERSATIONS or positions < reading.POSITIONS:
        message = text(
            "These are all held-out conversations. {conversations} conversations with {positions} "
            "answer positions would give a more reliable result.",
            conversations=reading.CONVERSATIONS,
            positions=reading.POSITIONS,
        )
        job.emit(events.LogLine(text=message))


@contextmanager
def _create_scratch_folder(folder: RunFolder) -> Iterator[Path]:
    file = folder.temporary / "selftest"
    create_folder(file)
    try:
        yield file
    finally:
        shutil.rmtree(file, ignore_errors=True)


def compute_fingerprint(folder: RunFolder) -> str:
    """Return a hash that changes with the merged model, the adapter or the held-out conversations.

    It covers name, size and time of each file: reading all weights would take as long as the test.
    """
    digest = hashlib.sha256()
    files = [*folder.merged.rglob("*"), *folder.adapter.rglob("*"), folder.heldout_file]
    for file in sorted(file for file in files if file.is_file()):
        facts = file.stat()
        digest.update(f"{file.name}\t{facts.st_size}\t{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_earlier_result(folder: RunFolder, job: JobContext) -> dict[str, Any] | None:
    """Return the saved result, reduced to the merged stage, if it is valid and the merged model intact."""
    try:
        report = selftest_report.reduce_to_merged(selftest_report.read(folder))
        is_current = report["merged_from"] == compute_fingerprint(folder)
    except (ProblemError, KeyError, TypeError):
        return None
    if not is_current or not report["stages"]:
        return None
    damage = checksums.find_damage(folder, folder.merged, on_block=job.check)
    return report if damage is None else None


def emit_earlier_result(earlier: dict[str, Any], job: JobContext) -> events.SelfTested:
    """Emit the merged stage's earlier result again."""
    result = events.SelfTested.model_validate(earlier["stages"][0])
    job.emit(events.LogLine(text=text("The merged model was tested before and is unchanged.")))
    job.emit(result)
    return result


#: The most texts that are compared.
_TEXTS = 64
#: The difference of a probability above which a merged model fails. Rounding to 16 bits costs a tenth of it.
LARGEST_DIFFERENCE = 0.05


def is_classifier(run: RunFolder) -> bool:
    """Return whether a run trained a classifier."""
    task = get_task(run.read_manifest())
    return task is not None and task.has_classes


def measure_merged(
    run: RunFolder, project: Project, comparison: StageComparison, job: JobContext
) -> events.SelfTested:
    """Emit and return whether the merged model gives held-out texts the label probabilities of base + adapter.

    Both are computed in 32-bit on the CPU, the merged model from its files as other programs load it. Without
    held-out texts, or with another weight than 1, only the weights are compared. A failure also emits a warning.
    Raises ProblemError.
    """
    contents = [
        turn.content for sample in heldout.read_heldout(run) for turn in sample.messages[:1]
    ]
    texts = list(dict.fromkeys(contents))[:_TEXTS]
    measured = comparison.compared
    if texts and has_own_weights_only(run, project):
        difference = _find_largest_difference(run, project, texts, job)
        measured = text(
            "{compared}; label probabilities differ by at most {difference:.2g} (held-out texts: {n})",
            compared=comparison.compared,
            n=len(texts),
            difference=difference,
        )
        if not difference <= LARGEST_DIFFERENCE:
            fault = text("it gives other label probabilities")
            return judging.report_faults(
                "merged", StageComparison((fault,), compared=measured), job
            )
    result = events.SelfTested(stage="merged", passed=True, verdict="passed", compared=measured)
    job.emit(result)
    return result


def _find_largest_difference(
    run: RunFolder, project: Project, texts: Sequence[str], job: JobContext
) -> float:
    base = merge.resolve_base(project.model, project.merging, job, run)
    length, trust = project.dataset.max_length, project.model.trust_remote_code
    expected = predict_labels(base, run.adapter, texts, length, job, trust=trust)
    actual = predict_labels(run.merged, None, texts, length, job, trust=trust)
    return float(np.abs(expected - actual).max())


def predict_labels(
    folder: Path,
    adapter: Path | None,
    texts: Sequence[str],
    length: int,
    job: JobContext,
    *,
    trust: bool,
) -> np.ndarray:
    """Return the probabilities of labels, [texts, labels] float32."""
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForSequenceClassification

    stage = text("comparing label probabilities")
    source = adapter or folder
    with translate_library_errors(
        lambda reason: adapter_files.foreign_adapter_error(source, reason)
    ):
        # Classifiers are transformers' own classes: a model's code is never needed.
        safely: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        config = AutoConfig.from_pretrained(source, **safely)
        network: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, **safely
        )
        capped_attention.enable_attention_softcapping(network)
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter), torch_device="cpu")
    network.eval()
    tokenizer = loading.load_tokenizer(source, trust=trust)
    rows = []
    for number, each in enumerate(texts):
        job.report_progress(stage, number, len(texts), "texts")
        job.check()
        ids = tokenizer(each, return_tensors="pt", truncation=True, max_length=length)
        with torch.no_grad():
            rows.append(network(**ids).logits[0].softmax(0).numpy())
    return np.stack(rows)


#: Stage of the file that all quantizations are made from.
_CONVERTED = "converted"


class RunComparer:
    """Compares the merged model and GGUF files of a run; one that fails doesn't stop the next."""

    def __init__(
        self,
        folder: RunFolder,
        project: Project,
        scratch: Path,
        job: JobContext,
        *,
        all_rows: bool = False,
    ) -> None:
        """Compare in `scratch`; the adapter must be intact."""
        self._all_rows = all_rows
        self._folder, self._project, self._scratch, self._job = folder, project, scratch, job
        self._trust = project.model.trust_remote_code
        self._opened: dict[tuple[str, str], ExpectedModel] = {}
        manifest = folder.read_manifest()
        self._record, self._merged_record = (
            entry if isinstance(entry, dict) else {}
            for entry in (manifest.get("gguf"), manifest.get("merged"))
        )

    def compare_merged(self) -> StageComparison:
        """Return how the merged model differs."""
        try:
            return compare_merged(self._folder.merged, self.open_merged(), self._job)
        except ProblemError as error:
            if is_caused_by_system(error):
                raise
            return _not_compared(error)

    def open_merged(self) -> ExpectedModel:
        """Return the merged model that is expected; raises ProblemError."""
        return self._open(MERGED_SOURCE)

    def compare_files(self, files: Mapping[str, Path]) -> dict[str, StageComparison]:
        """Return how each GGUF file differs; files are grouped by how they were converted."""
        groups: dict[tuple[str, str, str], dict[str, ConvertedFile]] = {}
        comparisons: dict[str, StageComparison] = {}
        for stage, file in files.items():
            entry = self._get_entry(stage)
            group = (*self._get_source(entry), str(entry.get("pass", "")))
            try:
                converted = self._describe(stage, file, entry)
            except ProblemError as error:  # llama.cpp is missing, or may no longer run
                comparisons[stage] = _not_compared(error)
                continue
            groups.setdefault(group, {})[stage] = converted
        for (source, dtype, first), group_files in groups.items():
            try:
                comparer = self._create_comparer(source, dtype, first)
            except ProblemError as error:
                if is_caused_by_system(error):
                    raise
                comparisons |= {stage: _not_compared(error) for stage in group_files}
                continue
            comparisons |= comparer.compare(group_files)
        return comparisons

    def is_stored_like_merged(self, stage: str) -> bool:
        """Return whether a file was converted from the merged model, or from values of the same data types.

        Then rounding has changed both alike. Raises ProblemError.
        """
        source, dtype = self._get_source(self._get_entry(stage))
        if source == MERGED_SOURCE:
            return True
        both = (self._open(source, dtype), self.open_merged())
        ours, merged = ({t.name: t.dtype for t in expected.tensors} for expected in both)
        return ours == merged

    def _get_entry(self, stage: str) -> dict[str, Any]:
        """Return how a file was written, from the record of its export."""
        entry = (self._record.get("files") or {}).get(stage)
        return self._record | (entry if isinstance(entry, dict) else {})

    def _describe(self, stage: str, file: Path, entry: dict[str, Any]) -> ConvertedFile:
        llama_cpp = self._project.export.llama_cpp
        binary, quantizer_name = quantizer.find_quantizer(llama_cpp)
        _, converter_name = find_converter(llama_cpp)
        kind = str(entry.get("pass", "F16")) if stage == _CONVERTED else stage
        same_quantizer = entry.get("quantizer") in (None, str(quantizer_name))
        is_quantized = stage != _CONVERTED and kind != entry.get("pass")
        return ConvertedFile(
            file,
            kind,
            imatrix=is_quantized and bool(entry.get("imatrix")),
            same_quantizer=not is_quantized or (same_quantizer and binary is None),
            same_converter=entry.get("converter") in (None, str(converter_name)),
        )

    def _create_comparer(self, source: str, dtype: str, first: str) -> GgufComparer:
        expected, project = self._open(source, dtype), self._project
        scratch = self._scratch / f"comparison-{first}-{source}-{dtype}"
        scratch.mkdir()
        if first not in ("F32", "F16", "BF16"):
            tensors = [PlannedFile(t.name, t.dtype, t.shape) for t in expected.tensors]
            first = conversion.choose_first_pass(tensors, project.export.quantizations)
        return GgufComparer(
            expected,
            scratch,
            self._job,
            name=project.name,
            llama_cpp=project.export.llama_cpp,
            kind=cast(FirstPass, first),
            adds_bos=conversion.may_add_bos(self._folder, project),
            trust=self._trust,
            all_rows=self._all_rows,
        )

    def _get_source(self, entry: dict[str, Any]) -> tuple[str, str]:
        """Return what a file was made from, and the precision setting of a direct merge; "" if unknown."""
        guess = MERGED_SOURCE if self._folder.has_merged else DIRECT_SOURCE
        source = str(entry.get("from") or guess)
        return source, str(entry.get("dtype") or "") if source == DIRECT_SOURCE else ""

    def _get_merged_settings(self) -> MergingSpec:
        """Return the settings with the storage that the merged model was written with."""
        recorded = {k: v for k, v in self._merged_record.items() if k in merging.STORAGE}
        return _change(self._project.merging, recorded)

    def _open(self, source: str, dtype: str = "") -> ExpectedModel:
        """Return the expected model of a merge, or of a direct export with this precision; raises ProblemError."""
        if (source, dtype) not in self._opened:
            project = self._project
            if source == MERGED_SOURCE:
                merge = DirectMerge(
                    base=merging.resolve_intact_base(
                        project.model, project.merging, self._job, self._folder
                    ),
                    adapters=tuple(merging.get_chosen_adapters(self._folder, project.merging)),
                    merging=self._get_merged_settings(),
                )
            else:
                merge = direct_gguf.plan_direct_merge(self._folder, project, self._job)
                settings = _change(merge.merging, {"dtype": dtype} if dtype else {})
                merge = merge.model_copy(update={"merging": settings})
            scratch = self._scratch / f"expected-{len(self._opened)}"
            expected = open_expected(merge, scratch, self._job, trust=self._trust)
            self._opened[source, dtype] = expected
        return self._opened[source, dtype]


def _change(settings: MergingSpec, recorded: dict[str, Any]) -> MergingSpec:
    """Return settings with those that a file was written with, unless the manifest is damaged."""
    try:
        return MergingSpec.model_validate(settings.model_dump() | recorded)
    except ValidationError:
        return settings


def _not_compared(error: ProblemError) -> StageComparison:
    reason = error.problems[0].what
    return StageComparison(compared=text("not compared by value: {reason}", reason=reason))


def _rounds_products(file: Path) -> bool:
    """Return whether llama.cpp rounds to bfloat16, 8 bits, what it multiplies with the weights of a file."""
    return gguf_header.get_file_type(gguf_header.read(file)) == "BF16"
