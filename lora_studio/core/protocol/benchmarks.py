"""Commands and events of public benchmarks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.messages import text
from lora_studio.core.protocol.base import BaseCommand, BaseEvent

#: The kinds of benchmarks that can be evaluated.
OUTPUT_TYPES = ("multiple_choice", "generate_until", "loglikelihood_rolling")


class BenchmarkInfo(BaseModel):
    """A benchmark of lm-eval: `dataset` is the Hub dataset with its items, `file` its definition.

    `output_type` is how models answer: "multiple_choice", "generate_until", or
    "loglikelihood_rolling", the perplexity of texts.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    name: str
    dataset: str = ""
    output_type: str = ""
    file: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether it can be evaluated, as far as its definition says."""
        return self.output_type in ("", *OUTPUT_TYPES)


class ListBenchmarks(BaseCommand):
    """List the benchmarks whose name or dataset contains all words of `search`.

    The first time, lm-eval's definitions are indexed, which takes up to a minute.
    """

    title = text("Listing the benchmarks")
    lane = "reader"
    in_project = False
    kind: Literal["list_benchmarks"] = "list_benchmarks"
    search: str = ""
    limit: int = Field(200, ge=1, le=20_000)


class BenchmarksListed(BaseEvent):
    """The benchmarks that were found, by name; `total` is how many there are without the limit."""

    kind: Literal["benchmarks_listed"] = "benchmarks_listed"
    benchmarks: tuple[BenchmarkInfo, ...]
    total: int
