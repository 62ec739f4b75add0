"""Detect the form in which a chat template expects reasoning, tool calls and results, and render
with it.

Templates agree on `role` and `content` and on little else: one reads reasoning from a key of the
message, another from the text; arguments of a call are an object or JSON text. The form is detected
by rendering a conversation in each form and checking whether everything is shown. No model is
recognized by name. A row with content that no form shows is unusable, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import jinja2
from jinja2 import nodes
from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Template
from lora_studio.core.tasks.samples import Message, ToolCall, UnusableKind, UnusableRow
from lora_studio.core.templates.chat_template import ChatTemplate

Tools = Sequence[Mapping[str, Any]]

#: Keys from which templates read the reasoning of an answer, the most common first.
THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")

#: Roles that templates accept for tool results.
_RESULT_ROLES = ("tool", "ipython", "function", "observation", "tool_response", "tool_results")

#: Methods and filters with which a template can branch on the content of a text.
_LOOKS = frozenset(
    {"split", "rsplit", "startswith", "endswith", "find", "rfind", "replace", "partition",
     "rpartition", "count", "index", "rindex", "isdigit", "splitlines", "removeprefix",
     "removesuffix", "truncate", "wordcount", "length", "select", "reject", "first", "last"}
)  # fmt: skip


@dataclass(frozen=True)
class CallForm:
    """The form of tool calls that a template expects.

    `arguments` is an object or JSON text, inside `function` or not, with an id of nine characters
    or none, and with an empty content or None.
    """

    arguments: Literal["object", "json"] = "object"
    nested: bool = True
    ids: bool = False
    empty: str | None = ""


class ChatFormat:
    """Renders conversations with the chat template of one tokenizer, or with a compiled one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | ChatTemplate) -> None:
        """Compile the template; raises UnusableRow if that fails, since no row can be rendered
        then.
        """
        if isinstance(tokenizer, ChatTemplate):
            self.template = tokenizer
            return
        source = tokenizer.get_chat_template()
        special = {name: str(text) for name, text in tokenizer.special_tokens_map.items() if text}
        try:
            self.template = ChatTemplate(source, special)
        except jinja2.TemplateError as error:
            raise refuse_template("the chat template doesn't compile: {error}", error) from error

    def render(
        self, messages: Sequence[Message], tools: Tools = (), *, prompt: bool = False
    ) -> str:
        """Return the conversation as text; with `prompt`, up to where the next answer starts.

        Raises UnusableRow when the template refuses it or does not show a part of it.
        """
        return self._run(self.to_plain(messages), prompt, tools)

    def render_marked(self, messages: Sequence[Message], tools: Tools, begin: str, end: str) -> str:
        """Return the text with marks around the template's {% generation %} blocks."""
        try:
            return self.template.render_marked(
                self.to_plain(messages), begin, end, tools=wrap_tools(tools)
            )
        except Exception as error:  # foreign code may raise anything
            raise _refused_by_template_error(error) from error

    def to_plain(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages in the form that the template expects; raises UnusableRow."""
        if all(not (turn.thinking or turn.tool_calls) and turn.role != "tool" for turn in messages):
            return [
                {"role": turn.role, "content": self._to_content(turn.content)} for turn in messages
            ]
        return list(
            self._iter_plain(
                messages,
                self._thinking if any(turn.thinking for turn in messages) else "content",
                self._calls if any(turn.tool_calls for turn in messages) else CallForm(),
                self._results if any(turn.role == "tool" for turn in messages) else "tool",
            )
        )

    # --- what the template shows --------------------------------------------------------------

    @cached_property
    def reads_text(self) -> bool:
        """Return whether the content of a message can change the text around it.

        If not, conversations of one shape (roles, filled fields) are rendered identically except
        for their contents. Decided conservatively from the syntax tree: doubtful access counts.
        """
        tree = self.template.tree
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Getattr) and call.node.attr in _LOOKS:
                return True
        for entry in tree.find_all((nodes.Filter, nodes.Test)):
            if entry.name in _LOOKS and not _is_count_of_messages(entry):
                return True
        for item in tree.find_all(nodes.Getitem):
            if isinstance(item.arg, nodes.Slice) and not isinstance(item.node, nodes.Name):
                return True
        return any(_can_compare_text(compare) for compare in tree.find_all(nodes.Compare))

    @cached_property
    def between(self) -> str:
        """Return the text between the reasoning of an answer and the answer, such as `</think>`."""
        text = self._run(
            list(self._iter_plain(_build_reasoning_probe(), self._thinking, CallForm(), "tool")),
            False,
            (),
        )
        return text.partition("Zt0tZ")[2].partition("Za0aZ")[0]

    def starts_with(self, mark: str) -> bool | None:
        """Return whether prompts start with a text; None if the template refuses a question."""
        try:
            return self.render([Message(role="user", content="Hi")], prompt=True).startswith(mark)
        except UnusableRow:
            return None

    @property
    def reads_thinking(self) -> bool:
        """Return whether the template reads reasoning from a field; otherwise it is in the content."""
        try:
            return self._thinking != "content"
        except UnusableRow:
            return False

    @cached_property
    def _parts(self) -> bool:
        """Return whether contents must be lists of parts, as in templates of vision models."""
        for parts in (False, True):
            content = [{"type": "text", "text": "Zu0uZ"}] if parts else "Zu0uZ"
            if "Zu0uZ" in self._try([{"role": "user", "content": content}]):
                return parts
        return False

    @cached_property
    def _thinking(self) -> str:
        turns = _build_reasoning_probe()
        for key in (*THINKING_KEYS, "content"):
            shown = self._try(list(self._iter_plain(turns, key, CallForm(), "tool")))
            if 0 <= shown.find("Zt0tZ") < shown.find("Za0aZ"):
                return key
        raise refuse_template("the chat template omits the reasoning before an answer")

    @cached_property
    def _calls(self) -> CallForm:
        turns = _build_call_probe()
        for ids, nested, empty in product((False, True), (True, False), ("", None)):
            shown: dict[str, str] = {}
            for arguments in ("object", "json"):
                form = CallForm(arguments, nested, ids, empty)  # type: ignore[arg-type]  # one of its two words
                plain = list(self._iter_plain(turns, "content", form, "tool"))
                text = self._try(plain, (_SAMPLE_TOOL,)) or self._try(plain)
                if all(mark in text for mark in ("Zn0nZ", "Zk0kZ", "Zv0vZ")):
                    shown[arguments] = text
            # An object printed directly is written as Python, JSON text encoded again contains \".
            if "object" in shown and "'Zk0kZ'" not in shown["object"]:
                return CallForm("object", nested, ids, empty)
            if "json" in shown and '\\"' not in shown["json"]:
                return CallForm("json", nested, ids, empty)
        raise refuse_template("the chat template doesn't support tool calls")

    @cached_property
    def _results(self) -> str:
        turns = [*_build_call_probe(), Message(role="tool", content="Zr0rZ", name="Zn0nZ")]
        turns.append(Message(role="assistant", content="Za0aZ"))
        for with_calls, role in product((True, False), _RESULT_ROLES):
            try:
                form = self._calls if with_calls else CallForm()
            except UnusableRow:
                continue
            probe = turns if with_calls else [turns[0], *turns[2:]]
            if "Zr0rZ" in self._try(list(self._iter_plain(probe, "content", form, role))):
                return role
        raise refuse_template("the chat template doesn't support tool results")

    # --- rendering ----------------------------------------------------------------------------

    def _run(self, plain: list[dict[str, Any]], prompt: bool, tools: Tools) -> str:
        try:
            return self.template.render(plain, prompt, tools=wrap_tools(tools))
        except Exception as error:  # foreign code may raise anything
            raise _refused_by_template_error(error) from error

    def _try(self, plain: list[dict[str, Any]], tools: Tools = ()) -> str:
        """Return the text, "" if the template refuses it."""
        try:
            return self._run(plain, False, tools)
        except UnusableRow:
            return ""

    def _to_content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._parts else text

    def _iter_plain(
        self, messages: Sequence[Message], thinking: str, form: CallForm, result_role: str
    ) -> Iterator[dict[str, Any]]:
        pending: list[tuple[str, str]] = []  # (tool, id) of calls without a result so far
        for turn_index, turn in enumerate(messages):
            if turn.role == "tool":
                message = {"role": result_role, "content": self._to_content(turn.content)}
                call = next((c for c in pending if turn.name in ("", c[0])), ("", ""))
                if call in pending:
                    pending.remove(call)
                name = turn.name or call[0]
                yield (
                    message
                    | ({"name": name} if name else {})
                    | ({"tool_call_id": call[1]} if call[1] else {})
                )
                continue
            content = turn.content
            if turn.thinking and thinking == "content":
                content = f"<think>\n{turn.thinking}\n</think>\n\n{content}"
            message = {"role": turn.role, "content": self._to_content(content)}
            if turn.thinking and thinking != "content":
                message[thinking] = turn.thinking
            if turn.tool_calls:
                calls = [
                    _call(call, form, f"call{turn_index:03d}{index:02d}"[-9:])
                    for index, call in enumerate(turn.tool_calls)
                ]
                message["tool_calls"] = calls
                if not content:
                    message["content"] = form.empty
                pending = [
                    (call.name, shown.get("id", ""))
                    for call, shown in zip(turn.tool_calls, calls, strict=True)
                ]
            yield message


def _call(call: ToolCall, form: CallForm, number: str) -> dict[str, Any]:
    arguments: Any = call.arguments
    if form.arguments == "json":
        arguments = json.dumps(arguments, ensure_ascii=False)
    about = {"name": call.name, "arguments": arguments}
    call_data: dict[str, Any] = {"type": "function", "function": about} if form.nested else about
    if form.ids:
        # Some templates require nine letters and digits.
        is_usable = len(call.id) == 9 and call.id.isascii() and call.id.isalnum()
        call_data["id"] = call.id if is_usable else number
    elif call.id:
        call_data["id"] = call.id
    return call_data


def wrap_tools(tools: Tools) -> list[dict[str, Any]] | None:
    """Return function descriptions in the form that templates expect; None without any."""
    return [
        dict(tool) if "function" in tool or "name" not in tool
        else {"type": "function", "function": dict(tool)}
        for tool in tools
    ] or None  # fmt: skip


def _refused_by_template_error(error: Exception) -> UnusableRow:
    if isinstance(error, jinja2.TemplateError):
        return refuse_template("the chat template rejects the conversation: {error}", error)
    return refuse_template("the chat template fails on the conversation: {error}", error)


def refuse_template(reason: Template, error: Exception | None = None) -> UnusableRow:
    """Return the error that a row can't be rendered; the template `reason` may refer to `error`."""
    values = {} if error is None else {"error": str(error)}
    return UnusableRow(reason, UnusableKind.TEMPLATE, **values)


# --- probe conversations ----------------------------------------------------------------------

_SAMPLE_TOOL = {
    "name": "Zn0nZ",
    "description": "Looks something up.",
    "parameters": {
        "type": "object",
        "properties": {"Zk0kZ": {"type": "string", "description": "What to look up."}},
        "required": ["Zk0kZ"],
    },
}


def _build_reasoning_probe() -> list[Message]:
    return [
        Message(role="user", content="Zu0uZ"),
        Message(role="assistant", content="Za0aZ", thinking="Zt0tZ"),
    ]


def _build_call_probe() -> list[Message]:
    call = ToolCall(name="Zn0nZ", arguments={"Zk0kZ": "Zv0vZ"})
    return [
        Message(role="user", content="Zu0uZ"),
        Message(role="assistant", content="", tool_calls=(call,)),
    ]


# --- what a template looks at -----------------------------------------------------------------

_KEYS = frozenset(
    {"role", "content", "name", "type", "function", "arguments", "parameters", "properties", "text",
     "description", "required", "enum", "items", "tool_calls", "tool_call_id", "thinking", "image",
     "reasoning", "reasoning_content", "return", "default", "anyOf", "output", "documents", "title"}
)  # fmt: skip
_CONTENTS = ("content", "text")


def _is_count_of_messages(entry: nodes.Expr) -> bool:
    """Return whether the use of `messages` can't inspect texts, such as `messages | length`."""
    node = getattr(entry, "node", None)
    return isinstance(node, nodes.Name) and node.name not in _CONTENTS


def _can_compare_text(compare: nodes.Compare) -> bool:
    """Return whether a comparison may inspect a text; comparing a role or a key of a message does
    not.
    """
    for operand in compare.ops:
        left, right = compare.expr, operand.expr
        if operand.op in ("in", "notin"):
            is_key = isinstance(left, nodes.Const) and left.value in _KEYS
            if not is_key and not isinstance(right, nodes.List | nodes.Tuple):
                return True
        elif operand.op in ("eq", "ne") and not (_is_plain(left) or _is_plain(right)):
            return True
    return False


def _is_plain(node: nodes.Node) -> bool:
    """Return whether a node is a role, a type, a number, a boolean, or an empty text."""
    if isinstance(node, nodes.Const):
        return not (isinstance(node.value, str) and node.value)
    if isinstance(node, nodes.Getattr):
        return node.attr in ("role", "type", "index", "index0", "length")
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value in ("role", "type")
    if isinstance(node, nodes.Filter):
        return node.name == "length"
    return isinstance(node, nodes.Name) and "role" in node.name


def count_common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the length of the common start of two texts or lists."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((length for length, (a, b) in pairs if a != b), min(len(first), len(second)))
