"""What a worker tells its parent: one closed union, one parse function.

The same lines go into a run's `events.jsonl`, which is the truth about the run.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from lora_studio.core.dataset.spec import Fix, Message, RowFormat, Task
from lora_studio.core.export import What
from lora_studio.core.lora.adapters import AdapterFacts, AdapterFit, Method
from lora_studio.core.memory.estimate import MemoryEstimate
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.catalog import ModelEntry, Place
from lora_studio.core.model.shape import ModelShape
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.templates.server.terms import DerivedTemplate

#: Raised by one whenever a command or an event changes its meaning.
PROTOCOL = 1


class _Event(BaseModel):
    """`id` is that of the command the event is about, `time` is seconds since 1970 (UTC)."""

    # A diverged loss is worth reporting: JSON has no NaN, so it travels as a string.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    id: str = ""
    time: float = Field(default_factory=time.time)


# --- of every command -------------------------------------------------------------------------


class Hello(_Event):
    """The first line of every worker. Parsed leniently; it never changes."""

    kind: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    app_version: str
    pid: int


class Started(_Event):
    """The worker begins with a command."""

    kind: Literal["started"] = "started"
    command: str


class Progress(_Event):
    """How far a stage is. `total` is None while unknown; `eta_s` in seconds."""

    kind: Literal["progress"] = "progress"
    stage: Text
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    eta_s: float | None = None


class Log(_Event):
    """A line worth keeping, in the user's words."""

    kind: Literal["log"] = "log"
    text: Text


class Warned(_Event):
    """A problem that does not end the command."""

    kind: Literal["warned"] = "warned"
    problem: Problem


class Done(_Event):
    """The command ended well. `stopped`: at the user's wish, with a usable result; `paused`: with
    a checkpoint, or nothing yet, to go on from.
    """

    kind: Literal["done"] = "done"
    stopped: bool = False
    paused: bool = False


class Failed(_Event):
    """The command ended with a problem."""

    kind: Literal["failed"] = "failed"
    problem: Problem


class Cancelled(_Event):
    """The command ended at the user's wish, without a result."""

    kind: Literal["cancelled"] = "cancelled"


# --- model, lora, devices ---------------------------------------------------------------------


class Device(BaseModel):
    """A place to run a model on; memory in bytes. `precision` is what "auto" means there, `identifier`
    what an NVIDIA card is called by its driver."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # auto, cpu, mps, cuda:0 …
    title: str
    total_bytes: int
    free_bytes: int
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    identifier: str = ""


class DevicesFound(_Event):
    """The devices of this machine, the one that `auto` means first.

    `missing` are optional packages that the engine lacks, such as bitsandbytes; `packages` has the
    versions of those that it stands on, by name.
    """

    kind: Literal["devices_found"] = "devices_found"
    devices: tuple[Device, ...]
    has_unsloth: bool = False  # whether that backend is installed
    missing: tuple[str, ...] = ()
    packages: dict[str, str] = {}


class ModelInspected(_Event):
    """Facts of a model that need no weights. Sizes in bytes, by precision.

    `disk_bytes` are those of its files, of which `missing_bytes` are still on the hub; `gated`: its
    terms have to be accepted there.
    """

    kind: Literal["model_inspected"] = "model_inspected"
    source: str
    folder: str
    architecture: str
    parameters: int
    layers: int
    hidden_size: int
    vocabulary: int
    context: int | None
    stored_dtype: str
    licence: str | None
    has_chat_template: bool
    prequantized: str | None = None
    disk_bytes: int = 0
    missing_bytes: int = 0
    gated: bool = False
    weight_bytes: dict[str, int]
    linear_names: tuple[str, ...]
    adapter: ParametersCounted | None = None
    shape: ModelShape | None = None


class ModelsFound(_Event):
    """Models of one place: `folders` are those that were looked through."""

    kind: Literal["models_found"] = "models_found"
    place: Place
    models: tuple[ModelEntry, ...]
    folders: tuple[str, ...] = ()


class ModelDownloaded(_Event):
    """A hub model is complete on this computer; `bytes` of its weights."""

    kind: Literal["model_downloaded"] = "model_downloaded"
    source: str
    revision: str
    folder: str
    bytes: int


class AccountFound(_Event):
    """Whose token is used at the hub; `name` is empty where the hub could not be asked."""

    kind: Literal["account_found"] = "account_found"
    name: str
    has_token: bool
    from_environment: bool = False


class ModelLoaded(_Event):
    """The base model is in memory; `memory_bytes` is what its weights take."""

    kind: Literal["model_loaded"] = "model_loaded"
    source: str
    architecture: str
    device: str
    precision: str
    parameters: int
    memory_bytes: int
    seconds: float


class ParametersCounted(_Event):
    """Exact counts, known before training starts; `adapter_bytes` on disk in 32-bit."""

    kind: Literal["parameters_counted"] = "parameters_counted"
    trainable: int
    total: int
    targets: tuple[str, ...]
    adapter_bytes: int

    @property
    def percent(self) -> float:
        """Trainable parameters as a percentage of all."""
        return 100.0 * self.trainable / self.total if self.total else 0.0


# --- dataset ----------------------------------------------------------------------------------


class Skipped(BaseModel):
    """Rows left out for one reason; `rows` are the first few, counted from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Text
    count: int
    rows: tuple[int, ...] = ()


TokenState = Literal["trained", "context", "cut"]


class Token(BaseModel):
    """One token as the model sees it; `special` marks control tokens such as <|im_end|>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    text: str
    state: TokenState
    special: bool = False


class RowPreview(BaseModel):
    """One row of the data; `row` counts from 1 over its source (whose position `source` is).

    `text` is what plain-text rows hold; `fault` is why a row is left out, in which case `messages`
    are what could be read of it. For pairs, `messages` is the prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    source: int = 0
    messages: tuple[Message, ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None
    text: str = ""
    fault: Text = NO_TEXT


class SourceFound(BaseModel):
    """What one source holds and how sure that is (`confidence` 0 to 1, `evidence` in words).

    `format` and `task` are None where nothing can be trained on; `problems` says why. read = used +
    sum of skipped; `rows` is None while the source is still being read. `first` is the first row that
    could be read, as a JSON object: what a mapping is tried on before it is chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    container: Text  # in words: "JSON lines, UTF-8", "CSV with ; and Windows-1252"
    format: RowFormat | None
    task: Task | None
    confidence: float
    evidence: Text
    others: tuple[RowFormat, ...] = ()  # formats that fit as well, the likeliest first
    columns: tuple[str, ...]
    mapping: dict[str, str]
    first: str = ""
    rows: int | None = None
    used: int = 0
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()


class DatasetInspected(_Event):
    """What a dataset holds: read = used + sum of skipped.

    Comes twice for large data: at once with the first rows (`complete` False, the counts those of
    the first rows alone), and when every row was read.
    """

    kind: Literal["dataset_inspected"] = "dataset_inspected"
    sources: tuple[SourceFound, ...]
    task: Task | None
    complete: bool = True
    rows_read: int
    rows_used: int
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()
    preview: tuple[RowPreview, ...] = ()


class RowsRead(_Event):
    """A page of rows: those at `first`, … of the `matching` rows that the question asked for."""

    kind: Literal["rows_read"] = "rows_read"
    first: int
    matching: int
    rows: tuple[RowPreview, ...]


class RowShown(_Event):
    """One row in full: as the file has it (`raw`, JSON) and, with a model, as the model sees it.

    Together the texts of `tokens` are `text`; `trained_spans` are character ranges of it, end
    excluded. For pairs the parts of the rejected side follow in `rejected_*`.
    """

    kind: Literal["row_shown"] = "row_shown"
    row: RowPreview
    raw: str
    text: str = ""
    tokens: tuple[Token, ...] = ()
    trained_spans: tuple[tuple[int, int], ...] = ()
    rejected_text: str = ""
    rejected_tokens: tuple[Token, ...] = ()
    rejected_trained_spans: tuple[tuple[int, int], ...] = ()
    problems: tuple[Problem, ...] = ()


class LengthsMeasured(_Event):
    """How long the rows are, in tokens, over the whole dataset; estimated from a sample of it, as
    if that were all, until it is `complete`.

    `edges` are lengths in rising order; `rows_over[i]` counts rows longer than `edges[i]`,
    `trained_over[i]` the trained tokens that lie behind that position, so that what a limit cuts can
    be read off. `percentiles` maps 50, 90, 95, 99, 100 to lengths. Per epoch and before any cut.
    `heaviest` maps a number of rows per optimizer step, in powers of two, to tokens: the first n of
    these add up to what the n longest rows of one step have together in the step where that is most.
    """

    kind: Literal["lengths_measured"] = "lengths_measured"
    complete: bool = True
    rows: int
    tokens: int
    trained_tokens: int
    edges: tuple[int, ...]
    rows_over: tuple[int, ...]
    trained_over: tuple[int, ...]
    percentiles: dict[int, int]
    skipped: tuple[Skipped, ...] = ()
    heaviest: dict[int, tuple[int, ...]] = Field(default_factory=dict)


class Finding(BaseModel):
    """One kind of fault in the data: how many rows, some of them, and what can be done.

    `code` is dotted (`lint.duplicates`). `rows` are (source, row) pairs, at most a thousand. `fix`
    goes into the project's `dataset.fixes`; `change` is another setting that helps, as field and
    value of the dataset step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    title: Text
    what: Text
    count: int
    rows: tuple[tuple[int, int], ...] = ()
    severity: Literal["error", "warning", "hint"] = "warning"
    fix: Fix | None = None
    fixed: bool = False
    change: tuple[str, Any] | None = None


class DatasetLinted(_Event):
    """Every finding, the gravest first; `rows` were looked at."""

    kind: Literal["dataset_linted"] = "dataset_linted"
    rows: int
    findings: tuple[Finding, ...]


class DatasetReady(_Event):
    """The rows of a run after rendering: read = train + validation + sum of skipped."""

    kind: Literal["dataset_ready"] = "dataset_ready"
    task: Task
    rows_read: int
    rows_train: int
    rows_validation: int
    skipped: tuple[Skipped, ...] = ()
    rows_cut: int = 0
    tokens: int
    trained_tokens: int


# --- training ---------------------------------------------------------------------------------


class TrainingStarted(_Event):
    """The plan of a training; `step` is where it goes on, 0 for a new one."""

    kind: Literal["training_started"] = "training_started"
    steps: int
    step: int = 0
    steps_per_epoch: float
    effective_batch: int


class MemoryEstimated(_Event):
    """What the training will take, told before its first step from its model and its very rows."""

    kind: Literal["memory_estimated"] = "memory_estimated"
    estimate: MemoryEstimate


class StepDone(_Event):
    """One optimizer step. Loss in nats per trained token, memory at its peak so far in bytes.

    `figures` are what else an objective tells, such as how often the chosen answer is ahead. How
    busy a device is comes in percent: of its time for a GPU, of all processors for this process on
    a CPU; None where nobody can tell.
    """

    kind: Literal["step_done"] = "step_done"
    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_s: float
    memory_bytes: int
    gpu_percent: float | None = None
    gpu_celsius: float | None = None
    cpu_percent: float | None = None
    eta_s: float | None = None
    figures: dict[str, float] = Field(default_factory=dict)


class Evaluated(_Event):
    """Loss on the validation rows, in nats per trained token or as the objective has it."""

    kind: Literal["evaluated"] = "evaluated"
    step: int
    loss: float
    figures: dict[str, float] = Field(default_factory=dict)


class CheckpointSaved(_Event):
    """A complete checkpoint that training can go on from."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    folder: str


class Recovered(_Event):
    """Memory ran out and training goes on with less of it, after step `step`, which it redoes.

    A step still has as many rows; `why` is one sentence about what ran out.
    """

    kind: Literal["recovered"] = "recovered"
    step: int
    micro_batch: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    why: Text

    @property
    def text(self) -> Text:
        """Return what happened and how training continues."""
        if self.gradient_checkpointing:
            template = (
                "{why} Training continues after step {step} with micro-batches of {micro_batch} and "
                "gradient checkpointing; the effective batch size stays the same."
            )
        else:
            template = (
                "{why} Training continues after step {step} with micro-batches of {micro_batch}; "
                "the effective batch size stays the same."
            )
        return text(template, why=self.why, step=self.step, micro_batch=self.micro_batch)


class Sampled(_Event):
    """An answer to a sample prompt at an evaluation: of the base model, made once and then of `step`
    0, or of the model as it was after `step`. `prompt` is what a person reads of it.
    """

    kind: Literal["sampled"] = "sampled"
    step: int
    index: int
    prompt: str
    source: Literal["base", "tuned"]
    text: str


class EndedEarly(_Event):
    """Eval loss has not fallen for `evaluations` in a row, so training ends before its plan does."""

    kind: Literal["ended_early"] = "ended_early"
    step: int
    evaluations: int


class AdapterSaved(_Event):
    """The adapter in PEFT's layout, as it was after `step`.

    `best_loss` is its eval loss where it was kept for that, and is not the last one of the training.
    """

    kind: Literal["adapter_saved"] = "adapter_saved"
    step: int
    folder: str
    bytes: int
    best_loss: float | None = None


# --- merging and export -----------------------------------------------------------------------


class AdaptersFound(_Event):
    """The adapters in the folders that were asked about, the newest first; `fits` by folder."""

    kind: Literal["adapters_found"] = "adapters_found"
    adapters: tuple[AdapterFacts, ...]
    fits: dict[str, AdapterFit] = Field(default_factory=dict)


class AdapterShown(_Event):
    """An adapter with its layers, and whether it fits the model that was named."""

    kind: Literal["adapter_shown"] = "adapter_shown"
    adapter: AdapterFacts
    fit: AdapterFit | None = None


class AdapterCombined(_Event):
    """A new adapter made of several, in PEFT's layout; `rank` is that of its widest layer."""

    kind: Literal["adapter_combined"] = "adapter_combined"
    folder: str
    method: Method
    rank: int
    layers: int
    bytes: int


class MergePlanned(_Event):
    """What a merge would do. Sizes in bytes: `bytes` of the model, `missing` what is not on disk yet,
    `free` on the disk, `memory` at its peak above an idle worker. `by_peft` is why PEFT has to do it.
    """

    kind: Literal["merge_planned"] = "merge_planned"
    bytes: int
    missing: int
    free: int
    memory: int
    dtype: str
    shards: int
    tensors: int
    tensors_changed: int
    finished_shards: int = 0
    by_peft: Text | None = None
    problems: tuple[Problem, ...] = ()


class ShardWritten(_Event):
    """One file of the merged model is complete; `kept` when an earlier attempt had written it."""

    kind: Literal["shard_written"] = "shard_written"
    file: str
    number: int
    of: int
    bytes: int
    kept: bool = False


class Merged(_Event):
    """The merged model as a Hugging Face folder; `by_peft` is why PEFT had to merge in memory."""

    kind: Literal["merged"] = "merged"
    folder: str
    bytes: int
    dtype: str
    tensors_changed: int
    by_peft: Text | None = None


class GgufWritten(_Event):
    """One GGUF file; `tool` says which llama.cpp made it.

    `quantization` is "adapter" for the adapter alone. `estimated_bytes` is what the quantiser's dry
    run said before, None for what was not quantised; `imatrix`: made with an importance matrix.
    """

    kind: Literal["gguf_written"] = "gguf_written"
    file: str
    quantization: str
    bytes: int
    tool: str
    estimated_bytes: int | None = None
    imatrix: bool = False


class TemplateDerived(_Event):
    """The Ollama TEMPLATE made from the chat template, and whether it renders the same text.

    `derived` has everything that is known about it, `chat_template` is what it was made from.
    """

    kind: Literal["template_derived"] = "template_derived"
    template: str
    stops: tuple[str, ...]
    proven: bool
    conversations: int
    difference: str | None = None
    chat_template: str = ""
    derived: DerivedTemplate | None = None


class TemplateRendered(_Event):
    """What a TEMPLATE wrote."""

    kind: Literal["template_rendered"] = "template_rendered"
    text: str


#: `failed`: something is wrong; `lossy`: only the few bits of the quantisation show.
Verdict = Literal["passed", "lossy", "failed"]


class SelfTested(_Event):
    """How well one stage agrees with base + adapter on held-out rows.

    `top1` is the share of answer positions with the same likeliest token, `kl` the mean
    Kullback-Leibler divergence in nats from base + adapter to the stage; the limits are those that
    it fails beyond, and `basis` says where they come from, or why there are none (None). `passed`
    says that it did not fail: a lossy stage is what was trained, in few bits. `cause` is the likeliest
    one of a failure, empty when none was found.
    """

    kind: Literal["self_tested"] = "self_tested"
    stage: str  # merged, converted (what quantisations are made of), or a quantisation
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


class SizesEstimated(_Event):
    """Bytes of each quantisation's file, by the quantiser itself; what it cannot make is left out.

    `pass_kind` is the type of the file that all are made of; `free` are the bytes free where they go,
    None where that is not known; `tools` says which llama.cpp is used.
    """

    kind: Literal["sizes_estimated"] = "sizes_estimated"
    bytes: dict[str, int]
    pass_kind: str = ""
    free: int | None = None
    tools: str = ""


class CardPreviewed(_Event):
    """A model card as it would be uploaded, in Markdown."""

    kind: Literal["card_previewed"] = "card_previewed"
    text: str


class Pushed(_Event):
    """Everything is in the repository."""

    kind: Literal["pushed"] = "pushed"
    repository: str
    what: What
    url: str
    files: int
    bytes: int


class OllamaModel(BaseModel):
    """A model on a server: its size in bytes, its digest, when it was last changed (ISO 8601)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bytes: int = 0
    digest: str = ""
    modified: str = ""
    quantization: str = ""


class OllamaFound(_Event):
    """A server that answered; `details` has the facts of its models."""

    kind: Literal["ollama_found"] = "ollama_found"
    host: str
    version: str
    models: tuple[str, ...]
    details: tuple[OllamaModel, ...] = ()


class OllamaShown(_Event):
    """What a server has stored for a model; `digest` is that of its weights (sha256), if told."""

    kind: Literal["ollama_shown"] = "ollama_shown"
    host: str
    name: str
    template: str
    system: str = ""
    stops: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    digest: str = ""
    family: str = ""
    quantization: str = ""


class OllamaCreated(_Event):
    """The model exists in Ollama, and what was read back is what was sent.

    `prompts_checked` conversations had as many tokens for the server as for the tokenizer; 0 where
    it cannot run the model.
    """

    kind: Literal["ollama_created"] = "ollama_created"
    host: str
    name: str
    version: str
    prompts_checked: int = 0


class Generated(_Event):
    """An answer of one model to the conversation with this index; `mix` names its adapters, if the
    command did.
    """

    kind: Literal["generated"] = "generated"
    source: TextSource
    mix: str = ""
    index: int
    text: str
    tokens: int
    finished: bool


# --- chat -------------------------------------------------------------------------------------


class ChatReady(_Event):
    """What a chat needs is loaded; `devices` are those in use, `memory_bytes` what weights take."""

    kind: Literal["chat_ready"] = "chat_ready"
    devices: tuple[str, ...] = ()
    memory_bytes: int = 0


class AnswerGrew(_Event):
    """An answer goes on: its text from character `start` on is `text` now."""

    kind: Literal["answer_grew"] = "answer_grew"
    column: int
    start: int
    text: str
    tokens: int


class Answered(_Event):
    """An answer is complete. `ending`: by itself, at the limit of tokens, or where it was stopped.

    `seconds` are those of this answer alone, the wait for its first token in `first_s`.
    """

    kind: Literal["answered"] = "answered"
    column: int
    text: str
    tokens: int
    prompt_tokens: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    ending: Literal["end", "length", "stopped"] = "end"

    @property
    def tokens_per_s(self) -> float | None:
        """Speed after the first token; None where there is too little to tell."""
        taken = self.seconds - self.first_s
        return (self.tokens - 1) / taken if self.tokens > 1 and taken > 0 else None


class AnswerRefused(_Event):
    """One column could not answer; the others go on."""

    kind: Literal["answer_refused"] = "answer_refused"
    column: int
    problem: Problem


class PromptShown(_Event):
    """What a speaker is given: `tokens` in order, their texts together are `text`.

    `note` says why there are no tokens, where a server keeps them to itself.
    """

    kind: Literal["prompt_shown"] = "prompt_shown"
    text: str
    tokens: tuple[Token, ...] = ()
    note: Text = NO_TEXT


Ending = Done | Failed | Cancelled
Event = (
    Hello | Started | Progress | Log | Warned | Done | Failed | Cancelled
    | ModelsFound | ModelDownloaded | AccountFound
    | DevicesFound | ModelInspected | ModelLoaded | ParametersCounted
    | DatasetInspected | RowsRead | RowShown | LengthsMeasured | DatasetLinted | DatasetReady
    | TrainingStarted | MemoryEstimated | StepDone | Evaluated | Sampled | EndedEarly | CheckpointSaved | Recovered
    | AdapterSaved
    | AdaptersFound | AdapterShown | AdapterCombined | MergePlanned
    | ShardWritten | Merged | GgufWritten | TemplateDerived | TemplateRendered | SelfTested
    | OllamaFound | OllamaShown | OllamaCreated | Generated | SizesEstimated | CardPreviewed | Pushed
    | ChatReady | AnswerGrew | Answered | AnswerRefused | PromptShown
)  # fmt: skip

ModelInspected.model_rebuild()
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse(line: str | bytes) -> Event:
    """The event in one JSON line; raises pydantic.ValidationError.

    Hello is read leniently, so that a worker of another version can still be named.
    """
    hello = _lenient_hello(line)
    return hello if hello is not None else _ADAPTER.validate_json(line)


def _lenient_hello(line: str | bytes) -> Hello | None:
    # Reading every line twice would take a long run a third longer to be read.
    if (b'"hello"' if isinstance(line, bytes) else '"hello"') not in line:  # type: ignore[operator]  # of one kind with the line
        return None
    try:
        raw: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, dict) or raw.get("kind") != "hello":
        return None
    return Hello.model_validate({key: raw[key] for key in Hello.model_fields if key in raw})


def to_line(event: BaseModel) -> str:
    """An event or command as one JSON line, without the newline."""
    return event.model_dump_json()
