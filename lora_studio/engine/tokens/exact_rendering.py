"""Render conversations, and locate exactly the text that the model has to write.

The trained text is what the model will have to generate: from the end of the prompt to the mark that
ends the answer, including reasoning and tool calls. It is located by rendering, never by searching
for the template's marks, which a user may have typed:

1. Every answer is replaced with a marker and the conversation is rendered again. If putting the
answers back gives the original text, the template shows them unchanged and their positions are
exact; otherwise the row is skipped with that reason. The end of tool calls is located by adding one
more argument to the last call.

2. The prompt for an answer is rendered as it will be at inference. The answer starts at its end (so
an empty thinking block that the template writes is trained as well). Some templates write earlier
turns differently once they are answered, for example without the system message: then the text of
the last answer is appended to its true prompt, and earlier answers do not train. If the template has
since dropped only the reasoning of earlier turns, the prompt without it is used.

3. The text after the answer in a conversation that ends with it starts with the end of the turn.

A template with `{% generation %}` blocks narrows this to their contents. `shape_cache` does all
this once for conversations of one shape, if the template allows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Template
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.engine.tokens.chat_format import (
    ChatFormat,
    Tools,
    count_common_prefix,
    refuse_template,
)
from lora_studio.engine.tokens.markers import (
    ANSWER,
    AnswerSpans,
    MarkedConversation,
    Span,
    find_extent,
    find_mark_at_start,
    find_marks_through,
    iter_masked_spans,
    locate_answers,
    make_unused_word,
    mark_answers,
)

#: The prompt for an answer differs from the text before the answer in the finished conversation.
PROMPT_MISMATCH: Template = "the chat template writes the prompt differently once it is answered"
_OMITTED: dict[str, Template] = {
    "system": "the chat template omits a system message",
    "user": "the chat template omits a question",
    "tool": "the chat template omits a tool result",
    "call": "the chat template omits one of several tool calls",
}


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


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools = (),
    *,
    prompt: bool = False,
) -> str:
    """Return the conversation as text by the tokenizer's chat template.

    With `prompt`, the text ends where the next answer starts. Raises UnusableRow if the template
    refuses it.
    """
    return ChatFormat(tokenizer).render(messages, tools, prompt=prompt)


def _mark(turn: Message, index: int, *, calls: bool) -> Message:
    """Return the turn with a mark as its content, unless it is an answer, and as the names of its calls.

    A result without a name is that of the next call.
    """
    changes: dict[str, Any] = {}
    if turn.role != "assistant" and turn.content.strip():
        changes["content"] = f"Zc{index}cZ"
    if calls:
        named = [
            call.model_copy(update={"name": f"Zn{index}x{number}nZ"})
            for number, call in enumerate(turn.tool_calls)
        ]
        changes |= {"tool_calls": tuple(named), "name": ""}
    return turn.model_copy(update=changes)


class ExactRenderer:
    """Renders conversations for one tokenizer, with the parts that train; without caching."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Prepare the tokenizer's chat template; raises UnusableRow if it is broken."""
        self.format = ChatFormat(tokenizer)
        self._eos = str(tokenizer.eos_token or "")
        added = tokenizer.get_added_vocab()
        self._marks = sorted((mark for mark in added if mark.strip()), key=len, reverse=True)
        self._missing: dict[tuple[tuple[str, bool, int], ...], str] = {}

    def render_answers(self, messages: Sequence[Message], tools: Tools = ()) -> Rendered:
        """Return the text of a conversation with the spans of its trained answers; raises
        UnusableRow.
        """
        text = self.format.render(messages, tools)
        self._require_shown(messages, tools, text)
        blocks = self._find_generation_blocks(messages, tools, text)
        try:
            rendered = self._render_exactly(messages, tools, text)
        except UnusableRow:
            trained = [turn.trained for turn in messages if turn.role == "assistant"]
            if len(blocks) != len(trained) or any(
                turn.tool_calls or turn.untrained for turn in messages
            ):
                raise
            trained_blocks = [
                block for block, is_trained in zip(blocks, trained, strict=True) if is_trained
            ]
            return Rendered(text, [self._with_end(text, block) for block in trained_blocks], at_prompts=False)  # fmt: skip
        if blocks and rendered.text.startswith(text):
            return narrow_spans(rendered, blocks)
        return rendered

    def render_whole(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        """Return the text of a conversation; raises UnusableRow.

        An end-of-sequence token is appended if the template does not end turns.
        """
        text = self.format.render(messages, tools)
        self._require_shown(messages, tools, text)
        if messages and messages[-1].role == "assistant" and not self._ends_turns:
            text += self._eos
        return text

    # --- the exact method ---------------------------------------------------------------------

    def _render_exactly(self, turns: Sequence[Message], tools: Tools, text: str) -> Rendered:
        marked = mark_answers(turns, text)
        answer_spans = locate_answers(self.format.render(marked.messages, tools), marked, text)
        answers = [index for index, turn in enumerate(turns) if turn.trained]
        spans: list[Span] = []
        thoughts: list[Span] = []
        holes: list[Span] = []
        left_out = 0
        at_prompts = True
        for index in answers:
            text, span = self._answer_span(turns, tools, index, marked, answer_spans, text)
            self._require_calls(turns[index], text[slice(*span)])
            prompt = self.format.render(turns[:index], tools, prompt=True) if index else ""
            if text.startswith(prompt):
                span = (len(prompt) if index else span[0], span[1])
            elif moved := self._find_prompted_span(
                turns, tools, index, answer_spans, text, span, prompt
            ):
                span = moved
                at_prompts = False
            elif index == answers[-1]:
                last = Rendered(
                    text, [span], left_out=left_out + len(spans),
                    thoughts=[t for t in [self._find_thought(answer_spans, index, text, span)] if t],
                    holes=list(iter_masked_spans(turns[index], index, answer_spans)),
                )  # fmt: skip
                return move_behind_prompt(prompt, last, turns[index - 1])
            else:
                left_out += 1
                continue
            spans.append(span)
            holes += iter_masked_spans(turns[index], index, answer_spans)
            if thought := self._find_thought(answer_spans, index, text, span):
                thoughts.append(thought)
        unshown = self._count_unshown(turns, answer_spans, answers)
        return Rendered(text, spans, thoughts, holes, left_out, unshown, at_prompts)

    def _answer_span(
        self,
        turns: Sequence[Message],
        tools: Tools,
        index: int,
        marked: MarkedConversation,
        answer_spans: AnswerSpans,
        text: str,
    ) -> tuple[str, Span]:
        """Return the span of an answer through its end, and the text, with an end added if it had
        none.
        """
        begin, end = find_extent(answer_spans, index)
        if turns[index].tool_calls:
            end = max(end, self._end_of_calls(turns, tools, text, index))
        ending = self._find_ending(turns, tools, index, marked, text[end:])
        if ending is None:
            raise refuse_template(
                "the chat template ends an answer differently in the middle of a chat"
            )
        if not text.startswith(ending, end):
            # The template does not end answers. The model still has to learn where to stop.
            end = len(text)
            text += ending
        return text, (begin - len(marked.get_lead(index, text[:begin])), end + len(ending))

    def _find_prompted_span(
        self,
        turns: Sequence[Message],
        tools: Tools,
        index: int,
        answer_spans: AnswerSpans,
        text: str,
        span: Span,
        prompt: str,
    ) -> Span | None:
        """Return the span of an answer whose prompt differs slightly from the text before it; None
        if it differs in more than that.
        """
        start = find_answer_start(prompt, text, turns[index - 1])
        if start is None:
            bare = self._render_shown_prompt(turns, tools, index, answer_spans)
            if text.startswith(bare):
                return len(bare), span[1]
            start = find_answer_start_in_round(bare, text, turns, index, span[0])
        if start is None:
            return None
        has_text = find_extent(answer_spans, index)[1] > 0
        return (span[0] if has_text else start), span[1]

    def _render_shown_prompt(
        self, turns: Sequence[Message], tools: Tools, index: int, answer_spans: AnswerSpans
    ) -> str:
        """Return the prompt for an answer without the earlier reasoning that the text does not
        show.

        Many templates drop reasoning once the user has spoken again. An answer after a tool result
        was generated with the reasoning of its own round, and is shown without it.
        """
        before = [
            turn.model_copy(update={"thinking": ""})
            if turn.thinking and (turn_index, 0) not in answer_spans
            else turn
            for turn_index, turn in enumerate(turns[:index])
        ]
        return self.format.render(before, tools, prompt=True) if index else ""

    def _find_ending(
        self,
        turns: Sequence[Message],
        tools: Tools,
        index: int,
        marked: MarkedConversation,
        behind: str,
    ) -> str | None:
        """Return the end of an answer: through the first mark after it, or everything but blanks.

        `behind` is the text after the answer. Returns None if an answer at the end of the
        conversation is followed by something else there. If nothing follows at all, the mark that
        opens the next turn ends the answer, as models with such templates are trained, and the
        end-of-sequence token ends the last one.
        """
        is_last = index == len(turns) - 1
        rendered_after = behind
        if not is_last and turns[index].tool_calls:
            rendered_after = self.format.render(turns[: index + 1], tools)
            rendered_after = rendered_after[
                self._end_of_calls(turns[: index + 1], tools, rendered_after, index) :
            ]
        elif not is_last:
            rendered_after = self.format.render([*turns[:index], marked.messages[index]], tools)
            rendered_after = rendered_after[marked.find_end(rendered_after) :]
        ending: str | None = self._end_marks(rendered_after) or rendered_after.rstrip()
        if turns[index].tool_calls:
            ending = self._find_shared_end(rendered_after, behind)
        if ending is None or not behind.startswith(ending):
            # Some templates end earlier answers with a different mark from the last one.
            other = MARK.match(behind)
            return other[0] if other and not is_last else None
        if self._ends_turns and ending:
            return ending
        following = find_mark_at_start(behind[len(ending) :], self._marks)
        return ending + (self._eos if is_last else following)

    def _end_marks(self, text: str) -> str:
        """Return the marks that end an answer, at the start of the text after it: usually one."""
        closed = self._closes_answers and find_marks_through(text, self._marks, self._eos)
        return closed or find_mark_at_start(text, self._marks)

    @cached_property
    def _closes_answers(self) -> bool:
        """Return whether each answer is closed by a mark before the token that ends its turn.

        Cohere's templates write `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`. The model must learn both.
        """
        user = Message(role="user", content="Zu")
        answer = Message(role="assistant", content="Za0aZ")
        try:
            after = self.format.render([user, answer, user]).partition("Za0aZ")[2]
        except UnusableRow:
            return False
        closed = find_marks_through(after, self._marks, self._eos)
        return closed not in ("", find_mark_at_start(after, self._marks))

    def _find_shared_end(self, alone: str, behind: str) -> str | None:
        """Return the text after the calls of a turn, without marks that only end a conversation."""
        ending = alone.rstrip()
        while not behind.startswith(ending):
            mark = next((mark for mark in self._marks if ending.endswith(mark)), None)
            if mark is None:
                return None
            ending = ending.removesuffix(mark).rstrip()
        return ending

    @cached_property
    def _ends_turns(self) -> bool:
        """Return whether the template writes anything after an answer that ends a conversation."""
        turns = [Message(role="user", content="Zu0uZ"), Message(role="assistant", content="Za0aZ")]
        try:
            return bool(self.format.render(turns).rpartition("Za0aZ")[2].strip())
        except UnusableRow:
            return True

    # --- reasoning ----------------------------------------------------------------------------

    def _find_thought(
        self, answer_spans: AnswerSpans, index: int, text: str, span: Span
    ) -> Span | None:
        """Return the span of an answer's reasoning with its marks, from the start of the answer."""
        thought = answer_spans.get((index, 2), answer_spans.get((index, 0)))
        if thought is None:
            return None
        if answer := answer_spans.get((index, ANSWER)):
            return span[0], answer[0]
        behind = text[thought[1] :]
        return span[0], thought[1] + count_common_prefix(behind, self.format.between)

    def _count_unshown(
        self, turns: Sequence[Message], answer_spans: AnswerSpans, answers: list[int]
    ) -> int:
        """Return how much reasoning of trained answers the text does not show; the last one must be
        shown.
        """
        missing = [i for i in answers if turns[i].thinking.strip() and (i, 0) not in answer_spans]
        if answers and answers[-1] in missing:
            raise refuse_template("the chat template omits the reasoning of the last answer")
        return len(missing)

    # --- tool calls ---------------------------------------------------------------------------

    def _end_of_calls(self, turns: Sequence[Message], tools: Tools, text: str, index: int) -> int:
        """Return where the arguments of a turn's last call end in `text`, located by adding an
        argument.
        """
        calls = turns[index].tool_calls
        extra = make_unused_word("zqarg", text)
        last = calls[-1].model_copy(
            update={"arguments": calls[-1].arguments | {extra: f"{extra}v"}}
        )
        changed = turns[index].model_copy(update={"tool_calls": (*calls[:-1], last)})
        shown = self.format.render([*turns[:index], changed, *turns[index + 1 :]], tools)
        end = count_common_prefix(text, shown)
        added = shown[end : len(shown) - (len(text) - end)]
        if len(added) != len(shown) - len(text) or not shown.endswith(text[end:]):
            raise refuse_template("the chat template writes a tool call in more than one place")
        if added.count(f"{extra}v") != 1:
            raise refuse_template("the chat template omits the arguments of a tool call")
        return end

    @staticmethod
    def _require_calls(turn: Message, shown: str) -> None:
        for call in turn.tool_calls:
            if call.name not in shown:
                raise refuse_template("the chat template omits a tool call")
            for leaf in _iter_leaves(call.arguments):
                if not any(form in shown for form in _get_spellings(leaf)):
                    raise refuse_template("the chat template omits the arguments of a tool call")

    def _require_shown(self, turns: Sequence[Message], tools: Tools, text: str) -> None:
        """Raise UnusableRow if the template does not show a part that is not an answer."""
        for tool in tools:
            if str((tool.get("function") or tool).get("name", "")) not in text:
                raise refuse_template("the chat template omits the list of tools")
        key = tuple((turn.role, bool(turn.content.strip()), len(turn.tool_calls)) for turn in turns)
        if key not in self._missing:
            self._missing[key] = self._find_first_missing(turns, tools)
        if role := self._missing[key]:
            raise refuse_template(_OMITTED[role])

    def _find_first_missing(self, turns: Sequence[Message], tools: Tools) -> str:
        several = any(len(turn.tool_calls) > 1 for turn in turns)
        probe = [_mark(turn, index, calls=several) for index, turn in enumerate(turns)]
        try:
            shown = self.format.render(probe, tools)
            if probe[-1].role == "assistant" and len(probe) > 1:
                # A part that only the prompt for the last answer shows is restored with that prompt.
                shown += self.format.render(probe[:-1], tools, prompt=True)
        except UnusableRow:
            return ""
        for turn in probe:
            if turn.role != "assistant" and turn.content.strip() and turn.content not in shown:
                return turn.role
            if several and any(call.name not in shown for call in turn.tool_calls):
                return "call"
        return ""

    # --- generation blocks --------------------------------------------------------------------

    def _find_generation_blocks(
        self, turns: Sequence[Message], tools: Tools, text: str
    ) -> list[Span]:
        """Return the spans that the template marks as generated; [] if they are unreliable."""
        if not self.format.template.has_generation:
            return []
        begin, end = make_unused_word("zqgenB", text), make_unused_word("zqgenE", text)
        shown = self.format.render_marked(turns, tools, begin, end)
        blocks: list[Span] = []
        position, start = 0, 0
        for piece in re.split(f"({begin}|{end})", shown):
            if piece == begin:
                start = position
            elif piece == end:
                blocks.append((start, position))
            else:
                position += len(piece)
        if shown.replace(begin, "").replace(end, "") != text:
            return []
        answers = [
            turn.content.rpartition("</think>")[2].strip()
            for turn in turns
            if turn.role == "assistant"
        ]
        written = "".join(text[slice(*block)] for block in blocks)
        return blocks if all(answer[-40:] in written for answer in answers) else []

    def _with_end(self, text: str, block: Span) -> Span:
        """Return a generation block, extended exactly through the mark that ends the turn."""
        content = text[block[0] : block[1]].rstrip()
        end = block[0] + len(content)
        if any(content.endswith(mark) for mark in self._marks):
            return block[0], end
        return block[0], end + len(self._end_marks(text[end:]))


def _iter_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _iter_leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _iter_leaves(item)
    elif value is not None:
        yield value


def _get_spellings(leaf: Any) -> set[str]:
    """Return the ways in which a template may write a value: as JSON, as Python, or unchanged."""
    written = {json.dumps(leaf, ensure_ascii=ascii_only) for ascii_only in (True, False)}
    if isinstance(leaf, str):
        return {leaf, leaf.strip(), repr(leaf)[1:-1]} | {text[1:-1] for text in written}
    return {str(leaf)} | written


#: The form of a special mark, even if the tokenizer doesn't have it.
MARK = re.compile(r"\s*(?:<[^<>\s]{1,60}>|\[/?[A-Z_]{2,30}\])")


def find_answer_start(prompt: str, text: str, question: Message) -> int | None:
    """Return where an answer starts if prompt and text differ only after the question; else None.

    A template may open a thinking block in the prompt that it omits from the finished turn.
    """
    question_text = question.content.strip()
    behind = prompt.rfind(question_text) + len(question_text)
    if question_text not in prompt or not text.startswith(prompt[:behind]):
        return None
    return _end_of_header(prompt[behind:], text, behind)


def find_answer_start_in_round(
    prompt: str, text: str, turns: Sequence[Message], index: int, begin: int
) -> int | None:
    """Return where an answer after a tool result starts if only the calls of its round differ; else
    None.

    A template may put an empty thinking block before the calls until the user speaks again.
    """
    users = [turn.content.strip() for turn in turns[:index] if turn.role == "user"]
    result = turns[index - 1].content.strip()
    if turns[index - 1].role != "tool" or not result or not users or not users[-1]:
        return None
    question_end = prompt.rfind(users[-1]) + len(users[-1])
    in_prompt, in_text = prompt.rfind(result), text.rfind(result, 0, begin)
    if min(in_prompt, in_text) < question_end or not text.startswith(prompt[:question_end]):
        return None
    end = _end_of_header(prompt[in_prompt + len(result) :], text, in_text + len(result))
    return end if end <= begin else None


def _end_of_header(header: str, text: str, behind: int) -> int:
    """Return where a prompt's header ends in a text, which may continue it or omit a part of it."""
    begin = behind + count_common_prefix(header, text[behind:])
    # Two marks may have the same start: never split a mark.
    marks = MARK.finditer(text, behind)
    return next((mark.start() for mark in marks if mark.start() < begin < mark.end()), begin)


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
