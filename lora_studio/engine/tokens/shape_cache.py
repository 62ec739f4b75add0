"""Apply the exact method once per shape of conversation, then render each row of that shape only
once.

Rows of a dataset are similar: the same number of turns, a system message or none. For each shape, a
conversation of placeholder words is analyzed by the exact method; the text between the words is
what the template writes. A row is then rendered once and matched against this text from its first
to its last character. Only if every character matches are the spans reused; otherwise, and if
contents can influence the text around them, the row goes through the exact method itself, or its
prompts are rendered as well.

Measured with SmolLM2's template, processor time: 44 µs instead of 160 µs for two turns, 83 µs
instead of 551 µs for six; rendering alone, as in transformers, takes 31 µs and 50 µs.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.formats.turns import shift_ranges
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.engine.tokens.chat_format import Tools, refuse_template
from lora_studio.engine.tokens.exact_rendering import PROMPT_MISMATCH, ExactRenderer, Rendered
from lora_studio.engine.tokens.markers import THINKING, Span

TrainOn = Literal["answers", "last_answer", "everything"]
Thinking = Literal["train", "mask", "remove"]

#: The most shapes to remember; conversations with many turns have many shapes.
_MOST = 512

#: How a template may show a content: unchanged, or without blanks at its edges.
_TRIMS: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
)

_SLOT = re.compile(r"Zs(\d+)([tc])Z")

_Key = tuple[object, ...]


@dataclass(frozen=True)
class _Shape:
    """The text that a template writes around the contents of conversations of one shape.

    There is one more of `pieces` than of `slots` (turn, is reasoning); `sample` is the exact
    method's result for the conversation of placeholders; `added` is the text that it appends to the
    rendered text.
    """

    pieces: tuple[str, ...]
    slots: tuple[tuple[int, bool], ...]
    ends: tuple[int, ...]  # where each slot ends in the sample
    sample: Rendered
    added: str


class ShapeRenderer:
    """Renders conversations for one tokenizer, with the parts that train."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        train_on: TrainOn = "answers",
        thinking: Thinking = "train",
    ) -> None:
        """Prepare the tokenizer's chat template; raises UnusableRow if it is broken."""
        self.exact = ExactRenderer(tokenizer)
        self._train_on = train_on
        self._thinking = thinking
        # None: seen once. False: cannot be used.
        self._shapes: OrderedDict[_Key, _Shape | Literal[False] | None] = OrderedDict()

    def render(self, messages: Sequence[Message], tools: Tools = ()) -> Rendered:
        """Return the text of a conversation with the spans that train; raises UnusableRow."""
        turns = self._prepare(messages)
        if self._train_on == "everything":
            return self._render_everything(turns, tools)
        rendered = self._render_answers(turns, tools)
        if self._thinking == "mask":
            return Rendered(
                rendered.text,
                _without(rendered.spans, rendered.thoughts),
                holes=rendered.holes,
                left_out=rendered.left_out,
                unshown=rendered.unshown,
            )
        return rendered

    def _prepare(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the conversation, without reasoning or with only one trained answer if the spec
        says so.
        """
        turns = messages
        if self._thinking == "remove" and any(turn.role == "assistant" for turn in turns):
            turns = [
                _without_thinking(turn) if turn.role == "assistant" else turn for turn in turns
            ]
        if any(turn.thinking and not turn.thinking.strip() for turn in turns):
            turns = [
                t if t.thinking.strip() else t.model_copy(update={"thinking": ""}) for t in turns
            ]
        if self._train_on == "last_answer":
            last = max((i for i, turn in enumerate(turns) if turn.trained), default=-1)
            turns = [
                turn.model_copy(update={"trained": False}) if turn.trained and i != last else turn
                for i, turn in enumerate(turns)
            ]
        return turns

    def _render_everything(self, turns: Sequence[Message], tools: Tools) -> Rendered:
        text = self.exact.render_whole(turns, tools)
        spans = [(0, len(text))]
        if self._thinking == "mask" and any(_has_thinking(turn) for turn in turns):
            trained = [t.model_copy(update={"trained": t.role == "assistant"}) for t in turns]
            rendered = self._render_answers(trained, tools)
            if rendered.text != text:
                raise refuse_template(PROMPT_MISMATCH)
            spans = _without(spans, rendered.thoughts)
        return Rendered(text, spans)

    # --- by shape -----------------------------------------------------------------------------

    def _render_answers(self, turns: Sequence[Message], tools: Tools) -> Rendered:
        key = None if tools else _get_key(turns)
        if key is None:
            return self.exact.render_answers(turns, tools)
        shape = self._shapes.get(key)
        if key not in self._shapes:
            # Analyzing a shape pays off from the second row on.
            self._store_shape(key, None)
            return self.exact.render_answers(turns)
        if shape is None:
            shape = self._take_apart(turns)
            self._store_shape(key, shape)
        if shape is not False:
            rendered = self._read_along(shape, turns)
            if rendered is not None:
                return rendered
        return self.exact.render_answers(turns)

    def _store_shape(self, key: _Key, shape: _Shape | Literal[False] | None) -> None:
        self._shapes[key] = shape
        if len(self._shapes) > _MOST:
            self._shapes.popitem(last=False)

    def _take_apart(self, turns: Sequence[Message]) -> _Shape | Literal[False]:
        """Return the shape of a conversation; False if the exact method can't provide one."""
        sample = [
            turn.model_copy(
                update={
                    "content": f"Zs{index}cZ" if turn.content.strip() else turn.content,
                    "thinking": f"Zs{index}tZ" if turn.thinking else "",
                }
            )
            for index, turn in enumerate(turns)
        ]
        try:
            rendered = self.exact.render_answers(sample)
            text = self.exact.format.render(sample)
        except UnusableRow:
            return False
        if not rendered.text.startswith(text):
            return False
        if self.exact.format.reads_text and not rendered.at_prompts:
            return False
        matches = list(_SLOT.finditer(text))
        slots = tuple((int(match[1]), match[2] == "t") for match in matches)
        if len(set(slots)) != len(slots):
            return False
        bounds = [0, *(edge for match in matches for edge in match.span()), len(text)]
        pieces = tuple(text[a:b] for a, b in zip(bounds[::2], bounds[1::2], strict=True))
        ends = tuple(match.end() for match in matches)
        return _Shape(pieces, slots, ends, rendered, rendered.text[len(text) :])

    def _read_along(self, shape: _Shape, turns: Sequence[Message]) -> Rendered | None:
        """Return the row's text with the spans of its shape; None if anything in it differs."""
        text = self.exact.format.render(turns)
        position = len(shape.pieces[0])
        if not text.startswith(shape.pieces[0]):
            return None
        shifts = [0]
        for number, (index, is_thinking) in enumerate(shape.slots):
            value = turns[index].thinking if is_thinking else turns[index].content
            piece = shape.pieces[number + 1]
            shown = _match_content(text, position, value, piece)
            if shown is None:
                return None
            position += shown + len(piece)
            before = shape.ends[number] + len(piece)
            shifts.append(position - before)
        if position != len(text):
            return None
        text += shape.added
        spans = [_move_span(span, shape.ends, shifts) for span in shape.sample.spans]
        if self.exact.format.reads_text and not self._has_equal_prompts(turns, text, spans):
            return None
        thoughts = [
            (begin, _skip_blanks(text, end))
            for begin, end in (_move_span(t, shape.ends, shifts) for t in shape.sample.thoughts)
        ]
        sample = shape.sample
        return Rendered(text, spans, thoughts, left_out=sample.left_out, unshown=sample.unshown)

    def _has_equal_prompts(self, turns: Sequence[Message], text: str, spans: list[Span]) -> bool:
        answers = (index for index, turn in enumerate(turns) if turn.trained)
        for index, (begin, _) in zip(answers, spans, strict=True):
            if index and self.exact.format.render(turns[:index], prompt=True) != text[:begin]:
                return False
        return True


def _get_key(turns: Sequence[Message]) -> _Key | None:
    """Return what conversations of one shape have in common; None for those that can't share a
    shape.
    """
    key: list[object] = []
    for turn in turns:
        if turn.tool_calls or turn.role == "tool" or turn.untrained:
            return None
        content = turn.content
        is_blank = not content.strip()
        if turn.role == "assistant" and (is_blank or "</think>" in content):
            return None
        key.append((turn.role, turn.trained, bool(turn.thinking), content if is_blank else None))
    return tuple(key)


def _match_content(text: str, position: int, value: str, piece: str) -> int | None:
    """Return how many characters of `text` at `position` are the content, followed by `piece`; None
    if it isn't there.
    """
    for trim in _TRIMS:
        shown = trim(value)
        if text.startswith(shown, position) and text.startswith(piece, position + len(shown)):
            return len(shown)
    return None


def _move_span(span: Span, ends: tuple[int, ...], shifts: list[int]) -> Span:
    """Return a span of the sample in the row, shifted by the length differences of the contents
    before it.
    """
    first = sum(end <= span[0] for end in ends)
    last = sum(end <= span[1] for end in ends)
    return span[0] + shifts[first], span[1] + shifts[last]


def _skip_blanks(text: str, position: int) -> int:
    """Return the position after white space, which belongs to the reasoning before an answer."""
    rest = text[position:]
    return position + len(rest) - len(rest.lstrip())


def _without(spans: list[Span], holes: list[Span]) -> list[Span]:
    for hole_begin, hole_end in holes:
        pieces: list[Span] = []
        for begin, end in spans:
            pieces += [(begin, min(end, hole_begin)), (max(begin, hole_end), end)]
        spans = [(begin, end) for begin, end in pieces if begin < end]
    return spans


def _has_thinking(turn: Message) -> bool:
    return turn.role == "assistant" and bool(turn.thinking or "</think>" in turn.content)


def _without_thinking(turn: Message) -> Message:
    """Return an answer without its reasoning, wherever it is."""
    content = turn.content
    parts = THINKING.match(content)
    if parts and not parts[1].removesuffix("<think>").strip():
        content = parts[4].lstrip("\n")
    if content == turn.content and not turn.thinking:
        return turn
    untrained = shift_ranges(turn.untrained, len(turn.content) - len(content), turn.content)
    changes = {"thinking": "", "content": content, "untrained": untrained}
    return turn.model_copy(update=changes)
