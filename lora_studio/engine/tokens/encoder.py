"""Convert conversations, documents and pairs to token ids, with a mask of the tokens to train on."""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol.events import Token, TokenState
from lora_studio.core.tasks.samples import Message, Sample, TaskName, UnusableKind, UnusableRow
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.tokens.exact_rendering import Rendered
from lora_studio.engine.tokens.exact_rendering import render as render
from lora_studio.engine.tokens.markers import Span
from lora_studio.engine.tokens.shape_cache import ShapeRenderer

_START = itemgetter(0)

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Encoded:
    """One conversation: `ids` [length] int32 and `trained` [length] bool, truncated to the limit.

    `teacher` are records of the teacher's most likely tokens, one for each trained token that another
    precedes; None if there is no teacher.
    """

    ids: np.ndarray
    trained: np.ndarray
    teacher: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens that a pass over the row computes."""
        return len(self.ids)


@dataclass(frozen=True)
class EncodedPair:
    """The same prompt with the chosen and with the rejected answer; only the answers are trained.

    `reference` are both answers' log-probabilities under the reference model; None if they aren't known.
    """

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, ...] | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of both sides."""
        return self.chosen.tokens + self.rejected.tokens


@dataclass(frozen=True)
class EncodedLabeled:
    """A conversation whose last answer is labeled good or bad; only that answer is trained.

    `mismatched` is the conversation with the answer of another row. `reference` are the log-probabilities
    of both answers under the reference model, None if they aren't known.
    """

    answer: Encoded
    label: bool
    mismatched: Encoded | None = None
    reference: tuple[float, ...] | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the conversation."""
        return self.answer.tokens


@dataclass(frozen=True)
class EncodedSearchPair:
    """A query, the text that it should find, and one that it should not; all are ids [length] int32."""

    query: Ids
    positive: Ids
    negative: Ids | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of all texts."""
        return sum(
            len(ids) for ids in (self.query, self.positive, self.negative) if ids is not None
        )


@dataclass(frozen=True)
class EncodedClassified:
    """A text with the number of its label among all labels of the data."""

    text: Encoded
    label: int

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the text."""
        return self.text.tokens


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt that the model answers itself, and what its answers are rated with.

    `ids` [length] int32; `reference` is the expected answer, `columns` are further columns as text.
    """

    ids: np.ndarray
    messages: tuple[Message, ...]
    reference: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the prompt."""
        return len(self.ids)


#: One row: a conversation or document, a preference pair, an answer labeled good or bad, a prompt, a query
#: with the text to find, or a text with its label.
TrainingRow = (
    Encoded | EncodedPair | EncodedLabeled | EncodedPrompt | EncodedSearchPair | EncodedClassified
)


@dataclass(frozen=True)
class TokenizedText:
    """A tokenized text, `ids` [length], before truncation: `spans` are the ranges that train, in
    order.

    `left_out` counts answers that don't train because the template renders them in another context than the one
    they would be generated in, `unshown` reasoning of earlier answers that the template does not show. Where
    nothing trains, `start` is the position from which a row is usable.
    """

    ids: NDArray[np.int32]
    spans: list[Span]
    left_out: int = 0
    unshown: int = 0
    start: int | None = None

    @property
    def first(self) -> int:
        """Return `start`, or the first trained position with a preceding token; -1 if there is none."""
        if self.start is not None:
            return self.start
        return next((max(begin, 1) for begin, end in self.spans if end > max(begin, 1)), -1)

    @property
    def targets(self) -> int:
        """Return the number of trained tokens."""
        return sum(end - begin for begin, end in self.spans)

    def cut(self, begin: int, end: int) -> Encoded:
        """Return the tokens from `begin` to `end`, or to the last one."""
        ids = np.array(self.ids[begin:end], np.int32)
        trained = np.zeros(len(ids), bool)
        for first, last in self.spans:
            trained[max(first - begin, 0) : max(last - begin, 0)] = True
        return Encoded(ids, trained)


class RowEncoding:
    """How the rows of a task become tokens, and what its objective reads; the defaults are those of conversations.

    Processes that tokenize import this module, so it has no PyTorch.
    """

    #: The prefixes of the columns of each sequence of a row.
    sides: ClassVar[tuple[str, ...]] = ("",)
    #: The Arrow type of a further column, "" without one.
    extra: ClassVar[str] = ""
    #: Whether texts get the tokens that the tokenizer adds itself, as at inference.
    adds_special_tokens: ClassVar[bool] = False

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        """Return the parts of a row that are tokenized as one text each; raises UnusableRow."""
        return [encoder.conversations.render(sample.messages, sample.tools)]

    def finish(self, item: TokenizedText, encoder: Encoder, sample: Sample) -> TokenizedText:
        """Return a part of a row as it trains; raises UnusableRow."""
        if item.first < 0:
            raise UnusableRow("no answer in the row is trained on")
        return item

    def get_extra(self, sample: Sample) -> Any:
        """Return the value of the further column."""
        return None

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> Any:
        """Return what the objective gets of a row: its sequences from token `begin` to `end`, and the further column.

        Of a column of labels it is the label's number among all.
        """
        return items[0].cut(begin, end)


class DocumentEncoding(RowEncoding):
    """A text between the tokens that documents start and end with, unless it marks its trained parts itself."""

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        text = sample.text
        if sample.untrained is None:
            text = encoder.begins_with + text + encoder.ends_with
        return [Rendered(text, [(0, len(text))], holes=list(sample.untrained or ()))]

    def finish(self, item: TokenizedText, encoder: Encoder, sample: Sample) -> TokenizedText:
        if item.first < 0 and sample.untrained is None:
            raise UnusableRow("the text is a single token")
        return super().finish(item, encoder, sample)


class PairEncoding(RowEncoding):
    """The conversation with the chosen and with the rejected answer, which alone train."""

    sides = ("", "rejected_")

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        return [
            encoder.answers.render(_build_conversation(sample.messages, side), sample.tools)
            for side in (sample.chosen, sample.rejected)
        ]

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> EncodedPair:
        chosen, rejected = (item.cut(begin, end) for item in items)
        return EncodedPair(chosen, rejected)


class LabeledAnswerEncoding(RowEncoding):
    """A conversation whose last answer alone trains, with its label."""

    extra = "bool"

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        *earlier, last = sample.messages
        return [encoder.answers.render(_build_conversation(earlier, [last]), sample.tools)]

    def get_extra(self, sample: Sample) -> Any:
        return sample.label

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> Any:
        return EncodedLabeled(items[0].cut(begin, end), extra)


class PromptEncoding(RowEncoding):
    """A prompt, of which nothing trains, with what its answers are rated with as JSON."""

    extra = "large_string"

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        return [Rendered(render(encoder.tokenizer, sample.messages, sample.tools, prompt=True), [])]

    def finish(self, item: TokenizedText, encoder: Encoder, sample: Sample) -> TokenizedText:
        return replace(item, start=len(item.ids))

    def get_extra(self, sample: Sample) -> Any:
        turns = [turn.model_dump(exclude_defaults=True) for turn in sample.messages]
        return json.dumps(
            {"messages": turns, "reference": sample.reference, "columns": dict(sample.columns)}
        )

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> Any:
        entry = json.loads(extra)
        messages = tuple(Message.model_validate(turn) for turn in entry["messages"])
        ids = items[0].cut(begin, end).ids
        return EncodedPrompt(ids, messages, entry["reference"], dict(entry["columns"]))


class SearchPairEncoding(RowEncoding):
    """A query, the text to find, and one not to find, each between the tokens that mark its edges."""

    sides = ("", "positive_", "negative_")

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        negative = sample.rejected[0].content if sample.rejected else ""
        texts = sample.messages[-1].content, sample.chosen[0].content, negative
        return [Rendered(text, [(0, len(text))]) for text in texts]

    def finish(self, item: TokenizedText, encoder: Encoder, sample: Sample) -> TokenizedText:
        ids = encoder.edges.add(item.ids) if len(item.ids) else item.ids
        return TokenizedText(ids, [(0, len(ids))])

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> Any:
        query, positive, negative = (truncate(item.ids, end) for item in items)
        return EncodedSearchPair(query, positive, negative if len(negative) else None)


class ClassificationEncoding(RowEncoding):
    """A text, of which no token trains, with its label."""

    extra = "large_string"
    adds_special_tokens = True

    def render(self, encoder: Encoder, sample: Sample) -> list[Rendered]:
        return [Rendered(sample.messages[0].content, [])]

    def finish(self, item: TokenizedText, encoder: Encoder, sample: Sample) -> TokenizedText:
        return replace(item, start=0)

    def get_extra(self, sample: Sample) -> Any:
        return sample.messages[-1].content

    def read(self, items: Sequence[TokenizedText], begin: int, end: int, extra: Any) -> Any:
        return EncodedClassified(items[0].cut(begin, end), extra)


ROW_ENCODINGS: Mapping[TaskName, RowEncoding] = {
    "sft": RowEncoding(),
    "text": DocumentEncoding(),
    "preference": PairEncoding(),
    "kto": LabeledAnswerEncoding(),
    "grpo": PromptEncoding(),
    "embedding": SearchPairEncoding(),
    "classification": ClassificationEncoding(),
}


@dataclass(frozen=True)
class TextEdges:
    """The token IDs before and after a text. After it there is at least the end-of-sequence token."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def find(cls, tokenizer: PreTrainedTokenizerBase) -> TextEdges:
        """Return what a tokenizer adds to a text itself, with the end-of-sequence token if it adds no end."""
        plain = tokenizer("a", add_special_tokens=False).input_ids
        whole = tokenizer("a").input_ids
        starts = [
            at for at in range(len(whole)) if plain and whole[at : at + len(plain)] == plain
        ] or [0]
        before, after = whole[: starts[0]], whole[starts[0] + len(plain) :]
        if not after and tokenizer.eos_token_id is not None:
            after = [tokenizer.eos_token_id]
        return cls(tuple(before), tuple(after))

    def add(self, ids: Ids) -> Ids:
        """Return a text's tokens between its edges."""
        return np.concatenate([self.before, ids, self.after]).astype(np.int32)


@dataclass(frozen=True)
class TokenizedView:
    """A text with its tokens, whose texts add up to it, and the character ranges that train."""

    text: str
    tokens: tuple[Token, ...]
    trained_spans: tuple[Span, ...]


class Encoder:
    """Converts samples to tokens for one tokenizer and one dataset spec."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: DatasetSpec) -> None:
        """Prepare the tokenizer; raises ProblemError if it has no offsets or a broken chat
        template.
        """
        if not tokenizer.is_fast:
            raise fail(
                "model.slow_tokenizer",
                "The tokenizer {tokenizer} doesn't report character offsets, so answers can't be told "
                "apart from questions.",
                "Choose a version of the model that has a tokenizer.json.",
                where=Where(step="model", field="source"),
                tokenizer=type(tokenizer).__name__,
            )
        self.tokenizer = tokenizer
        self.spec = spec
        # The post-processor may trim blanks from token offsets, which must be exact here.
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.post_processor = None
        self._backend.no_truncation()
        self._backend.no_padding()
        try:
            self.conversations = self.answers = ShapeRenderer(
                tokenizer, spec.train_on, spec.thinking
            )
            if spec.train_on == "everything":
                self.answers = ShapeRenderer(tokenizer, "answers", spec.thinking)
        except UnusableRow as error:
            raise fail(
                "dataset.template_broken",
                "The model's chat template can't be used: {reason}.",
                "Choose another chat template on the Dataset page.",
                where=Where(step="dataset", field="chat_template"),
                reason=error.reason,
            ) from error
        self.begins_with, self.ends_with = _get_document_edges(tokenizer)
        self.edges = TextEdges.find(tokenizer)

    @cached_property
    def _adding_backend(self) -> Tokenizer:
        """The tokenizer for texts that have the tokens that it adds itself."""
        backend: Tokenizer = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        return backend

    def encode_sample(self, sample: Sample) -> list[Encoded]:
        """Return the sequences of a sample, truncated to the limit: one, two for a pair, all pieces
        of a document.

        Also raises UnusableRow for rows that the spec excludes.
        """
        result = self.tokenize([sample])[0]
        if isinstance(result, UnusableRow):
            raise result
        limit = self.spec.max_length
        if TASKS[sample.task].is_document:
            (item,) = result
            pieces = [item.cut(*edges) for edges in split_document(len(item.ids), limit)]
            return [piece for piece in pieces if piece.trained[1:].any()]
        for item in result:
            if verdict := check_length(len(item.ids), item.first, self.spec):
                raise verdict
        return [item.cut(0, limit) for item in result]

    def tokenize(self, samples: Sequence[Sample]) -> list[list[TokenizedText] | UnusableRow]:
        """Return each sample as tokens before truncation, or why it is unusable; all are of one task.

        A pair has two sides: chosen, then rejected.
        """
        rendered: list[list[Rendered] | UnusableRow] = []
        for sample in samples:
            try:
                rendered.append(ROW_ENCODINGS[sample.task].render(self, sample))
            except UnusableRow as verdict:
                rendered.append(verdict)
        texts = [side.text for sides in rendered if isinstance(sides, list) for side in sides]
        encodings = iter(self._encode_texts(texts, samples[0].task) if samples else ())
        results: list[list[TokenizedText] | UnusableRow] = []
        for sample, sides in zip(samples, rendered, strict=True):
            if isinstance(sides, UnusableRow):
                results.append(sides)
                continue
            pairs = [(side, next(encodings)) for side in sides]
            finish = ROW_ENCODINGS[sample.task].finish
            try:
                results.append([finish(_mark_tokens(*pair), self, sample) for pair in pairs])
            except UnusableRow as verdict:
                results.append(verdict)
        return results

    def show(self, sample: Sample) -> list[TokenizedView]:
        """Return the text of a sample token by token, of a pair both sides; raises UnusableRow."""
        sides = ROW_ENCODINGS[sample.task].render(self, sample)
        return [self._show(sample, side) for side in sides]

    def render_text(self, sample: Sample) -> str:
        """Return the text of a sample that is tokenized, of a pair the chosen side; raises
        UnusableRow.
        """
        return ROW_ENCODINGS[sample.task].render(self, sample)[0].text

    def _encode_texts(self, texts: list[str], task: TaskName) -> list[Encoding]:
        adds = ROW_ENCODINGS[task].adds_special_tokens
        backend = self._adding_backend if adds else self._backend
        return list(backend.encode_batch(texts, add_special_tokens=adds))

    def _show(self, sample: Sample, rendered: Rendered) -> TokenizedView:
        (encoding,) = self._encode_texts([rendered.text], sample.task)
        trained = _mark_tokens(rendered, encoding).cut(0, len(encoding.ids)).trained
        limit = len(trained) if TASKS[sample.task].is_document else self.spec.max_length
        special = {
            index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special
        } | set(self.tokenizer.all_special_ids)
        tokens: list[Token] = []
        ranges: list[Span] = []
        covered = 0
        for position, (index, (_, end)) in enumerate(
            zip(encoding.ids, encoding.offsets, strict=True)
        ):
            # Tokens that share a character: the first one shows it, the others are empty.
            begin, covered = covered, max(covered, end)
            if position == len(trained) - 1:
                covered = len(rendered.text)
            state: TokenState = "trained" if trained[position] else "context"
            if position >= limit:
                state = "cut"
            elif trained[position]:
                if ranges and ranges[-1][1] == begin:
                    begin_of_run = ranges.pop()[0]
                    ranges.append((begin_of_run, covered))
                else:
                    ranges.append((begin, covered))
            text = rendered.text[begin:covered]
            tokens.append(Token(id=index, text=text, state=state, special=index in special))
        return TokenizedView(rendered.text, tuple(tokens), tuple(r for r in ranges if r[0] < r[1]))


def truncate(ids: Ids, limit: int) -> Ids:
    """Return at most `limit` tokens, with the last one of the text, which is its end token."""
    if len(ids) <= limit:
        return np.array(ids, np.int32)
    return np.concatenate([ids[: limit - 1], ids[-1:]]).astype(np.int32)


def split_document(length: int, limit: int) -> list[Span]:
    """Return a document in pieces of at most `limit` tokens; no piece has only one token, which
    predicts nothing.
    """
    edges = [*range(0, length, limit), length]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        edges[-2] -= 1
    return list(pairwise(edges))


def check_length(length: int, first: int, spec: DatasetSpec) -> UnusableRow | None:
    """Return why the length limit excludes a row, else None.

    `length` and `first` are those of its `TokenizedText`.
    """
    if length > spec.max_length and spec.too_long == "skip":
        reason = "the row has more than {limit} tokens"
    elif first >= spec.max_length and first >= length:
        reason = "the prompt leaves no room for an answer within {limit} tokens"
    elif first >= spec.max_length:
        reason = "no part of an answer is within the first {limit} tokens"
    else:
        return None
    return UnusableRow(reason, UnusableKind.LENGTH, limit=spec.max_length)


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], spec: DatasetSpec
) -> Encoded:
    """Return one conversation as training sees it; raises UnusableRow."""
    return Encoder(tokenizer, spec).encode_sample(Sample("sft", tuple(messages)))[0]


def _build_conversation(prompt: Sequence[Message], answer: Sequence[Message]) -> list[Message]:
    """Return a conversation in which only the answer trains."""
    return [
        *(turn.model_copy(update={"trained": False}) for turn in prompt),
        *(turn.model_copy(update={"trained": turn.role == "assistant"}) for turn in answer),
    ]


def _get_document_edges(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return the tokens that a document starts and ends with.

    It starts with the token that the tokenizer itself adds to a text, if any, and ends with the
    end-of-sequence token.
    """
    ids = tokenizer("a").input_ids
    bos = tokenizer.bos_token or ""
    begins = bool(bos) and bool(ids) and ids[0] == tokenizer.bos_token_id
    return (bos if begins else ""), str(tokenizer.eos_token or "")


def _mark_tokens(rendered: Rendered, encoding: Encoding) -> TokenizedText:
    """Return the tokens of a text with the ranges that train; raises UnusableRow."""
    spans = list(_iter_token_spans(rendered, encoding.offsets))
    ids = np.array(encoding.ids, np.int32)
    return TokenizedText(ids, spans, rendered.left_out, rendered.unshown)


def _iter_token_spans(rendered: Rendered, offsets: Sequence[Span]) -> Iterator[Span]:
    """Yield the ranges of tokens that train; raises UnusableRow for a token across an edge.

    A token across an edge is accepted if its part on the other side is blank. A token with a letter
    of a masked part does not train.
    """
    text = rendered.text
    for begin, end in rendered.spans:
        first = bisect_left(offsets, begin, key=_START)
        last = bisect_left(offsets, end, key=_START)
        if first and offsets[first - 1][1] > begin and text[begin : offsets[first - 1][1]].strip():
            raise UnusableRow("one token spans the end of a question and the start of an answer")
        if last and offsets[last - 1][1] > end and text[end : offsets[last - 1][1]].strip():
            raise UnusableRow("one token spans the end of an answer and the text after it")
        for hole in rendered.holes:
            if hole[0] < end and begin < hole[1]:
                start, stop = _find_tokens(hole, text, offsets)
                if first < start:
                    yield first, min(start, last)
                first = max(first, stop)
        if first < last:
            yield first, last


def _find_tokens(hole: Span, text: str, offsets: Sequence[Span]) -> Span:
    """Return the tokens within a range of characters, and the non-blank ones across its edges."""
    begin, end = hole
    first = bisect_left(offsets, begin, key=_START)
    last = bisect_left(offsets, end, key=_START)
    if first and text[begin : min(end, offsets[first - 1][1])].strip():
        first -= 1
    if last > first and offsets[last - 1][1] > end and not text[offsets[last - 1][0] : end].strip():
        last -= 1
    return first, max(first, last)
