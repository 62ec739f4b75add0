"""The tokenizer of a GGUF file, rebuilt from its header so that both give the same tokens.

transformers' own conversion is not used. It derives the end-of-turn token, the pre-tokenizer and the
decoder from the architecture's name instead of the header, and is silently wrong for a model whose
tokenizer is of another kind (SmolLM2 is a `llama` with byte-level BPE).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import name_newest_file, write_file

# Kinds of tokens in `tokenizer.ggml.token_type`.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def _split_by_pattern(pattern: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    return lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _split_digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _split_plain() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


_REMEDY = "Choose the model as a Hugging Face folder or Hub ID instead. Supported names: {names}."

#: `tokenizer.ggml.pre` -> how text is split before byte-level BPE.
SPLITS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"), _split_by_pattern(_LLAMA3)
    ),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"), _split_by_pattern(_QWEN2)
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _split_digits
    ),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"), _split_plain),
}


class GgufTokenizerHeader:
    """The metadata of an open GGUF file, by key."""

    def __init__(self, reader: Any) -> None:
        """Wrap a `gguf.GGUFReader`."""
        self._fields = reader.fields

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key as Python's own types."""
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def get_text(self, key: str) -> str:
        """Return the value of a key as text, "" when it is missing."""
        return str(self.get(key, ""))

    def list_end_tokens(self, tokenizer: PreTrainedTokenizerFast) -> list[int]:
        """Return the IDs that end an answer: end of sequence, then of turn and message."""
        ids = [tokenizer.eos_token_id]
        ids += [self.get(f"tokenizer.ggml.{name}_token_id") for name in ("eot", "eom")]
        return list(dict.fromkeys(int(value) for value in ids if value is not None))


def _get_special_tokens(header: GgufTokenizerHeader, tokens: list[str]) -> dict[str, str]:
    """Return the tokens that have a role, by their names in transformers."""
    return {
        f"{name}_token": tokens[header.get(f"tokenizer.ggml.{key}_token_id")]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if header.get(f"tokenizer.ggml.{key}_token_id") is not None
    }


def save_tokenizer(header: GgufTokenizerHeader, folder: Path) -> PreTrainedTokenizerFast:
    """Write the tokenizer, its chat template and, for SentencePiece, `tokenizer.model`.

    Raises ProblemError for an unknown type, which it names.
    """
    tokens: list[str] = header.get("tokenizer.ggml.tokens", [])
    types: list[int] = header.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    kind = header.get_text("tokenizer.ggml.model")
    match kind:
        case "gpt2":
            backend = _build_byte_level(header, tokens)
        case "llama":
            scores: list[float] = header.get("tokenizer.ggml.scores") or [0.0] * len(tokens)
            backend = _build_sentencepiece(header, tokens, types, scores)
            content = _build_model_file(header, tokens, types, scores)
            write_file(folder / "tokenizer.model", content)
        case _:
            raise fail(
                "model.gguf_tokenizer",
                "The GGUF file has an unsupported tokenizer: {name}.",
                _REMEDY,
                where=Where(step="model", field="source"),
                name=kind,
                names="gpt2, llama",
            )
    _add_tokens(backend, tokens, types)
    named = _get_special_tokens(header, tokens)
    if "bos_token" in named and header.get(
        "tokenizer.ggml.add_bos_token", kind == "llama" or header.get_text("tokenizer.ggml.pre") in ("llama-bpe", "llama3")
    ):  # fmt: skip
        backend.post_processor = _add_begin_token(backend, named["bos_token"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **named
    )
    tokenizer.chat_template = header.get("tokenizer.chat_template")
    with name_newest_file(folder):
        tokenizer.save_pretrained(folder)
    return tokenizer


def _build_byte_level(header: GgufTokenizerHeader, tokens: list[str]) -> Tokenizer:
    name = header.get_text("tokenizer.ggml.pre")
    if name not in SPLITS:
        raise fail(
            "model.gguf_tokenizer",
            "The GGUF file has an unsupported pre-tokenizer: {name}.",
            _REMEDY,
            where=Where(step="model", field="source"),
            name=name or text("(none)"),
            names=", ".join(SPLITS),
        )
    merges = [tuple(merge.split(" ", 1)) for merge in header.get("tokenizer.ggml.merges", [])]
    backend = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            ignore_merges=name in ("llama-bpe", "llama3", "llama-v3"),
        )
    )
    if name == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = SPLITS[name]()
    backend.decoder = decoders.ByteLevel()
    return backend


def _build_sentencepiece(
    header: GgufTokenizerHeader, tokens: list[str], types: list[int], scores: list[float]
) -> Tokenizer:
    """Return a BPE whose merges are ordered by the score of their result, as in SentencePiece."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    normal = {token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    merges: list[tuple[str, str]] = []
    for token in sorted(normal, key=lambda token: (-scores[vocabulary[token]], vocabulary[token])):
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known_pairs = [pair for pair in pairs if pair[0] in normal and pair[1] in normal]
        merges += sorted(known_pairs, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    unknown = header.get("tokenizer.ggml.unknown_token_id", 0)
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    blanks = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if header.get("tokenizer.ggml.add_space_prefix", True):
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blanks])
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        backend.normalizer = blanks
        backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    backend.decoder = decoders.Sequence(steps)
    return backend


def _build_model_file(
    header: GgufTokenizerHeader, tokens: list[str], types: list[int], scores: list[float]
) -> bytes:
    """Return `tokenizer.model`, which conversion back to GGUF reads instead of tokenizer.json."""
    # Generated code: its classes exist at run time only.
    protobuf: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = protobuf.ModelProto()
    for token, kind, score in zip(tokens, types, scores, strict=True):
        proto.pieces.add(piece=token, score=score, type=kind)
    trainer = proto.trainer_spec
    trainer.model_type = protobuf.TrainerSpec.BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = _BYTE in types
    for name, key in (("unk", "unknown"), ("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        index = header.get(f"tokenizer.ggml.{key}_token_id")
        setattr(trainer, f"{name}_id", -1 if index is None else index)
        if index is not None:
            setattr(trainer, f"{name}_piece", tokens[index])
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = header.get("tokenizer.ggml.add_space_prefix", True)
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    return proto.SerializeToString()


def _add_tokens(backend: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Mark control tokens as special, and user-defined ones as matched whole in any text."""
    for token, kind in zip(tokens, types, strict=True):
        if kind in (_CONTROL, _UNKNOWN):
            backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            backend.add_tokens([AddedToken(token, normalized=False)])


def _add_begin_token(backend: Tokenizer, token: str) -> processors.PostProcessor:
    return processors.TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token}:1 $B:1",
        special_tokens=[(token, backend.token_to_id(token))],
    )
