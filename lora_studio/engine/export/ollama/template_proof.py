"""Compare a chat template under Python's Jinja with llama.cpp's Jinja and with the derived TEMPLATE."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import jinja2
from transformers import PreTrainedTokenizerBase

from lora_studio.core import llama_cpp as programs
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.core.templates import chat_template
from lora_studio.core.templates.chat_template import ChatTemplate, TemplateSource, read_source
from lora_studio.core.templates.server.prompt_path import list_template_abilities
from lora_studio.core.templates.server.prompt_proof import (
    ProbeDifference,
    PromptProbe,
    TemplateDifference,
    list_probes,
)
from lora_studio.core.templates.server.terms import DerivedTemplate, RenderRequest
from lora_studio.engine.export.gguf.adapter_gguf import write_vocabulary
from lora_studio.engine.export.gguf.llama_server import run_server
from lora_studio.engine.export.ollama import template_sandbox
from lora_studio.engine.export.ollama.jinja_check import (
    JinjaCause,
    JinjaDifference,
    describe_cause,
    find_jinja_differences,
)
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.chat_format import ChatFormat
from lora_studio.engine.tokens.trained_prompts import (
    TrainedPrompt,
    describe_refusal,
    describe_text_difference,
    list_trained_prompts,
    to_ollama,
)


def prove_template(command: commands.ProveTemplate, job: JobContext) -> events.TemplateProven:
    """Return where the prompts of a folder's chat template differ elsewhere; raises ProblemError."""
    program = programs.resolve_server(command.llama_server)
    folder = Path(command.path)
    gguf = Path(command.gguf) if command.gguf else None
    if gguf is not None:
        checksums.require_intact_source(gguf, job.check)
    source = read_intact_source(folder, adds_bos=llama_cpp.should_add_bos(gguf) if gguf else None)
    tokenizer = loading.load_tokenizer(folder)
    trained = list_trained_prompts(tokenizer)
    if not trained:
        raise fail(
            "template.no_conversations",
            "The chat template in {folder} rejects all conversations.",
            "Correct it. `lora-studio template render` shows what it says.",
            where=Where(file=str(folder)),
            folder=str(folder),
        )
    job.report_progress(text("deriving the Ollama template"), 0, None)
    derived = template_sandbox.derive(source, job).derived
    assert derived is not None
    locator = _Locator(tokenizer)
    has_converter = Path(command.llama_server, programs.CONVERTER).is_file()
    asked = _AskedServer(program, folder, gguf, command.llama_server if has_converter else "")
    by_server, unasked = _ask_server(asked, tokenizer, trained, locator, job)
    return events.TemplateProven(
        folder=str(folder),
        conversations=len(trained),
        derived=derived,
        differences=(*by_server, *_compare_template(derived, source, trained, locator, job)),
        program=programs.get_original(program or ""),
        unasked=unasked,
        has_other_template=gguf is not None and _has_other_template(gguf, tokenizer),
    )


def _has_other_template(gguf: Path, tokenizer: PreTrainedTokenizerBase) -> bool:
    embedded = gguf_header.read(gguf).values.get("tokenizer.chat_template")
    return embedded not in (None, tokenizer.get_chat_template())


# ------------------------------------------------------------------------------------ llama-server


@dataclass(frozen=True)
class _AskedServer:
    """The llama-server to ask, the model folder, its GGUF file if there is one, and the user's llama.cpp."""

    program: str | None
    folder: Path
    gguf: Path | None
    llama_cpp: str


def _ask_server(
    asked: _AskedServer,
    tokenizer: PreTrainedTokenizerBase,
    trained: Iterable[TrainedPrompt],
    locator: _Locator,
    job: JobContext,
) -> tuple[list[TemplateDifference], Text]:
    """Return the differences of llama-server, and why it wasn't asked."""
    if asked.program is None:
        return [], text("there is no llama-server on PATH, and none was given (`--llama-server`)")
    try:
        differences = _compare_server(asked, tokenizer, trained, job)
    except ProblemError as error:
        return [], error.problems[0].what
    return [
        locator.locate("llama_server", one.trained, one.difference, one.causes)
        for one in differences
    ], NO_TEXT


def _compare_server(
    asked: _AskedServer,
    tokenizer: PreTrainedTokenizerBase,
    trained: Iterable[TrainedPrompt],
    job: JobContext,
) -> list[JinjaDifference]:
    """Return the differences; without a GGUF file, one with the folder's vocabulary is used."""
    assert asked.program is not None
    with tempfile.TemporaryDirectory(prefix="lora-studio-") as scratch:
        file = Path(scratch, "chat_template.jinja")
        file.write_text(str(tokenizer.get_chat_template()), "utf-8")
        gguf = asked.gguf
        if gguf is None:  # as an export does
            bos = tokenizer.bos_token
            adds_bos = not bos or ChatFormat(tokenizer).starts_with(str(bos)) is not False
            gguf = write_vocabulary(
                asked.folder, Path(scratch), asked.llama_cpp, job, adds_bos=adds_bos
            )
        job.report_progress(text("comparing prompts with llama-server"), 0, None)
        options = ("--chat-template-file", str(file))
        with run_server(asked.program, gguf, job, *options) as server:
            return find_jinja_differences(server, tokenizer, [*trained])


# ------------------------------------------------------------------------------------ the TEMPLATE


def _compare_template(
    derived: DerivedTemplate,
    source: TemplateSource,
    trained: Iterable[TrainedPrompt],
    locator: _Locator,
    job: JobContext,
) -> Iterator[TemplateDifference]:
    """Yield the conversations that the TEMPLATE renders differently, as a server prepares them."""
    if not derived.template:
        return
    abilities = list_template_abilities(derived.template)
    asked = [
        one
        for one in trained
        if ("tools" in abilities or not one.probe.tools)
        and ("thinking" in abilities or one.probe.think is not True)
    ]
    requests = [
        RenderRequest(
            messages=tuple(to_ollama(one.probe.messages)),
            tools=one.probe.tools,
            # Servers turn reasoning on for a model that can reason.
            think=True if one.probe.think is None and "thinking" in abilities else one.probe.think,
        )
        for one in asked
    ]
    rendered = template_sandbox.render_all(derived.template, requests, date.today(), job)
    bos = source.bos if source.server_adds_bos else ""
    for one, prompt in zip(asked, rendered, strict=True):
        if isinstance(prompt, Text):
            difference = describe_refusal(one, prompt)
        elif prompt == one.text.removeprefix(bos):
            continue
        else:
            difference = describe_text_difference(one, prompt, bos)
        yield locator.locate("template", one, difference)


# -------------------------------------------------------------------------------------- constructs


class _Locator:
    """Finds the lines of a chat template that write what differs."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._template = ChatFormat(tokenizer).template
        self._lines = self._template.source.split("\n")

    def locate(
        self,
        by: Literal["llama_server", "template"],
        one: TrainedPrompt,
        difference: ProbeDifference,
        causes: Iterable[JinjaCause] = (),
    ) -> TemplateDifference:
        """Return a difference with the line that writes it in training, if it is known."""
        line = 0
        if difference.position >= 0:
            tools = list(one.probe.tools) or None
            with contextlib.suppress(Exception):  # foreign code may raise anything
                line = chat_template.find_line(
                    self._template,
                    difference.position,
                    one.messages,
                    tools=tools,
                    **one.probe.switches,
                )
        return TemplateDifference(
            by=by,
            difference=difference,
            causes=tuple(describe_cause(cause) for cause in sorted(causes)),
            line=line,
            source=self._lines[line - 1].strip() if line else "",
        )


def read_intact_source(
    path: Path, *, bos: str | None = None, eos: str | None = None, adds_bos: bool | None = None
) -> TemplateSource:
    """Return the chat template of a model folder or a template file, as `read_source`.

    Raises ProblemError, also for a file of a run that has changed since it was written.
    """
    checksums.require_intact_source(path, with_weights=False)
    return read_source(path, bos=bos, eos=eos, adds_bos=adds_bos)


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
        rendering = _render(
            template,
            tokenizer,
            events.ChatRendering(messages=command.messages, tools=command.tools),
            command.think,
        )
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
