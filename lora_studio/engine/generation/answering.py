"""Generate answers with a model in torch, in batches, or with a GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.core.lora.adapters import require_generative
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.generation.batched import generate_batch
from lora_studio.engine.generation.turn_boundaries import (
    TurnEndCriteria,
    create_turn_end_criteria,
    render_prompt,
)
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_weights import add_adapter_tokens
from lora_studio.engine.model import loading
from lora_studio.engine.model.folder import require_same_base
from lora_studio.engine.model.loading import load_for_inference
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.runtime.llama_trial import require_computable


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
        add_adapter_tokens(loaded.tokenizer, run.adapter)
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
    require_computable(file, job)
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
    for token in llama.generate(llama.tokenize(prompt), _get_sampling(command)):
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
    with fast_imports.speed_up_imports():
        from lora_studio.engine.lora.adapter_weights import attach_trained
    if not (run.adapter / "adapter_config.json").is_file():
        raise fail(
            "chat.no_adapter",
            "This run has no trained adapter yet.",
            "Train first.",
            where=Where(file=str(run.adapter)),
        )
    checksums.require_intact(run, run.adapter)
    require_generative(adapter_files.read_config(run.adapter))
    return attach_trained(base, run.adapter)


def answer(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    source: TextSource,
    command: commands.Generate,
    job: JobContext,
) -> None:
    """Emit an answer to every conversation, each as soon as it is complete."""
    prompts = [render_prompt(tokenizer, turns) for turns in command.conversations]
    stage = _get_stage(source)
    job.report_progress(stage, 0, len(prompts), "answers")
    answers = generate_batch(network, tokenizer, prompts, _get_sampling(command), job)
    for done, (index, answer) in enumerate(answers, 1):
        job.emit(
            events.Generated(
                source=source,
                index=index,
                text=answer.text,
                tokens=answer.tokens,
                finished=answer.finished,
            )
        )
        job.report_progress(stage, done, len(prompts), "answers")


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
    sampling = Sampling(temperature=0.0, max_tokens=limit)
    answers = [""] * len(prompts)
    for index, answer in generate_batch(
        network, tokenizer, prompts, sampling, job, in_step=in_step
    ):
        answers[index] = answer.text
    return answers


def _get_sampling(command: commands.Generate) -> Sampling:
    return Sampling(
        temperature=command.temperature,
        top_p=command.top_p,
        max_tokens=command.max_tokens,
        seed=command.seed,
    )


def _get_stage(source: TextSource) -> Text:
    return text("generating answers ({source})", source=source)
