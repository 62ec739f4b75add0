"""A rendered conversation with the spans that train, and operations on these spans."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lora_studio.core.messages import Template
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.tokens.chat_format import refuse_template
from lora_studio.engine.tokens.markers import Span

#: The prompt for an answer differs from the text before the answer in the finished conversation.
PROMPT_MISMATCH: Template = "the chat template writes the prompt differently once it is answered"


@dataclass(frozen=True)
class Rendered:
    """A text and the parts of it that train, one span for each answer.

    `thoughts` are the spans of reasoning inside them, with its marks; `holes` are their masked
    parts. `left_out` counts answers that can't be trained exactly, `unshown` reasoning of earlier
    answers that the template drops.
    """

    text: str
    spans: list[Span]
    thoughts: list[Span] = field(default_factory=list)
    holes: list[Span] = field(default_factory=list)
    left_out: int = 0
    unshown: int = 0
    at_prompts: bool = True  # whether every span starts where its prompt ends


def narrow_spans(rendered: Rendered, blocks: list[Span]) -> Rendered:
    """Return the spans narrowed to the blocks they overlap, each still through the end of its turn."""
    spans: list[Span] = []
    for begin, end in rendered.spans:
        overlapping = [block for block in blocks if block[0] < end and block[1] > begin]
        if not overlapping:
            return rendered
        pieces = [(max(begin, block[0]), min(end, block[1])) for block in overlapping]
        pieces[-1] = pieces[-1][0], end
        for piece in pieces:
            if spans and spans[-1][1] == piece[0]:
                piece = spans.pop()[0], piece[1]
            spans.append(piece)
    return replace(rendered, spans=spans, at_prompts=False)


def move_behind_prompt(prompt: str, last: Rendered, question: Message) -> Rendered:
    """Return the last answer appended to its true prompt; raises UnusableRow if they do not fit."""
    text, span = last.text, last.spans[0]
    question_text = question.content.strip()
    in_prompt, in_text = (
        prompt.rfind(question_text),
        text.rfind(question_text, 0, span[0] or span[1]),
    )
    header = prompt[in_prompt + len(question_text) :]
    begin = in_text + len(question_text) + len(header)
    if in_prompt < 0 or in_text < 0 or text[begin - len(header) : begin] != header:
        raise refuse_template(PROMPT_MISMATCH)
    shift = len(prompt) - begin
    text = prompt + text[begin : span[1]]
    return replace(
        last,
        text=text,
        spans=[(len(prompt), len(text))],
        thoughts=[(len(prompt), end + shift) for _, end in last.thoughts],
        holes=[(start + shift, end + shift) for start, end in last.holes],
        at_prompts=False,
    )
