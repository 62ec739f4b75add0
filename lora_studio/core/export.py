"""The export step: GGUF files and the Ollama model; facts about each quantization."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator

from lora_studio.core.spec import Spec, setting, value_error

Quantization = Literal[
    "F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_1",
    "Q4_K_M", "IQ4_NL", "Q4_K_S", "Q4_0", "MXFP4_MOE", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_M",
    "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S", "Q2_0", "IQ2_XS", "TQ2_0",
    "IQ2_XXS", "TQ1_0", "IQ1_M", "IQ1_S", "Q1_0",
]  # fmt: skip


@dataclass(frozen=True)
class QuantFacts:
    """Facts about a quantization that hold for every model.

    `bits` per weight are those of a model shaped like Llama 3 8B, computed by llama.cpp's quantizer
    in a dry run, with an importance matrix where it is required. `main_bits` are those of the type that most weights
    get, with the scales of its blocks (ggml-common.h). `loss` is a phrase for the loss in
    quality. `kl` is the mean KL divergence in nats that it costs, which the self-test allows for: of
    SmolLM2-135M, measured with `python -m tests.benchmarks.quantizations`, and of Llama 3 8B, published with llama.cpp
    (tools/perplexity/README.md); None if the values stay the same, or if no general model survives
    it. With `needs_imatrix` the quantizer requires an importance matrix. `only_for` names the
    models it was designed for, "" for all. With `needs_experts` it is for mixtures of experts alone,
    and `bits` are those of one shaped like Qwen3 30B-A3B.
    """

    bits: float
    main_bits: float
    loss: str
    kl: tuple[float, float] | None = None
    needs_imatrix: bool = False
    only_for: str = ""
    needs_experts: bool = False


#: Every file type that llama.cpp's quantizer writes, from the largest to the smallest.
QUANTIZATIONS: dict[Quantization, QuantFacts] = {
    "F32": QuantFacts(32.0, 32, "none"),
    "BF16": QuantFacts(16.0, 16, "practically none"),
    "F16": QuantFacts(16.0, 16, "practically none"),
    "Q8_0": QuantFacts(8.5, 8.5, "negligible", (0.0072, 0.0014)),
    "Q6_K": QuantFacts(6.56, 6.5625, "minimal", (0.062, 0.0055)),
    "Q5_1": QuantFacts(6.04, 6, "very small", (0.11, 0.018)),
    "Q5_K_M": QuantFacts(5.7, 5.5, "very small", (0.096, 0.011)),
    "Q5_K_S": QuantFacts(5.57, 5.5, "very small", (0.12, 0.017)),
    "Q5_0": QuantFacts(5.57, 5.5, "very small", (0.14, 0.022)),
    "Q4_1": QuantFacts(5.1, 5, "small", (0.43, 0.072)),
    "Q4_K_M": QuantFacts(4.89, 4.5, "small (most popular)", (0.27, 0.031)),
    "IQ4_NL": QuantFacts(4.68, 4.5, "small", (0.38, 0.036)),
    "Q4_K_S": QuantFacts(4.67, 4.5, "small", (0.36, 0.043)),
    "Q4_0": QuantFacts(4.64, 4.5, "noticeable", (0.65, 0.072)),
    # Stores only experts in 4 bits and the other weights in 8; its loss is that of Q4_0.
    "MXFP4_MOE": QuantFacts(
        4.47, 4.25, "small", (0.65, 0.072), only_for="mixtures of experts", needs_experts=True
    ),
    "IQ4_XS": QuantFacts(4.46, 4.25, "small", (0.4, 0.036)),
    "Q3_K_L": QuantFacts(4.3, 3.4375, "noticeable", (0.56, 0.087)),
    "Q3_K_M": QuantFacts(4.0, 3.4375, "noticeable", (0.7, 0.1)),
    "IQ3_M": QuantFacts(3.76, 3.4375, "noticeable", (2.1, 0.1)),
    "IQ3_S": QuantFacts(3.66, 3.4375, "noticeable", (4.4, 0.11)),
    "Q3_K_S": QuantFacts(3.64, 3.4375, "large", (1.2, 0.23)),
    "IQ3_XS": QuantFacts(3.5, 3.0625, "large", (0.78, 0.14), needs_imatrix=True),
    "IQ3_XXS": QuantFacts(3.26, 3.0625, "large", (1.1, 0.18), needs_imatrix=True),
    "Q2_K": QuantFacts(3.16, 2.625, "very large", (3.3, 0.45)),
    "Q2_K_S": QuantFacts(2.97, 2.625, "very large", (1.7, 0.4), needs_imatrix=True),
    "IQ2_M": QuantFacts(2.93, 2.5625, "very large", (1.8, 0.33), needs_imatrix=True),
    "IQ2_S": QuantFacts(2.74, 2.3125, "very large", (2, 0.44), needs_imatrix=True),
    "Q2_0": QuantFacts(
        2.68, 2.25, "unusable for other models", only_for="models trained in 2 bits"
    ),
    "IQ2_XS": QuantFacts(2.59, 2.3125, "very large", (2.2, 0.55), needs_imatrix=True),
    "TQ2_0": QuantFacts(2.52, 2.0625, "unusable for other models", only_for="ternary models"),
    "IQ2_XXS": QuantFacts(2.38, 2.0625, "extreme", (3.1, 0.81), needs_imatrix=True),
    "TQ1_0": QuantFacts(2.19, 1.6875, "unusable for other models", only_for="ternary models"),
    "IQ1_M": QuantFacts(2.15, 1.75, "extreme", (4.3, 1.4), needs_imatrix=True),
    "IQ1_S": QuantFacts(2.0, 1.5625, "extreme", (6.4, 2.2), needs_imatrix=True),
    "Q1_0": QuantFacts(1.48, 1.125, "unusable for other models", only_for="binary models"),
}

#: Bits per weight of each quantization.
BITS_PER_WEIGHT: dict[Quantization, float] = {
    name: facts.bits for name, facts in QUANTIZATIONS.items()
}

#: The most common choices.
COMMON: tuple[Quantization, ...] = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K",
)  # fmt: skip

#: The results of a run that can be uploaded.
What = Literal["adapter", "merged", "gguf"]

_OLLAMA_NAME = re.compile(
    r"(?:[a-z0-9._-]+(?::\d+)?/)?(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9][\w.-]*(?::[\w.-]+)?\Z"
)


class ExportSpec(Spec):
    """Which GGUF files are written and which Ollama model is created."""

    quantizations: tuple[Quantization, ...] = setting(
        ("Q4_K_M",),
        "Quantizations",
        "GGUF files to write. Q4_K_M is the usual balance of size and quality; F16 is "
        "practically lossless. If you choose several, Ollama gets the one you chose first.",
        min_length=1,
        help_topic="gguf-quantization",
    )
    convert_from: Literal["auto", "adapter", "merged"] = setting(
        "auto",
        "Convert from",
        "Convert the merged model, or merge base model and adapter on the fly, which needs no"
        " disk space for a merged copy. On the fly, a bfloat16 base model is converted "
        "through float16, which preserves small updates, unless you set a merge precision or "
        "want a BF16 file. If you want a BF16 file, the merged model is converted even if rounding "
        "changed it.",
        choices={
            "auto": "Merged model, or base model + adapter if rounding changed it",
            "adapter": "Base model + adapter",
            "merged": "Merged model",
        },
        advanced=True,
        help_topic="gguf-quantization",
    )
    imatrix: Literal["needed", "always"] = setting(
        "needed",
        "Importance matrix",
        "Measures on the training data which weights matter most and quantizes these more "
        "precisely. The smallest quantizations require it; from Q6_K up, it makes little "
        "difference.",
        choices={"needed": "Only where required", "always": "For every quantization"},
        help_topic="gguf-quantization",
    )
    adapter_gguf: bool = setting(
        False,
        "Also export the adapter as GGUF",
        "Also writes the adapter alone, for llama.cpp's --lora. Ollama can't run it.",
        advanced=True,
        help_topic="gguf-quantization",
    )
    lm_studio: bool = setting(
        False,
        "Add to LM Studio",
        "Links the files into LM Studio's models folder. On the same disk, this needs no "
        "extra space.",
        advanced=True,
        help_topic="ollama",
    )
    lm_studio_folder: str = setting(
        "",
        "LM Studio models folder",
        "Leave empty to look for it in your home folder.",
        path="folder",
        advanced=True,
        help_topic="ollama",
    )
    llama_cpp: str = setting(
        "",
        "llama.cpp folder",
        "Your own llama.cpp build to convert and quantize with. Leave empty for the built-in one.",
        path="folder",
        advanced=True,
        help_topic="gguf-quantization",
    )
    ollama_create: bool = setting(
        True,
        "Create in Ollama",
        "Creates the model in Ollama if a server is running.",
        help_topic="ollama",
    )
    ollama_host: str = setting(
        "",
        "Ollama address",
        "For example http://127.0.0.1:11434. Leave empty to use OLLAMA_HOST, or this computer"
        " if it isn't set.",
        advanced=True,
        help_topic="ollama",
    )
    ollama_name: str = setting(
        "",
        "Ollama name",
        "name:tag of the model to create. Leave empty for the project's name.",
        help_topic="ollama",
    )
    system_prompt: str = setting(
        "",
        "System prompt",
        "Default system prompt of the Ollama model. Leave empty for the chat template's own.",
        help_topic="chat-template",
    )
    temperature: float = setting(
        0.7,
        "Temperature",
        "Default sampling temperature of the Ollama model. 0 always picks the most likely token.",
        ge=0.0,
        le=2.0,
        step=0.05,
        advanced=True,
        help_topic="ollama",
    )
    top_p: float = setting(
        0.9,
        "Top-p",
        "Samples only from the most likely tokens whose probabilities add up to this.",
        gt=0.0,
        le=1.0,
        step=0.05,
        advanced=True,
        help_topic="ollama",
    )
    num_ctx: int = setting(
        4096,
        "Context length",
        "Default context window of the Ollama model.",
        unit="tokens",
        ge=128,
        le=1_048_576,
        advanced=True,
        help_topic="ollama",
    )
    self_test: bool = setting(
        True,
        "Self-test",
        "Compares adapter, merged model, and each GGUF file on held-out rows: token by token, or the vectors of "
        "embedding models.",
        help_topic="self-test",
    )

    @field_validator("quantizations")
    @classmethod
    def _no_repetition(cls, value: tuple[Quantization, ...]) -> tuple[Quantization, ...]:
        if len(set(value)) != len(value):
            raise value_error("lists a quantization twice")
        return value

    @field_validator("ollama_host")
    @classmethod
    def _host_has_no_password(cls, value: str) -> str:
        if "@" in value:
            raise value_error(
                "contains a user name or password, which can't be saved in a project; set the "
                "environment variable OLLAMA_HOST to this address and leave the field empty"
            )
        return value

    @field_validator("ollama_name")
    @classmethod
    def _name_is_valid(cls, value: str) -> str:
        if value and not is_ollama_name(value):
            raise value_error("is not a model name such as my-model or my-model:v2")
        return value


#: What a GGUF file was made from, in the record of an export.
MERGED_SOURCE, DIRECT_SOURCE = "merged model", "base and adapter"


def is_direct_export(spec: ExportSpec, *, has_merged: bool, is_rounded: bool = False) -> bool:
    """Return whether the files are converted from base and adapter, not from a merged model on disk.

    `is_rounded`: storing the merged model in bfloat16 has changed noticeably what was trained. By default it isn't
    converted then, unless a BF16 file is wanted, which would be rounded just the same.
    """
    is_lossy = is_rounded and "BF16" not in spec.quantizations
    uses_merged = has_merged and not is_lossy
    return spec.convert_from == "adapter" or (spec.convert_from == "auto" and not uses_merged)


def should_use_imatrix(spec: ExportSpec, quantization: Quantization) -> bool:
    """Return whether a file of this quantization uses an importance matrix.

    Unquantized and 8-bit types ignore one, and MXFP4.
    """
    facts = QUANTIZATIONS[quantization]
    uses = facts.bits < 8 and not facts.needs_experts
    return facts.needs_imatrix or (spec.imatrix == "always" and uses)


def suggest_ollama_name(project_name: str) -> str:
    """Return a valid Ollama name derived from a project's name; letters lose their accents."""
    letters = unicodedata.normalize("NFKD", project_name.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    slug = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")
    return slug or "my-model"


def is_ollama_name(name: str) -> bool:
    """Return whether an Ollama server accepts a name for a model."""
    return bool(_OLLAMA_NAME.match(name))


def is_ollama_name_taken(name: str, taken: Iterable[str]) -> bool:
    """Return whether creating a model of this name would replace an existing one."""
    return _normalize_ollama_name(name) in map(_normalize_ollama_name, taken)


def _normalize_ollama_name(name: str) -> str:
    """Return a name as a server compares it: case-insensitive, without default registry, with a
    tag."""
    short = name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return short if ":" in short.rsplit("/", 1)[-1] else f"{short}:latest"


def find_free_ollama_name(name: str, taken: Collection[str]) -> str:
    """Return the name with the first tag v2, v3, … that isn't taken."""
    start = name.rsplit("/", 1)[0] + "/" if "/" in name else ""
    bare = name.removeprefix(start).partition(":")[0]
    numbers = (f"{start}{bare}:v{number}" for number in itertools.count(2))
    return next(tagged for tagged in numbers if not is_ollama_name_taken(tagged, taken))
