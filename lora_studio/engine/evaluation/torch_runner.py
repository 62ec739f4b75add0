"""Columns that PyTorch runs on the training device: the base model, adapters, and merged models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from lora_studio.core.chat import AdapterChatModel, FolderChatModel, Sampling
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.lora.adapters import AdapterMix
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.chat.adapters import AdapterSwitch, require_fit
from lora_studio.engine.evaluation import model_hashes
from lora_studio.engine.evaluation.runners import AnswerRequest, template_problem
from lora_studio.engine.generation import batched, continuations, prefix_cache
from lora_studio.engine.generation.continuations import Continuation, ContinuationScore
from lora_studio.engine.lora.adapter_weights import add_adapter_tokens
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model.folder import require_same_base
from lora_studio.engine.model.loading import load_for_inference, release_gpu
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.servers.openai_client import Reply
from lora_studio.engine.tokens import encoder


@dataclass
class TorchModels:
    """The model in memory: one at a time, and adapters on it are switched.

    `on_cpu` is called after a model was loaded on the CPU.
    """

    job: JobContext
    on_cpu: Callable[[], object] = lambda: None
    _key: str = ""
    _loaded: loading.LoadedModel | None = None
    _switch: AdapterSwitch | None = None

    def load(self, spec: ModelSpec, template: DatasetSpec | None) -> AdapterSwitch:
        """Return a model with no or any adapters; loads it unless it is in memory."""
        key = spec.model_dump_json()
        if self._switch is None or key != self._key:
            self.release()
            self._loaded = load_for_inference(spec, self.job, template)
            self._loaded.model.eval()
            self._key, self._switch = key, AdapterSwitch(self._loaded.model)
            if self._loaded.device.type == "cpu":
                self.on_cpu()
        return self._switch

    def has_on_cpu(self, spec: ModelSpec) -> bool:
        """Return whether a model is in memory already, and not on a GPU."""
        return self.device == "cpu" and self._key == spec.model_dump_json()

    @property
    def device(self) -> str:
        """The device of the model in memory, "" without one."""
        return "" if self._loaded is None else str(self._loaded.device)

    def release(self) -> None:
        """Free the memory of the model."""
        self._loaded, self._switch, self._key = None, None, ""
        release_gpu()


@dataclass
class TorchRunner:
    """A model in torch; see `ModelRunner`."""

    models: TorchModels
    spec: ModelSpec
    template: DatasetSpec | None
    tokenizer: PreTrainedTokenizerBase
    model_hash: str
    mix: AdapterMix = field(default_factory=lambda: AdapterMix(name="", adapters=()))
    device: str = ""

    def render(self, item: EvaluationItem) -> str:
        """Return the prompt by the chat template, or unchanged if it isn't a chat."""
        return render_item(self.tokenizer, item)

    def generate(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Yield answers in the order in which batches complete them."""
        network = self._load()
        clock = _Clock()
        for is_raw in (False, True):
            indices = [
                index
                for index, each in enumerate(requests)
                if (each.item.raw_prompt is not None) == is_raw
            ]
            prompts = [requests[index].prompt for index in indices]
            lengths = self._count_tokens(prompts, add_special_tokens=is_raw)
            generated = batched.generate_batch(
                network, self.tokenizer, prompts, sampling, self.models.job,
                stops=[requests[index].item.stops for index in indices], add_special_tokens=is_raw,
            )  # fmt: skip
            for position, answer in generated:
                ending: Literal["end", "length"] = "end" if answer.finished else "length"
                tokens = lengths[position]
                reply = Reply(answer.text, answer.tokens, tokens, clock.lap(), ending)
                yield indices[position], reply

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        """Yield log-likelihoods, an item once all its continuations are scored."""
        network = self._load()
        pairs = [list_continuations(self.tokenizer, each, network) for each in requests]
        flat = [(index, part) for index, parts in enumerate(pairs) for part in parts]
        scored = continuations.continuation_logprobs(
            network, [part.continuation for _, part in flat], self.models.job
        )
        missing = [len(parts) for parts in pairs]
        scores: list[dict[int, continuations.ContinuationScore]] = [{} for _ in requests]
        offsets = _get_offsets(missing)
        for index, parts in enumerate(pairs):
            if not parts:
                yield index, Logprobs()
        for position, score in scored:
            index = flat[position][0]
            scores[index][position - offsets[index]] = score
            if len(scores[index]) == missing[index]:
                yield index, sum_scores(requests[index].item, pairs[index], scores[index])

    def close(self) -> None:
        """Do nothing: the next column may use the same base model."""

    def _load(self) -> Any:
        switch = self.models.load(self.spec, self.template)
        self.device = self.models.device
        return switch.to(self.mix)

    def _count_tokens(self, prompts: list[str], *, add_special_tokens: bool) -> list[int]:
        if not prompts:
            return []
        ids = self.tokenizer(prompts, add_special_tokens=add_special_tokens).input_ids
        return [len(each) for each in ids]


class _Clock:
    """Divides the passing time among the answers that complete in it."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last answer."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def _get_offsets(counts: Sequence[int]) -> list[int]:
    """Return the position of the first of each group in a flat list."""
    offsets, total = [], 0
    for count in counts:
        offsets.append(total)
        total += count
    return offsets


def render_item(tokenizer: PreTrainedTokenizerBase, item: EvaluationItem) -> str:
    """Return the prompt of an item as the model reads it; raises ProblemError."""
    if item.raw_prompt is not None or item.is_text:
        return item.raw_prompt or ""
    try:
        return encoder.render(tokenizer, item.messages, item.tools, prompt=True)
    except UnusableRow as refused:
        raise ProblemError(template_problem(refused)) from refused


def create_adapter_runner(
    models: TorchModels, run: RunFolder, project: Project, chat_model: AdapterChatModel
) -> TorchRunner:
    """Return the runner of the run's base model with adapters, or without any; raises ProblemError."""
    job = models.job
    folder = sources.resolve(project.model, job)
    if chat_model.adapters:
        require_same_base(run, folder)
    for adapter in chat_model.adapters:
        require_fit(Path(adapter.folder), project.model, job)
    dataset = project.dataset
    trust = project.model.trust_remote_code
    tokenizer = loading.load_tokenizer(folder, dataset, trust=trust)
    for adapter in chat_model.adapters:
        add_adapter_tokens(tokenizer, Path(adapter.folder))
    job.show_stage(text("reading the model file"))
    model_hash = model_hashes.combine(
        model_hashes.hash_model_folder(folder, job.check),
        model_hashes.hash_adapters(chat_model.adapters, job.check),
        _describe(project.model),
        str(tokenizer.chat_template),
    )
    mix = AdapterMix(name="", adapters=chat_model.adapters)
    return TorchRunner(models, project.model, dataset, tokenizer, model_hash, mix)


def create_model_runner(
    models: TorchModels, project: Project, chat_model: FolderChatModel
) -> TorchRunner:
    """Return the runner of a complete model, such as a merged one; raises ProblemError."""
    folder = Path(chat_model.folder)
    if not (folder / "config.json").is_file():
        raise fail(
            "evaluation.no_model",
            "{folder} doesn't contain a model.",
            "Merge the adapter first, or choose another model.",
            where=Where(file=str(folder)),
            folder=str(folder),
        )
    checksums.require_intact_source(folder, models.job.check)
    trust = project.model.trust_remote_code
    spec = ModelSpec(source=str(folder), device=project.model.device, trust_remote_code=trust)
    tokenizer = loading.load_tokenizer(folder, trust=trust)
    models.job.show_stage(text("reading the model file"))
    content = model_hashes.hash_model_folder(folder, models.job.check)
    model_hash = model_hashes.combine(content, _describe(spec))
    return TorchRunner(models, spec, None, tokenizer, model_hash)


def _describe(spec: ModelSpec) -> str:
    """Return the settings of a model that change its answers."""
    from lora_studio.engine.devices import devices

    device = devices.choose_device(spec.device)
    settings = (spec.precision, spec.quant_type, spec.double_quant, device.type, str(devices.get_dtype(spec.precision, device)))  # fmt: skip
    return repr(settings)


#: Tokens of a text that are read at once, if the model's context is larger.
_WINDOW = 2048


@dataclass(frozen=True)
class TargetPart:
    """A continuation, and the position of the choice that it is; None for a part of the reference."""

    continuation: Continuation
    choice: int | None = None


def list_continuations(
    tokenizer: PreTrainedTokenizerBase, request: AnswerRequest, network: Any
) -> list[TargetPart]:
    """Return everything of an item that has to be scored, [] if it has neither choices nor reference."""
    item = request.item
    if item.is_text:
        window = min(_WINDOW, prefix_cache.get_context_length(network))
        parts = continuations.split_text(tokenizer, item.reference or "", window)
        return [TargetPart(part) for part in parts]
    targets: list[tuple[str, int | None]] = [(text, number) for number, text in enumerate(item.choices)]  # fmt: skip
    if item.reference:
        targets.append((item.reference, None))
    return [
        TargetPart(
            split_chat(tokenizer, request.prompt, text)
            if item.raw_prompt is None
            else continuations.split_prompt_and_continuation(
                tokenizer, item.raw_prompt, text, add_special_tokens=True
            ),
            number,
        )
        for text, number in targets
    ]


def split_chat(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> Continuation:
    """Return the tokens of a rendered prompt and of an answer after it.

    Unlike in a plain text, the spaces and line breaks that end the prompt are the template's, so they
    aren't part of the answer.
    """
    before = list(tokenizer(prompt, add_special_tokens=False).input_ids)
    whole = list(tokenizer(prompt + answer, add_special_tokens=False).input_ids)
    if whole[: len(before)] != before:  # tokens merge across the border
        whole = before + list(tokenizer(answer, add_special_tokens=False).input_ids)
    return Continuation(tuple(before), tuple(whole[len(before) :]))


def sum_scores(
    item: EvaluationItem, parts: Sequence[TargetPart], scores: Mapping[int, ContinuationScore]
) -> Logprobs:
    """Return the log-likelihoods of an item from the scores of its parts."""
    choices = [0.0] * len(item.choices)
    references = []
    for index, part in enumerate(parts):
        if part.choice is None:
            references.append(scores[index])
        else:
            choices[part.choice] = scores[index].logprob
    return Logprobs(
        choices=tuple(choices),
        reference=sum(each.logprob for each in references) if references else None,
        reference_tokens=sum(each.tokens for each in references),
    )
