"""Commands and events of GGUF files, self-tests and uploads."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lora_studio.core.export import ExportSpec, What
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.templates.server.prompt_proof import (
    ProbeKind,
    PromptProof,
    TemplateDifference,
)
from lora_studio.core.templates.server.terms import DerivedTemplate, RenderRequest


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

    `quantization` is "adapter" for the adapter alone, and "projector" for the encoders of images and audio.
    `estimated_bytes` is the estimate of the quantizer's dry run, None for unquantized files; `imatrix`: quantized
    with an importance matrix; `is_direct`: made from base and adapter, not from the merged model.
    """

    kind: Literal["gguf_written"] = "gguf_written"
    file: str
    quantization: str
    bytes: int
    tool: Text
    estimated_bytes: int | None = None
    imatrix: bool = False
    is_direct: bool = False


#: Files that hold no language model, in the place of a quantization.
PARTS = ("adapter", "projector")

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


class InspectOllama(BaseCommand):
    """Ask an Ollama server for its version and models."""

    title = text("Connecting to Ollama")
    step = "export"
    only_queries = True
    kind: Literal["inspect_ollama"] = "inspect_ollama"
    host: str = ""


class CreateOllama(BaseCommand):
    """Create the Ollama model of an exported run, from its file in `quantization` ("": the first).

    `name` and `host` override the project's. `force` replaces a model of that name; `anyway`
    accepts a file that failed its self-test because of its quantization loss.
    """

    title = text("Creating the Ollama model")
    step = "export"
    changes_run = True
    kind: Literal["create_ollama"] = "create_ollama"
    run: str
    name: str = ""
    host: str = ""
    quantization: str = ""
    force: bool = False
    anyway: bool = False


class ShowOllama(BaseCommand):
    """Show what an Ollama server has stored for a model."""

    title = text("Reading the Ollama model")
    only_queries = True
    kind: Literal["show_ollama"] = "show_ollama"
    name: str
    host: str = ""


class ProveOllama(BaseCommand):
    """Compare a model in Ollama with the model folder that it was made from.

    `system` is the system prompt that it should have; None for that of the folder's run, or none.
    """

    title = text("Verifying the Ollama model")
    is_optional = True
    only_queries = True
    kind: Literal["prove_ollama"] = "prove_ollama"
    name: str
    folder: str
    host: str = ""
    system: str | None = None


class CopyOllama(BaseCommand):
    """Copy a model in Ollama to another name; an existing one is replaced only with `force`."""

    title = text("Copying the Ollama model")
    step = "export"
    is_optional = True
    kind: Literal["copy_ollama"] = "copy_ollama"
    source: str
    target: str
    host: str = ""
    force: bool = False


class RemoveOllama(BaseCommand):
    """Remove a model from Ollama."""

    title = text("Deleting the Ollama model")
    step = "export"
    is_optional = True
    kind: Literal["remove_ollama"] = "remove_ollama"
    name: str
    host: str = ""


class DeriveTemplate(BaseCommand):
    """Derive the Ollama TEMPLATE of a model folder or template file; fields that aren't None
    override the detected values.

    `adds_bos`: whether the server adds `bos` itself. `frozen_date` is written instead of the
    current date.
    """

    title = text("Deriving the Ollama template")
    step = "export"
    lane = "sizes"
    is_optional = True
    reads_foreign_files = True
    kind: Literal["derive_template"] = "derive_template"
    path: str
    bos: str | None = None
    eos: str | None = None
    adds_bos: bool | None = None
    frozen_date: date | None = None


class RenderTemplate(BaseCommand):
    """Render a TEMPLATE as a server does; `today` is the current date to print."""

    title = text("Rendering the template")
    only_queries = True
    kind: Literal["render_template"] = "render_template"
    template: str
    request: RenderRequest
    today: date | None = None


class RenderChat(BaseCommand):
    """Render conversations with the chat template of a model folder or file, or with `template`.

    Without `messages` (in the form that the template reads), these are the probe conversations.
    """

    title = text("Rendering the chat template")
    reads_foreign_files = True
    kind: Literal["render_chat"] = "render_chat"
    path: str
    template: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    think: bool | None = None


class ProveTemplate(BaseCommand):
    """Compare a chat template with llama-server, if there is one, and with its derived TEMPLATE.

    `llama_server` is a program or a llama.cpp folder, "" for the one on PATH. It loads the file `gguf`, ""
    for one with the vocabulary of the folder.
    """

    title = text("Verifying the chat template")
    reads_foreign_files = True
    kind: Literal["prove_template"] = "prove_template"
    path: str
    llama_server: str = ""
    gguf: str = ""


class OllamaModel(BaseModel):
    """A model on a server: its size in bytes, its digest, and when it was last changed (ISO 8601)."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    bytes: int = 0
    digest: str = ""
    modified: str = ""
    quantization: str = ""


class OllamaFound(BaseEvent):
    """A server that responded, with its models; `details` are facts about them."""

    kind: Literal["ollama_found"] = "ollama_found"
    host: str
    version: str
    models: tuple[str, ...]
    details: tuple[OllamaModel, ...] = ()


class OllamaShown(BaseEvent):
    """What a server has stored for a model; `digest` is the SHA-256 of its weights, if known.

    `file` is the path of its weights on the server's computer. `renderer` and `parser` are built-in
    ones of the server, "" for none. `chat_template` is the one in the GGUF file, if the server selects it
    and not the stored `template` (since Ollama 0.30). `header` has the plain values of that file.
    """

    kind: Literal["ollama_shown"] = "ollama_shown"
    host: str
    name: str
    template: str
    chat_template: str = ""
    system: str = ""
    stops: tuple[str, ...] = ()
    parameters: dict[str, str] = Field(default_factory=dict)
    digest: str = ""
    file: str = ""
    family: str = ""
    quantization: str = ""
    renderer: str = ""
    parser: str = ""
    capabilities: tuple[str, ...] = ()
    header: dict[str, str | int | float] = Field(default_factory=dict)


class OllamaProven(BaseEvent):
    """How a model on a server compares with a model folder.

    `proof` is about prompts. `settings` are the differences in what ends answers, in sampling, in the
    system prompt, and in the chat template. `system` is the system prompt that the server adds.
    `is_file_read`: token IDs were read with the model's own file, which is on this computer.
    `trained_kinds` are the special kinds of conversations that the folder's run has; None if unknown.
    """

    kind: Literal["ollama_proven"] = "ollama_proven"
    host: str
    name: str
    folder: str
    proof: PromptProof
    settings: tuple[Text, ...] = ()
    system: str = ""
    is_file_read: bool = False
    trained_kinds: tuple[ProbeKind, ...] | None = None

    @property
    def outcome(self) -> Literal["proven", "different", "proven_in_part", "not_proven"]:
        """Return whether the model is proven equal, known to differ, or neither.

        `proven_in_part`: what differs are kinds of conversations that it isn't known to be trained on.
        """
        trained = self.trained_kinds or ()
        kinds = self.proof.different_kinds
        is_other = self.settings or self.proof.miscounted
        if is_other or any(kind.is_text_only or kind in trained for kind in kinds):
            return "different"
        if kinds and self.proof.shows_and_runs_prompts:
            return "proven_in_part"
        return "proven" if self.proof.is_proven else "not_proven"


class VectorProof(BaseModel):
    """How well the vectors of an embedding model on a server agree with those of its GGUF file.

    `least` and `mean` are cosine similarities over the texts that were `compared`, and `limit` is the least that
    is accepted. `unasked` says why there are none.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    compared: int = 0
    least: float = 0.0
    mean: float = 0.0
    limit: float = 0.0
    unasked: Text = NO_TEXT

    @property
    def is_different(self) -> bool:
        """Return whether the server gives other vectors."""
        return self.compared > 0 and not self.least >= self.limit

    @property
    def is_proven(self) -> bool:
        """Return whether the server gave the vectors of the file."""
        return self.compared > 0 and not self.is_different

    @property
    def verdict(self) -> Text:
        """Return the outcome as a sentence."""
        if not self.compared:
            return text("The vectors in Ollama weren't compared: {reason}", reason=self.unasked)
        return counted(
            self.compared,
            "Ollama's vector of {n} text has a cosine similarity of at least {least:.4f} to that of the GGUF file.",
            "Ollama's vectors of {n} texts have a cosine similarity of at least {least:.4f} to those of the GGUF file.",
            least=self.least,
        )


class OllamaCreated(BaseEvent):
    """The model was created in Ollama and verified by reading it back.

    For `prompts_checked` conversations, the server counted as many tokens as the tokenizer; 0 if it
    can't run the model. `proof` says how it is known which prompts the server builds; None in the
    files of older runs, and for an embedding model, which has `vectors` instead.
    """

    kind: Literal["ollama_created"] = "ollama_created"
    host: str
    name: str
    version: str
    prompts_checked: int = 0
    proof: PromptProof | None = None
    vectors: VectorProof | None = None


class TemplateDerived(BaseEvent):
    """The Ollama TEMPLATE made from the chat template, and whether it renders the same text.

    `derived` has the TEMPLATE and the outcome of its proof, `chat_template` is its source.
    """

    kind: Literal["template_derived"] = "template_derived"
    template: str
    stops: tuple[str, ...]
    proven: bool
    conversations: int
    difference: str | None = None
    chat_template: str = ""
    derived: DerivedTemplate | None = None


class TemplateRendered(BaseEvent):
    """The output of a TEMPLATE."""

    kind: Literal["template_rendered"] = "template_rendered"
    text: str


class ChatRendering(BaseModel):
    """A conversation and its prompt; `ids` are None without a tokenizer, `refused` is the error."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    probe: ProbeKind | None = None
    text: str = ""
    ids: tuple[int, ...] | None = None
    refused: str = ""


class ChatRendered(BaseEvent):
    """What a chat template gives for conversations."""

    kind: Literal["chat_rendered"] = "chat_rendered"
    renderings: tuple[ChatRendering, ...]


class TemplateProven(BaseEvent):
    """How a chat template compares with llama-server and with the derived TEMPLATE.

    `program` is the llama-server that was asked; `unasked` says why none was. `has_other_template`: the
    GGUF file contains another chat template.
    """

    kind: Literal["template_proven"] = "template_proven"
    folder: str
    conversations: int
    derived: DerivedTemplate
    differences: tuple[TemplateDifference, ...] = ()
    program: str = ""
    unasked: Text = NO_TEXT
    has_other_template: bool = False

    @property
    def outcome(self) -> Literal["proven", "different", "not_proven"]:
        """Return whether plain conversations have equal prompts everywhere, or whether it isn't known."""
        plain = any(one.difference.kind.is_text_only for one in self.differences)
        if plain or self.has_other_template or not self.derived.proven:
            return "different"
        return "not_proven" if self.unasked else "proven"
