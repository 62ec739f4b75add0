"""The tree of a parsed Go text/template, and the error that names a place in it."""

from __future__ import annotations

from dataclasses import dataclass


class GoTemplateError(ValueError):
    """A template that cannot be parsed or rendered; `line` and `column` count from 1."""

    def __init__(self, what: str, source: str, position: int) -> None:
        """`position` is a character offset into `source`."""
        self.what = what
        self.line = source.count("\n", 0, position) + 1
        self.column = position - (source.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {what}")


@dataclass(frozen=True, slots=True)
class Const:
    """A literal: true, 3, 2.5, 'x', "text"; strings are UTF-8 bytes as in Go."""

    value: bool | int | float | bytes


@dataclass(frozen=True, slots=True)
class Nil:
    """The word nil."""


@dataclass(frozen=True, slots=True)
class Dot:
    """The cursor itself."""


@dataclass(frozen=True, slots=True)
class Field:
    """.Name.Name: names looked up from the cursor."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """$name.Name: `name` without its dollar sign; the empty name is the data given to render."""

    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """(pipeline).Name.Name or function.Name."""

    start: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """Operands of one pipeline stage; the first one decides what happens to the others."""

    operands: tuple[Operand, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """Stages that hand their value to the next; `declares` names the variables that get it."""

    commands: tuple[Command, ...]
    position: int
    declares: tuple[str, ...] = ()
    assigns: bool = False


Operand = Const | Nil | Dot | Field | Variable | Function | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    """Literal output."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Action:
    """{{pipeline}}: prints the value unless it declares a variable."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """{{if}} or {{with}}; `moves_dot` tells the two apart."""

    pipe: Pipe
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    moves_dot: bool


@dataclass(frozen=True, slots=True)
class Range:
    """{{range}}; `otherwise` is rendered when nothing is iterated."""

    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """{{template "name" pipeline}}."""

    name: str
    pipe: Pipe | None
    position: int


@dataclass(frozen=True, slots=True)
class Jump:
    """{{break}} or {{continue}}."""

    breaks: bool


Node = Text | Action | Branch | Range | Call | Jump


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed template: its own nodes and those of every {{define}}."""

    source: str
    root: tuple[Node, ...]
    defined: dict[str, tuple[Node, ...]]
