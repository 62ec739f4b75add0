"""Answers replaced by markers: where each part of an answer stands in a rendered conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_studio.core.dataset.formats.loss_masks import shift_ranges
from lora_studio.core.dataset.spec import Message
from lora_studio.engine.tokens.chat_format import refuse_template

Span = tuple[int, int]  # characters, end excluded

#: A reasoning block in the text of an answer: what opens it, the reasoning, its end, the answer.
THINKING = re.compile(r"(?s)(.*<think>|)(.*?)(</think>)(.*)")

#: Parts of an answer: its reasoning is 0, a reasoning block in its text 2, the rest from here on.
ANSWER = 4

AnswerSpans = dict[tuple[int, int], Span]  # (turn, part) -> where it stands


@dataclass(frozen=True)
class MarkedConversation:
    """A conversation with answers replaced by markers; `cores` says what each stands for."""

    messages: list[Message]
    cores: dict[tuple[int, int], str]
    pattern: re.Pattern[str]

    def end_in(self, shown: str) -> int:
        """Return where the last marker in a text ends."""
        return max((match.end() for match in self.pattern.finditer(shown)), default=0)

    def lead(self, index: int, before: str) -> str:
        """Return what of the answer stands before its first marker, as far as the template shows
        it.
        """
        content = self.messages[index].content
        match = self.pattern.search(content)
        lead = content[: match.start()] if match else ""
        return next((part for part in (lead, lead.lstrip()) if before.endswith(part)), "")


def mark_answers(turns: Sequence[Message], text: str) -> MarkedConversation:
    """Put markers for answers.

    Blanks around an answer stay, so that a template that strips them strips them here too. The
    reasoning before an answer gets a marker of its own: templates move it or leave it out.
    """
    nonce = make_unused_word("zqmark", text)
    cores: dict[tuple[int, int], str] = {}

    def marker(index: int, part: int, value: str) -> str:
        core = value.strip()
        if not core:
            return value
        cores[index, part] = core
        return value.replace(core, f"{nonce}n{index}p{part}zq", 1)

    marked: list[Message] = []
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            parts = THINKING.match(turn.content)
            lead, thought, close, answer = parts.groups() if parts else ("", "", "", turn.content)
            content = lead + marker(index, 2, thought) + close + marker(index, ANSWER, answer)
            changes = {"thinking": marker(index, 0, turn.thinking), "content": content}
            turn = turn.model_copy(update=changes)
        marked.append(turn)
    return MarkedConversation(marked, cores, re.compile(rf"{nonce}n(\d+)p(\d)zq"))


def make_unused_word(stem: str, text: str) -> str:
    """Return a word made of `stem` and a number that the text does not hold."""
    return next(word for number in range(1_000_000) if (word := f"{stem}{number}q") not in text)


def locate_answers(shown: str, marked: MarkedConversation, text: str) -> AnswerSpans:
    """Return where each part stands in `text`; raises UnusableRow unless that is beyond doubt."""
    pieces: list[str] = []
    places: AnswerSpans = {}
    length = position = 0
    for match in marked.pattern.finditer(shown):
        key = int(match[1]), int(match[2])
        before = shown[position : match.start()]
        pieces += [before, marked.cores[key]]
        begin = length + len(before)
        length = begin + len(marked.cores[key])
        position = match.end()
        if key in places:
            raise refuse_template("the chat template writes an answer twice")
        places[key] = begin, length
    pieces.append(shown[position:])
    if "".join(pieces) != text:
        raise refuse_template("the chat template changes the text of an answer")
    for index, turn in enumerate(marked.messages):
        last = max((part for known, part in marked.cores if known == index), default=-1)
        # Of a turn that calls tools the reasoning may go, as it may before any earlier answer.
        is_needed = last > 0 or (last == 0 and not turn.tool_calls)
        if is_needed and (index, last) not in places:
            raise refuse_template("the chat template omits an answer")
    return places


def iter_masked_spans(turn: Message, index: int, places: AnswerSpans) -> Iterator[Span]:
    """Yield where the characters of a turn's content that do not train stand; raises UnusableRow
    where
    they are part of a reasoning in it."""
    parts = THINKING.match(turn.content)
    answer = parts[4] if parts else turn.content
    start = len(turn.content) - len(answer)
    begin, end = places.get((index, ANSWER), (0, 0))
    blanks = len(answer) - len(answer.lstrip())
    for first, last in shift_ranges(turn.untrained, start, turn.content):
        hole = max(begin, begin + first - blanks), min(end, begin + last - blanks)
        if hole[0] < hole[1]:
            yield hole


def find_extent(places: AnswerSpans, index: int) -> Span:
    """Return the span from the first to the last part of a turn, (0, 0) without any."""
    spans = [span for (known, _), span in places.items() if known == index]
    return min((b for b, _ in spans), default=0), max((e for _, e in spans), default=0)
