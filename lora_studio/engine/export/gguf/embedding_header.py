"""Complete the header of an embedding model's GGUF file in the converter: tokenizer, end token, and pooling.

llama.cpp's converter writes the pooling for some architectures only, and lets `add_eos_token` of
`tokenizer_config.json` override what the tokenizer itself adds to a text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.model.embedding_files import list_pooling_modes, read_pooling
from lora_studio.core.system.foreign_files import read_json

#: `enum llama_pooling_type` (llama.h), by the mode of sentence-transformers.
POOLING_TYPES = {"mean_tokens": 1, "cls_token": 2, "lasttoken": 3}


def complete_header(gguf: Any, model: Path) -> None:
    """Make gguf write pooling and edges of texts if a folder has an embedding model."""
    settings = read_pooling(model)
    if settings is None:
        return
    _state_edges(gguf.SpecialVocab, read_edges(model))
    if (kind := _find_type(settings)) is not None:
        _write_pooling(gguf.GGUFWriter, kind)


def _find_type(settings: dict[str, object]) -> int | None:
    """Return the number of a pooling, None for one that llama.cpp doesn't have."""
    match list_pooling_modes(settings):
        case [mode]:
            return POOLING_TYPES.get(mode)
    return None


def read_edges(model: Path) -> dict[str, bool]:
    """Return whether a tokenizer begins (`bos`) and ends (`eos`) a text with a token, {} if unknown."""
    try:
        processor = read_json(model / "tokenizer.json", limits.LARGE_FILE)["post_processor"]
        parts = processor.get("processors") or [processor]
        single = next(part["single"] for part in parts if part["type"] == "TemplateProcessing")
        return {"bos": "SpecialToken" in single[0], "eos": "SpecialToken" in single[-1]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
        return {}


def _state_edges(vocabulary: type[Any], edges: dict[str, bool]) -> None:
    """Make gguf's SpecialVocab state what the tokenizer adds to a text."""
    begin = vocabulary.__init__

    def gather(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.add_special_token.update(edges)

    vocabulary.__init__ = gather  # type: ignore[misc]  # a class of a package without types


def recognize_without_end(base: Any, model: Path) -> None:
    """Make llama.cpp's `conversion.base` recognize a tokenizer that ends texts with a token.

    The converter identifies a tokenizer by a hash of the token IDs of one text. It doesn't know those of a
    tokenizer that training let add the end token, but those before it.
    """
    if read_pooling(model) is None or not read_edges(model).get("eos"):
        return
    recognize = base.TextModel.get_vocab_base_pre

    def recognize_either(self: Any, tokenizer: Any) -> Any:
        try:
            return recognize(self, tokenizer)
        except NotImplementedError:
            return recognize(self, _WithoutEnd(tokenizer))

    base.TextModel.get_vocab_base_pre = recognize_either


class _WithoutEnd:
    """A tokenizer that leaves out the last token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the token IDs of a text without its end token."""
        return list(self._tokenizer.encode(text))[:-1]


def _write_pooling(writer: type[Any], kind: int) -> None:
    """Make gguf's GGUFWriter write the pooling unless the converter has."""
    write = writer.write_header_to_file

    def write_with_pooling(self: Any, *arguments: Any, **named: Any) -> None:
        key = f"{self.arch}.pooling_type"
        written = self.kv_data if isinstance(self.kv_data, list) else [self.kv_data]
        if not any(key in values for values in written):
            self.add_uint32(key, kind)
        write(self, *arguments, **named)

    writer.write_header_to_file = write_with_pooling
