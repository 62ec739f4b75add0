"""Proves a TEMPLATE: the original and the derived text, compared on conversations of its own.

Conversations are prepared as the server prepares them (system texts collected, neighbours of one
role merged) before either side renders them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from pydantic import BaseModel, ConfigDict

from lora_studio.core.go_template import GoTemplate, GoTemplateError
from lora_studio.core.template_data import prepare, template_data
from lora_studio.core.template_probe import THINK_END, Message, Prober


class Difference(BaseModel):
    """The first place where the two renderings of a conversation part.

    `position` counts characters from the start; `expected` (the original's) and `actual` are the
    text around it, or `(refused)` where one side raises.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    today: date
    position: int
    expected: str
    actual: str


# One day in each month, so that every month name is seen; the first two differ in all digits.
DAYS = (
    date(2025, 11, 28),
    date(2034, 2, 3),
    *(date(2026 + month % 3, month, 2 * month + 1) for month in (1, 3, 4, 5, 6, 7, 8, 9, 10, 12)),
)
PROOF_CONVERSATIONS = 72
_CONTENTS = (
    "Hello", "What is 2 + 2?", "  two blanks before", "two blanks after  ", "\n\nline feeds\n",
    "\t tab and blank \t", " \n mixed \n ", "Größe, 漢字, 😀", "\u00a0no-break blanks\u2003",
    "\u3000full width\u3000", 'He said "yes"', '"""', "{{.Content}} }}{", "a\n\nb\n  c", "- x\n- y",
    "<b>&amp;</b>", "\\n is no line feed", "[1, 2]", "x\u0085", "\u2028y\u2029", "%d %s", "l'été",
)  # fmt: skip
_ANSWERS_WITH_THOUGHTS = (
    f"<think>\nfirst\n{THINK_END}\n\nThe answer.",
    f"<think>why{THINK_END}Short. ",
    f"<think>\n{THINK_END}\t \n c",
)


def conversations(*, thinks: bool = False) -> Iterator[list[Message]]:
    """Fresh conversations, the same each time: up to nine turns, every kind of system message."""
    dice = random.Random(20240229)
    answers = _CONTENTS + (_ANSWERS_WITH_THOUGHTS * 3 if thinks else ())
    for number in range(PROOF_CONVERSATIONS):
        turns, kind = number % 9 + 1, number // 9 % 4
        messages: list[Message] = []
        if kind != 3:
            system = "" if kind == 2 else dice.choice(_CONTENTS)
            messages.append({"role": "system", "content": system})
        for turn in range(turns):
            messages.append({"role": "user", "content": dice.choice(_CONTENTS)})
            if turn < turns - 1:
                messages.append({"role": "assistant", "content": dice.choice(answers)})
        if number % 8 == 5:
            messages.append({"role": "user", "content": dice.choice(_CONTENTS)})
        yield messages


class Proof:
    """Compares one TEMPLATE with the original chat template."""

    def __init__(self, prober: Prober, template: str) -> None:
        """`prober` knows the original and the BOS to leave out."""
        self.prober = prober
        self.template = template
        self.parsed = GoTemplate(template)

    def run(
        self, talks: Iterable[list[Message]], days: Sequence[date]
    ) -> tuple[int, Difference | None]:
        """How many renderings were compared, and the first difference if there was one."""
        checked = 0
        for messages in talks:
            for today in days:
                checked += 1
                if difference := self.difference(prepare(messages), messages, today):
                    return checked, difference
        return checked, None

    def original(self, messages: list[Message], today: date) -> str | None:
        """The chat template's own text less the BOS, None where it refuses."""
        try:
            text = self.prober.render(messages, True, strftime_now=today.strftime)
        except Exception:  # foreign code may raise anything
            return None
        return text.removeprefix(self.prober.strip)

    def derived(self, messages: list[Message], today: date) -> str | None:
        """The TEMPLATE's text, None where it raises."""
        try:
            return self.parsed.render(template_data(messages), today=today)
        except GoTemplateError:
            return None

    def difference(
        self, given: list[Message], sent: list[Message], today: date
    ) -> Difference | None:
        """Where the original's text of `given` parts from the TEMPLATE's text of `sent`."""
        expected, actual = self.original(given, today), self.derived(sent, today)
        if expected == actual:
            return None
        one, two = expected or "", actual or ""
        pairs = enumerate(zip(one, two, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
        around = slice(max(0, place - 40), place + 40)
        return Difference(
            messages=tuple(sent),
            today=today,
            position=place,
            expected="(refused)" if expected is None else one[around],
            actual="(refused)" if actual is None else two[around],
        )

    def limits(self, today: date) -> Iterator[str]:
        """The unusual conversations on which original and TEMPLATE part, in words."""
        for words, short in _UNUSUAL.items():
            messages = _spelt_out(short)
            if self.difference(messages, messages, today):
                yield words


_UNUSUAL = {
    "an earlier answer with a <think> block": f"uHi\na<think>~why~{THINK_END}~~Hello\nuOn",
    "an earlier answer with </think> alone": f"uHi\nawhy{THINK_END}~~Hello\nuOn",
    "a blank answer": "uHi\na \nuOn",
    "a blank user message": "u ",
    "a blank system message": "s \nuHi",
    "/no_think in a user message": "uHi /no_think",
    "/no_think in the system message": "sBe brief. /no_think\nuHi",
    "a conversation that ends with an answer": "uHi\naHello",
    "a conversation that begins with an answer": "aHello\nuHi",
    "a system message between other messages": "uHi\naHello\nsBe brief.\nuOn",
    "two user messages in a row": "uHi\nuThere",
}


def _spelt_out(short: str) -> list[Message]:
    """A conversation from its short form: a message a line, its role's initial first, ~ for \\n."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [
        {"role": roles[line[0]], "content": line[1:].replace("~", "\n")}
        for line in short.split("\n")
    ]
