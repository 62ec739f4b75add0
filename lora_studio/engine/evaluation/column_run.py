"""Let one column answer and score all items, from the cache where it has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures import Logprobs
from lora_studio.core.evaluation.results import ItemResult
from lora_studio.core.problems import ProblemError
from lora_studio.engine.evaluation.answer_cache import AnswerCache
from lora_studio.engine.evaluation.runners import AnswerRequest, ColumnRunner
from lora_studio.engine.evaluation.scoring import ItemNeeds, ItemScorer
from lora_studio.engine.servers.replies import Reply

#: Characters of an answer that are stored and measured; a server may ignore the limit on tokens.
_LONGEST_ANSWER = 200_000


@dataclass
class _Work:
    """An item of a column, and what is known of it so far."""

    request: AnswerRequest
    needs: ItemNeeds
    keys: tuple[bytes, bytes]
    logprobs: Logprobs | None = None
    reply: Reply | None = None
    cached: bool = True

    @property
    def item(self) -> EvaluationItem:
        return self.request.item

    @property
    def is_complete(self) -> bool:
        lacks_answer = self.needs.answer and self.reply is None
        return not lacks_answer and not (self.needs.logprobs and self.logprobs is None)


@dataclass
class ColumnRun:
    """One column of an evaluation; `on_result` is called with each result as soon as it is complete."""

    column: Column
    runner: ColumnRunner
    scorer: ItemScorer
    sampling: Sampling
    cache: AnswerCache
    on_result: Callable[[ItemResult], None]
    #: Seconds spent on computing, and how many results it computed.
    seconds: float = 0.0
    computed: int = field(default=0)

    def run(self, items: Sequence[EvaluationItem]) -> None:
        """Answer and score items; raises ProblemError if the model fails altogether."""
        pending = [work for item in items if (work := self._prepare(item)) is not None]
        began = time.perf_counter()
        try:
            self._score([work for work in pending if work.needs.logprobs and work.logprobs is None])
            self._answer([work for work in pending if work.needs.answer and work.reply is None])
        finally:
            self.seconds = time.perf_counter() - began

    def _prepare(self, item: EvaluationItem) -> _Work | None:
        """Return an item to compute, None if it is complete already or can't be given to the model."""
        needs = self.scorer.get_needs(item, self.column)
        try:
            prompt = self.runner.render(item)
        except ProblemError as error:
            self._fail(item, error)
            return None
        form = "text" if item.is_text else "chat" if item.raw_prompt is None else "raw"
        targets = [*item.choices, item.reference or "", form]
        keys = (
            self.cache.get_key(prompt, self.sampling, item.stops),
            self.cache.get_key(prompt, None, targets),
        )
        work = _Work(AnswerRequest(item, prompt), needs, keys)
        if needs.answer and (stored := self.cache.find(keys[0])) is not None:
            work.reply = _to_reply(stored)
        if needs.logprobs and (stored := self.cache.find(keys[1])) is not None:
            work.logprobs = stored.get("logprobs")
        if work.is_complete:
            self._finish(work)
            return None
        work.cached = False
        return work

    def _score(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        for index, logprobs in self.runner.score([work.request for work in works]):
            work = works[index]
            work.logprobs = logprobs
            self.cache.store(work.keys[1], ItemResult(item="", column="", logprobs=logprobs))
            if work.is_complete:
                self._finish(work)

    def _answer(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        requests = [work.request for work in works]
        for index, reply in self.runner.answer(requests, self.sampling):
            work = works[index]
            work.reply = _shorten(reply)
            self.cache.store(work.keys[0], self._to_result(work))
            self._finish(work)

    def _finish(self, work: _Work) -> None:
        self.computed += not work.cached
        self.on_result(self._to_result(work))

    def _to_result(self, work: _Work) -> ItemResult:
        reply = work.reply or Reply()
        answer = reply.text if work.needs.answer else None
        return ItemResult(
            item=work.item.id,
            column=self.column.key,
            answer=reply.text,
            tokens=reply.tokens,
            prompt_tokens=reply.prompt_tokens,
            seconds=reply.seconds,
            ending=reply.ending,
            scores=self.scorer.score(work.item, answer, work.logprobs),
            logprobs=work.logprobs,
            cached=work.cached,
            problem=reply.problem,
        )

    def _fail(self, item: EvaluationItem, error: ProblemError) -> None:
        """Record an item that the model can't be given: it counts as failed."""
        scores = self.scorer.score(item, "", None)
        problem = error.problems[0]
        self.on_result(ItemResult(item=item.id, column=self.column.key, scores=scores, problem=problem))  # fmt: skip


def _to_reply(stored: Mapping[str, Any]) -> Reply:
    return Reply(
        text=stored.get("answer", ""),
        tokens=stored.get("tokens", 0),
        prompt_tokens=stored.get("prompt_tokens", 0),
        seconds=stored.get("seconds", 0.0),
        ending=stored.get("ending", ""),
    )


def _shorten(reply: Reply) -> Reply:
    """Return a reply whose text isn't longer than what is stored and measured."""
    if len(reply.text) <= _LONGEST_ANSWER:
        return reply
    return Reply(reply.text[:_LONGEST_ANSWER], reply.tokens, reply.prompt_tokens, reply.seconds, "length")  # fmt: skip
