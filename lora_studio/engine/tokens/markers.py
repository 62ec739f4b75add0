"""Replace answers with markers, to locate each part of an answer in a rendered conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_studio.core.dataset.formats.turns import shift_ranges
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.tokens.chat_format import refuse_template

Span = tuple[int, int]  # characters, end excluded

#: A reasoning block in the text of an answer: its start, the reasoning, its end, the answer.
THINKING = re.compile(r"(?s)(.*<think>|)(.*?)(</think>)(.*)")

#: Parts of an answer: 0 is its reasoning, 2 a reasoning block in its text, the rest starts here.
ANSWER = 4

AnswerSpans = dict[tuple[int, int], Span]  # (turn, part) -> span in the text


@dataclass(frozen=True)
class MarkedConversation:
    """A conversation with answers replaced with markers; `cores` maps markers to their texts."""

    messages: list[Message]
    cores: dict[tuple[int, int], str]
    pattern: re.Pattern[str]

    def find_end(self, shown: str) -> int:
        """Return the end of the last marker in a text."""
        return max((match.end() for match in self.pattern.finditer(shown)), default=0)

    def get_lead(self, index: int, before: str) -> str:
        """Return the part of the answer before its first marker, as far as the template shows it."""
        content = self.messages[index].content
        match = self.pattern.search(content)
        lead = content[: match.start()] if match else ""
        return next((part for part in (lead, lead.lstrip()) if before.endswith(part)), "")


def mark_answers(turns: Sequence[Message], text: str) -> MarkedConversation:
    """Return the conversation with answers replaced with markers.

    Blanks around an answer are kept, so that a template that strips them does so here too. The
    reasoning before an answer gets a separate marker, because templates move or omit it.
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
    """Return a word made of `stem` and a number that does not occur in the text."""
    return next(word for number in range(1_000_000) if (word := f"{stem}{number}q") not in text)


def locate_answers(shown: str, marked: MarkedConversation, text: str) -> AnswerSpans:
    """Return the span of each part in `text`; raises UnusableRow if it is ambiguous."""
    pieces: list[str] = []
    answer_spans: AnswerSpans = {}
    length = position = 0
    for match in marked.pattern.finditer(shown):
        key = int(match[1]), int(match[2])
        before = shown[position : match.start()]
        pieces += [before, marked.cores[key]]
        begin = length + len(before)
        length = begin + len(marked.cores[key])
        position = match.end()
        if key in answer_spans:
            raise refuse_template("the chat template writes an answer twice")
        answer_spans[key] = begin, length
    pieces.append(shown[position:])
    if "".join(pieces) != text:
        raise refuse_template("the chat template changes the text of an answer")
    for index, turn in enumerate(marked.messages):
        last = max((part for known, part in marked.cores if known == index), default=-1)
        # Templates may drop the reasoning of a turn with tool calls, as of any earlier answer.
        is_needed = last > 0 or (last == 0 and not turn.tool_calls)
        if is_needed and (index, last) not in answer_spans:
            raise refuse_template("the chat template omits an answer")
    return answer_spans


def iter_masked_spans(turn: Message, index: int, answer_spans: AnswerSpans) -> Iterator[Span]:
    """Yield the spans of a turn's masked characters in the text.

    Raises UnusableRow if they are part of a reasoning block in it.
    """
    parts = THINKING.match(turn.content)
    answer = parts[4] if parts else turn.content
    start = len(turn.content) - len(answer)
    begin, end = answer_spans.get((index, ANSWER), (0, 0))
    blanks = len(answer) - len(answer.lstrip())
    for first, last in shift_ranges(turn.untrained, start, turn.content):
        hole = max(begin, begin + first - blanks), min(end, begin + last - blanks)
        if hole[0] < hole[1]:
            yield hole


def find_extent(answer_spans: AnswerSpans, index: int) -> Span:
    """Return the span from the first to the last part of a turn, (0, 0) without parts."""
    spans = [span for (known, _), span in answer_spans.items() if known == index]
    return min((b for b, _ in spans), default=0), max((e for _, e in spans), default=0)


def find_mark_at_start(text: str, marks: Sequence[str]) -> str:
    """Return the white space and special mark at the start of a text, "" without a mark.

    `marks` are sorted by length, the longest first.
    """
    blanks = len(text) - len(text.lstrip())
    mark = next((mark for mark in marks if text.startswith(mark, blanks)), None)
    return "" if mark is None else text[: blanks + len(mark)]


def find_marks_through(text: str, marks: Sequence[str], last: str) -> str:
    """Return the adjacent special marks at the start of a text through the mark `last`, "" without it."""
    end = 0
    while last and (mark := find_mark_at_start(text[end:], marks)):
        end += len(mark)
        if mark.endswith(last):
            return text[:end]
    return ""
