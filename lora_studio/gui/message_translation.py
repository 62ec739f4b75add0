"""Messages of core, engine and setup, shown in the user's language.

A message is a template with values: the template is translated, then filled.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from PySide6.QtCore import QCoreApplication

from lora_studio.core.messages import Text, render
from lora_studio.core.problems import Problem
from lora_studio.core.spec import FieldFacts, Spec, get_facts
from lora_studio.gui.language import CONTEXT, tr


def localize(message: Text | str) -> str:
    """Return a message in the user's language; a string is a template without values."""
    return render(Text.model_validate(message), _translate)


def localize_stage(stage: Text | str) -> str:
    """Return the name of a phase as the beginning of a line: Comparing rows."""
    title = localize(stage)
    return title[:1].upper() + title[1:]


def localize_problem(problem: Problem) -> str:
    """Return what happened and what to do next, in the user's language."""
    return f"{localize(problem.what)} {localize(problem.remedy)}".strip()


def _translate(template: str, n: int | None) -> str:
    if not template:
        return ""  # Qt returns the header of the translation file for an empty text
    if n is None:
        return tr(template)
    return QCoreApplication.translate(CONTEXT, template, None, n)


def clear_cache() -> None:
    """Forget translated texts after the language has changed."""
    localize_facts.cache_clear()


@functools.cache  # called hundreds of times per edit
def localize_facts(spec: type[Spec], name: str) -> FieldFacts:
    """Return the facts of a field in the user's language; raises KeyError for an unknown name.

    The unit stays, because parsing of numbers depends on it: `tr` it where it is shown.
    """
    field = get_facts(spec, name)
    return replace(
        field,
        title=tr(field.title),
        description=tr(field.description),
        choices={value: tr(title) for value, title in field.choices.items()},
        choice_details={value: tr(each) for value, each in field.choice_details.items()},
    )
