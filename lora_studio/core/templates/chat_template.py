"""Render a model's chat template as transformers does, without importing transformers."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context

from lora_studio.core.templates.limited_environment import LimitedEnvironment
from lora_studio.core.templates.rendering_budget import limit_rendering

Conversation = Sequence[Mapping[str, Any]]


#: Variable with the pair of marks that a rendering writes around generation blocks.
_MARKS = "lora_studio_generation_marks"


class _Generation(Extension):
    """Jinja extension for {% generation %}…{% endgeneration %}, which encloses what the model
    writes.

    The text is unchanged unless marks around such blocks are requested.
    """

    tags = {"generation"}  # noqa: RUF012 - jinja reads it from the class

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        marks = jinja2.nodes.ContextReference()
        block = jinja2.nodes.CallBlock(self.call_method("_keep", [marks]), [], [], body)
        return block.set_lineno(line)

    @staticmethod
    def _keep(context: Context, caller: Callable[[], str]) -> str:
        marks = context.get(_MARKS)
        return caller() if marks is None else f"{marks[0]}{caller()}{marks[1]}"


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


_BLOCK = re.compile(r"\{%-?\s*generation\s*-?%\}")


@lru_cache(maxsize=32)  # compiling takes longer than rendering a conversation
def _compile(source: str) -> tuple[LimitedEnvironment, jinja2.Template]:
    environment = LimitedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form[:1000])
    try:
        return environment, environment.from_string(source)
    except jinja2.TemplateError:
        raise
    except Exception as error:  # such as a SyntaxError of {% break %} outside of a loop
        raise jinja2.TemplateError(str(error) or type(error).__name__) from error


class ChatTemplate:
    """A compiled chat template, which is untrusted code: it runs in a sandbox with limits on time
    and memory.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """Compile the template; raises jinja2.TemplateError if that fails.

        `special_tokens` are the names a template may use, such as bos_token and eos_token.
        """
        self.source = source
        self.special_tokens = dict(special_tokens or {})
        self._environment, self._template = _compile(source)

    def render(
        self, messages: Conversation, add_generation_prompt: bool = True, **variables: object
    ) -> str:
        """Return the prompt text; raises what the template raises (usually jinja2.TemplateError)."""
        context: dict[str, object] = {"tools": None, "documents": None}
        context |= self.special_tokens | variables
        with limit_rendering():
            return self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **context
            )

    @property
    def tree(self) -> jinja2.nodes.Template:
        """Return the template's syntax tree."""
        return self._environment.parse(self.source)

    def with_tree(self, tree: jinja2.nodes.Template) -> ChatTemplate:
        """Return a copy that renders a modified syntax tree; `source` is unchanged."""
        changed = copy.copy(self)
        changed._template = self._environment.from_string(tree)
        return changed

    @property
    def has_generation(self) -> bool:
        """Return whether the template marks what the model writes with {% generation %}."""
        return bool(_BLOCK.search(self.source))

    def render_marked(
        self, messages: Conversation, begin: str, end: str, **variables: object
    ) -> str:
        """Return the text with `begin` and `end` around each {% generation %} block; raises as
        `render`.

        Marks in the text stay correct inside macros and filters, unlike character counts.
        """
        return self.render(messages, False, **{_MARKS: (begin, end)}, **variables)
