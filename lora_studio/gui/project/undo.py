"""Undoable edits of a project, which can be carried over to another window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtGui import QUndoCommand, QUndoStack

from lora_studio.core.problems import Step

#: Represents a field that isn't set and uses its default.
UNSET = object()

#: A field of a step, and a value for it.
Change = tuple[Step, str, Any]

#: A function that sets fields to values.
Put = Callable[[Sequence[Change]], None]


class Edit(QUndoCommand):
    """A change of one or more fields; consecutive edits of the same field merge."""

    def __init__(
        self,
        put: Put,
        title: str,
        before: Sequence[Change],
        after: Sequence[Change],
        *,
        merges: bool = False,
        asleep: bool = False,
    ) -> None:
        """Create an edit; `before` and `after` have the same fields.

        With `merges`, it is merged with the same edit just before.
        While it is `asleep`, undo and redo change nothing.
        """
        super().__init__(title)
        self.before, self.after, self.merges = tuple(before), tuple(after), merges
        self.asleep = asleep
        self._put = put

    def redo(self) -> None:
        if not self.asleep:
            self._put(self.after)

    def undo(self) -> None:
        if not self.asleep:
            self._put(self.before)

    def id(self) -> int:
        """Return an ID; Qt merges neighbors with the same ID, and -1 never merges."""
        has_list = any(isinstance(value, list | tuple) for _, _, value in self.after)
        if self.asleep or has_list or (len(self.after) != 1 and not self.merges):
            return -1
        return hash(tuple(self.list_fields())) & 0x3FFFFFFF

    def mergeWith(self, other: QUndoCommand) -> bool:
        """Merge a newer edit of the same field."""
        if not isinstance(other, Edit) or other.list_fields() != self.list_fields():
            return False
        self.after = other.after
        return True

    def list_fields(self) -> list[tuple[Step, str]]:
        """Return the changed fields."""
        return [(step, name) for step, name, _ in self.after]


@dataclass(frozen=True)
class UndoStack:
    """The edits of an undo stack; those from `position` on can be redone."""

    edits: tuple[Edit, ...]
    position: int


def get_undo_stack(stack: QUndoStack) -> UndoStack:
    """Return the edits of a stack."""
    commands = (stack.command(index) for index in range(stack.count()))
    return UndoStack(tuple(edit for edit in commands if isinstance(edit, Edit)), stack.index())


def restore(stack: QUndoStack, saved: UndoStack, put: Put, titled: Callable[[Edit], str]) -> None:
    """Fill an empty stack with the edits of another one; values don't change and count as saved.

    `titled` gives each edit a new name.
    """
    copies = [
        Edit(put, titled(edit), edit.before, edit.after, merges=edit.merges, asleep=True)
        for edit in saved.edits
    ]
    for edit in copies:
        stack.push(edit)
    while stack.index() > saved.position:
        stack.undo()
    stack.setClean()
    for edit in copies:
        edit.asleep = False
