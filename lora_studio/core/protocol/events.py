"""Every event that a worker emits: one closed union, one parse function.

The same lines go into a run's `events.jsonl`, which is the record of the run.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from lora_studio.core.problems import OWN_JSON
from lora_studio.core.protocol.base import (
    PROTOCOL,
    Cancelled,
    Done,
    Failed,
    FileOpened,
    Hello,
    LazyUnion,
    LogLine,
    Progress,
    Started,
    Warned,
)
from lora_studio.core.protocol.chat import (
    Answered,
    AnswerGrew,
    AnswerRefused,
    ChatReady,
    Generated,
    PromptShown,
    ServedAdapter,
    ServerLogged,
    ServerReady,
)
from lora_studio.core.protocol.dataset import (
    DatasetInspected,
    DatasetLinted,
    DatasetPlanned,
    DatasetReady,
    Finding,
    LabelCount,
    LengthsMeasured,
    RowCounts,
    RowPreview,
    RowShown,
    RowsRead,
    SearchPairCounts,
    Skipped,
    SourceFound,
    Token,
    TokenState,
)
from lora_studio.core.protocol.evaluation import (
    AnswersRecorded,
    BenchmarksListed,
    ColumnEvaluated,
    ColumnRefused,
    EvaluationFinished,
    EvaluationStarted,
    TestSetsInspected,
    TextsClassified,
)
from lora_studio.core.protocol.export import (
    CardPreviewed,
    ChatRendered,
    ChatRendering,
    GgufWritten,
    OllamaCreated,
    OllamaFound,
    OllamaModel,
    OllamaProven,
    OllamaShown,
    Pushed,
    SelfTested,
    SizesEstimated,
    TemplateDerived,
    TemplateProven,
    TemplateRendered,
    Verdict,
)
from lora_studio.core.protocol.merging import (
    AdapterCombined,
    AdaptersFound,
    AdapterShown,
    Merged,
    MergePlanned,
    ShardWritten,
)
from lora_studio.core.protocol.model import (
    AccountFound,
    Device,
    DevicesFound,
    ModelDownloaded,
    ModelInspected,
    ModelLoaded,
    ModelsFound,
    ParametersCounted,
)
from lora_studio.core.protocol.training import (
    ANSWER_SCORE,
    REWARD,
    AdapterSaved,
    AnswersRated,
    CheckpointSaved,
    EndedEarly,
    Evaluated,
    MemoryEstimate,
    MemoryEstimated,
    Recovered,
    RewardsPreviewed,
    Sampled,
    StepDone,
    TrainingStarted,
)

Ending = Done | Failed | Cancelled
Event = (
    Hello | Started | Progress | FileOpened | LogLine | Warned | Done | Failed | Cancelled
    | ModelsFound | ModelDownloaded | AccountFound
    | DevicesFound | ModelInspected | ModelLoaded | ParametersCounted
    | DatasetInspected | RowsRead | RowShown | LengthsMeasured | DatasetLinted | DatasetPlanned | DatasetReady
    | TrainingStarted | MemoryEstimated | StepDone | Evaluated | Sampled | AnswersRated | EndedEarly | CheckpointSaved | Recovered
    | AdapterSaved | RewardsPreviewed | TextsClassified
    | AdaptersFound | AdapterShown | AdapterCombined | MergePlanned
    | ShardWritten | Merged | GgufWritten | TemplateDerived | TemplateRendered | TemplateProven | ChatRendered | SelfTested
    | OllamaFound | OllamaShown | OllamaProven | OllamaCreated | Generated | SizesEstimated | CardPreviewed | Pushed
    | ChatReady | AnswerGrew | Answered | AnswerRefused | PromptShown | ServerReady | ServerLogged | BenchmarksListed
    | TestSetsInspected | EvaluationStarted | ColumnRefused | AnswersRecorded | ColumnEvaluated | EvaluationFinished
)  # fmt: skip

_UNION: LazyUnion[Event] = LazyUnion(Event)


def parse(line: str | bytes, *, is_own: bool = False) -> Event:
    """Parse the event in one JSON line; raises pydantic.ValidationError.

    Only the fixes of problems in the program's own lines (`is_own`: from the pipe of a worker) are kept. Hello is parsed leniently, so that a worker of another version can still be identified.
    """
    hello = _parse_hello(line)
    return hello if hello is not None else _UNION.parse(line, OWN_JSON if is_own else None)


def _parse_hello(line: str | bytes) -> Hello | None:
    # Parsing every line twice would make reading a long run a third slower.
    if (b'"hello"' if isinstance(line, bytes) else '"hello"') not in line:  # type: ignore[operator]  # of one kind with the line
        return None
    try:
        raw: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, dict) or raw.get("kind") != "hello":
        return None
    return Hello.model_validate({key: raw[key] for key in Hello.model_fields if key in raw})


def to_line(event: BaseModel, context: dict[str, bool] | None = None) -> str:
    """Return an event or command as one JSON line, without the newline.

    With the context READABLE, messages also carry their finished text. Lone surrogates, which JSON from
    elsewhere and file names that aren't UTF-8 contain, become "?".
    """
    try:
        return event.model_dump_json(context=context)
    except PydanticSerializationError:
        line = json.dumps(event.model_dump(mode="json", context=context), ensure_ascii=False)
        return line.encode("utf-8", "replace").decode("utf-8")
