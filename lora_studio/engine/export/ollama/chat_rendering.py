"""Render conversations with a chat template, as training does, with the token IDs of its tokenizer."""

from __future__ import annotations

from pathlib import Path

import jinja2
from transformers import PreTrainedTokenizerBase

from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.core.templates.chat_template import ChatTemplate, TemplateSource
from lora_studio.core.templates.server.prompt_proof import PromptProbe, list_probes
from lora_studio.engine.export.ollama.template_proof import read_intact_source
from lora_studio.engine.model import loading
from lora_studio.engine.tokens.chat_format import ChatFormat


def render(command: commands.RenderChat) -> events.ChatRendered:
    """Return the prompts of a command's conversations; raises ProblemError."""
    path = Path(command.path)
    source = TemplateSource(command.template) if command.template else read_intact_source(path)
    try:
        template = ChatTemplate(source.text, source.special_tokens)
    except jinja2.TemplateError as error:
        raise _refused_error(str(error)) from error
    tokenizer = _load_tokenizer(path) if path.is_dir() and not command.template else None
    if command.messages:
        rendering = _render(template, tokenizer, _to_rendering(command), command.think)
        if rendering.refused:
            raise _refused_error(rendering.refused)
        return events.ChatRendered(renderings=(rendering,))
    form = ChatFormat(template)
    probes = list_probes()
    return events.ChatRendered(
        renderings=tuple(_render_probe(form, tokenizer, probe) for probe in probes)
    )


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the folder's tokenizer; None if it has none or only its code could read it."""
    try:
        return loading.load_tokenizer(folder)
    except ProblemError:
        return None


def _to_rendering(command: commands.RenderChat) -> events.ChatRendering:
    return events.ChatRendering(messages=command.messages, tools=command.tools)


def _render_probe(
    form: ChatFormat, tokenizer: PreTrainedTokenizerBase | None, probe: PromptProbe
) -> events.ChatRendering:
    try:
        messages = tuple(form.to_plain(probe.messages))
    except UnusableRow as error:
        messages = tuple(turn.model_dump(mode="json") for turn in probe.messages)
        return events.ChatRendering(
            messages=messages, tools=probe.tools, probe=probe.kind, refused=str(error)
        )
    rendering = events.ChatRendering(messages=messages, tools=probe.tools, probe=probe.kind)
    return _render(form.template, tokenizer, rendering, probe.think)


def _render(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase | None,
    rendering: events.ChatRendering,
    think: bool | None,
) -> events.ChatRendering:
    switches = {} if think is None else {"enable_thinking": think, "thinking": think}
    try:
        prompt = template.render(
            rendering.messages, True, tools=list(rendering.tools) or None, **switches
        )
    except Exception as error:  # foreign code may raise anything
        return rendering.model_copy(update={"refused": str(error) or type(error).__name__})
    ids = tokenizer and tuple(tokenizer(prompt, add_special_tokens=False).input_ids)
    return rendering.model_copy(update={"text": prompt, "ids": ids})


def _refused_error(reason: str) -> ProblemError:
    return fail(
        "template.chat_refused",
        "The chat template can't be rendered: {reason}.",
        "Correct the template, or send a conversation that it accepts.",
        reason=reason,
    )
