"""The syntax tree of a Go text/template, and the error that names a position in it."""

from __future__ import annotations

from dataclasses import dataclass


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
