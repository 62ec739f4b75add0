"""From any chat template to an Ollama TEMPLATE with stop strings, proven equal at text level.

The chat template is probed (template_probe), written down as a Go template (template_emit) and
compared with it on other conversations (template_proof). There is no table of known models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core import words
from lora_studio.core.chat_template import ChatTemplate
from lora_studio.core.go_template_functions import quote
from lora_studio.core.problems import fail
from lora_studio.core.template_emit import Forms, emit
from lora_studio.core.template_probe import (
    Date,
    Fact,
    Fixed,
    Form,
    Message,
    NotDerivableError,
    Prober,
    Renderer,
    Sample,
    System,
    SystemState,
    fit,
    without_system_text,
)
from lora_studio.core.template_proof import DAYS, Difference, Proof, conversations

__all__ = ["DerivedTemplate", "Difference", "derive", "modelfile"]

MOST_STOPS = 6


class DerivedTemplate(BaseModel):
    """A TEMPLATE and what is known about it.

    `proven` says that all `conversations` (renderings compared) were equal. `limits` are the
    unusual conversations in which the original and this template are known to part; `needs` is
    what a server must have. `system` tells what becomes of a system message; `tools` and `thinking`
    whether the TEMPLATE can offer tools and writes thoughts; `notes` what was left out and why.
    `template` is empty when nothing could be derived; `reason` says why it is not proven, and
    `alternative` is the nearest TEMPLATE that is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = ""
    stops: tuple[str, ...] = ()
    proven: bool = False
    conversations: int = 0
    first_difference: Difference | None = None
    reason: str = ""
    system: Literal["used", "ignored", "refused"] = "used"
    tools: bool = False
    thinking: bool = False
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    alternative: Alternative | None = None

    @property
    def verdict(self) -> str:
        """Whether it is proven, in one sentence."""
        if not self.proven:
            return f"The TEMPLATE is not proven: {self.reason}"
        extras = [name for name in ("tools", "thinking") if getattr(self, name)]
        return (
            f"The TEMPLATE is proven: {self.conversations} renderings were equal"
            f"{f', with {words.listed(extras)}' if extras else ''}."
        )


class Alternative(BaseModel):
    """A proven TEMPLATE for less than the chat template does; `what` says what it gives up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    derived: DerivedTemplate


def derive(
    render: Renderer,
    *,
    bos: str = "",
    server_adds_bos: bool = False,
    eos: Iterable[str] = (),
    frozen_date: date | None = None,
) -> DerivedTemplate:
    """Derives and proves a TEMPLATE for the chat template behind `render`.

    `render` raises for what the template refuses; keywords it gets (strftime_now) must reach the
    template. `server_adds_bos` says that the server puts `bos` in front by itself, so that the
    TEMPLATE must not. `frozen_date` writes that day in place of the current one: for servers
    without currentDate, and for date forms that a TEMPLATE cannot write.
    """
    try:
        render, sample = _accepted(render)
        strip = bos if server_adds_bos and sample.startswith(bos) else ""
        plan = _Plan.probe(Prober(render, strip))
        derived = plan.prove(frozen_date)
        if not derived.proven:
            # Leaving thoughts in earlier answers is a known limit; being wrong elsewhere is not.
            derived = plan.without_thoughts().prove(frozen_date)
    except NotDerivableError as error:
        return DerivedTemplate(reason=f"{error}.")
    limits = derived.limits
    if server_adds_bos and bos and not strip:
        limits = (f"the server puts {bos} in front, the chat template does not", *limits)
    stops = tuple(dict.fromkeys([*eos, *plan.marks(bos)]))[:MOST_STOPS]
    return derived.model_copy(update={"stops": stops, "limits": limits})


def derive_from(
    template: ChatTemplate,
    *,
    bos: str = "",
    server_adds_bos: bool = False,
    eos: Iterable[str] = (),
    frozen_date: date | None = None,
) -> DerivedTemplate:
    """The same for a chat template whose source is at hand, so that what hinders can be named."""
    return derive(
        template.render,
        bos=bos,
        server_adds_bos=server_adds_bos,
        eos=eos,
        frozen_date=frozen_date,
    )


def _accepted(render: Renderer) -> tuple[Renderer, str]:
    """The renderer that accepts our messages, and its text for a greeting.

    Templates of models that see pictures may want a content as a list of parts.
    """

    def in_parts(messages: list[Message], add_generation_prompt: bool, **variables: object) -> str:
        wrapped = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        return render(wrapped, add_generation_prompt, **variables)  # type: ignore[arg-type]

    refusal = "it leaves the message out"
    for renderer in (render, in_parts):
        try:
            text = renderer([{"role": "user", "content": "Zu0uZ"}], True)
        except Exception as error:  # foreign code may raise anything
            refusal = str(error) or type(error).__name__
            continue
        if "Zu0uZ" in text:
            return renderer, text
    raise NotDerivableError(f"the chat template refuses a single user message: {refusal}")


@dataclass(frozen=True)
class _Plan:
    """What probing found out, and which facts its trees may ask about."""

    prober: Prober
    samples: tuple[Sample, ...]
    facts: tuple[Fact, ...]
    refuses_system: Fact | None = None

    @classmethod
    def probe(cls, prober: Prober) -> _Plan:
        """Renders the probe conversations without, with and with an empty system message."""
        absent, given, empty = (
            _try_samples(prober, state) for state in ("absent", "given", "empty")
        )
        place = (Fact.FIRST, Fact.LAST)
        if isinstance(absent, Exception):
            raise NotDerivableError(
                f"the chat template refuses a conversation without a system message: {absent}"
            ) from absent
        if isinstance(given, Exception):
            refuses = Fact.MESSAGE if isinstance(empty, Exception) else Fact.SYSTEM
            return cls(prober, tuple(absent), place, refuses)
        if isinstance(empty, Exception) or _same(empty, absent):
            return cls(prober, (*absent, *given), (Fact.SYSTEM, *place))
        if _same(empty, given):
            return cls(prober, (*absent, *given), (Fact.MESSAGE, *place))
        return cls(prober, (*absent, *given, *empty), (Fact.SYSTEM, Fact.MESSAGE, *place))

    def without_thoughts(self) -> _Plan:
        """The same, with answers written whole whatever they hold."""
        plain = (replace(s, turn=replace(s.turn, after_think=None)) for s in self.samples)
        return replace(self, samples=tuple(plain))

    def tree(self, role: str) -> Form:
        return fit([sample for sample in self.samples if sample.role == role], self.facts)

    def prove(self, frozen: date | None) -> DerivedTemplate:
        """Writes the TEMPLATE and compares it with the original."""
        user, assistant, tail = (self.tree(role) for role in ("user", "assistant", "tail"))
        parts = [part for sample in self.samples for part in sample.turn.parts]
        dated = any(isinstance(part, Date) for part in parts) and frozen is None
        thinks = any(sample.turn.after_think is not None for sample in self.samples)
        proof = Proof(self.prober, emit(Forms(user, assistant, tail, self.refuses_system, frozen)))
        days = [frozen] if frozen else DAYS if dated else DAYS[:2]
        checked, difference = proof.run(conversations(thinks=thinks), days)
        system: Literal["used", "ignored"] = (
            "used" if any(isinstance(part, System) for part in parts) else "ignored"
        )
        needs = ["Ollama 0.11 or later (currentDate)"] * dated
        needs += ["Ollama 0.6 or later (range over a number)"] * thinks
        return DerivedTemplate(
            template=proof.template,
            proven=difference is None,
            conversations=checked,
            first_difference=difference,
            reason="" if difference is None else "The two templates write different texts.",
            system="refused" if self.refuses_system else system,
            limits=tuple(proof.limits(days[0])),
            needs=tuple(needs),
        )

    def marks(self, bos: str) -> list[str]:
        """The marks between an answer and the next turn; without any, that text's first line."""
        found: list[str] = []
        for sample in self.samples:
            if sample.role == "user" and sample.system == "absent" and not sample.first:
                fixed = [part.text for part in sample.turn.parts if isinstance(part, Fixed)]
                lines = [line.strip() for line in "".join(fixed).split("\n") if line.strip()]
                found += _MARK.findall("".join(fixed)) or lines[:1]
        return [mark for mark in dict.fromkeys(found) if mark != bos]


_MARK = re.compile(r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")


def _try_samples(prober: Prober, system: SystemState) -> list[Sample] | Exception:
    try:
        return list(prober.samples(system))
    except NotDerivableError:
        raise
    except Exception as error:  # foreign code may raise anything
        return error


def _same(empty: Sequence[Sample], other: Sequence[Sample]) -> bool:
    return all(
        without_system_text(a.turn) == without_system_text(b.turn)
        for a, b in zip(empty, other, strict=True)
    )


# -------------------------------------------------------------------------------------- Modelfile

Parameter = str | int | float | bool | Sequence[str]
_ACTION = re.compile(r'\{\{(?:/\*.*?\*/|"(?:\\.|[^"\\])*"|`[^`]*`|\}(?!\})|[^}"`])*\}\}', re.DOTALL)


def modelfile(
    from_path: PurePath | str,
    derived: DerivedTemplate,
    system: str | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> str:
    """A Modelfile for `ollama create -f`; raises ProblemError for what it cannot hold.

    `parameters` are the server's (temperature, num_ctx, …); stop strings of `derived` are added.
    """
    if system and derived.system == "refused":
        raise fail(
            "export.system_refused",
            "This model's chat template takes no system message.",
            "Remove the system prompt from the export settings.",
        )
    lines = [f"FROM {from_path}", f'TEMPLATE """{_template_text(derived.template)}"""']
    if system:
        if not _survives(system):
            lines.append(
                "# `ollama create -f` drops characters of this text that cannot be printed."
            )
        lines.append(f"SYSTEM {_value(system, 'system prompt')}")
    stops = [*derived.stops]
    for name, value in (parameters or {}).items():
        if name == "stop":
            stops += [value] if isinstance(value, str) else map(str, _listed(value))
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"PARAMETER {name} {text}")
    lines += [f"PARAMETER stop {_value(stop, 'stop string')}" for stop in dict.fromkeys(stops)]
    return "\n".join(lines) + "\n"


def _listed(value: Parameter) -> Sequence[object]:
    return value if isinstance(value, Sequence) else [value]


def _template_text(template: str) -> str:
    """The TEMPLATE with everything quoted that a Modelfile's reader would end at or drop."""
    pieces, at = [], 0
    for action in _ACTION.finditer(template):
        pieces += [_as_actions(template[at : action.start()]), action.group()]
        at = action.end()
    text = "".join(pieces) + _as_actions(template[at:])
    if '"""' in text or not _survives(text):
        raise fail(
            "export.template_unquotable",
            "The TEMPLATE holds, inside an action, characters that a Modelfile cannot carry.",
            'Write them as escapes in a Go string, as in {{"\\u00a0"}}.',
        )
    return text


def _as_actions(text: str) -> str:
    return re.sub(
        r'"{3,}|[^ -~\n\t]+',
        lambda found: (
            found[0]
            if _survives(found[0]) and found[0][0] != '"'
            else f"{{{{{quote(found[0].encode())}}}}}"
        ),
        text,
    )


def _survives(text: str) -> bool:
    """Whether a Modelfile's reader keeps every character: it drops what is not printable."""
    return all(character.isprintable() or character in "\n\t" for character in text)


def _value(text: str, what: str) -> str:
    # A quoted value ends at the first closing mark that white space follows.
    if not re.search(r'"""(\s|$)', text):
        return f'"""{text}"""'
    if not re.search(r'"(\s|$)', text) and not text.startswith('"'):
        return f'"{text}"'
    raise fail(
        "export.unquotable",
        f"A Modelfile cannot hold this {what}: {text[:60]!r}.",
        "Take out the double quotes, or create the model through the program instead.",
    )
