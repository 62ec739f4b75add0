"""Columns that llama.cpp runs: GGUF files, several prompts at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from lora_studio.core.chat import GgufSpeaker, Sampling
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures import Logprobs
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.engine.chat.prompts import create_renderer
from lora_studio.engine.evaluation import model_hashes
from lora_studio.engine.evaluation.runners import AnswerRequest, Reply, cut_at_stops
from lora_studio.engine.evaluation.torch_runner import render_item
from lora_studio.engine.generation.turn_boundaries import TurnEndCriteria, create_turn_end_criteria
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import llama_batches
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama

#: Tokens of a text that are read at once.
_WINDOW = 2048


@dataclass
class GgufRunner:
    """A GGUF file in llama.cpp; see `ColumnRunner`."""

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

    def answer(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Yield answers as they are complete; several are computed at a time."""
        plain = sampling.model_dump()
        limit = plain.pop("max_tokens")
        llama = self._open(self._find_longest(requests) + limit + 8)
        prompts = [self._tokenize_prompt(llama, request) for request in requests]
        last = time.perf_counter()
        answers = llama_batches.generate_together(
            llama,
            prompts,
            max_tokens=limit,
            end_tokens=self.end.ids,
            has_ended=lambda index, ids: self._has_ended(llama, requests[index], ids),
            check=self.job.check,
            **plain,
        )
        for index, answer in answers:
            before, last = last, time.perf_counter()
            stops = self._list_stops(requests[index])
            text, was_cut = cut_at_stops(llama.detokenize(answer.ids), stops)
            ending = "end" if answer.ended or was_cut else "length"
            yield index, Reply(text, len(answer.ids), len(prompts[index]), last - before, ending)  # type: ignore[arg-type]  # one of the two

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        """Yield log-likelihoods one item after another."""
        llama = self._open(self._find_longest(requests))
        for index, request in enumerate(requests):
            self.job.check()
            yield index, self._score(llama, request)

    def close(self) -> None:
        """Free the model."""
        if self._llama is not None:
            self._llama.close()
            self._llama = None

    def _score(self, llama: Llama, request: AnswerRequest) -> Logprobs:
        item = request.item
        if item.is_text:
            total, tokens = self._score_text(llama, item.reference or "")
            return Logprobs(reference=total, reference_tokens=tokens)
        choices = tuple(self._score_after(llama, request, text)[0] for text in item.choices)
        reference, tokens = None, 0
        if item.reference:
            reference, tokens = self._score_after(llama, request, item.reference)
        return Logprobs(choices=choices, reference=reference, reference_tokens=tokens)

    def _score_text(self, llama: Llama, text: str) -> tuple[float, int]:
        ids = llama.tokenize(text)
        total, tokens = 0.0, 0
        for begin in range(0, len(ids), _WINDOW):
            part = ids[begin : begin + _WINDOW]
            context = [ids[begin - 1]] if begin else [self._get_start()]
            total += compute_logprob(llama, context, part)
            tokens += len(part)
        return total, tokens

    def _score_after(self, llama: Llama, request: AnswerRequest, text: str) -> tuple[float, int]:
        """Return the log-likelihood of a text after a prompt, and its number of tokens.

        Prompts are split as in `continuation_scores.list_continuations`.
        """
        prompt = request.prompt
        if request.item.raw_prompt is not None:
            prompt = prompt.rstrip()
            text = request.prompt[len(prompt) :] + text
        before = self._tokenize_prompt(llama, request, prompt)
        whole = self._tokenize_prompt(llama, request, prompt + text)
        merges = whole[: len(before)] != before  # tokens merge across the border
        ids = llama.tokenize(text) if merges else whole[len(before) :]
        return compute_logprob(llama, before or [self._get_start()], ids), len(ids)

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
        needed = min(tokens, _MAX_CONTEXT) * llama_batches.SEQUENCES
        if self._llama is None or self._llama.context_size < needed:
            self.close()
            self._llama = Llama(
                self.file,
                context=needed,
                sequences=llama_batches.SEQUENCES + 1,
                cancelled=self.job.flags.cancel.is_set,
            )
        return self._llama


#: Tokens of one sequence at most.
_MAX_CONTEXT = 1 << 15


def compute_logprob(llama: Llama, before: Sequence[int], ids: Sequence[int]) -> float:
    """Return the log-likelihood of tokens after at least one other, in nats."""
    whole = [*before, *ids]
    first = len(before) - 1
    positions = range(first, len(whole) - 1)
    logits = llama.compute_logits(whole[:-1], positions).astype(np.float64)
    highest = logits.max(axis=1)
    norms = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return float((logits[np.arange(len(ids)), list(ids)] - norms).sum())


def create_gguf_runner(project: Project, speaker: GgufSpeaker, job: JobContext) -> GgufRunner:
    """Return the runner of a GGUF file; raises ProblemError."""
    file = Path(speaker.file)
    if not file.is_file():
        raise fail(
            "evaluation.no_gguf",
            "The file {file} doesn't exist.",
            "Export the run first, or choose another file.",
            where=Where(file=str(file)),
            file=file.name,
        )
    checksums.require_intact_source(file, job.check)
    if speaker.tokenizer:
        trust = project.model.trust_remote_code
        tokenizer = loading.load_tokenizer(Path(speaker.tokenizer), trust=trust)
        end = create_turn_end_criteria(tokenizer)
    else:
        with Llama(file, context=64) as llama:
            tokenizer, end = create_renderer(llama, file), TurnEndCriteria(())
    template = str(tokenizer.chat_template)
    model_hash = model_hashes.combine("gguf", model_hashes.hash_files([file]), template)
    return GgufRunner(file, tokenizer, end, model_hash, job)
