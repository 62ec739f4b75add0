"""Generate answers with a model in torch, in batches, or with a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec, Message
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.lora.adapter_files import foreign_adapter_error
from lora_studio.engine.model import loading
from lora_studio.engine.model.base_identity import require_same_base
from lora_studio.engine.model.inference_loading import load_for_inference
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.tokens import encoder

#: Conversations answered at once by a model in torch.
BATCH = 8


@dataclass(frozen=True)
class TurnEndCriteria:
    """End an answer at any of these tokens, or at a text that no single token represents."""

    ids: tuple[int, ...]
    text: str = ""

    def cut(self, answer: str) -> tuple[str, bool]:
        """Return the answer before the text that ends it, and whether that text occurs."""
        before, end, _ = answer.partition(self.text) if self.text else (answer, "", "")
        return before, bool(end)


def answer_in_torch(
    run: RunFolder, project: Project, sources: Sequence[TextSource], command: commands.Generate, job: JobContext
) -> None:  # fmt: skip
    """Answer with the base and the adapted model, which share their weights in memory."""
    loaded = load_for_inference(project.model, job, project.dataset)
    if "base" in sources:
        answer(loaded.model, loaded.tokenizer, "base", command, job)
    if "tuned" in sources:
        require_same_base(run, loaded.folder)
        tuned = with_adapter(loaded.model, run)
        answer(tuned, loaded.tokenizer, "tuned", command, job)


def answer_merged(
    run: RunFolder, project: Project, command: commands.Generate, job: JobContext
) -> None:
    """Answer with the merged model of a run; raises ProblemError."""
    if not run.has_merged:
        raise fail(
            "chat.not_merged",
            "This run has no merged model.",
            "Merge the adapter first.",
            where=Where(file=str(run.merged)),
        )
    checksums.require_intact(run, run.merged, on_block=job.check)
    spec = ModelSpec(
        source=str(run.merged),
        device=project.model.device,
        trust_remote_code=project.model.trust_remote_code,
    )
    loaded = load_for_inference(spec, job)
    answer(loaded.model, loaded.tokenizer, "merged", command, job)


def answer_gguf(
    run: RunFolder, project: Project, command: commands.Generate, job: JobContext
) -> None:
    """Answer with the run's first GGUF file; raises ProblemError."""
    file = run.get_gguf_file(project.name, project.export.quantizations[0])
    if not file.is_file():
        raise fail(
            "chat.no_gguf",
            "This run has no file {file}.",
            "Export the run first.",
            where=Where(file=str(file)),
            file=file.name,
        )
    checksums.require_intact(run, run.gguf, [file.name], job.check)
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    end = create_turn_end_criteria(tokenizer)
    prompts = [render_prompt(tokenizer, turns) for turns in command.conversations]
    longest = max((len(tokenizer(text, add_special_tokens=False).input_ids) for text in prompts), default=0)  # fmt: skip
    with Llama(
        file, context=longest + command.max_tokens + 64, cancelled=job.flags.cancel.is_set
    ) as llama:
        for index, prompt in enumerate(prompts):
            job.report_progress(_get_stage("gguf"), index, len(prompts), "answers")
            job.emit(_answer_of_llama(llama, prompt, end, index, command))


def _answer_of_llama(
    llama: Llama, prompt: str, end: TurnEndCriteria, index: int, command: commands.Generate
) -> events.Generated:
    ids: list[int] = []
    finished = False
    for token in llama.generate(
        llama.tokenize(prompt),
        max_tokens=command.max_tokens,
        temperature=command.temperature,
        top_p=command.top_p,
        seed=command.seed,
    ):
        if llama.is_end_of_generation(token) or token in end.ids:
            finished = True
            break
        ids.append(token)
        if end.text and end.text in llama.detokenize(ids):
            break
    text, cut = end.cut(llama.detokenize(ids))
    return events.Generated(
        source="gguf", index=index, text=text, tokens=len(ids), finished=finished or cut
    )


def with_adapter(base: PreTrainedModel, run: RunFolder) -> PreTrainedModel:
    """Return the base model with the run's adapter attached, not merged."""
    from peft import PeftModel

    if not (run.adapter / "adapter_config.json").is_file():
        raise fail(
            "chat.no_adapter",
            "This run has no trained adapter yet.",
            "Train first.",
            where=Where(file=str(run.adapter)),
        )
    checksums.require_intact(run, run.adapter)
    with translate_library_errors(lambda reason: foreign_adapter_error(run.adapter, reason)):
        return PeftModel.from_pretrained(base, str(run.adapter)).eval()


def create_turn_end_criteria(
    tokenizer: PreTrainedTokenizerBase, stops: Any = None
) -> TurnEndCriteria:
    """Return what ends an answer: the end that training teaches, and the tokens in `stops`."""
    ids = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])} - {None}
    turns = (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="qzq", trained=True),
    )
    try:
        encoded = encoder.encode(tokenizer, turns, DatasetSpec())
    except UnusableRow:
        return TurnEndCriteria(tuple(ids))
    ending = tokenizer.decode(encoded.ids[encoded.trained].tolist()).rpartition("qzq")[2].strip()
    marks = tokenizer(ending, add_special_tokens=False).input_ids if ending else []
    if len(marks) == 1:
        return TurnEndCriteria((*ids, marks[0]))
    return TurnEndCriteria(tuple(ids), ending)


def answer(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    source: TextSource,
    command: commands.Generate,
    job: JobContext,
) -> None:
    """Emit an answer to every conversation, in batches padded on the left."""
    prompts = [render_prompt(tokenizer, turns) for turns in command.conversations]
    end = create_turn_end_criteria(tokenizer, network.generation_config.eos_token_id)
    settings = _create_generation_config(tokenizer, end, command)
    torch.manual_seed(command.seed)
    done = 0
    for batch in _iter_batches(prompts):
        job.report_progress(_get_stage(source), done, len(prompts), "answers")
        texts = [prompts[index] for index in batch]
        for index, ids in zip(batch, _continue(network, tokenizer, texts, settings, job), strict=True):  # fmt: skip
            job.emit(_to_event(tokenizer, ids, end, source, index))
        done += len(batch)


def complete(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    limit: int,
    job: JobContext,
    *,
    in_step: bool = False,
) -> list[str]:
    """Return greedy answers to rendered prompts, at most `limit` tokens each.

    `in_step`: every rank answers, because each holds a part of the weights.
    """
    end = create_turn_end_criteria(tokenizer, network.generation_config.eos_token_id)
    command = commands.Generate(run="", sources=(), conversations=(), max_tokens=limit)
    settings = _create_generation_config(tokenizer, end, command)
    answers = [""] * len(prompts)
    for batch in _iter_batches(prompts):
        texts = [prompts[index] for index in batch]
        continued = _continue(network, tokenizer, texts, settings, job, in_step=in_step)
        for index, ids in zip(batch, continued, strict=True):
            answers[index] = _to_event(tokenizer, ids, end, "tuned", index).text
    return answers


def _continue(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    settings: GenerationConfig,
    job: JobContext,
    *,
    in_step: bool = False,
) -> list[list[int]]:
    """Return the ids that follow each text, padded on the left to one batch."""
    inputs = tokenizer(
        list(texts),
        add_special_tokens=False,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(network.device)
    inputs.pop("token_type_ids", None)
    # Not in inference mode: tensors that a model caches, such as rotations, could not train later.
    with torch.no_grad():
        outputs = network.generate(
            **inputs,
            generation_config=settings,
            tokenizer=tokenizer,
            stopping_criteria=[CancelCriteria(job)],
            synced_gpus=in_step,
        )
    return outputs[:, inputs.input_ids.shape[1] :].tolist()


class CancelCriteria(StoppingCriteria):
    """Check for a cancel after each token."""

    def __init__(self, job: JobContext) -> None:
        self.job = job

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.job.check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _to_event(
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    end: TurnEndCriteria,
    source: TextSource,
    index: int,
) -> events.Generated:
    """Return one row of a batch, up to the token that ended it; the rest is padding."""
    position = next((position for position, token in enumerate(ids) if token in end.ids), None)
    answer = ids if position is None else ids[:position]
    text, cut = end.cut(tokenizer.decode(answer, skip_special_tokens=True))
    if cut:
        answer = tokenizer(text, add_special_tokens=False).input_ids
    return events.Generated(
        source=source,
        index=index,
        text=text,
        tokens=len(answer),
        finished=cut or position is not None,
    )


def _create_generation_config(
    tokenizer: PreTrainedTokenizerBase, end: TurnEndCriteria, command: commands.Generate
) -> GenerationConfig:
    """Return the command's settings alone: a model's sampling defaults differ from llama.cpp's."""
    sampling: dict[str, Any] = {"do_sample": False}
    if command.temperature > 0:
        sampling = {
            "do_sample": True,
            "temperature": command.temperature,
            "top_p": command.top_p,
            "top_k": 0,
        }
    return GenerationConfig(
        max_new_tokens=command.max_tokens,
        eos_token_id=list(end.ids) or None,
        pad_token_id=tokenizer.pad_token_id,
        stop_strings=[end.text] if end.text else None,
        **sampling,
    )


def _get_stage(source: TextSource) -> Text:
    return text("generating answers ({source})", source=source)


def _iter_batches(prompts: Sequence[str]) -> Iterator[list[int]]:
    """Yield indices sorted by length, to keep padding short."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for begin in range(0, len(order), BATCH):
        yield order[begin : begin + BATCH]


def render_prompt(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message]) -> str:
    """Return the text that the next answer continues; raises ProblemError."""
    try:
        return encoder.render(tokenizer, turns, prompt=True)
    except UnusableRow as error:
        raise fail(
            "chat.refused_by_template",
            "The chat template can't render the conversation: {reason}.",
            "Change the order or the roles of the messages.",
            reason=error.reason,
        ) from error
