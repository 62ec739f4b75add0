"""Render a model's chat template as transformers does, without importing transformers."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.nodes
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context

from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_json, read_text
from lora_studio.core.templates.limited_environment import LimitedEnvironment, limit_rendering

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


_MARK = re.compile("\0(\\d+)\0")


def find_line(
    template: ChatTemplate,
    position: int,
    messages: Sequence[Mapping[str, Any]],
    **variables: object,
) -> int:
    """Return the line that writes the character at `position` of a prompt, 0 if it isn't known.

    Each output is marked with its line. A template that reads its own output, such as one that trims a
    block, then renders differently, and no line is returned. Raises what the template raises.
    """
    plain = template.render(messages, True, **variables)
    marked = template.with_tree(_mark_outputs(template.tree)).render(messages, True, **variables)
    pieces = _MARK.split(marked)
    if "".join(pieces[::2]) != plain:
        return 0
    line, written = 0, len(pieces[0])
    for number, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if text:
            line, written = int(number), written + len(text)
        if written > position:
            break
    return line


def _mark_outputs(tree: nodes.Template) -> nodes.Template:
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            part
            for node in output.nodes
            for part in (nodes.TemplateData(f"\0{node.lineno}\0", lineno=node.lineno), node)
        ]
    return tree


#: Assumed tokens of a template file without a tokenizer_config.json next to it.
USUAL_BOS, USUAL_EOS = "<s>", "</s>"


@dataclass(frozen=True)
class TemplateSource:
    """A chat template and the special tokens that it may write.

    `server_adds_bos`: llama.cpp starts every prompt with `bos` itself. `assumed`: the tokens whose
    text is a guess.
    """

    text: str
    special_tokens: dict[str, str] = field(default_factory=dict)
    server_adds_bos: bool = True
    assumed: tuple[str, ...] = ()

    @property
    def bos(self) -> str:
        """Return the text of the token that starts a prompt, "" if none."""
        return self.special_tokens.get("bos_token", "")

    @property
    def eos(self) -> str:
        """Return the text of the token that ends an answer, "" if unknown."""
        return "" if "eos_token" in self.assumed else self.special_tokens.get("eos_token", "")


def read_source(
    path: Path, *, bos: str | None = None, eos: str | None = None, adds_bos: bool | None = None
) -> TemplateSource:
    """Return the chat template of a model folder or a template file; raises ProblemError.

    `bos`, `eos` and `adds_bos` take precedence over `tokenizer_config.json`.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_json(folder / "tokenizer_config.json")
    text = _read_folder(path, config) if path.is_dir() else _read_file(path)
    tokens = _read_special_tokens(folder, config)
    tokens |= {f"{name}_token": t for name, t in (("bos", bos), ("eos", eos)) if t is not None}
    assumed: list[str] = []
    for name, default in (("bos_token", USUAL_BOS), ("eos_token", USUAL_EOS)):
        if name not in tokens and not config and re.search(rf"\b{name}\b", text):
            tokens[name] = default
            assumed.append(name)
    if adds_bos is None:
        adds_bos = _has_add_bos(folder, config, tokens.get("bos_token", ""))
    return TemplateSource(text, tokens, adds_bos, tuple(assumed))


def _read_file(path: Path) -> str:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(
            "template.unreadable",
            "{path} can't be read: {reason}.",
            "Choose a model folder or a text file with a chat template.",
            where=Where(file=str(path)),
            path=str(path),
            reason=describe_os_error(error),
        ) from None
    return _read_config(_read_json(path), path) if path.name == "tokenizer_config.json" else text


def _read_folder(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return _read_file(file)
    template = config.get("chat_template") or _read_json(folder / "chat_template.json").get(
        "chat_template"
    )
    return _read_config({"chat_template": template}, folder)


def _read_config(config: dict[str, Any], path: Path) -> str:
    template = config.get("chat_template")
    if isinstance(template, list):  # several named templates
        named = [item for item in template if isinstance(item, dict)]
        templates = {str(item.get("name")): item.get("template") for item in named}
        template = templates.get("default") or next(iter(templates.values()), None)
    if not isinstance(template, str) or not template:
        raise fail(
            "template.missing",
            "No chat template was found in {path}.",
            "Choose a folder with chat_template.jinja or tokenizer_config.json, or the template file.",
            where=Where(file=str(path)),
            path=str(path),
        )
    return template


def _read_special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    settings = _read_json(folder / "special_tokens_map.json") | config
    tokens: dict[str, str] = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token"):
        value = settings.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            tokens[name] = text
    return tokens


def _has_add_bos(folder: Path, config: dict[str, Any], bos: str) -> bool:
    """Return whether llama.cpp's converter sets add_bos: from the config, else from the tokenizer's
    behavior.
    """
    stated = config.get("add_bos_token")
    if isinstance(stated, bool):
        return stated
    processor = _read_json(folder / "tokenizer.json").get("post_processor")
    if processor:
        return bool(bos) and json.dumps(bos) in json.dumps(processor)
    return not config or (folder / "tokenizer.model").is_file()


def _read_json(file: Path) -> dict[str, Any]:
    """Return the object in a file, {} if the file does not exist."""
    try:
        content = read_json(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise fail(
            "template.unreadable",
            "{path} can't be read: {reason}.",
            "Repair the file or download the model again.",
            where=Where(file=str(file)),
            path=str(file),
            reason=describe_os_error(error),
        ) from None
    return content if isinstance(content, dict) else {}
