"""Conversations become token ids, and each token is marked as trained or not."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset import DatasetSpec, Message
from lora_studio.core.events import TokenSpan
from lora_studio.core.problems import Where, fail
from lora_studio.core.samples import UnusableRow
from lora_studio.engine.channel import Job
from lora_studio.engine.dataset import Row, SkippedRows
from lora_studio.engine.rendering import Rendered, Renderer, Span, render

__all__ = ["Encoded", "Encoder", "encode", "prompt_ids", "render"]

_IGNORED = -100
_CHUNK = 256


@dataclass(frozen=True)
class Encoded:
    """One conversation: `ids` [length] int32 and `trained` [length] bool, cut to the limit.

    `full_length` is the number of tokens before cutting; `left_out` counts answers that do not
    train, because the template wrote them in another context than they would be asked for in.
    """

    ids: np.ndarray
    trained: np.ndarray
    full_length: int
    left_out: int = 0

    @property
    def labels(self) -> list[int]:
        """The ids where they are trained, -100 elsewhere."""
        return np.where(self.trained, self.ids, _IGNORED).tolist()

    @property
    def is_cut(self) -> bool:
        """Whether the limit left tokens off."""
        return self.full_length > len(self.ids)


class Encoder:
    """Turns conversations into tokens for one tokenizer and one dataset spec."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: DatasetSpec) -> None:
        """Raises ProblemError for a tokenizer that cannot say where its tokens stand."""
        if not tokenizer.is_fast:
            raise fail(
                "model.slow_tokenizer",
                f"The tokenizer {type(tokenizer).__name__} does not tell where its tokens stand in "
                "the text, so answers cannot be told from questions.",
                "Choose a version of the model that has a tokenizer.json.",
                where=Where(step="model", field="source"),
            )
        self.tokenizer = tokenizer
        self.spec = spec
        # Its post-processor may trim blanks off the places of tokens, which must be exact here.
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.post_processor = None
        self._backend.no_truncation()
        self._backend.no_padding()
        self._renderer = Renderer(tokenizer)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """One conversation; raises UnusableRow."""
        return self._tokenize([self._render(messages)])[0][0]

    def encode_rows(
        self, rows: Iterable[Row], job: Job
    ) -> tuple[list[tuple[Row, Encoded]], SkippedRows]:
        """Every row that can be used, in order, and the others by reason."""
        rows = list(rows)
        used: list[tuple[Row, Encoded]] = []
        skipped = SkippedRows()
        for begin in range(0, len(rows), _CHUNK):
            job.progress("tokenising rows", begin, len(rows), "rows")
            rendered: list[tuple[Row, Rendered]] = []
            for row in rows[begin : begin + _CHUNK]:
                try:
                    rendered.append((row, self._render(row.messages)))
                except UnusableRow as verdict:
                    skipped.add(str(verdict), row.number)
            results = self._tokenize([item for _, item in rendered])
            for (row, _), (encoded, fault) in zip(rendered, results, strict=True):
                if fault:
                    skipped.add(fault, row.number)
                else:
                    used.append((row, encoded))
        job.progress("tokenising rows", len(rows), len(rows), "rows")
        return used, skipped

    def preview(self, messages: Sequence[Message]) -> tuple[TokenSpan, ...]:
        """The rendered text in runs of trained, context and cut tokens; raises UnusableRow."""
        rendered = self._render(messages)
        encoding = self._backend.encode(rendered.text, add_special_tokens=False)
        trained = self._trained(rendered, encoding.offsets)
        states = [
            "cut" if index >= self.spec.max_length else "trained" if is_trained else "context"
            for index, is_trained in enumerate(trained)
        ]
        return tuple(_runs(rendered.text, encoding.offsets, states))

    def text(self, messages: Sequence[Message]) -> str:
        """The text that `encode` takes the tokens of; raises UnusableRow."""
        return self._render(messages).text

    def _render(self, messages: Sequence[Message]) -> Rendered:
        if self.spec.train_on == "everything":
            text = render(self.tokenizer, messages)
            return Rendered(text, [(0, len(text))])
        return self._renderer.answers(messages)

    def _tokenize(self, rendered: Sequence[Rendered]) -> list[tuple[Encoded, str]]:
        """Tokens of each text, or the reason why there is nothing to train on."""
        encodings = self._backend.encode_batch(
            [item.text for item in rendered], add_special_tokens=False
        )
        found: list[tuple[Encoded, str]] = []
        for item, encoding in zip(rendered, encodings, strict=True):
            limit = self.spec.max_length
            fault = ""
            trained = np.zeros(0, bool)
            try:
                trained = self._trained(item, encoding.offsets)
            except UnusableRow as verdict:
                fault = str(verdict)
            encoded = Encoded(
                np.asarray(encoding.ids[:limit], np.int32),
                trained[:limit],
                len(encoding.ids),
                item.left_out,
            )
            if not fault and encoded.is_cut and self.spec.too_long == "skip":
                fault = f"it has more than {limit} tokens"
            elif not fault and not encoded.trained[1:].any():
                fault = f"no part of an answer is within the first {limit} tokens"
            found.append((encoded, fault))
        return found

    def _trained(self, rendered: Rendered, offsets: Sequence[Span]) -> np.ndarray:
        """Which tokens train, [length] bool; raises UnusableRow where a token is on both sides."""
        starts = np.fromiter((start for start, _ in offsets), np.int64, len(offsets))
        ends = np.fromiter((end for _, end in offsets), np.int64, len(offsets))
        trained = np.zeros(len(offsets), bool)
        for begin, end in rendered.spans:
            trained |= (starts >= begin) & (starts < end)
            # A token across an edge does no harm where the part on the other side is blank.
            for index in np.flatnonzero((starts < begin) & (ends > begin)):
                if rendered.text[begin : ends[index]].strip():
                    raise UnusableRow("one token holds the end of a question and an answer's begin")
            for index in np.flatnonzero((starts < end) & (ends > end)):
                if rendered.text[end : ends[index]].strip():
                    raise UnusableRow("one token holds the end of an answer and what follows it")
        return trained


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Tokens to continue from for the next answer; raises UnusableRow."""
    text = render(tokenizer, messages, prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], spec: DatasetSpec
) -> Encoded:
    """One conversation as training sees it; raises UnusableRow."""
    return Encoder(tokenizer, spec).encode(messages)


def _runs(text: str, offsets: Sequence[Span], states: Sequence[str]) -> Iterator[TokenSpan]:
    """Neighbouring tokens of one state as one span; together they are the whole text."""
    begin = 0
    for index in range(1, len(states) + 1):
        if index < len(states) and states[index] == states[begin]:
            continue
        left = 0 if begin == 0 else offsets[begin][0]
        right = len(text) if index == len(states) else offsets[index][0]
        yield TokenSpan(text=text[left:right], tokens=index - begin, state=states[begin])
        begin = index
