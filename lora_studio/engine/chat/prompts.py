"""The exact prompt that a model receives: as text, and token by token."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lora_studio.core.chat import OllamaChatModel
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import Message
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.server.rendering import render_as_server
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.export.ollama import server
from lora_studio.engine.generation.turn_boundaries import render_prompt
from lora_studio.engine.runtime.llama_cpp import Llama


def show_torch_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]
) -> events.PromptShown:
    """Return the prompt of a model in torch; raises ProblemError."""
    text = render_prompt(tokenizer, messages)
    return events.PromptShown(text=text, tokens=_decode_tokens(tokenizer, text))


def show_gguf_prompt(
    llama: Llama, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]
) -> events.PromptShown:
    """Return the prompt of a GGUF file, in llama.cpp's own tokens; raises ProblemError."""
    text = render_prompt(tokenizer, messages)
    ids = llama.tokenize(text)
    # A character of several tokens is shown by the last of them.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shown = (decoder.decode(piece) for piece in llama.get_pieces(ids))
    tokens = tuple(
        events.Token(id=i, text=piece, state="context", special=llama.is_control(i))
        for i, piece in zip(ids, shown, strict=True)
    )
    return events.PromptShown(text=text, tokens=tokens)


def show_ollama_prompt(
    chat_model: OllamaChatModel, messages: Sequence[Message]
) -> events.PromptShown:
    """Return what the server's TEMPLATE renders for a conversation; its tokens are not available."""
    stored = server.show_model(chat_model.host, chat_model.name)
    if stored.chat_template:
        return events.PromptShown(
            text="",
            note=text(
                "This server builds its prompts from the chat template in the GGUF file. Only the server "
                "can show them."
            ),
        )
    turns = tuple({"role": message.role, "content": message.content} for message in messages)
    request = RenderRequest(messages=turns, system=stored.system)
    note = text("Ollama tokenizes this text itself and reports only the number of tokens.")
    try:
        return events.PromptShown(text=render_as_server(stored.template, request), note=note)
    except GoTemplateError as error:
        return events.PromptShown(
            text="", note=text("Its TEMPLATE can't be rendered: {reason}.", reason=str(error))
        )


def create_renderer(llama: Llama, file: Path) -> PreTrainedTokenizerBase:
    """Return a tokenizer that renders the file's template; llama.cpp tokenizes the text."""
    template = llama.get_chat_template()
    if not template:
        raise fail(
            "chat.no_template",
            "{file} has no chat template.",
            "Choose an instruction-tuned or chat model.",
            where=Where(file=str(file)),
            file=file.name,
        )
    bos, eos = llama.get_bos_and_eos()
    named = {name: text for name, text in (("bos_token", bos), ("eos_token", eos)) if text}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **named)
    tokenizer.chat_template = template
    return tokenizer


def _decode_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[events.Token, ...]:
    """Return the tokens of a rendered text; their texts add up to the text."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    tokens, covered = [], 0
    for position, (index, (_, end)) in enumerate(
        zip(encoding.input_ids, encoding.offset_mapping, strict=True)
    ):
        # Tokens that share a character: the first of them shows it, the others nothing.
        begin, covered = covered, max(covered, end)
        if position == len(encoding.input_ids) - 1:
            covered = len(text)
        shown = text[begin:covered]
        tokens.append(events.Token(id=index, text=shown, state="context", special=index in special))
    return tuple(tokens)
