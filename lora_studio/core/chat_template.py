"""Renders a model's chat template as transformers does, without importing transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Conversation = Sequence[Mapping[str, Any]]


class _Generation(Extension):
    """{% generation %}…{% endgeneration %} marks what the model writes; the text stays as it is."""

    tags = {"generation"}  # noqa: RUF012 - jinja reads it from the class

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = jinja2.nodes.CallBlock(self.call_method("_keep"), [], [], body)
        return block.set_lineno(line)

    @staticmethod
    def _keep(caller: Callable[[], str]) -> str:
        return caller()


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


class ChatTemplate:
    """A compiled chat template. Rendering runs foreign code in Jinja's sandbox: give it limits."""

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """`special_tokens` are the names a template may use, as bos_token and eos_token.

        Raises jinja2.TemplateError when the source does not compile.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self.source = source
        self.special_tokens = dict(special_tokens or {})
        self._template = environment.from_string(source)

    def render(
        self, messages: Conversation, add_generation_prompt: bool = True, **variables: object
    ) -> str:
        """The prompt text; raises whatever the template raises (jinja2.TemplateError mostly)."""
        context: dict[str, object] = {"tools": None, "documents": None}
        context |= self.special_tokens | variables
        return self._template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, **context
        )
