"""The markers by which a server finds reasoning and calls in a model's output.

The server looks for them in the TEMPLATE. The markers of reasoning are the texts directly around
the last `.Thinking` in the loop over the messages; without them it refuses to switch thinking on or
off, and shows reasoning as part of the answer. The marker of calls is the first text after the
first `{{if .ToolCalls}}`, up to a brace.
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

#: For templates that remove reasoning from earlier answers, or that open it in the prompt.
USUAL = ("<think>", "</think>")
MARK = re.compile(r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")


def find_thinking_marks(samples: Sequence[ProbeSample]) -> tuple[str, str] | None:
    """Return what the model writes before and after its reasoning; None if it writes none."""
    tails = [sample for sample in samples if sample.role == "tail"]
    prompts = _list_prompt_ends(samples)
    closed = [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK in tail.facts]
    answers = [sample.turn for sample in samples if sample.role == "assistant"]
    marks = Counter(pair for turn in answers for pair in _iter_marks_around(turn, prompts))
    marks = marks or Counter(
        pair for prompt in closed for pair in _iter_skipped_marks(prompt, prompts)
    )
    if marks:
        return marks.most_common(1)[0][0]
    cuts = any(
        isinstance(part, FieldPart) and part.after_think is not None
        for turn in answers
        for part in turn
    )
    opens_in_prompt = any(prompt.rstrip().endswith(USUAL[0]) for prompt in prompts)
    return USUAL if cuts or opens_in_prompt else None


def find_call_mark(samples: Sequence[ProbeSample]) -> str | None:
    """Return what the model writes before its first call, including the brace of JSON; None without
    calls.
    """
    prompts, thoughts = _list_prompt_ends(samples), find_thinking_marks(samples)
    marks = Counter[str]()
    for sample in samples:
        for index, part in enumerate(sample.turn):
            if isinstance(part, LoopPart) and part.over == "calls":
                unit = part.unit[0] if isinstance(part.unit, tuple) and part.unit else None
                opens = unit.text if isinstance(unit, FixedPart) else ""
                before, brace, _ = (read_fixed_end(sample.turn[:index]) + opens).partition("{")
                remainder = _cut_longest_prefix(before, prompts)
                mark = _from_last_mark(before) if remainder is None else remainder
                mark = mark.rpartition(thoughts[1])[2].strip() if thoughts else mark
                marks[mark + brace] += 1
    mark = marks.most_common(1)[0][0] if marks else ""
    return mark if mark and quote_literal(mark + " ") == mark + " " else None


def _list_prompt_ends(samples: Sequence[ProbeSample]) -> list[str]:
    """Return the ends of prompts, unless thinking is switched off."""
    tails = [sample for sample in samples if sample.role == "tail"]
    return [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK not in tail.facts]


def read_fixed_end(turn: Turn) -> str:
    """Return the fixed text at the end of a turn."""
    return turn[-1].text if turn and isinstance(turn[-1], FixedPart) else ""


def _iter_marks_around(turn: Turn, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the markers around reasoning that an answer follows."""
    for index, part in enumerate(turn):
        if not (isinstance(part, FieldPart) and part.name == "Thinking"):
            continue
        before, rest = read_fixed_end(turn[:index]), turn[index + 1 :]
        between = rest[0].text if rest and isinstance(rest[0], FixedPart) else ""
        answers = any(isinstance(p, FieldPart) and p.name == "Content" for p in rest[1:2])
        begins = _cut_prompt(before, prompts)
        ends = between.strip() if answers else next(iter(MARK.findall(between)), "")
        yield from _iter_readable(begins, ends)


def _iter_skipped_marks(closed: str, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the markers of the empty reasoning in prompts with thinking switched off."""
    plain = max((p for p in prompts if closed.startswith(p)), key=len, default=closed)
    marks = [*MARK.finditer(closed, len(plain))]
    if marks:
        yield from _iter_readable(closed[len(plain) : marks[-1].start()].strip(), marks[-1].group())


def _iter_readable(begins: str, ends: str) -> Iterator[tuple[str, str]]:
    """Yield the markers if both exist and a TEMPLATE can contain them unescaped."""
    if begins and ends and quote_literal(begins + ends) == begins + ends:
        yield begins, ends


def _cut_prompt(before: str, prompts: Sequence[str]) -> str:
    """Return the start marker without the part that the prompt already contains.

    Otherwise return what the prompt ends with after it; if that is empty or unknown, the text from
    the last mark on.
    """
    if remainder := _cut_longest_prefix(before, prompts):
        return remainder
    prompt_ends = {p[len(before) :].strip() for p in prompts if p.startswith(before)} - {""}
    if len(prompt_ends) == 1 and "\n" not in (only := prompt_ends.pop()):
        return only
    return _from_last_mark(before)


def _cut_longest_prefix(before: str, prompts: Sequence[str]) -> str | None:
    """Return the part of a text after the longest prompt that it starts with; None if there is
    none.
    """
    written = max((p for p in prompts if p and before.startswith(p)), key=len, default=None)
    return None if written is None else before[len(written) :].strip()


def _from_last_mark(before: str) -> str:
    marks = [*MARK.finditer(before)]
    last = before[marks[-1].start() :].strip() if marks else ""
    return "" if "\n" in last else last
