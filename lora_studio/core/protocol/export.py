"""Commands and events of GGUF files, self-tests and uploads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lora_studio.core.export import ExportSpec, What
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class Export(BaseCommand):
    """Writes the GGUF files of a run, tests them and creates the Ollama model."""

    title = text("Exporting")
    step = "export"
    changes_run = True
    state_after = "exported"
    kind: Literal["export"] = "export"
    run: str


class SelfTest(BaseCommand):
    """Tests the merged model and all GGUF files of a run again."""

    title = text("Running the self-test")
    step = "export"
    changes_run = True
    kind: Literal["selftest"] = "selftest"
    run: str


class Push(BaseCommand):
    """Uploads what a run has made to a repository on the Hub, with a card of the run."""

    title = text("Uploading")
    step = "export"
    kind: Literal["push"] = "push"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"
    private: bool = True


class PreviewCard(BaseCommand):
    """The model card that an upload of a run would have."""

    title = text("Writing the model card")
    kind: Literal["preview_card"] = "preview_card"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"


class Convert(BaseCommand):
    """Makes GGUF files of any Hugging Face folder, outside any run.

    `data` are rows that an importance matrix is measured on, "" where none is wanted.
    """

    title = text("Writing GGUF files")
    kind: Literal["convert"] = "convert"
    model: ModelSpec
    out: str
    export: ExportSpec
    data: str = ""


class EstimateSizes(BaseCommand):
    """Asks the quantizer how large every GGUF file of a model would be; `run` may hold it merged."""

    title = text("Estimating file sizes")
    step = "export"
    lane = "sizes"
    is_optional = True
    kind: Literal["estimate_sizes"] = "estimate_sizes"
    model: ModelSpec
    export: ExportSpec
    run: str = ""


class GgufWritten(BaseEvent):
    """One GGUF file; `tool` says which llama.cpp made it.

    `quantization` is "adapter" for the adapter alone. `estimated_bytes` is what the quantizer's dry
    run said before, None for what wasn't quantized; `imatrix`: made with an importance matrix.
    """

    kind: Literal["gguf_written"] = "gguf_written"
    file: str
    quantization: str
    bytes: int
    tool: Text
    estimated_bytes: int | None = None
    imatrix: bool = False


#: `failed`: something is wrong; `lossy`: only the few bits of the quantization show.
Verdict = Literal["passed", "lossy", "failed"]


class SelfTested(BaseEvent):
    """How well one stage agrees with base + adapter on held-out rows.

    `top1` is the share of answer positions with the same likeliest token, `kl` the mean
    Kullback-Leibler divergence in nats from base + adapter to the stage; the limits are those that
    it fails beyond, and `basis` says where they come from, or why there are none (None). `passed`
    says that it did not fail: a lossy stage is what was trained, in few bits. `cause` is the likeliest
    one of a failure, empty when none was found.
    """

    kind: Literal["self_tested"] = "self_tested"
    stage: str  # merged, converted (what quantizations are made of), or a quantization
    conversations: int
    positions: int
    tokens_equal: bool
    top1: float
    kl: float
    top1_limit: float | None
    kl_limit: float | None
    basis: Text = NO_TEXT
    passed: bool
    verdict: Verdict = "passed"
    cause: Text = NO_TEXT

    @model_validator(mode="before")
    @classmethod
    def _verdict_of_older_runs(cls, value: Any) -> Any:
        if isinstance(value, dict) and "verdict" not in value and not value.get("passed", True):
            return value | {"verdict": "failed"}
        return value


class SizesEstimated(BaseEvent):
    """Bytes of each quantization's file, by the quantizer itself; what it cannot make is left out.

    `pass_kind` is the type of the file that all are made of; `free` are the bytes free where they go,
    None where that is not known; `tools` says which llama.cpp is used.
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
    """Everything is in the repository."""

    kind: Literal["pushed"] = "pushed"
    repository: str
    what: What
    url: str
    files: int
    bytes: int
