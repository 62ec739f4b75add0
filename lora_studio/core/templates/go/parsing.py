"""Parse a Go text/template into a tree; rejects what Go rejects, with the position."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NoReturn

from lora_studio.core import limits

COMPARISONS = frozenset(["eq", "ne", "lt", "le", "gt", "ge"])
PRINTERS = frozenset(["print", "printf", "println"])
OLLAMA_FUNCTIONS = frozenset(["json", "currentDate", "yesterdayDate"])
FUNCTIONS = (
    COMPARISONS | PRINTERS | OLLAMA_FUNCTIONS | {"and", "or", "not", "len", "index", "slice"}
)
UNSUPPORTED_FUNCTIONS = frozenset(["html", "js", "urlquery", "call", "toTypeScriptType"])


def parse(source: str) -> TemplateTree:
    """Parse a template; raises GoTemplateError with a position, also for what Go rejects later."""
    parser = _Parser(source)
    root, ended_by = parser.nodes()
    if ended_by != "end_of_file":
        parser.fail(f"unexpected {{{{{ended_by}}}}}")
    return TemplateTree(source, root, parser.defined)


class _Parser:
    """Recursive descent over the token list, one method per construct."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = list(lex(source))
        self.index = 0
        self.variables = [""]
        self.loops = 0
        self.nesting = 0
        self.defined: dict[str, tuple[Node, ...]] = {}

    def fail(self, what: str, token: GoToken | None = None) -> NoReturn:
        raise GoTemplateError(what, self.source, (token or self.peek()).position)

    def peek(self) -> GoToken:
        return self.tokens[min(self.index, len(self.tokens) - 1)]

    def next(self) -> GoToken:
        token = self.peek()
        self.index += 1
        return token

    def skip_space(self) -> GoToken:
        while self.peek().kind == "space":
            self.index += 1
        return self.peek()

    def expect(self, kind: str, description: str) -> GoToken:
        if self.skip_space().kind != kind:
            self.fail(f"expected {description}, found {self.peek().text or 'the end'!r}")
        return self.next()

    def word(self) -> str:
        """Return the keyword or name that comes next inside an action, without consuming it."""
        token = self.skip_space()
        return token.text if token.kind == "word" else ""

    def nodes(self) -> tuple[tuple[Node, ...], str]:
        """Return the nodes up to {{end}}, {{else}} or the end of the file, and which of them ended
        it.
        """
        self.nesting += 1
        if self.nesting > limits.GO_NESTING:
            self.fail(f"blocks nested more than {limits.GO_NESTING} deep")
        nodes: list[Node] = []
        while True:
            token = self.next()
            if token.kind == "end_of_file":
                ended_by = token.kind
                break
            if token.kind == "text":
                nodes.append(TextNode(token.text.encode()))
                continue
            self.index -= 1
            if (ended_by := self.word()) in ("end", "else"):
                self.index += 1
                break
            node = self.action(ended_by)
            if node is not None:
                nodes.append(node)
        self.nesting -= 1
        return tuple(nodes), ended_by

    def action(self, keyword: str) -> Node | None:
        start = self.peek()
        if keyword in ("if", "with", "range", "define", "template", "block"):
            self.index += 1
            match keyword:
                case "if" | "with":
                    return self.branch(keyword)
                case "range":
                    return self.loop()
                case "template":
                    return self.call(start)
                case _:
                    return self.definition(start, is_block=keyword == "block")
        if keyword in ("break", "continue"):
            self.index += 1
            if not self.loops:
                self.fail(f"{{{{{keyword}}}}} outside {{{{range}}}}", start)
            self.expect("end_action", "}}")
            return JumpNode(keyword == "break")
        return ActionNode(self.pipeline("command", "end_action"))

    def branch(self, keyword: str) -> BranchNode:
        scope = len(self.variables)
        pipe = self.pipeline(keyword, "end_action")
        then, ended_by = self.nodes()
        otherwise: tuple[Node, ...] = ()
        if ended_by == "else" and self.word() == keyword:
            self.index += 1
            self.nesting += 1
            otherwise = (self.branch(keyword),)
            self.nesting -= 1
        else:
            otherwise = self.rest(ended_by)
        del self.variables[scope:]
        return BranchNode(pipe, then, otherwise, moves_dot=keyword == "with")

    def rest(self, ended_by: str) -> tuple[Node, ...]:
        """Return what follows a body: nothing, or the nodes between {{else}} and {{end}}."""
        otherwise: tuple[Node, ...] = ()
        if ended_by == "else":
            self.expect("end_action", "}}")
            otherwise, ended_by = self.nodes()
        if ended_by != "end":
            self.fail(f"expected {{{{end}}}}, found {ended_by.replace('_', ' ')}")
        self.expect("end_action", "}}")
        return otherwise

    def loop(self) -> RangeNode:
        scope = len(self.variables)
        pipe = self.pipeline("range", "end_action")
        self.loops += 1
        body, ended_by = self.nodes()
        self.loops -= 1
        otherwise = self.rest(ended_by)
        del self.variables[scope:]
        return RangeNode(pipe, body, otherwise)

    def call(self, start: GoToken) -> CallNode:
        name = self.name("template")
        pipe = None
        if self.skip_space().kind == "end_action":
            self.index += 1
        else:
            pipe = self.pipeline("template clause", "end_action")
        return CallNode(name, pipe, start.position)

    def definition(self, start: GoToken, *, is_block: bool) -> CallNode | None:
        name = self.name("block" if is_block else "define")
        pipe = self.pipeline("block clause", "end_action") if is_block else None
        if not is_block:
            self.expect("end_action", "}}")
            if self.nesting > 1:
                self.fail("unexpected {{define}} inside a block", start)
        outer, self.variables = self.variables, [""]
        loops, self.loops = self.loops, 0
        body, ended_by = self.nodes()
        if ended_by != "end":
            self.fail(f"unexpected {ended_by.replace('_', ' ')} in {{{{define}}}}")
        self.expect("end_action", "}}")
        self.variables, self.loops = outer, loops
        if self.defined.get(name):
            self.fail(f"multiple definition of template {name!r}", start)
        self.defined[name] = body
        return CallNode(name, pipe, start.position) if is_block else None

    def name(self, clause: str) -> str:
        token = self.skip_space()
        if token.kind not in ("string", "raw"):
            self.fail(f"expected a quoted name in {clause} clause")
        self.index += 1
        return self.unquote(token).decode(errors="replace")

    def pipeline(self, context: str, end: str) -> PipeNode:
        start = self.skip_space()
        declares, assigns = self.declarations(context)
        commands: list[CommandNode] = []
        self.nesting += 1
        if self.nesting > limits.GO_NESTING:
            self.fail(f"blocks nested more than {limits.GO_NESTING} deep")
        while self.skip_space().kind != end:
            commands.append(self.command())
            if self.peek().kind == "pipe":
                self.index += 1
        self.nesting -= 1
        self.index += 1
        if not commands:
            self.fail(f"missing value for {context}", start)
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], ConstantNode | NilNode | DotNode):
                self.fail(f"non executable command in pipeline stage {stage}", start)
        return PipeNode(tuple(commands), start.position, declares, assigns)

    def declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """Parse `$x :=`, `$x =` or, in a range, `$i, $x :=`; consumes nothing if there is none."""
        begin = self.index
        names: list[str] = []
        while self.skip_space().kind == "variable" and len(names) < 2:
            names.append(self.next().text[1:])
            following = self.skip_space()
            if following.kind in ("declare", "assign"):
                self.index += 1
                if following.kind == "declare":
                    self.variables += names
                for name in names:
                    if name not in self.variables:
                        self.fail(f"undefined variable ${name}", following)
                return tuple(names), following.kind == "assign"
            if following.kind != "comma" or context != "range":
                break
            self.index += 1
        self.index = begin
        return (), False

    def command(self) -> CommandNode:
        start = self.skip_space()
        operands: list[Operand] = []
        while self.skip_space().kind not in ("end_action", "close", "pipe"):
            operands.append(self.operand())
            if self.peek().kind not in ("space", "end_action", "close", "pipe"):
                self.fail(f"unexpected {self.peek().text!r} in operand")
        if not operands:
            self.fail("empty command", start)
        return CommandNode(tuple(operands), start.position)

    def operand(self) -> Operand:
        term = self.term()
        names: list[str] = []
        while self.peek().kind == "field":
            names.append(self.next().text[1:])
        if not names:
            return term
        match term:
            case FieldNode(first):
                return FieldNode((*first, *names))
            case VariableNode(name):
                return VariableNode(name, tuple(names))
            case ConstantNode() | NilNode() | DotNode():
                self.fail("unexpected . after term")
        return ChainNode(term, tuple(names))

    def term(self) -> Operand:
        token = self.next()
        match token.kind:
            case "word" if token.text in ("true", "false"):
                return ConstantNode(token.text == "true")
            case "word" if token.text == "nil":
                return NilNode()
            case "word":
                return self.function(token)
            case "dot":
                return DotNode()
            case "field":
                return FieldNode((token.text[1:],))
            case "variable":
                if token.text[1:] not in self.variables:
                    self.fail(f"undefined variable {token.text}", token)
                return VariableNode(token.text[1:])
            case "string" | "raw":
                return ConstantNode(self.unquote(token))
            case "char" | "number":
                return ConstantNode(self.number(token))
            case "open":
                return self.pipeline("parenthesized pipeline", "close")
        self.fail(f"unexpected {token.text!r}", token)

    def function(self, token: GoToken) -> FunctionNode:
        if token.text in UNSUPPORTED_FUNCTIONS:
            self.fail(f"function {token.text!r} is not supported here", token)
        if token.text not in FUNCTIONS:
            self.fail(f"function {token.text!r} not defined", token)
        return FunctionNode(token.text)

    def number(self, token: GoToken) -> int | float:
        text = token.text
        if token.kind == "char":
            characters = self.unquote(token).decode(errors="replace")
            if len(characters) != 1:
                self.fail(f"malformed character constant: {text}", token)
            return ord(characters)
        try:
            plain = text.lstrip("+-")
            if len(plain) > 1 and plain.replace("_", "").isdigit() and plain[0] == "0":
                return int(text.replace("_", ""), 8)
            return int(text, 0) if not re.search(r"^[+-]?[0-9_]*[.eE]", text) else float(text)
        except ValueError:
            self.fail(f"bad number syntax: {text!r}", token)

    def unquote(self, token: GoToken) -> bytes:
        if token.kind == "raw":
            return token.text[1:-1].replace("\r", "").encode()
        try:
            return b"".join(_unescape(match) for match in _PIECES.finditer(token.text[1:-1]))
        except (KeyError, ValueError):
            self.fail("invalid escape in a quoted string", token)


_PIECES = re.compile(
    r"\\(?:x(?P<hex>[0-9a-fA-F]{2})|u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8})"
    r"|(?P<octal>[0-7]{3})|(?P<short>.))|(?P<plain>[^\\]+)",
    re.DOTALL,
)
_SHORT = dict(zip("abfnrtv\\'\"", b"\a\b\f\n\r\t\v\\'\"", strict=True))


def _unescape(match: re.Match[str]) -> bytes:
    text = match[match.lastgroup or "plain"]
    match match.lastgroup:
        case "hex":
            return bytes([int(text, 16)])
        case "octal":
            return bytes([int(text, 8)])
        case "u4" | "u8":
            return chr(int(text, 16)).encode()
        case "short":
            return bytes([_SHORT[text]])
    return text.encode()


SPACES = " \t\r\n"


_TOKENS = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<declare>:=) | (?P<assign>=) | (?P<pipe>\|) | (?P<comma>,) | (?P<open>\() | (?P<close>\))
      | (?P<string>"(?:\\[^\n]|[^"\\\n])*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:\\[^\n]|[^'\\\n])*')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bBoO][0-9_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)(?![^\W]))
      | (?P<variable>\$\w*)
      | (?P<field>\.[^\W\d]\w*)
      | (?P<dot>\.)
      | (?P<word>\w+)""",
    re.VERBOSE,
)
_TERMINATED = frozenset(["field", "variable", "word", "dot"])


@dataclass(frozen=True, slots=True)
class GoToken:
    """One lexical item; kinds are the group names above plus text, end_action and end_of_file."""

    kind: str
    text: str
    position: int


def lex(source: str) -> Iterator[GoToken]:
    """Yield the tokens of `source`, without comments and trimmed white space."""
    at = 0
    trim_next = False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        text_at = at
        if trim_next:
            text = text.lstrip(SPACES)
        if start < 0:
            if text:
                yield GoToken("text", text, text_at)
            yield GoToken("end_of_file", "", len(source))
            return
        at = start + 2
        if source[at : at + 1] == "-" and source[at + 1 : at + 2] in tuple(SPACES):
            text = text.rstrip(SPACES)
            at += 2
        if text:
            yield GoToken("text", text, text_at)
        if source.startswith("/*", at):
            at, trim_next = _skip_comment(source, at)
            continue
        at, trim_next = yield from _lex_action(source, at)


def _skip_comment(source: str, at: int) -> tuple[int, bool]:
    end = source.find("*/", at + 2)
    if end < 0:
        raise GoTemplateError("unclosed comment", source, at)
    closing = _at_right_delimiter(source, end + 2)
    if closing is None:
        raise GoTemplateError("comment ends before the closing }}", source, at)
    return closing


def _at_right_delimiter(source: str, at: int) -> tuple[int, bool] | None:
    if source.startswith("}}", at):
        return at + 2, False
    if source[at : at + 1] in tuple(SPACES) and source.startswith("-}}", at + 1):
        return at + 4, True
    return None


def _lex_action(source: str, at: int) -> Generator[GoToken, None, tuple[int, bool]]:
    opened, depth = at, 0
    while (closing := _at_right_delimiter(source, at)) is None:
        if at >= len(source):
            raise GoTemplateError("unclosed action", source, opened)
        match = _TOKENS.match(source, at)
        if match is None or match.lastgroup is None:
            raise GoTemplateError(f"unexpected {source[at]!r} in action", source, at)
        kind, text = match.lastgroup, match.group()
        if kind == "space" and source.startswith("-}}", match.end()):
            text = text[:-1]  # the last space is part of the trim marker
        at += len(text)
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            raise GoTemplateError("unexpected right paren", source, match.start())
        if kind in _TERMINATED and not (
            at >= len(source) or source[at] in SPACES + ".,|:()" or source.startswith("}}", at)
        ):
            raise GoTemplateError(f"bad character {source[at]!r}", source, at)
        yield GoToken(kind, text, match.start())
    if depth:
        raise GoTemplateError("unclosed left paren", source, at)
    yield GoToken("end_action", "}}", at)
    return closing


class GoTemplateError(ValueError):
    """A template that cannot be parsed or rendered; `line` and `column` count from 1."""

    def __init__(self, what: str, source: str, position: int) -> None:
        """Store the message and the line and column of `position`, a character offset into
        `source`.
        """
        self.what = what
        self.line = source.count("\n", 0, position) + 1
        self.column = position - (source.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {what}")


@dataclass(frozen=True, slots=True)
class ConstantNode:
    """A literal: true, 3, 2.5, 'x', "text"; strings are UTF-8 bytes as in Go."""

    value: bool | int | float | bytes


@dataclass(frozen=True, slots=True)
class NilNode:
    """The word nil."""


@dataclass(frozen=True, slots=True)
class DotNode:
    """The cursor itself."""


@dataclass(frozen=True, slots=True)
class FieldNode:
    """.Name.Name: names looked up from the cursor."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VariableNode:
    """$name.Name: `name` without its dollar sign; the empty name is the data given to render."""

    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionNode:
    """The name of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class ChainNode:
    """(pipeline).Name.Name or function.Name."""

    start: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandNode:
    """Operands of one pipeline stage; the first one is the function, if there are several."""

    operands: tuple[Operand, ...]
    position: int


@dataclass(frozen=True, slots=True)
class PipeNode:
    """Stages that pass their value to the next; `declares` names the variables that receive the
    result.
    """

    commands: tuple[CommandNode, ...]
    position: int
    declares: tuple[str, ...] = ()
    assigns: bool = False


Operand = (
    ConstantNode
    | NilNode
    | DotNode
    | FieldNode
    | VariableNode
    | FunctionNode
    | ChainNode
    | PipeNode
)


@dataclass(frozen=True, slots=True)
class TextNode:
    """Literal output."""

    value: bytes


@dataclass(frozen=True, slots=True)
class ActionNode:
    """{{pipeline}}: prints the value unless it declares a variable."""

    pipe: PipeNode


@dataclass(frozen=True, slots=True)
class BranchNode:
    """{{if}} or {{with}}; `moves_dot` distinguishes them."""

    pipe: PipeNode
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    moves_dot: bool


@dataclass(frozen=True, slots=True)
class RangeNode:
    """{{range}}; `otherwise` is rendered if there is nothing to iterate over."""

    pipe: PipeNode
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class CallNode:
    """{{template "name" pipeline}}."""

    name: str
    pipe: PipeNode | None
    position: int


@dataclass(frozen=True, slots=True)
class JumpNode:
    """{{break}} or {{continue}}."""

    breaks: bool


Node = TextNode | ActionNode | BranchNode | RangeNode | CallNode | JumpNode


@dataclass(frozen=True, slots=True)
class TemplateTree:
    """A parsed template: its own nodes and those of every {{define}}."""

    source: str
    root: tuple[Node, ...]
    defined: dict[str, tuple[Node, ...]]
