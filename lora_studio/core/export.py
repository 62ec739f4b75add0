"""The export step: GGUF files and the Ollama model."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from lora_studio.core.spec import Spec, setting

Quantization = Literal[
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S",
    "Q2_K",
]  # fmt: skip

#: Bits per weight of a 7-billion-parameter Llama, as llama.cpp's quantiser documents them.
BITS_PER_WEIGHT: dict[Quantization, float] = {
    "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.67, "Q5_K_S": 5.52, "Q4_K_M": 4.83,
    "Q4_K_S": 4.57, "Q3_K_L": 4.27, "Q3_K_M": 3.89, "Q3_K_S": 3.5, "Q2_K": 3.0,
}  # fmt: skip

_OLLAMA_NAME = re.compile(
    r"(?:[a-z0-9._-]+(?::\d+)?/)?(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9][\w.-]*(?::[\w.-]+)?\Z"
)


class ExportSpec(Spec):
    """Which GGUF files are written and which Ollama model is created."""

    quantizations: tuple[Quantization, ...] = setting(
        ("Q4_K_M",),
        "Quantisations",
        "GGUF files to write. Q4_K_M is the usual balance of size and quality; F16 is exact.",
        min_length=1,
    )
    llama_cpp: str = setting(
        "",
        "llama.cpp folder",
        "A llama.cpp of your own to convert and quantise with. Empty: the one that comes along.",
        path="folder",
        advanced=True,
    )
    ollama_create: bool = setting(
        True,
        "Create in Ollama",
        "Creates the model in Ollama when a server answers.",
    )
    ollama_host: str = setting(
        "",
        "Ollama address",
        "Such as http://127.0.0.1:11434. Empty: OLLAMA_HOST, else this computer.",
        advanced=True,
    )
    ollama_name: str = setting(
        "",
        "Ollama name",
        "name:tag of the model to create. Empty: the project's name.",
    )
    system_prompt: str = setting(
        "",
        "System prompt",
        "Default system prompt of the Ollama model. Empty: what the chat template brings.",
    )
    temperature: float = setting(
        0.7,
        "Temperature",
        "Randomness of the Ollama model's answers by default. 0 always takes the likeliest token.",
        ge=0.0,
        le=2.0,
        step=0.05,
        advanced=True,
    )
    top_p: float = setting(
        0.9,
        "Top-p",
        "Only the likeliest tokens that together reach this probability are drawn from.",
        gt=0.0,
        le=1.0,
        step=0.05,
        advanced=True,
    )
    num_ctx: int = setting(
        4096,
        "Context length",
        "Tokens that the Ollama model keeps in view by default.",
        unit="tokens",
        ge=128,
        le=1_048_576,
        advanced=True,
    )
    self_test: bool = setting(
        True,
        "Self-test",
        "Compares adapter, merged model and each GGUF on held-out rows, token by token.",
    )

    @field_validator("quantizations")
    @classmethod
    def _no_repetition(cls, value: tuple[Quantization, ...]) -> tuple[Quantization, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a quantisation twice")
        return value

    @field_validator("ollama_name")
    @classmethod
    def _name_is_valid(cls, value: str) -> str:
        if value and not _OLLAMA_NAME.match(value):
            raise ValueError("is not a model name such as my-model or my-model:v2")
        return value


def suggested_ollama_name(project_name: str) -> str:
    """A valid Ollama name made of a project's name."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", project_name.lower()).strip("-._")
    return slug or "my-model"
