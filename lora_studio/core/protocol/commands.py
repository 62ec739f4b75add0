"""What a parent may ask of a worker: one closed union, one parse function."""

from __future__ import annotations

import json
import uuid
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter

from lora_studio.core.chat import ChatQuestion, Speaker
from lora_studio.core.dataset.spec import DatasetSpec, Message
from lora_studio.core.export import ExportSpec, What
from lora_studio.core.lora.adapters import AdapterMix, Method, WeightedAdapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.templates.server.terms import RenderRequest

TextSource = Literal["base", "tuned", "merged", "gguf", "ollama"]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])


class Train(_Command):
    """Trains the adapter of a run; `resume` goes on from its last complete checkpoint.

    `lower`: with less memory than the attempt before, which the system ended for lack of it.
    """

    kind: Literal["train"] = "train"
    run: str
    resume: bool = False
    lower: bool = False


class Merge(_Command):
    """Merges the adapter of a run into its base model."""

    kind: Literal["merge"] = "merge"
    run: str


class ImportAdapter(_Command):
    """Puts an adapter made elsewhere into a new run, as if it had been trained there."""

    kind: Literal["import_adapter"] = "import_adapter"
    run: str
    adapter: str


class ImportModel(_Command):
    """Puts the model of a new run into it as its merged model, so that it can be exported."""

    kind: Literal["import_model"] = "import_model"
    run: str


class Export(_Command):
    """Writes the GGUF files of a run, tests them and creates the Ollama model."""

    kind: Literal["export"] = "export"
    run: str


class SelfTest(_Command):
    """Tests the merged model and the GGUF files that a run has, all anew."""

    kind: Literal["selftest"] = "selftest"
    run: str


class Push(_Command):
    """Uploads what a run has made to a repository on the hub, with a card of the run."""

    kind: Literal["push"] = "push"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"
    private: bool = True


class PreviewCard(_Command):
    """The model card that an upload of a run would have."""

    kind: Literal["preview_card"] = "preview_card"
    run: str
    repository: str = Field(min_length=1)
    what: What = "adapter"


class Convert(_Command):
    """Makes GGUF files of any Hugging Face folder, outside any run.

    `data` are rows that an importance matrix is measured on, "" where none is wanted.
    """

    kind: Literal["convert"] = "convert"
    model: ModelSpec
    out: str
    export: ExportSpec
    data: str = ""


class EstimateSizes(_Command):
    """Asks the quantiser how large every GGUF file of a model would be; `run` may hold it merged."""

    kind: Literal["estimate_sizes"] = "estimate_sizes"
    model: ModelSpec
    export: ExportSpec
    run: str = ""


class Generate(_Command):
    """Answers conversations with one or more models of a run, greedily unless told otherwise.

    `mixes` are adapters from anywhere on the run's base model, which is loaded once for all of them.
    """

    kind: Literal["generate"] = "generate"
    run: str
    sources: tuple[TextSource, ...]
    mixes: tuple[AdapterMix, ...] = ()
    conversations: tuple[tuple[Message, ...], ...]
    max_tokens: int = Field(128, ge=1, le=65536)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int = 0


class OpenChat(_Command):
    """Begins a chat or goes on with it: loads what these speakers need, and keeps it in memory.

    `model` is the base that adapters work on; `chat_template` is chosen as the dataset step does.
    """

    kind: Literal["open_chat"] = "open_chat"
    model: ModelSpec
    chat_template: str = "model"
    speakers: tuple[Speaker, ...] = ()


class AskChat(_Command):
    """Answers one question in every column at once; what is not loaded yet is loaded first."""

    kind: Literal["ask_chat"] = "ask_chat"
    model: ModelSpec
    chat_template: str = "model"
    asked: tuple[ChatQuestion, ...] = Field(min_length=1)


class ShowPrompt(_Command):
    """The exact tokens that a speaker is given for a conversation."""

    kind: Literal["show_prompt"] = "show_prompt"
    model: ModelSpec
    chat_template: str = "model"
    speaker: Speaker
    messages: tuple[Message, ...]


class InspectModel(_Command):
    """Facts of a model and the adapter size, without loading weights."""

    kind: Literal["inspect_model"] = "inspect_model"
    model: ModelSpec
    lora: LoraSpec = LoraSpec()


class ListModels(_Command):
    """Looks for models in a place on this computer; `folders` are those of the place `folder`."""

    kind: Literal["list_models"] = "list_models"
    place: Literal["folder", "cache", "ollama", "lm_studio"]
    folders: tuple[str, ...] = ()


class SearchModels(_Command):
    """Looks for base models on the hub. Sizes in parameters, 0 for no bound; `gated`: with those
    whose terms have to be accepted."""

    kind: Literal["search_models"] = "search_models"
    text: str = ""
    smallest: int = Field(0, ge=0)
    largest: int = Field(0, ge=0)
    licence: str = ""
    gated: bool = True
    sort: Literal["downloads", "likes", "updated"] = "downloads"
    limit: int = Field(50, ge=1, le=200)


class DownloadModel(_Command):
    """Fetches a hub model into the cache that all tools of the hub share, or goes on with that."""

    kind: Literal["download_model"] = "download_model"
    model: ModelSpec


class InspectAccount(_Command):
    """Asks whose token is used at the hub."""

    kind: Literal["inspect_account"] = "inspect_account"


class SignIn(_Command):
    """Puts a token into the hub's own store. It is in no other form than `to_pipe` ever written."""

    kind: Literal["sign_in"] = "sign_in"
    token: SecretStr


class SignOut(_Command):
    """Takes the token out of the hub's own store."""

    kind: Literal["sign_out"] = "sign_out"


class InspectDataset(_Command):
    """Recognises a dataset and shows its first rows at once, then reads all of it."""

    kind: Literal["inspect_dataset"] = "inspect_dataset"
    dataset: DatasetSpec
    preview: int = Field(20, ge=0, le=1000)


class ReadRows(_Command):
    """A page of rows, of all, of those that hold `search`, or of those left out.

    With `only` the page is of these (source, row) pairs, such as a finding's; with `reason`, the one
    of a `Skipped`, of the rows left out for that reason.
    """

    kind: Literal["read_rows"] = "read_rows"
    dataset: DatasetSpec
    first: int = Field(0, ge=0)
    count: int = Field(100, ge=1, le=1000)
    search: str = ""
    which: Literal["all", "used", "skipped"] = "all"
    reason: Text = NO_TEXT
    only: tuple[tuple[int, int], ...] = ()


class ShowRow(_Command):
    """One row in full; with a model also its tokens."""

    kind: Literal["show_row"] = "show_row"
    dataset: DatasetSpec
    model: ModelSpec | None = None
    row: int = Field(1, ge=1)
    source: int = Field(0, ge=0)


class MeasureDataset(_Command):
    """Tokenises the whole dataset and tells how long its rows are."""

    kind: Literal["measure_dataset"] = "measure_dataset"
    dataset: DatasetSpec
    model: ModelSpec


class LintDataset(_Command):
    """Looks for faults in the whole dataset; with a model also for those that only tokens show."""

    kind: Literal["lint_dataset"] = "lint_dataset"
    dataset: DatasetSpec
    model: ModelSpec | None = None
    seed: int = 42


class InspectDevices(_Command):
    """Lists the devices that a model can be placed on."""

    kind: Literal["inspect_devices"] = "inspect_devices"


class InspectOllama(_Command):
    """Asks an Ollama server for its version and models."""

    kind: Literal["inspect_ollama"] = "inspect_ollama"
    host: str = ""


class CreateOllama(_Command):
    """Creates the Ollama model of an exported run, from its file in `quantization` ("": the first).

    `name` and `host` overrule the project's. `force` replaces a model of that name; `anyway` takes
    a file that failed its self-test by what its few bits lose.
    """

    kind: Literal["create_ollama"] = "create_ollama"
    run: str
    name: str = ""
    host: str = ""
    quantization: str = ""
    force: bool = False
    anyway: bool = False


class ShowOllama(_Command):
    """What an Ollama server has stored for a model."""

    kind: Literal["show_ollama"] = "show_ollama"
    name: str
    host: str = ""


class CopyOllama(_Command):
    """Gives a model in Ollama a second name; one that is taken is replaced with `force` only."""

    kind: Literal["copy_ollama"] = "copy_ollama"
    source: str
    target: str
    host: str = ""
    force: bool = False


class RemoveOllama(_Command):
    """Removes a model from Ollama."""

    kind: Literal["remove_ollama"] = "remove_ollama"
    name: str
    host: str = ""


class DeriveTemplate(_Command):
    """Derives the Ollama TEMPLATE of a model folder or template file; overrides where not None.

    `adds_bos`: whether the server puts `bos` in front itself. `frozen_date` writes that day.
    """

    kind: Literal["derive_template"] = "derive_template"
    path: str
    bos: str | None = None
    eos: str | None = None
    adds_bos: bool | None = None
    frozen_date: date | None = None


class RenderTemplate(_Command):
    """Renders a TEMPLATE as a server would; `today` is what it prints as the current date."""

    kind: Literal["render_template"] = "render_template"
    template: str
    request: RenderRequest
    today: date | None = None


class PlanMerge(_Command):
    """What merging a run would do and need, from the headers of its files."""

    kind: Literal["plan_merge"] = "plan_merge"
    run: str
    merging: MergingSpec = MergingSpec()


class MergeAdapters(_Command):
    """Merges adapters into a base model, outside any run."""

    kind: Literal["merge_adapters"] = "merge_adapters"
    base: ModelSpec
    adapters: tuple[WeightedAdapter, ...] = Field(min_length=1)
    out: str
    merging: MergingSpec = MergingSpec()


class ListAdapters(_Command):
    """Looks for adapters in folders and what lies in them; with a model also which fit it."""

    kind: Literal["list_adapters"] = "list_adapters"
    folders: tuple[str, ...]
    model: ModelSpec | None = None


class ShowAdapter(_Command):
    """An adapter layer by layer; with a model also whether it fits."""

    kind: Literal["show_adapter"] = "show_adapter"
    folder: str
    model: ModelSpec | None = None


class CombineAdapters(_Command):
    """Makes one adapter of several; `rank` is for svd, `density` for ties, dare and pruning."""

    kind: Literal["combine_adapters"] = "combine_adapters"
    adapters: tuple[WeightedAdapter, ...] = Field(min_length=1)
    method: Method = "cat"
    out: str
    rank: int | None = Field(None, ge=1, le=4096)
    density: float = Field(0.5, gt=0.0, le=1.0)
    seed: int = 0


class Cancel(_Command):
    """Ends the command `target` without a result; heeded within ten seconds or enforced."""

    kind: Literal["cancel"] = "cancel"
    target: str


class Stop(_Command):
    """Ends the training `target` after this step and keeps the adapter."""

    kind: Literal["stop"] = "stop"
    target: str


class Pause(_Command):
    """Ends the training `target` after this step with a checkpoint that it can go on from."""

    kind: Literal["pause"] = "pause"
    target: str


class SaveCheckpoint(_Command):
    """Writes a checkpoint of the training `target` after this step."""

    kind: Literal["checkpoint"] = "checkpoint"
    target: str


class Shutdown(_Command):
    """Ends the worker when its current command has ended."""

    kind: Literal["shutdown"] = "shutdown"


Job = (
    Train | Merge | ImportAdapter | ImportModel | Export | SelfTest | Push | Generate | CreateOllama
)
Question = (
    PlanMerge | MergeAdapters | ListAdapters | ShowAdapter | CombineAdapters
    | InspectModel | InspectDataset | ReadRows | ShowRow | MeasureDataset | LintDataset
    | ListModels | SearchModels | DownloadModel | InspectAccount | SignIn | SignOut
    | InspectDevices | InspectOllama | ShowOllama | CopyOllama | RemoveOllama | DeriveTemplate | RenderTemplate | PreviewCard | Convert | EstimateSizes
    | OpenChat | AskChat | ShowPrompt
)  # fmt: skip
Control = Cancel | Stop | Pause | SaveCheckpoint | Shutdown
Command = Annotated[Job | Question | Control, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Job | Question | Control] = TypeAdapter(Command)


def parse(line: str | bytes) -> Job | Question | Control:
    """The command in one JSON line; raises pydantic.ValidationError."""
    return _ADAPTER.validate_json(line)


def to_pipe(command: Job | Question | Control) -> bytes:
    """A command as the line that a worker of our own reads; the only place where a token is spelt out."""
    if isinstance(command, SignIn):
        plain = command.model_dump(mode="json") | {"token": command.token.get_secret_value()}
        return json.dumps(plain).encode() + b"\n"
    return command.model_dump_json().encode() + b"\n"
