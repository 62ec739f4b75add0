"""Unpack a GGUF file to a Hugging Face folder: weights dequantized, tokenizer rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.system.files import describe_os_error, name_newest_file, write_file
from lora_studio.engine.model import config_checks, gguf_header
from lora_studio.engine.model.gguf_tokenizer import GgufTokenizerHeader, save_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors
from lora_studio.engine.runtime.llama_cpp import Llama

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

    config_checks.require_harmless(config.to_dict())
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
    except gguf_header.HeaderLimitError as error:
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
    """Raise ProblemError for one part of a model, and HeaderLimitError for a header that takes too long.

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
        raise gguf_header.HeaderLimitError(
            text("its tokenizer has more than {tokens:number} tokens", tokens=limits.VOCABULARY)
        )
    if facts.items > limits.GGUF_ITEMS:
        raise gguf_header.HeaderLimitError(
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
