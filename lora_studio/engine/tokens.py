"""Conversations become token ids, and each token is marked as trained or not.

What trains is what the model has to write itself: from where the prompt for an answer ends to the
token that ends the answer. It is found by rendering, never by searching for the template's marks,
which a user may have typed:

1. Every answer is replaced by a marker and the conversation rendered again. Where putting the
   answers back gives the original text, the template shows them unchanged and their places are
   exact; where it does not, the row is left out and says so.
2. The prompt for an answer is rendered too. Where the text begins with it, the answer begins
   where the prompt ends (so an empty thinking block that the template writes is trained as well).
3. What a conversation that ends with this answer has behind it begins with the end of the turn.

A template with `{% generation %}` blocks narrows this to what they enclose.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from lora_studio.core.dataset import DatasetSpec, Message
from lora_studio.core.events import TokenSpan
from lora_studio.core.problems import Where, fail
from lora_studio.engine.channel import Job
from lora_studio.engine.dataset import Row, SkippedRows, UnusableRow

_IGNORED = -100
_CHUNK = 256
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

Span = tuple[int, int]  # characters, end excluded


@dataclass(frozen=True)
class Encoded:
    """One conversation: `ids` [length] int32 and `trained` [length] bool, cut to the limit.

    `full_length` is the number of tokens before cutting.
    """

    ids: np.ndarray
    trained: np.ndarray
    full_length: int

    @property
    def labels(self) -> list[int]:
        """The ids where they are trained, -100 elsewhere."""
        return np.where(self.trained, self.ids, _IGNORED).tolist()

    @property
    def is_cut(self) -> bool:
        """Whether the limit left tokens off."""
        return self.full_length > len(self.ids)


@dataclass(frozen=True)
class _Rendered:
    text: str
    spans: list[Span]


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
        added = tokenizer.get_added_vocab()
        self._marks = sorted((mark for mark in added if mark.strip()), key=len, reverse=True)

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
            rendered: list[tuple[Row, _Rendered]] = []
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

    # --- rendering ----------------------------------------------------------------------------

    def _render(self, messages: Sequence[Message]) -> _Rendered:
        text = render(self.tokenizer, messages)
        if self.spec.train_on == "everything":
            return _Rendered(text, [(0, len(text))])
        blocks = self._generation_blocks(messages, text)
        try:
            text, spans = self._answers(messages, text)
        except UnusableRow:
            if not blocks:
                raise
            return _Rendered(text, [self._with_end(text, block) for block in blocks])
        if blocks:
            spans = [self._narrowed(text, span, blocks) for span in spans]
        return _Rendered(text, spans)

    def _answers(self, messages: Sequence[Message], text: str) -> tuple[str, list[Span]]:
        """The text and the trained part of it for each trained answer; raises UnusableRow."""
        marked = _mark(messages, text)
        places = _places(render(self.tokenizer, marked.messages), marked, text)
        spans: list[Span] = []
        for index, message in enumerate(messages):
            if not (message.role == "assistant" and message.trained):
                continue
            begin, end = places[index]
            is_last = index == len(messages) - 1
            behind = text[end:]
            if not is_last:
                alone = render(self.tokenizer, [*messages[:index], marked.messages[index]])
                behind = alone[marked.end_in(alone) :]
            ending = self._ending(behind)
            if is_last and not ending:
                # The template ends no answer. The model still has to learn where to stop.
                ending = self.tokenizer.eos_token or ""
                text += ending
            if not text.startswith(ending, end):
                raise UnusableRow("the chat template ends an answer otherwise within a chat")
            spans.append((self._begin(messages, index, text, begin), end + len(ending)))
        return text, spans

    def _ending(self, behind: str) -> str:
        """The part of it that ends the turn: through the first mark, or all but blanks."""
        blanks = len(behind) - len(behind.lstrip())
        for mark in self._marks:
            if behind.startswith(mark, blanks):
                return behind[: blanks + len(mark)]
        return behind.rstrip()

    def _begin(self, messages: Sequence[Message], index: int, text: str, core: int) -> int:
        if index:
            prompt = render(self.tokenizer, messages[:index], prompt=True)
            if len(prompt) <= core and text.startswith(prompt):
                return len(prompt)
        content = messages[index].content
        blanks = content[: len(content) - len(content.lstrip())]
        return core - len(blanks) if text.endswith(blanks, 0, core) else core

    def _generation_blocks(self, messages: Sequence[Message], text: str) -> list[Span]:
        """What the template itself marks as written by the model; [] when it cannot be relied on."""
        template = self.tokenizer.chat_template
        if not _GENERATION.search(template):
            return []
        rendered, blocks = render_jinja_template(
            conversations=[_plain(messages)],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        answers = [message.content.strip() for message in messages if message.role == "assistant"]
        shown = [text[begin:end] for begin, end in blocks[0]]
        # Blocks inside a macro come with wrong places; an answer missing from its block tells.
        if rendered[0] != text or len(shown) != len(answers):
            return []
        if any(answer[-40:] not in block for answer, block in zip(answers, shown, strict=True)):
            return []
        trained = [message.trained for message in messages if message.role == "assistant"]
        return [block for block, wanted in zip(blocks[0], trained, strict=True) if wanted]

    def _narrowed(self, text: str, span: Span, blocks: list[Span]) -> Span:
        """The span within the block it meets, always through the end of the turn."""
        for begin, end in blocks:
            if begin < span[1] and end > span[0]:
                return max(begin, span[0]), span[1]
        return span

    def _with_end(self, text: str, block: Span) -> Span:
        """A template's block, through the mark that ends the turn and no further."""
        inside = text[block[0] : block[1]].rstrip()
        end = block[0] + len(inside)
        if any(inside.endswith(mark) for mark in self._marks):
            return block[0], end
        return block[0], end + len(self._ending(text[end:]))

    # --- tokens -------------------------------------------------------------------------------

    def _tokenize(self, rendered: Sequence[_Rendered]) -> list[tuple[Encoded, str]]:
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
                np.asarray(encoding.ids[:limit], np.int32), trained[:limit], len(encoding.ids)
            )
            if not fault and encoded.is_cut and self.spec.too_long == "skip":
                fault = f"it has more than {limit} tokens"
            elif not fault and not encoded.trained[1:].any():
                fault = f"no part of an answer is within the first {limit} tokens"
            found.append((encoded, fault))
        return found

    def _trained(self, rendered: _Rendered, offsets: Sequence[Span]) -> np.ndarray:
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


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool = False
) -> str:
    """The conversation as text by the tokenizer's chat template, with `prompt` up to where the
    next answer begins; raises UnusableRow when the template refuses it."""
    try:
        return tokenizer.apply_chat_template(
            _plain(messages), tokenize=False, add_generation_prompt=prompt
        )
    except jinja2.TemplateError as error:
        raise UnusableRow(f"the chat template refuses it: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnusableRow(f"the chat template fails on it: {error}") from error


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Tokens to continue from for the next answer; raises UnusableRow."""
    text = render(tokenizer, messages, prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], spec: DatasetSpec
) -> Encoded:
    """One conversation as training sees it; raises UnusableRow."""
    return Encoder(tokenizer, spec).encode(messages)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


# --- markers ----------------------------------------------------------------------------------

_THINKING = re.compile(r"(?s)(.*<think>|)(.*?)(</think>)(.*)")


@dataclass(frozen=True)
class _Marked:
    """A conversation with answers replaced by markers; `cores` says what each stands for."""

    messages: list[Message]
    cores: dict[tuple[int, int], str]
    pattern: re.Pattern[str]

    def end_in(self, shown: str) -> int:
        """Where the last marker in a text ends."""
        return max((match.end() for match in self.pattern.finditer(shown)), default=0)


def _mark(messages: Sequence[Message], text: str) -> _Marked:
    """Puts markers for answers.

    Blanks around an answer stay, so that a template that strips them strips them here too. The
    thinking before an answer gets a marker of its own: templates move it or leave it out.
    """
    nonce = next(number for number in range(1_000_000) if f"zqmark{number}n" not in text)
    cores: dict[tuple[int, int], str] = {}
    marked: list[Message] = []
    for index, message in enumerate(messages):
        if message.role == "assistant":
            parts = _THINKING.match(message.content)
            pieces = list(parts.groups()) if parts else [message.content]
            for part in range(1 if parts else 0, len(pieces), 2):
                core = pieces[part].strip()
                if core:
                    cores[index, part] = core
                    marker = f"zqmark{nonce}n{index}p{part}zq"
                    pieces[part] = pieces[part].replace(core, marker, 1)
            message = message.model_copy(update={"content": "".join(pieces)})
        marked.append(message)
    return _Marked(marked, cores, re.compile(rf"zqmark{nonce}n(\d+)p(\d)zq"))


def _places(shown: str, marked: _Marked, text: str) -> dict[int, Span]:
    """Where each answer stands in `text`; raises UnusableRow unless that is beyond doubt."""
    pieces: list[str] = []
    places: dict[int, Span] = {}
    seen: set[tuple[int, int]] = set()
    length = position = 0
    for match in marked.pattern.finditer(shown):
        key = int(match[1]), int(match[2])
        before = shown[position : match.start()]
        pieces += [before, marked.cores[key]]
        begin = length + len(before)
        length = begin + len(marked.cores[key])
        position = match.end()
        if key in seen:
            raise UnusableRow("the chat template writes an answer twice")
        seen.add(key)
        first = places.get(key[0], (begin, 0))[0]
        places[key[0]] = (first, length)
    pieces.append(shown[position:])
    if "".join(pieces) != text:
        raise UnusableRow("the chat template changes the text of an answer")
    for index in {index for index, _ in marked.cores}:
        last = max(part for known, part in marked.cores if known == index)
        if (index, last) not in seen:
            raise UnusableRow("the chat template leaves an answer out")
    return places


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
