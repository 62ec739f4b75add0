"""Unpack a GGUF file to a Hugging Face folder: weights dequantized, tokenizer rebuilt."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.system.files import describe_os_error, name_newest_file, write_file
from lora_studio.engine.model import folder as folder_module
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.runtime.llama_trial import require_computable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def convert(file: Path, folder: Path, job: JobContext) -> None:
    """Write the model of a GGUF file into `folder`; raises ProblemError when that is impossible.

    The result is verified: it predicts what llama.cpp predicts from the file itself.
    """
    job.report_progress(text("reading the model file"), 0, None)
    reader = _open(file)
    header = GgufTokenizerHeader(reader)
    with translate_library_errors(lambda reason: _unreadable_file_error(file, reason)):
        _check_architecture(file, header.get_text("general.architecture"))
        _check_blocks(header)
        tokenizer = save_tokenizer(header, folder)
    job.report_progress(text("unpacking the weights"), 0, None)
    model = _load_dequantized(file, header, reader)
    job.check()
    _set_special_tokens(model, tokenizer, header)
    _verify(file, model, tokenizer, job)
    job.report_progress(text("writing the model"), 0, None)
    with name_newest_file(folder):
        model.save_pretrained(folder)
    license_name = header.get_text("general.license") or "unknown"
    card = f"---\nlicense: {license_name}\n---\n\nUnpacked from {file.name}.\n"
    write_file(folder / "README.md", card)


def _load_dequantized(file: Path, header: GgufTokenizerHeader, reader: Any) -> PreTrainedModel:
    """Return the model with dequantized weights; raises ProblemError."""
    from transformers import AutoModelForCausalLM

    with translate_library_errors(lambda reason: _unreadable_file_error(file, reason)):
        config = build_config(file, header, reader)
        _require_tensors(config, reader)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            config=config,
            dtype=_choose_dtype(reader),
            local_files_only=True,
            trust_remote_code=False,
        )
    # Both keep the GGUF's quantization, which the written weights no longer have.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


#: How many times the parameters in its tensors a model may have: some tensors are used twice.
_MAX_PARAMETER_RATIO = 2


def _require_tensors(config: PreTrainedConfig, reader: Any) -> None:
    """Raise InvalidContentError for a model that the tensors of the file don't fill.

    A header can claim any size, and one that lacks a size gets that of a model with 7 billion parameters.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder_module.require_harmless(config.to_dict())
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(config)
    claimed = sum(parameter.numel() for parameter in outline.parameters())
    stored = sum(int(tensor.n_elements) for tensor in reader.tensors)
    if claimed > _MAX_PARAMETER_RATIO * stored:
        raise InvalidContentError(
            "its header describes {claimed:number} parameters, but its tensors have {stored:number}",
            claimed=claimed,
            stored=stored,
        )


def _set_special_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, header: GgufTokenizerHeader
) -> None:
    ends = header.list_end_tokens(tokenizer)
    for settings in (model.config, model.generation_config):
        settings.bos_token_id = tokenizer.bos_token_id
        settings.pad_token_id = tokenizer.pad_token_id
        settings.eos_token_id = ends[0] if len(ends) == 1 else ends


def build_config(file: Path, header: GgufTokenizerHeader, reader: Any) -> PreTrainedConfig:
    """Return the header as transformers reads it, with corrected defaults."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False
    )
    about = header.get_text("general.architecture")
    head_size = header.get(f"{about}.attention.key_length")
    if head_size is not None and hasattr(config, "head_dim"):
        config.head_dim = head_size
    if about == "gemma3":
        # As llama.cpp scales attention: by the head's size, but in the 27B model (62 blocks).
        blocks, heads = config.num_hidden_layers, config.num_attention_heads
        scalar = config.hidden_size // heads if blocks == 62 else config.head_dim
        config.query_pre_attn_scalar = scalar
    expert_size = header.get(f"{about}.expert_feed_forward_length")
    if expert_size is not None and hasattr(config, "moe_intermediate_size"):
        config.moe_intermediate_size = expert_size
    _set_rope(file, header, reader, config)
    return config


def _set_rope(
    file: Path, header: GgufTokenizerHeader, reader: Any, config: PreTrainedConfig
) -> None:
    """Set scaled rotary positions, which transformers ignores; raises ProblemError when unknown.

    Llama 3.1 and later store one divisor per frequency. It is 1 for high frequencies and `factor`
    for low ones, with a ramp between (Llama 3 herd of models, section 3.4).
    """
    about = header.get_text("general.architecture")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    scaling = header.get_text(f"{about}.rope.scaling.type")
    rope = dict(config.rope_parameters or {}) if hasattr(config, "rope_parameters") else {}
    if "rope_freqs.weight" in tensors:
        divisors = tensors["rope_freqs.weight"].data
        rope_parameters: dict[str, Any] = {"rope_type": "llama3", "factor": float(divisors.max())}
        rope_parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope_parameters |= {"original_max_position_embeddings": 8192}
        config.rope_parameters = rope | rope_parameters
    elif scaling == "linear" and "full_attention" in rope:
        factor = header.get(f"{about}.rope.scaling.factor")
        full = rope["full_attention"] | {"rope_type": "linear", "factor": factor}
        config.rope_parameters = rope | {"full_attention": full}
    elif scaling in ("linear", "yarn"):
        rope_parameters = {
            "rope_type": scaling,
            "factor": header.get(f"{about}.rope.scaling.factor"),
        }
        original = header.get(f"{about}.rope.scaling.original_context_length")
        if original is not None:
            rope_parameters["original_max_position_embeddings"] = original
        config.rope_parameters = rope | rope_parameters
    elif scaling not in ("", "none") or any(name.startswith("rope_factors") for name in tensors):
        raise fail(
            "model.gguf_architecture",
            "{file} uses {scaling} position scaling, which can't be unpacked for training.",
            "Choose the model as a Hugging Face folder or Hub ID instead.",
            where=Where(step="model", field="source", file=str(file)),
            file=file.name,
            scaling=scaling or "longrope",
        )


#: Mean divergence, in nats, that rounding to 16 bits stays far below and a wrong reading far above.
_LIMIT = 0.1

_SAMPLE = (
    "The lighthouse keeper counted 365 lamps, wrote “all well” in the book and asked: "
    "who lit them? Nobody answered, for the harbour's people were asleep."
)


def _verify(file: Path, model: PreTrainedModel, tokenizer: Any, job: JobContext) -> None:
    """Compare tokens and predictions with llama.cpp's on a sample; raises ProblemError."""
    import torch

    job.report_progress(text("comparing with llama.cpp"), 0, None)
    ids = tokenizer(_SAMPLE, add_special_tokens=False).input_ids
    require_computable(file, job)
    with Llama(file, context=len(ids) + 8, cancelled=job.flags.cancel.is_set) as original:
        same_tokens = original.tokenize(_SAMPLE) == ids
        positions = range(len(ids))
        expected = torch.from_numpy(original.compute_logits(ids, positions)).log_softmax(-1)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :, : expected.shape[1]]
    actual = logits.float().log_softmax(-1)
    divergence = float((expected.exp() * (expected - actual)).sum(-1).mean())
    if not same_tokens or not divergence < _LIMIT:
        raise fail(
            "model.gguf_differs",
            "{file} was unpacked, but its predictions differ from llama.cpp's by {kl:.2f} nats."
            if same_tokens
            else "{file} was unpacked, but its tokens differ from llama.cpp's.",
            "Choose the model as a Hugging Face folder or Hub ID instead.",
            where=Where(step="model", field="source", file=str(file)),
            file=file.name,
            kl=divergence,
        )


def list_architectures() -> list[str]:
    """Return the GGUF architectures that can be unpacked here."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    # The mapping's keys also hold two sections of the header, and encoders that cannot chat.
    no_chat = {"general", "tokenizer", "t5", "umt5", "mistral"}
    in_gguf = {"gpt_oss": "gpt-oss", "minimax_m2": "minimax-m2", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}  # fmt: skip
    return sorted(in_gguf.get(name, name) for name in set(GGUF_SUPPORTED_ARCHITECTURES) - no_chat)


def _open(file: Path) -> Any:
    import gguf

    try:
        facts = gguf_header.read(file)
        _require_readable(file, facts)
        return gguf.GGUFReader(file)
    except gguf_header.HeaderTooLargeError as error:
        raise fail(
            "model.unreadable",
            "{file} can't be read as a GGUF model: {reason}.",
            "Choose the model as a Hugging Face folder or Hub ID instead.",
            where=Where(step="model", field="source", file=str(file)),
            file=file.name,
            reason=error.reason,
        ) from error
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise _unreadable_file_error(file, describe_os_error(error)) from error


def _require_readable(file: Path, facts: gguf_header.GgufFacts) -> None:
    """Raise ProblemError for one part of a model, and HeaderTooLargeError for a header that takes too long.

    The library makes several objects of every value in a list, whatever its key.
    """
    if facts.is_part:
        raise fail(
            "model.gguf_part",
            "{file} is one part of a model that is split into several files.",
            "Join the parts with llama-gguf-split --merge, and choose the file that it writes.",
            where=Where(step="model", field="source", file=str(file)),
            file=file.name,
        )
    if facts.vocabulary > limits.VOCABULARY:
        raise gguf_header.HeaderTooLargeError(
            text("its tokenizer has more than {tokens:number} tokens", tokens=limits.VOCABULARY)
        )
    if facts.items > limits.GGUF_ITEMS:
        raise gguf_header.HeaderTooLargeError(
            text(
                "the lists in its header have more than {limit:number} values",
                limit=limits.GGUF_ITEMS,
            )
        )


def _check_architecture(file: Path, architecture: str) -> None:
    supported = list_architectures()
    if architecture not in supported:
        raise fail(
            "model.gguf_architecture",
            "{file} has the architecture {architecture}, which can't be unpacked for training.",
            "Choose the model as a Hugging Face folder or Hub ID instead. Supported GGUF "
            "architectures: {names}.",
            where=Where(step="model", field="source", file=str(file)),
            file=file.name,
            architecture=architecture or text("(none)"),
            names=", ".join(supported),
        )


def _check_blocks(header: GgufTokenizerHeader) -> None:
    """Raise InvalidContentError for a number of blocks that no model has: libraries make lists of them."""
    key = f"{header.get_text('general.architecture')}.block_count"
    blocks = header.get(key)
    if not isinstance(blocks, int) or not 0 < blocks <= limits.MODEL_LAYERS:
        raise InvalidContentError("{key} in its header is missing or out of range", key=key)


def _choose_dtype(reader: Any) -> torch.dtype:
    """Return float32 or float16 if the file uses it; quantized weights become bfloat16."""
    import torch

    types = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    if types == {"F32"}:
        return torch.float32
    return torch.float16 if types <= {"F32", "F16"} else torch.bfloat16


def _unreadable_file_error(file: Path, reason: Text | str) -> ProblemError:
    return fail(
        "model.unreadable",
        "{file} can't be read as a GGUF model: {reason}."
        if reason
        else "{file} can't be read as a GGUF model.",
        "Download or copy the file again. It is damaged or incomplete.",
        where=Where(step="model", field="source", file=str(file)),
        file=file.name,
        reason=reason,
    )


# The tokenizer of a GGUF file, rebuilt from its header so that both give the same tokens.
#
# transformers' own conversion is not used. It derives the end-of-turn token, the pre-tokenizer and the
# decoder from the architecture's name instead of the header, and is silently wrong for a model whose
# tokenizer is of another kind (SmolLM2 is a `llama` with byte-level BPE).

# Kinds of tokens in `tokenizer.ggml.token_type`.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


_REMEDY = "Choose the model as a Hugging Face folder or Hub ID instead. Supported names: {names}."


def _split(*before: pre_tokenizers.PreTokenizer, use_regex: bool = True) -> Any:
    """Return a pre-tokenizer for byte-level BPE after others."""
    split_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    return pre_tokenizers.Sequence([*before, split_bytes]) if before else split_bytes


def _split_by_pattern(pattern: str) -> Any:
    return _split(pre_tokenizers.Split(Regex(pattern), behavior="isolated"), use_regex=False)


#: `tokenizer.ggml.pre` -> how text is split before byte-level BPE.
SPLITS = {
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"), _split_by_pattern(_LLAMA3)
    ),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"), _split_by_pattern(_QWEN2)
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"),
        _split(pre_tokenizers.Digits(individual_digits=True)),
    ),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"), _split()),
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
    named = {
        f"{name}_token": tokens[header.get(f"tokenizer.ggml.{key}_token_id")]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if header.get(f"tokenizer.ggml.{key}_token_id") is not None
    }
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
    backend.pre_tokenizer = SPLITS[name]
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
