"""An answer of a model, or the problem why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lora_studio.core.problems import Problem


@dataclass(frozen=True)
class Reply:
    """An answer, or the problem why there is none; `seconds` as in `ItemResult`."""

    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    ending: Literal["end", "length", ""] = ""
    problem: Problem | None = None
