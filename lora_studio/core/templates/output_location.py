"""Find the line of a chat template that writes a certain part of a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import nodes

from lora_studio.core.templates.chat_template import ChatTemplate

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
