"""Commands and events of GGUF files, self-tests and uploads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lora_studio.core.export import ExportSpec, What
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class Export(BaseCommand):
    """Write the GGUF files of a run, self-test them, and create the Ollama model."""

    title = text("Exporting")
    step = "export"
    changes_run = True
    state_after = "exported"
    kind: Literal["export"] = "export"
    run: str


class SelfTest(BaseCommand):
    """Repeat the self-test of the merged model and all GGUF files of a run.

    The check that doesn't use the converter reads a sample of rows of each large tensor, or with `all_rows`, all.
    """

    title = text("Running the self-test")
    step = "export"
    changes_run = True
    kind: Literal["selftest"] = "selftest"
    run: str
    all_rows: bool = False


class Push(BaseCommand):
    """Upload the results of a run to a Hub repository, with a model card."""

    title = text("Uploading")
    step = "export"
    kind: Literal["push"] = "push"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"
    private: bool = True


class PreviewCard(BaseCommand):
    """Preview the model card of an upload."""

    title = text("Writing the model card")
    reads_foreign_files = True
    kind: Literal["preview_card"] = "preview_card"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"


class Convert(BaseCommand):
    """Convert a Hugging Face folder outside any run to GGUF files.

    `data` are rows for measuring an importance matrix, "" for none.
    """

    title = text("Writing GGUF files")
    kind: Literal["convert"] = "convert"
    model: ModelSpec
    out: str
    export: ExportSpec
    data: str = ""


class EstimateSizes(BaseCommand):
    """Estimate the size of every GGUF file of a model with the quantizer; uses the merged model of
    `run` if it has one.
    """

    title = text("Estimating file sizes")
    step = "export"
    lane = "sizes"
    is_optional = True
    kind: Literal["estimate_sizes"] = "estimate_sizes"
    model: ModelSpec
    export: ExportSpec
    run: str = ""


class GgufWritten(BaseEvent):
    """A GGUF file was written; `tool` is the llama.cpp that wrote it.

    `quantization` is "adapter" for the adapter alone. `estimated_bytes` is the estimate of the
    quantizer's dry run, None for unquantized files; `imatrix`: quantized with an importance matrix;
    `is_direct`: made from base and adapter, not from the merged model.
    """

    kind: Literal["gguf_written"] = "gguf_written"
    file: str
    quantization: str
    bytes: int
    tool: Text
    estimated_bytes: int | None = None
    imatrix: bool = False
    is_direct: bool = False


#: `failed`: something is wrong; `lossy`: the differences are explained by the quantization alone.
Verdict = Literal["passed", "lossy", "failed"]


class SelfTested(BaseEvent):
    """How well one stage agrees with base + adapter on held-out rows.

    `top1` is the share of answer positions with the same likeliest token, `kl` the mean
    Kullback-Leibler divergence in nats from base + adapter to the stage; beyond the limits it
    fails, and `basis` says where they come from, or why there are none (None). Within `top1_passing`
    and `kl_passing` its verdict is "passed"; the weights of a merged model are those of the training,
    so its limits are stricter than a quantization's. `passed` means that it did not fail: a lossy
    stage is the trained model, at low precision. `faults` name what differs
    from what was trained, `cause` is the likeliest cause of it, empty if unknown, and `remedy` what
    to do. A stage whose values differ (`compared` says what was compared) isn't measured: it has no
    positions, and None for what would be. An embedding model has cosine similarities of texts' vectors to
    those of base + adapter instead: the lowest, `similarity`, their mean, and the least that it must have
    to pass, or if it failed, not to fail.
    """

    kind: Literal["self_tested"] = "self_tested"
    stage: str  # merged, converted (the source of all quantizations), or a quantization
    conversations: int = 0
    positions: int = 0
    tokens_equal: bool | None = None
    top1: float | None = None
    kl: float | None = None
    top1_limit: float | None = None
    kl_limit: float | None = None
    top1_passing: float | None = None
    kl_passing: float | None = None
    basis: Text = NO_TEXT
    passed: bool
    verdict: Verdict = "passed"
    faults: tuple[Text, ...] = ()
    cause: Text = NO_TEXT
    remedy: Text = NO_TEXT
    compared: Text = NO_TEXT
    similarity: float | None = None
    similarity_mean: float | None = None
    similarity_limit: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _verdict_of_older_runs(cls, value: Any) -> Any:
        if isinstance(value, dict) and "verdict" not in value and not value.get("passed", True):
            return value | {"verdict": "failed"}
        return value


class SizesEstimated(BaseEvent):
    """File size of each quantization in bytes, from the quantizer; unsupported ones are missing.

    `pass_kind` is the type of the file that all are quantized from; `free` is the free disk space
    at the destination in bytes, None if unknown; `tools` says which llama.cpp is used.
    """

    kind: Literal["sizes_estimated"] = "sizes_estimated"
    bytes: dict[str, int]
    pass_kind: str = ""
    free: int | None = None
    tools: Text = NO_TEXT


class CardPreviewed(BaseEvent):
    """A model card as it would be uploaded, in Markdown."""

    kind: Literal["card_previewed"] = "card_previewed"
    text: str


class Pushed(BaseEvent):
    """The upload is complete."""

    kind: Literal["pushed"] = "pushed"
    repository: str
    what: What
    url: str
    files: int
    bytes: int
