"""Every command that a worker accepts: one closed union, one parse function."""

from __future__ import annotations

import json
from typing import Annotated, get_args

from pydantic import Field

from lora_studio.core.protocol.base import (
    BaseCommand,
    Cancel,
    GoOffline,
    LazyUnion,
    Pause,
    SaveCheckpoint,
    Shutdown,
    Stop,
)
from lora_studio.core.protocol.chat import (
    AskChat,
    Generate,
    OpenChat,
    Serve,
    ShowPrompt,
)
from lora_studio.core.protocol.chat import (
    TextSource as TextSource,
)
from lora_studio.core.protocol.dataset import (
    InspectDataset,
    LintDataset,
    MeasureDataset,
    PlanDataset,
    ReadRows,
    ShowRow,
)
from lora_studio.core.protocol.evaluation import (
    Classify,
    ClassifyFile,
    Evaluate,
    InspectTestSets,
    ListBenchmarks,
)
from lora_studio.core.protocol.export import (
    Convert,
    CopyOllama,
    CreateOllama,
    DeriveTemplate,
    EstimateSizes,
    Export,
    InspectOllama,
    PreviewCard,
    ProveOllama,
    ProveTemplate,
    Push,
    RemoveOllama,
    RenderChat,
    RenderTemplate,
    SelfTest,
    ShowOllama,
)
from lora_studio.core.protocol.merging import (
    CombineAdapters,
    ImportAdapter,
    ImportModel,
    ListAdapters,
    Merge,
    MergeAdapters,
    PlanMerge,
    ShowAdapter,
)
from lora_studio.core.protocol.model import (
    DownloadModel,
    InspectAccount,
    InspectDevices,
    InspectModel,
    ListModels,
    SearchModels,
    SignIn,
    SignOut,
)
from lora_studio.core.protocol.training import PreviewRewards, Train

Job = (
    Train
    | Merge
    | ImportAdapter
    | ImportModel
    | Export
    | SelfTest
    | Push
    | Generate
    | CreateOllama
    | Evaluate
)
Question = (
    PlanMerge | MergeAdapters | ListAdapters | ShowAdapter | CombineAdapters
    | InspectModel | InspectDataset | ReadRows | ShowRow | MeasureDataset | PlanDataset | LintDataset
    | ListModels | SearchModels | DownloadModel | InspectAccount | SignIn | SignOut
    | InspectDevices | InspectOllama | ShowOllama | CopyOllama | RemoveOllama | ProveOllama | DeriveTemplate | RenderTemplate | RenderChat | ProveTemplate | PreviewCard | Convert | EstimateSizes
    | OpenChat | AskChat | ShowPrompt | Serve | PreviewRewards | Classify | ClassifyFile | ListBenchmarks | InspectTestSets
)  # fmt: skip
Control = Cancel | Stop | Pause | SaveCheckpoint | GoOffline | Shutdown
Command = Annotated[Job | Question | Control, Field(discriminator="kind")]

#: Every command by its `kind`, as `Started.command` names it.
COMMANDS: dict[str, type[BaseCommand]] = {
    command.model_fields["kind"].default: command
    for union in (Job, Question, Control)
    for command in get_args(union)
}

_UNION: LazyUnion[Job | Question | Control] = LazyUnion(Job | Question | Control)


def parse(line: str | bytes) -> Job | Question | Control:
    """Parse the command in one JSON line; raises pydantic.ValidationError."""
    return _UNION.parse(line)


def to_pipe(command: Job | Question | Control) -> bytes:
    """Return a command as a line for our own worker; the only function that writes secrets in plain
    text.
    """
    if isinstance(command, SignIn):
        plain = command.model_dump(mode="json") | {"token": command.token.get_secret_value()}
        return json.dumps(plain).encode() + b"\n"
    return command.model_dump_json().encode() + b"\n"
