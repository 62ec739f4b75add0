"""The marks by which a server finds thoughts and calls in what a model writes.

The server looks for them in the TEMPLATE. Of thoughts it takes what stands directly around the last
`.Thinking` in the loop over the messages; without any it refuses to switch thinking on or off, and
shows thoughts as part of the answer. Of calls it takes the first text behind the first
`{{if .ToolCalls}}`, up to a brace.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from lora_studio.core.templates.probing.decision_trees import (
    FieldPart,
    FixedPart,
    LoopPart,
    ProbedFact,
    ProbeSample,
    Turn,
)
from lora_studio.core.templates.writing.pieces import quote_literal

#: Of chat templates that cut thoughts out of earlier answers, or that begin them in the prompt.
USUAL = ("<think>", "</think>")
MARK = re.compile(r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")


def find_thinking_marks(samples: Sequence[ProbeSample]) -> tuple[str, str] | None:
    """Return what the model writes before and behind its thoughts; None where it writes none."""
    tails = [sample for sample in samples if sample.role == "tail"]
    prompts = _prompts(samples)
    closed = [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK in tail.facts]
    answers = [sample.turn for sample in samples if sample.role == "assistant"]
    marks = Counter(pair for turn in answers for pair in _around(turn, prompts))
    marks = marks or Counter(pair for prompt in closed for pair in _skipped(prompt, prompts))
    if marks:
        return marks.most_common(1)[0][0]
    cuts = any(
        isinstance(part, FieldPart) and part.after_think is not None
        for turn in answers
        for part in turn
    )
    begun = any(prompt.rstrip().endswith(USUAL[0]) for prompt in prompts)
    return USUAL if cuts or begun else None


def find_call_mark(samples: Sequence[ProbeSample]) -> str | None:
    """Return what the model writes before its first call, with the brace of JSON; None where
    none calls.
    """
    prompts, thoughts = _prompts(samples), find_thinking_marks(samples)
    marks = Counter[str]()
    for sample in samples:
        for index, part in enumerate(sample.turn):
            if isinstance(part, LoopPart) and part.over == "calls":
                unit = part.unit[0] if isinstance(part.unit, tuple) and part.unit else None
                opens = unit.text if isinstance(unit, FixedPart) else ""
                before, brace, _ = (read_fixed_end(sample.turn[:index]) + opens).partition("{")
                own = _beyond(before, prompts)
                mark = _from_last_mark(before) if own is None else own
                mark = mark.rpartition(thoughts[1])[2].strip() if thoughts else mark
                marks[mark + brace] += 1
    mark = marks.most_common(1)[0][0] if marks else ""
    return mark if mark and quote_literal(mark + " ") == mark + " " else None


def _prompts(samples: Sequence[ProbeSample]) -> list[str]:
    """Return what conversations end with, unless thinking is switched off."""
    tails = [sample for sample in samples if sample.role == "tail"]
    return [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK not in tail.facts]


def read_fixed_end(turn: Turn) -> str:
    """Return the fixed text that a turn ends with."""
    return turn[-1].text if turn and isinstance(turn[-1], FixedPart) else ""


def _around(turn: Turn, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the marks around thoughts that an answer follows."""
    for index, part in enumerate(turn):
        if not (isinstance(part, FieldPart) and part.name == "Thinking"):
            continue
        before, rest = read_fixed_end(turn[:index]), turn[index + 1 :]
        between = rest[0].text if rest and isinstance(rest[0], FixedPart) else ""
        answers = any(isinstance(p, FieldPart) and p.name == "Content" for p in rest[1:2])
        begins = _beyond_prompt(before, prompts)
        ends = between.strip() if answers else next(iter(MARK.findall(between)), "")
        yield from _readable(begins, ends)


def _skipped(closed: str, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the marks of the empty thoughts that a prompt ends with where thinking is switched
    off.
    """
    plain = max((p for p in prompts if closed.startswith(p)), key=len, default=closed)
    marks = [*MARK.finditer(closed, len(plain))]
    if marks:
        yield from _readable(closed[len(plain) : marks[-1].start()].strip(), marks[-1].group())


def _readable(begins: str, ends: str) -> Iterator[tuple[str, str]]:
    """Yield the marks, if they are there and stand in a TEMPLATE as they are, where they are
    looked for.
    """
    if begins and ends and quote_literal(begins + ends) == begins + ends:
        yield begins, ends


def _beyond_prompt(before: str, prompts: Sequence[str]) -> str:
    """Return what of the text before thoughts the model writes itself, else what the prompt ends
    with beyond
    it; where that is nothing or cannot be told, what begins with the last mark."""
    if own := _beyond(before, prompts):
        return own
    begun = {p[len(before) :].strip() for p in prompts if p.startswith(before)} - {""}
    if len(begun) == 1 and "\n" not in (only := begun.pop()):
        return only
    return _from_last_mark(before)


def _beyond(before: str, prompts: Sequence[str]) -> str | None:
    """Return what of a text the model writes itself; None where it does not begin as a prompt
    ends.
    """
    written = max((p for p in prompts if p and before.startswith(p)), key=len, default=None)
    return None if written is None else before[len(written) :].strip()


def _from_last_mark(before: str) -> str:
    marks = [*MARK.finditer(before)]
    last = before[marks[-1].start() :].strip() if marks else ""
    return "" if "\n" in last else last
