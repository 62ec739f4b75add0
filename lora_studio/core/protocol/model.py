"""Commands and events about base models, the Hub, and the devices of this computer."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.catalog import ModelEntry, ModelLocation, ModelShape
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.system.programs import BuildTool


class InspectModel(BaseCommand):
    """Inspect a model, its teacher if it has one, and compute the adapter size, without loading weights.

    `llama_cpp` is the user's folder of llama.cpp, whose converter an export would run; empty for none.
    """

    title = text("Inspecting the model")
    step = "model"
    reads_foreign_files = True
    kind: Literal["inspect_model"] = "inspect_model"
    model: ModelSpec
    lora: LoraSpec = LoraSpec()
    teacher: ModelSpec | None = None
    llama_cpp: str = ""


class ListModels(BaseCommand):
    """List the models in one location on this computer; `folders` are searched for the location
    `folder`.
    """

    title = text("Looking for models")
    lane = "finder"
    in_project = False
    reads_foreign_files = True
    kind: Literal["list_models"] = "list_models"
    location: Literal["folder", "cache", "ollama", "lm_studio"]
    folders: tuple[str, ...] = ()


class SearchModels(BaseCommand):
    """Search base models on the Hub. Sizes in parameters, 0 for no limit; `gated` includes those
    whose terms have to be accepted."""

    title = text("Searching the Hub")
    lane = "hub"
    in_project = False
    only_queries = True
    kind: Literal["search_models"] = "search_models"
    text: str = ""
    smallest: int = Field(0, ge=0)
    largest: int = Field(0, ge=0)
    license: str = ""
    gated: bool = True
    sort: Literal["downloads", "likes", "updated"] = "downloads"
    limit: int = Field(50, ge=1, le=200)


class DownloadModel(BaseCommand):
    """Download a Hub model into the shared Hugging Face cache, or resume a download."""

    title = text("Downloading the model")
    lane = "downloads"
    in_project = False
    kind: Literal["download_model"] = "download_model"
    model: ModelSpec


class InspectAccount(BaseCommand):
    """Ask the Hub which account its token belongs to."""

    title = text("Checking the Hub account")
    lane = "hub"
    in_project = False
    only_queries = True
    kind: Literal["inspect_account"] = "inspect_account"


class SignIn(BaseCommand):
    """Save a token in the Hub's own token store. Only `to_pipe` ever writes it."""

    title = text("Signing in")
    lane = "hub"
    in_project = False
    kind: Literal["sign_in"] = "sign_in"
    token: SecretStr


class SignOut(BaseCommand):
    """Delete the token from the Hub's own token store."""

    title = text("Signing out")
    lane = "hub"
    in_project = False
    kind: Literal["sign_out"] = "sign_out"


class InspectDevices(BaseCommand):
    """List the devices that can run a model."""

    title = text("Looking for devices")
    kind: Literal["inspect_devices"] = "inspect_devices"


class DeviceProgram(BaseModel):
    """A program that has memory of a GPU, in bytes."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    bytes: int


class Device(BaseModel):
    """A device to run a model on; memory in bytes.

    `precision` is what "auto" means on it, `identifier` is the UUID of an NVIDIA card. `can_shard` says
    whether processes on several such devices can share the weights. `programs` are other programs that
    have memory of it, the largest first, as far as its driver tells.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str  # auto, cpu, mps, cuda:0 …
    title: str | Text  # a card's own name stays a string
    total_bytes: int
    free_bytes: int
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    identifier: str = ""
    can_shard: bool = True
    programs: tuple[DeviceProgram, ...] = ()


class DevicesFound(BaseEvent):
    """The devices of this machine, the one that `auto` means first.

    `missing` are optional packages that the engine lacks, such as bitsandbytes; `packages` maps the
    names of its main packages to their versions. `missing_build_tool` is what Triton lacks to build GPU
    kernels, `unused_gpu` why "auto" means the CPU although this computer has a GPU.
    """

    kind: Literal["devices_found"] = "devices_found"
    devices: tuple[Device, ...]
    missing: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    missing_build_tool: BuildTool | None = None
    unused_gpu: Problem | None = None


class ParametersCounted(BaseEvent):
    """Exact parameter counts, known before training starts.

    `adapter_bytes` is the size of the saved weights, in 32-bit; the tokenizer, which is saved beside them, isn't counted.
    """

    kind: Literal["parameters_counted"] = "parameters_counted"
    trainable: int
    total: int
    targets: tuple[str, ...]
    adapter_bytes: int

    @property
    def percent(self) -> float:
        """Trainable parameters as a percentage of all."""
        return 100 * min(self.trainable, self.total) / self.total if self.total else 0.0


class ModelInspected(BaseEvent):
    """Facts about a model that don't require its weights. Sizes in bytes, by precision.

    `disk_bytes` is the size of its files, of which `missing_bytes` are not downloaded yet; `gated`:
    its terms have to be accepted on the Hub. A model unpacked from a GGUF file has the quantization and
    size of that file as `gguf_type` and `gguf_bytes`. `adapter_problem` is why there is no `adapter`, and
    `adapter_notes` are warnings about what has none.
    `teacher` is the model's teacher, if it has one, and `teacher_problem` why it can't be.
    `export_problem` is why the model can't become a GGUF file.
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
    license: str | None = Field(validation_alias=AliasChoices("license", "licence"))
    has_chat_template: bool
    prequantized: str | None = None
    disk_bytes: int = 0
    missing_bytes: int = 0
    gguf_type: str = ""
    gguf_bytes: int = 0
    gated: bool = False
    weight_bytes: dict[str, int]
    linear_names: tuple[str, ...]
    adapter: ParametersCounted | None = None
    adapter_problem: Problem | None = None
    adapter_notes: tuple[Problem, ...] = ()
    shape: ModelShape | None = None
    teacher: ModelInspected | None = None
    teacher_problem: Problem | None = None
    export_problem: Problem | None = None


class ModelsFound(BaseEvent):
    """Models in one location; `folders` are the searched folders."""

    kind: Literal["models_found"] = "models_found"
    location: ModelLocation
    models: tuple[ModelEntry, ...]
    folders: tuple[str, ...] = ()


class ModelDownloaded(BaseEvent):
    """A Hub model is complete on this computer; `bytes` of its weights."""

    kind: Literal["model_downloaded"] = "model_downloaded"
    source: str
    revision: str
    folder: str
    bytes: int


class AccountFound(BaseEvent):
    """The account of the Hub token; `name` is empty if the Hub can't be reached."""

    kind: Literal["account_found"] = "account_found"
    name: str
    has_token: bool
    from_environment: bool = False


class ModelLoaded(BaseEvent):
    """The base model is in memory; `memory_bytes` is the size of its weights."""

    kind: Literal["model_loaded"] = "model_loaded"
    source: str
    architecture: str
    device: str
    precision: str
    parameters: int
    memory_bytes: int
    seconds: float
