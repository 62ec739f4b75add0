"""Columns that llama.cpp runs: GGUF files, several prompts at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from lora_studio.core.chat import GgufChatModel, Sampling
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.engine.chat.prompts import create_renderer
from lora_studio.engine.evaluation import model_hashes
from lora_studio.engine.evaluation.runners import AnswerRequest, cut_at_stops
from lora_studio.engine.evaluation.torch_runner import render_item
from lora_studio.engine.generation.turn_boundaries import TurnEndCriteria, create_turn_end_criteria
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import llama_scores
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.runtime.llama_scores import ScoreRequest
from lora_studio.engine.runtime.llama_trial import require_computable
from lora_studio.engine.servers.openai_client import Reply

#: Sequences of a context: those of answers, and the one that holds their shared beginning.
_SEQUENCES = llama_scores.SEQUENCES + 1

#: Tokens of a text that are read at once.
_WINDOW = 2048


@dataclass
class GgufRunner:
    """A GGUF file in llama.cpp; see `ModelRunner`."""

    file: Path
    tokenizer: PreTrainedTokenizerBase
    end: TurnEndCriteria
    model_hash: str
    job: JobContext
    device: str = "llama.cpp"
    _llama: Llama | None = None

    def render(self, item: EvaluationItem) -> str:
        """Return the prompt by the chat template that was trained with."""
        return render_item(self.tokenizer, item)

    def generate(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Yield answers as they are complete; several are computed at a time."""
        llama = self._open(self._find_longest(requests) + sampling.max_tokens + 8)
        prompts = [self._tokenize_prompt(llama, request) for request in requests]
        last = time.perf_counter()
        answers = llama_scores.generate_together(
            llama,
            prompts,
            sampling,
            end_tokens=self.end.ids,
            has_ended=lambda index, ids: self._has_ended(llama, requests[index], ids),
            check=self.job.check,
        )
        for index, answer in answers:
            before, last = last, time.perf_counter()
            stops = self._list_stops(requests[index])
            answered, was_cut = cut_at_stops(llama.detokenize(answer.ids), stops)
            ending: Literal["end", "length"] = "end" if answer.ended or was_cut else "length"
            counts = (len(answer.ids), len(prompts[index]))
            yield index, Reply(answered, *counts, last - before, ending)

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        """Yield log-likelihoods, an item once all its texts are scored."""
        llama = self._open(self._find_longest(requests))
        plans = [self._plan_scores(llama, request) for request in requests]
        flat = [(index, part) for index, plan in enumerate(plans) for part in plan]
        scores: list[list[float]] = [[] for _ in requests]
        missing = [len(plan) for plan in plans]
        scored = llama_scores.score_together(
            llama,
            [part for _, part in flat],
            sequences=_SEQUENCES,
            check=self.job.check,
        )
        for position, values in scored:
            index = flat[position][0]
            scores[index] += values
            missing[index] -= 1
            if not missing[index]:
                yield index, _to_logprobs(requests[index].item, plans[index], scores[index])

    def close(self) -> None:
        """Free the model."""
        if self._llama is not None:
            self._llama.close()
            self._llama = None

    def _plan_scores(self, llama: Llama, request: AnswerRequest) -> list[ScoreRequest]:
        """Return what has to be scored: the windows of a text, or the choices and the reference.

        The reference is the last target, unless it is one of the choices.
        """
        item = request.item
        if item.is_text:
            ids = llama.tokenize(item.reference or "")
            return [
                ScoreRequest(
                    (ids[begin - 1] if begin else self._get_start(),),
                    (tuple(ids[begin : begin + _WINDOW]),),
                )
                for begin in range(0, max(1, len(ids)), _WINDOW)
            ]
        texts = [*item.choices]
        if item.reference and item.reference not in texts:
            texts.append(item.reference)
        prompt, targets = request.prompt, texts
        if item.raw_prompt is not None:
            prompt = prompt.rstrip()
            targets = [request.prompt[len(prompt) :] + each for each in texts]
        before = self._tokenize_prompt(llama, request, prompt)
        ids_of = [tuple(self._tokenize_after(llama, request, prompt, before, each)) for each in targets]  # fmt: skip
        return [ScoreRequest(tuple(before) or (self._get_start(),), tuple(ids_of))]

    def _tokenize_after(
        self, llama: Llama, request: AnswerRequest, prompt: str, before: list[int], text: str
    ) -> list[int]:
        """Return the tokens of a text after a prompt.

        Prompts are split as in `continuation_scores.list_continuations`.
        """
        whole = self._tokenize_prompt(llama, request, prompt + text)
        merges = whole[: len(before)] != before  # tokens merge across the border
        return llama.tokenize(text) if merges else whole[len(before) :]

    def _tokenize_prompt(
        self, llama: Llama, request: AnswerRequest, text: str | None = None
    ) -> list[int]:
        """Return the tokens of the prompt or another text; raw ones begin with the model's BOS, if any."""
        is_raw = request.item.raw_prompt is not None
        return llama.tokenize(request.prompt if text is None else text, add_special=is_raw)

    def _get_start(self) -> int:
        first = self.tokenizer.bos_token_id
        return int(first if first is not None else self.tokenizer.eos_token_id or 0)

    def _list_stops(self, request: AnswerRequest) -> tuple[str, ...]:
        """Return the texts that end an answer."""
        return (*request.item.stops, *([self.end.text] if self.end.text else []))

    def _has_ended(self, llama: Llama, request: AnswerRequest, ids: list[int]) -> bool:
        """Return whether the last token completed a text that ends the answer."""
        stops = self._list_stops(request)
        if not stops:
            return False
        tail = llama.detokenize(ids[-max(map(len, stops)) - 4 :])  # a token has at least one byte
        return any(stop in tail for stop in stops)

    def _find_longest(self, requests: Sequence[AnswerRequest]) -> int:
        """Return at least the number of tokens of the longest prompt with its choices and reference."""
        longest = max(
            len(request.prompt.encode())
            + max(
                (
                    len(text.encode())
                    for text in (*request.item.choices, request.item.reference or "")
                ),
                default=0,
            )
            for request in requests
        )
        return min(longest, 1 << 17) + 16  # a token has at least one byte

    def _open(self, tokens: int) -> Llama:
        """Return the model with room for this many tokens in each sequence."""
        needed = min(tokens, _MAX_CONTEXT) * _SEQUENCES
        if self._llama is None or self._llama.context_size < needed:
            self.close()
            self._llama = Llama(
                self.file,
                context=needed,
                sequences=_SEQUENCES,
                cancelled=self.job.flags.cancel.is_set,
            )
        return self._llama


#: Tokens of one sequence at most.
_MAX_CONTEXT = 1 << 15


def _to_logprobs(
    item: EvaluationItem, plan: Sequence[ScoreRequest], scores: Sequence[float]
) -> Logprobs:
    """Return the log-likelihoods of an item from those of its targets, in the order of its plan."""
    targets = [target for part in plan for target in part.targets]
    if item.is_text:
        return Logprobs(reference=sum(scores), reference_tokens=sum(map(len, targets)))
    if not item.reference:
        return Logprobs(choices=tuple(scores))
    at = item.choices.index(item.reference) if item.reference in item.choices else -1
    choices = tuple(scores[: len(item.choices)])
    return Logprobs(choices=choices, reference=scores[at], reference_tokens=len(targets[at]))


def create_gguf_runner(project: Project, chat_model: GgufChatModel, job: JobContext) -> GgufRunner:
    """Return the runner of a GGUF file; raises ProblemError."""
    file = Path(chat_model.file)
    if not file.is_file():
        raise fail(
            "evaluation.no_gguf",
            "The file {file} doesn't exist.",
            "Export the run first, or choose another file.",
            where=Where(file=str(file)),
            file=file.name,
        )
    checksums.require_intact_source(file, job.check)
    require_computable(file, job)
    if chat_model.tokenizer:
        trust = project.model.trust_remote_code
        tokenizer = loading.load_tokenizer(Path(chat_model.tokenizer), trust=trust)
        end = create_turn_end_criteria(tokenizer)
    else:
        with Llama(file, context=64) as llama:
            tokenizer, end = create_renderer(llama, file), TurnEndCriteria(())
    template = str(tokenizer.chat_template)
    job.show_stage(text("reading the model file"))
    content = model_hashes.hash_files([file], job.check)
    model_hash = model_hashes.combine("gguf", content, template)
    return GgufRunner(file, tokenizer, end, model_hash, job)
