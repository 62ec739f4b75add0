"""Texts that come finished from elsewhere, such as a worker: translated by the sentences they follow.

Problems, verdicts and reasons are written in English where they are found out, with values in them.
The sentences are known beforehand: `resources/translations/told.json` lists those of core and engine,
each as a template. A finished text is matched against them, and its values go into the translation.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, replace

from PySide6.QtCore import QCoreApplication

from lora_studio.core import formatting
from lora_studio.core.messages import Text, render
from lora_studio.core.problems import Problem
from lora_studio.core.spec import FieldFacts, Spec, facts
from lora_studio.core.system import paths
from lora_studio.gui.language import CONTEXT, is_english, tr

_PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"-?\d{1,3}(,\d{3})+")
#: Where one sentence ends and the next begins.
_BETWEEN = re.compile(r"(?<=[.?…:;])(\s+)")
#: A value may hold anything but the end of a sentence with another one after it.
_VALUE = r"(?:(?![.?!] +[A-Z]).)+?"
#: Values with words in them are texts of this kind themselves, down to this depth.
_DEEPEST = 4


def tell(text: str | Text) -> str:
    """Return a message, or a finished English sentence, in the user's language."""
    if isinstance(text, Text) and text.values:
        return render(text, _translated)
    text = str(text)
    return text if not text or is_english() else _told(text, 0)


def tell_problem(problem: Problem) -> str:
    """Return what happened and what to do next, in the user's language."""
    return f"{tell(problem.what)} {tell(problem.remedy)}".strip()


def _translated(template: str, n: int | None) -> str:
    if n is None:
        return tr(template)
    return QCoreApplication.translate(CONTEXT, template, None, n)


def clear_cache() -> None:
    """Forget translated texts after the language has changed."""
    tell_facts.cache_clear()
    _told.cache_clear()


@functools.cache  # asked some hundred times with every edit
def tell_facts(spec: type[Spec], name: str) -> FieldFacts:
    """Facts of a field with its words in the user's language; raises KeyError for an unknown name.

    The unit stays, because how a number is read depends on it: `tr` it where it is shown.
    """
    field = facts(spec, name)
    return replace(
        field,
        title=tr(field.title),
        description=tr(field.description),
        choices={value: tr(said) for value, said in field.choices.items()},
    )


@dataclass(frozen=True)
class _Template:
    """A sentence with places for values; `phrases` are those that hold words of this program."""

    text: str
    phrases: frozenset[str]

    @functools.cached_property
    def literals(self) -> tuple[str, ...]:
        return tuple(part for part in _PLACE.split(self.text)[::2] if part)

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        parts, seen = _PLACE.split(self.text), set[str]()
        made = re.escape(parts[0])
        for name, literal in zip(parts[1::2], parts[2::2], strict=True):
            value = r"[\d.,\u202f]+" if name == "n" else _VALUE
            made += f"(?P={name})" if name in seen else f"(?P<{name}>{value})"
            made += re.escape(literal)
            seen.add(name)
        return re.compile(made, re.DOTALL)

    def values(self, text: str) -> dict[str, str] | None:
        """What stands in the places of a text that follows this sentence."""
        if not all(literal in text for literal in self.literals):
            return None
        match = self.pattern.fullmatch(text)
        return match.groupdict() if match else None


@functools.cache
def _templates() -> tuple[_Template, ...]:
    """The most particular first: of two that match, the one that says more of the text itself."""
    file = paths.resources() / "translations" / "told.json"
    made = [
        _Template(text, frozenset(phrases))
        for text, phrases in json.loads(file.read_text("utf-8")).items()
    ]
    return tuple(sorted(made, key=lambda one: -sum(map(len, one.literals))))


@functools.lru_cache(4096)
def _told(text: str, depth: int) -> str:
    if (known := tr(text)) != text or depth > _DEEPEST:
        return known
    for template in _templates():
        if (values := template.values(text)) is not None:
            translated = _for_number(template.text, values.get("n"))
            if translated != template.text:
                return translated.format(**_shown(template, values, depth))
    parts = _BETWEEN.split(text)
    return "".join(_told(part, depth) for part in parts) if len(parts) > 1 else text


def _for_number(text: str, digits: str | None) -> str:
    if digits is None:
        return tr(text)
    number = int(re.sub(r"\D", "", digits) or 0)
    return QCoreApplication.translate(CONTEXT, text, None, number)


def _shown(template: _Template, values: dict[str, str], depth: int) -> dict[str, str]:
    return {
        name: formatting.number(int(value.replace(",", "")))
        if _NUMBER.fullmatch(value)
        else _told(value, depth + 1)
        if name in template.phrases
        else value
        for name, value in values.items()
    }
