"""Conversations become text, and the part of it that the model has to write is found exactly.

What trains is what the model will be asked for: from where the prompt for an answer ends to the
mark that ends the answer. It is found by rendering, never by searching for the template's marks,
which a user may have typed:

1. Every answer is replaced by a marker and the conversation rendered again. Where putting the
   answers back gives the original text, the template shows them unchanged and their places are
   exact; where it does not, the row is left out and says so.
2. The prompt for an answer is rendered as it would be asked. The answer begins where that ends (so
   an empty thinking block that the template writes is trained as well). Some templates write
   earlier turns otherwise once they are answered, such as without the system message: then the
   text of the last answer is put behind its true prompt, and earlier answers do not train.
3. What a conversation that ends with this answer has behind it begins with the end of the turn.

A template with `{% generation %}` blocks narrows this to what they enclose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from lora_studio.core.dataset import Message
from lora_studio.core.samples import UnusableRow

Span = tuple[int, int]  # characters, end excluded

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_THINKING = re.compile(r"(?s)(.*<think>|)(.*?)(</think>)(.*)")


@dataclass(frozen=True)
class Rendered:
    """A text and the parts of it that train; `left_out` answers of it cannot be trained exactly."""

    text: str
    spans: list[Span]
    left_out: int = 0


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool = False
) -> str:
    """The conversation as text by the tokenizer's chat template, with `prompt` up to where the
    next answer begins; raises UnusableRow when the template refuses it."""
    try:
        return tokenizer.apply_chat_template(
            _plain(messages), tokenize=False, add_generation_prompt=prompt
        )
    except jinja2.TemplateError as error:
        raise UnusableRow(f"the chat template refuses it: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnusableRow(f"the chat template fails on it: {error}") from error


class Renderer:
    """Renders conversations for one tokenizer, with the parts that train."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Takes the tokenizer with its chat template."""
        self.tokenizer = tokenizer
        added = tokenizer.get_added_vocab()
        self._marks = sorted((mark for mark in added if mark.strip()), key=len, reverse=True)

    def answers(self, messages: Sequence[Message]) -> Rendered:
        """The text in which the trained answers of a conversation train; raises UnusableRow."""
        text = render(self.tokenizer, messages)
        blocks = self._generation_blocks(messages, text)
        try:
            rendered = self._exact(messages, text)
        except UnusableRow:
            if not blocks:
                raise
            return Rendered(text, [self._with_end(text, block) for block in blocks])
        if blocks and rendered.text.startswith(text):
            return Rendered(
                rendered.text,
                [_narrowed(span, blocks) for span in rendered.spans],
                rendered.left_out,
            )
        return rendered

    def _exact(self, messages: Sequence[Message], text: str) -> Rendered:
        marked = _mark(messages, text)
        places = _places(render(self.tokenizer, marked.messages), marked, text)
        spans: list[Span] = []
        left_out = 0
        wanted = [index for index, message in enumerate(messages) if message.trained]
        for index in wanted:
            begin, end = places[index]
            ending = self._ending(messages, index, marked, text[end:])
            if ending is None:
                raise UnusableRow("the chat template ends an answer otherwise within a chat")
            if not text.startswith(ending, end):
                # The template ends no answer. The model still has to learn where to stop.
                text += ending
            span = begin - len(marked.lead(index, text[:begin])), end + len(ending)
            prompt = render(self.tokenizer, messages[:index], prompt=True) if index else ""
            if text.startswith(prompt):
                spans.append((len(prompt) if index else span[0], span[1]))
            elif _asks_alike(prompt, text[: span[0]], messages[index - 1]):
                spans.append(span)
            elif index == wanted[-1]:
                return _behind_prompt(
                    prompt, text, span, messages[index - 1], left_out + len(spans)
                )
            else:
                left_out += 1
        return Rendered(text, spans, left_out)

    def _ending(
        self, messages: Sequence[Message], index: int, marked: _Marked, behind: str
    ) -> str | None:
        """What ends an answer: through the first mark behind it, or all but blanks.

        `behind` is what stands behind the answer; None when an answer that ends the conversation
        has something else there. Where there is nothing at all, the end-of-sequence token ends it.
        """
        alone = behind
        if index < len(messages) - 1:
            alone = render(self.tokenizer, [*messages[:index], marked.messages[index]])
            alone = alone[marked.end_in(alone) :]
        blanks = len(alone) - len(alone.lstrip())
        mark = next((mark for mark in self._marks if alone.startswith(mark, blanks)), None)
        ending = alone.rstrip() if mark is None else alone[: blanks + len(mark)]
        if not ending and index == len(messages) - 1:
            return str(self.tokenizer.eos_token or "")
        return ending if behind.startswith(ending) else None

    def _generation_blocks(self, messages: Sequence[Message], text: str) -> list[Span]:
        """What the template itself marks as written by the model; [] when it cannot be relied on."""
        template = self.tokenizer.chat_template
        if not _GENERATION.search(template):
            return []
        rendered, blocks = render_jinja_template(
            conversations=[_plain(messages)],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        answers = [
            message.content.rpartition("</think>")[2].strip()
            for message in messages
            if message.role == "assistant"
        ]
        shown = [text[begin:end] for begin, end in blocks[0]]
        # Blocks inside a macro come with wrong places; an answer missing from its block tells.
        if rendered[0] != text or len(shown) != len(answers):
            return []
        if any(answer[-40:] not in block for answer, block in zip(answers, shown, strict=True)):
            return []
        trained = [message.trained for message in messages if message.role == "assistant"]
        return [block for block, wanted in zip(blocks[0], trained, strict=True) if wanted]

    def _with_end(self, text: str, block: Span) -> Span:
        """A template's block, through the mark that ends the turn and no further."""
        inside = text[block[0] : block[1]].rstrip()
        end = block[0] + len(inside)
        if any(inside.endswith(mark) for mark in self._marks):
            return block[0], end
        behind = text[end:]
        blanks = len(behind) - len(behind.lstrip())
        mark = next((mark for mark in self._marks if behind.startswith(mark, blanks)), "")
        return block[0], end + (blanks + len(mark) if mark else 0)


def _narrowed(span: Span, blocks: list[Span]) -> Span:
    """The span within the block it meets, always through the end of the turn."""
    for begin, end in blocks:
        if begin < span[1] and end > span[0]:
            return max(begin, span[0]), span[1]
    return span


def _asks_alike(prompt: str, shown: str, question: Message) -> bool:
    """Whether a prompt and the text before an answer differ only behind the question: a template
    may open a thinking block in the prompt that it leaves out of the finished turn."""
    asked = question.content.strip()
    behind = prompt.rfind(asked) + len(asked)
    return asked in prompt and shown.startswith(prompt[:behind])


def _behind_prompt(
    prompt: str, text: str, span: Span, question: Message, left_out: int
) -> Rendered:
    """The last answer behind its true prompt; raises UnusableRow when they do not fit together."""
    asked = question.content.strip()
    in_prompt, in_text = prompt.rfind(asked), text.rfind(asked, 0, span[0])
    header = prompt[in_prompt + len(asked) :]
    begin = in_text + len(asked) + len(header)
    if in_prompt < 0 or in_text < 0 or not text[: span[0]].startswith(header, begin - len(header)):
        raise UnusableRow("the chat template asks for an answer otherwise than it shows it")
    length = len(prompt) + span[1] - begin
    return Rendered(prompt + text[begin : span[1]], [(len(prompt), length)], left_out)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


# --- markers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Marked:
    """A conversation with answers replaced by markers; `cores` says what each stands for."""

    messages: list[Message]
    cores: dict[tuple[int, int], str]
    pattern: re.Pattern[str]

    def end_in(self, shown: str) -> int:
        """Where the last marker in a text ends."""
        return max((match.end() for match in self.pattern.finditer(shown)), default=0)

    def lead(self, index: int, before: str) -> str:
        """What of the answer stands before its first marker, as far as the template shows it."""
        content = self.messages[index].content
        match = self.pattern.search(content)
        lead = content[: match.start()] if match else ""
        return next((part for part in (lead, lead.lstrip()) if before.endswith(part)), "")


def _mark(messages: Sequence[Message], text: str) -> _Marked:
    """Puts markers for answers.

    Blanks around an answer stay, so that a template that strips them strips them here too. The
    thinking before an answer gets a marker of its own: templates move it or leave it out.
    """
    nonce = next(number for number in range(1_000_000) if f"zqmark{number}n" not in text)
    cores: dict[tuple[int, int], str] = {}
    marked: list[Message] = []
    for index, message in enumerate(messages):
        if message.role == "assistant":
            parts = _THINKING.match(message.content)
            pieces = list(parts.groups()) if parts else [message.content]
            for part in range(1 if parts else 0, len(pieces), 2):
                core = pieces[part].strip()
                if core:
                    cores[index, part] = core
                    marker = f"zqmark{nonce}n{index}p{part}zq"
                    pieces[part] = pieces[part].replace(core, marker, 1)
            message = message.model_copy(update={"content": "".join(pieces)})
        marked.append(message)
    return _Marked(marked, cores, re.compile(rf"zqmark{nonce}n(\d+)p(\d)zq"))


def _places(shown: str, marked: _Marked, text: str) -> dict[int, Span]:
    """Where each answer stands in `text`; raises UnusableRow unless that is beyond doubt."""
    pieces: list[str] = []
    places: dict[int, Span] = {}
    seen: set[tuple[int, int]] = set()
    length = position = 0
    for match in marked.pattern.finditer(shown):
        key = int(match[1]), int(match[2])
        before = shown[position : match.start()]
        pieces += [before, marked.cores[key]]
        begin = length + len(before)
        length = begin + len(marked.cores[key])
        position = match.end()
        if key in seen:
            raise UnusableRow("the chat template writes an answer twice")
        seen.add(key)
        first = places.get(key[0], (begin, 0))[0]
        places[key[0]] = (first, length)
    pieces.append(shown[position:])
    if "".join(pieces) != text:
        raise UnusableRow("the chat template changes the text of an answer")
    for index in {index for index, _ in marked.cores}:
        last = max(part for known, part in marked.cores if known == index)
        if (index, last) not in seen:
            raise UnusableRow("the chat template leaves an answer out")
    return places
