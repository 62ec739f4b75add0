"""Convert conversations, documents and pairs to token ids, with a mask of the tokens to train on."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol.events import Token, TokenState
from lora_studio.core.tasks.samples import Message, Sample, UnusableKind, UnusableRow
from lora_studio.engine.tokens.chat_format import Tools
from lora_studio.engine.tokens.exact_rendering import render
from lora_studio.engine.tokens.markers import Span
from lora_studio.engine.tokens.rendered_text import Rendered
from lora_studio.engine.tokens.search_texts import TextEdges, list_texts
from lora_studio.engine.tokens.shape_cache import ShapeRenderer

__all__ = [
    "Encoded", "EncodedClassified", "EncodedLabeled", "EncodedPair", "EncodedPrompt", "Encoder", "TokenizedText",
    "TokenizedView", "encode", "encode_prompt", "render",
]  # fmt: skip

_START = itemgetter(0)


@dataclass(frozen=True)
class TokenizedText:
    """A tokenized text, `ids` [length], before truncation: `spans` are the ranges that train, in
    order.

    `unshown` counts reasoning of earlier answers that the template does not show. `is_prompt`: nothing
    trains, because the model answers itself. `is_classified`: no token trains, but the whole text is used.
    """

    ids: NDArray[np.int32]
    spans: list[Span]
    left_out: int = 0
    unshown: int = 0
    is_prompt: bool = False
    is_classified: bool = False

    @property
    def first(self) -> int:
        """Return the first trained position with a preceding token; -1 if there is none.

        For a prompt it is the position after it, for a text to classify its start.
        """
        if self.is_classified:
            return 0
        if self.is_prompt:
            return len(self.ids)
        return next((max(begin, 1) for begin, end in self.spans if end > max(begin, 1)), -1)

    @property
    def targets(self) -> int:
        """Return the number of trained tokens."""
        return sum(end - begin for begin, end in self.spans)

    def cut(self, limit: int) -> Encoded:
        """Return the first `limit` tokens."""
        ids = np.asarray(self.ids[:limit], np.int32)
        trained = build_trained_mask(len(ids), self.spans)
        return Encoded(ids, trained, len(self.ids), self.left_out)


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
            self._renderer = ShapeRenderer(tokenizer, spec.train_on, spec.thinking)
            self._answer_renderer = self._renderer
            if spec.train_on == "everything":
                self._answer_renderer = ShapeRenderer(tokenizer, "answers", spec.thinking)
        except UnusableRow as error:
            raise fail(
                "dataset.template_broken",
                "The model's chat template can't be used: {reason}.",
                "Choose another chat template on the Dataset page.",
                where=Where(step="dataset", field="chat_template"),
                reason=error.reason,
            ) from error
        self._begins_with, self._ends_with = _get_document_edges(tokenizer)
        self._edges = TextEdges.find(tokenizer)

    @cached_property
    def _classified_backend(self) -> Tokenizer:
        """The tokenizer for texts to classify: they have the tokens that it adds itself, as at inference."""
        backend: Tokenizer = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        return backend

    def encode(self, messages: Sequence[Message], tools: Tools = ()) -> Encoded:
        """Return one conversation, truncated to the limit; raises UnusableRow."""
        return self.encode_sample(Sample("sft", tuple(messages), tools=tuple(map(dict, tools))))[0]

    def encode_sample(self, sample: Sample) -> list[Encoded]:
        """Return the sequences of a sample, truncated to the limit: one, two for a pair, all pieces
        of a document.

        Also raises UnusableRow for rows that the spec excludes.
        """
        result = self.tokenize([sample])[0]
        if isinstance(result, UnusableRow):
            raise result
        limit = self.spec.max_length
        if sample.task == "text":
            ids = np.asarray(result[0].ids, np.int32)
            trained = build_trained_mask(len(ids), result[0].spans)
            edges = split_document(len(ids), limit)
            return [
                Encoded(ids[a:b], trained[a:b], b - a) for a, b in edges if trained[a + 1 : b].any()
            ]
        for item in result:
            if verdict := check_length(len(item.ids), item.first, self.spec):
                raise verdict
        return [item.cut(limit) for item in result]

    def tokenize(self, samples: Sequence[Sample]) -> list[list[TokenizedText] | UnusableRow]:
        """Return each sample as tokens before truncation, or why it is unusable.

        A pair has two sides: chosen, then rejected.
        """
        rendered: list[list[Rendered] | UnusableRow] = []
        for sample in samples:
            try:
                rendered.append(self._render_sides(sample))
            except UnusableRow as verdict:
                rendered.append(verdict)
        texts = [side.text for sides in rendered if isinstance(sides, list) for side in sides]
        is_classified = bool(samples) and samples[0].task == "classification"
        backend = self._classified_backend if is_classified else self._backend
        encodings = iter(backend.encode_batch(texts, add_special_tokens=is_classified))
        results: list[list[TokenizedText] | UnusableRow] = []
        for sample, sides in zip(samples, rendered, strict=True):
            if isinstance(sides, UnusableRow):
                results.append(sides)
                continue
            pairs = [(side, next(encodings)) for side in sides]
            try:
                results.append([self._to_tokens(sample, side, encoded) for side, encoded in pairs])
            except UnusableRow as verdict:
                results.append(verdict)
        return results

    def show(self, sample: Sample) -> list[TokenizedView]:
        """Return the text of a sample token by token, of a pair both sides; raises UnusableRow."""
        return [self._show(sample, side) for side in self._render_sides(sample)]

    def render_text(self, sample: Sample) -> str:
        """Return the text of a sample that is tokenized, of a pair the chosen side; raises
        UnusableRow.
        """
        return self._render_sides(sample)[0].text

    # --- one sample ---------------------------------------------------------------------------

    def _render_sides(self, sample: Sample) -> list[Rendered]:
        """Return the parts of a sample that are tokenized as one text each."""
        match sample.task:
            case "text":
                text = sample.text
                if sample.untrained is None:
                    text = self._begins_with + text + self._ends_with
                return [Rendered(text, [(0, len(text))], holes=list(sample.untrained or ()))]
            case "preference":
                return [
                    self._answer_renderer.render(
                        _build_conversation(sample.messages, side), sample.tools
                    )
                    for side in (sample.chosen, sample.rejected)
                ]
            case "kto":
                *earlier, last = sample.messages
                return [
                    self._answer_renderer.render(_build_conversation(earlier, [last]), sample.tools)
                ]
            case "grpo":
                prompt = render(self.tokenizer, sample.messages, sample.tools, prompt=True)
                return [Rendered(prompt, [])]
            case "embedding":
                return [Rendered(text, [(0, len(text))]) for text in list_texts(sample)]
            case "classification":
                return [Rendered(sample.messages[0].content, [])]
        return [self._renderer.render(sample.messages, sample.tools)]

    def _to_tokens(self, sample: Sample, rendered: Rendered, encoding: Encoding) -> TokenizedText:
        ids = np.array(encoding.ids, np.int32)
        if sample.task == "classification":
            return TokenizedText(ids, [], is_classified=True)
        spans = list(_iter_token_spans(rendered, encoding.offsets))
        if sample.task == "grpo":
            return TokenizedText(ids, [], is_prompt=True)
        if sample.task == "embedding":
            ids = self._edges.add(ids) if len(ids) else ids
            return TokenizedText(ids, [(0, len(ids))])
        item = TokenizedText(ids, spans, rendered.left_out, rendered.unshown)
        if item.first < 0:
            is_document = sample.task == "text" and sample.untrained is None
            raise UnusableRow(
                "the text is a single token"
                if is_document
                else "no answer in the row is trained on"
            )
        return item

    def _show(self, sample: Sample, rendered: Rendered) -> TokenizedView:
        is_classified = sample.task == "classification"
        backend = self._classified_backend if is_classified else self._backend
        encoding = backend.encode(rendered.text, add_special_tokens=is_classified)
        spans = list(_iter_token_spans(rendered, encoding.offsets))
        trained = build_trained_mask(len(encoding.ids), spans)
        limit = len(trained) if sample.task == "text" else self.spec.max_length
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


def build_trained_mask(length: int, spans: Sequence[Span]) -> np.ndarray:
    """Return a mask of the tokens inside the ranges, [length] bool."""
    trained = np.zeros(length, bool)
    for begin, end in spans:
        trained[begin:end] = True
    return trained


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


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools = ()
) -> list[int]:
    """Return the prompt tokens for the next answer; raises UnusableRow."""
    text = render(tokenizer, messages, tools, prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], spec: DatasetSpec
) -> Encoded:
    """Return one conversation as training sees it; raises UnusableRow."""
    return Encoder(tokenizer, spec).encode(messages)


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


_IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """One conversation: `ids` [length] int32 and `trained` [length] bool, truncated to the limit.

    `full_length` is the number of tokens before truncation; `left_out` counts answers that don't
    train because the template renders them in another context than the one they would be generated
    in. `teacher` are records of the teacher's most likely tokens, one for each trained token that another
    precedes; None if there is no teacher.
    """

    ids: np.ndarray
    trained: np.ndarray
    full_length: int
    left_out: int = 0
    teacher: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens that a pass over the row computes."""
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        """Return the ids of trained tokens, -100 elsewhere."""
        return np.where(self.trained, self.ids, _IGNORED).tolist()

    @property
    def is_cut(self) -> bool:
        """Return whether the limit truncated the row."""
        return self.full_length > len(self.ids)


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
