"""Commands and events about datasets: formats, rows, lengths and findings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.dataset.spec import DatasetSpec, Repair, RowFormat
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.tasks.samples import Message, TaskName


class InspectDataset(BaseCommand):
    """Detect the format of a dataset, report its first rows at once, then read the whole dataset."""

    title = text("Reading the dataset")
    step = "dataset"
    lane = "scanner"
    reads_foreign_files = True
    kind: Literal["inspect_dataset"] = "inspect_dataset"
    dataset: DatasetSpec
    preview: int = Field(20, ge=0, le=1000)


class ReadRows(BaseCommand):
    """Read a page of rows: of all rows, of those that contain `search`, or of the skipped ones.

    With `only`, the page consists of these (source, row) pairs, such as those of a finding; with
    `reason` (of a `Skipped`), of the rows skipped for that reason.
    """

    title = text("Reading rows")
    step = "dataset"
    lane = "reader"
    is_optional = True
    reads_foreign_files = True
    kind: Literal["read_rows"] = "read_rows"
    dataset: DatasetSpec
    first: int = Field(0, ge=0)
    count: int = Field(100, ge=1, le=1000)
    search: str = ""
    which: Literal["all", "used", "skipped"] = "all"
    reason: Text = NO_TEXT
    only: tuple[tuple[int, int], ...] = ()


class ShowRow(BaseCommand):
    """Show one row in full and, with a model, its tokens."""

    title = text("Reading the row")
    step = "dataset"
    is_optional = True
    reads_foreign_files = True
    kind: Literal["show_row"] = "show_row"
    dataset: DatasetSpec
    model: ModelSpec | None = None
    new_tokens: tuple[str, ...] = ()
    row: int = Field(1, ge=1)
    source: int = Field(0, ge=0)


class MeasureDataset(BaseCommand):
    """Tokenize the whole dataset and report the lengths of its rows."""

    title = text("Measuring row lengths")
    step = "dataset"
    lane = "scanner"
    is_optional = True
    reads_foreign_files = True
    kind: Literal["measure_dataset"] = "measure_dataset"
    dataset: DatasetSpec
    model: ModelSpec
    new_tokens: tuple[str, ...] = ()


class PlanDataset(BaseCommand):
    """Prepare the dataset as a training would, and report its rows; `seed` is that of the training."""

    title = text("Counting the rows to train on")
    step = "dataset"
    lane = "scanner"
    is_optional = True
    prevents_jobs = ("dataset.no_usable_rows", "dataset.one_label", "dataset.too_many_labels")
    reads_foreign_files = True
    kind: Literal["plan_dataset"] = "plan_dataset"
    dataset: DatasetSpec
    model: ModelSpec
    new_tokens: tuple[str, ...] = ()
    seed: int = 42


class LintDataset(BaseCommand):
    """Check the whole dataset for problems; with a model, also for those that require tokenizing.

    `seed` is that of the training, whose split decides which labels are trained.
    """

    title = text("Checking the dataset")
    step = "dataset"
    lane = "scanner"
    is_optional = True
    reads_foreign_files = True
    kind: Literal["lint_dataset"] = "lint_dataset"
    dataset: DatasetSpec
    model: ModelSpec | None = None
    new_tokens: tuple[str, ...] = ()
    seed: int = 42


class Skipped(BaseModel):
    """Rows left out for one reason; `rows` are the first few, counted from 1."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    reason: Text
    count: int
    rows: tuple[int, ...] = ()


TokenState = Literal["trained", "context", "cut"]


class Token(BaseModel):
    """One token as the model sees it; `special` marks control tokens such as <|im_end|>."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    id: int
    text: str
    state: TokenState
    special: bool = False


class RowPreview(BaseModel):
    """One row of the data; `row` counts from 1 over its source (whose position `source` is).

    `text` is the content of plain-text rows; `fault` says why a row is skipped, in which case
    `messages` is the readable part of it. For pairs, `messages` is the prompt.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    row: int
    source: int = 0
    messages: tuple[Message, ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None
    text: str = ""
    fault: Text = NO_TEXT


class SourceFound(BaseModel):
    """The detected format of one source, with `confidence` (0 to 1) and `evidence`.

    `format` and `task` are None if nothing can be trained on; `problems` says why. read = used +
    sum of skipped; `rows` is None while the source is still being read. `examples` are the first
    readable rows, as JSON objects, for previewing a mapping. `people` are those who write in exported
    chats, whose messages can be the answers.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    path: str
    container: Text  # in words: "JSON lines, UTF-8", "CSV with ; and Windows-1252"
    format: RowFormat | None
    task: TaskName | None
    confidence: float
    evidence: Text
    others: tuple[RowFormat, ...] = ()  # formats that fit as well, the likeliest first
    columns: tuple[str, ...]
    mapping: dict[str, str]
    people: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    rows: int | None = None
    used: int = 0
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()


class DatasetInspected(BaseEvent):
    """The contents of a dataset: read = used + sum of skipped.

    Sent twice for large data: at once with the first rows (`complete` is False and the counts are
    those of the first rows alone), and when every row was read.
    """

    kind: Literal["dataset_inspected"] = "dataset_inspected"
    sources: tuple[SourceFound, ...]
    task: TaskName | None
    complete: bool = True
    rows_read: int
    rows_used: int
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()
    preview: tuple[RowPreview, ...] = ()


class RowsRead(BaseEvent):
    """A page of rows, starting at index `first` of the `matching` rows."""

    kind: Literal["rows_read"] = "rows_read"
    first: int
    matching: int
    rows: tuple[RowPreview, ...]


class RowShown(BaseEvent):
    """One full row: as in the file (`raw`, JSON) and, with a model, as the model sees it.

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


class LengthsMeasured(BaseEvent):
    """Row lengths of the whole dataset in tokens; extrapolated from a sample until `complete`.

    `edges` are lengths in ascending order; `rows_over[i]` counts rows longer than `edges[i]`,
    `trained_over[i]` the trained tokens after that position, which a limit would cut. `percentiles`
    maps 50, 90, 95, 99, 100 to lengths. All values are per epoch and before truncation. `heaviest`
    maps a number of rows per optimizer step, in powers of two, to token counts: the sum of the
    first n is the largest total of the n longest rows in any one step.
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
    """One kind of fault in the data: the number of rows, examples, and a fix.

    `code` is dotted (`lint.duplicates`). `rows` are (source, row) pairs, at most a thousand. `fix`
    goes into the project's `dataset.fixes`; `change` is another setting that helps, as field and
    value of the dataset step.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    code: str
    title: Text
    what: Text
    count: int
    rows: tuple[tuple[int, int], ...] = ()
    severity: Literal["error", "warning", "hint"] = "warning"
    fix: Repair | None = None
    fixed: bool = False
    change: tuple[str, Any] | None = None


class LabelCount(BaseModel):
    """The rows with one label, in training and held out for validation."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    label: str
    training: int
    validation: int = 0

    @property
    def rows(self) -> int:
        """Return the rows of both."""
        return self.training + self.validation


class SearchPairCounts(BaseModel):
    """The pairs of a dataset for search: how many have a hard negative, and how many texts differ."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    pairs: int
    with_negative: int
    queries: int
    passages: int


class DatasetLinted(BaseEvent):
    """All findings, the most severe first; `rows` is the number of rows checked.

    `labels` are those of texts with labels after repairs, the most frequent first; () if their number, `label_count`,
    is too large for a classifier.
    """

    kind: Literal["dataset_linted"] = "dataset_linted"
    rows: int
    findings: tuple[Finding, ...]
    labels: tuple[LabelCount, ...] = ()
    label_count: int = 0
    pairs: SearchPairCounts | None = None


class RowCounts(BaseEvent):
    """The rows of a run after rendering: read = train + validation + sum of skipped.

    `rows_per_epoch` counts a row as often as its source's weight says, and each piece of a document;
    `longest_row`, `tokens` and `trained_tokens` are those of an epoch, in tokens after truncation. `labels`
    counts the training rows of each label of texts with labels, in the order of a classifier's outputs.
    """

    task: TaskName
    rows_read: int
    rows_train: int
    rows_validation: int
    rows_per_epoch: int = 0
    skipped: tuple[Skipped, ...] = ()
    rows_cut: int = 0
    tokens: int
    trained_tokens: int
    longest_row: int = 0
    labels: dict[str, int] = Field(default_factory=dict)


class DatasetReady(RowCounts):
    """The dataset of a run is prepared."""

    kind: Literal["dataset_ready"] = "dataset_ready"


class DatasetPlanned(RowCounts):
    """What a run with these settings would train on; `heaviest` is as in `LengthsMeasured`."""

    kind: Literal["dataset_planned"] = "dataset_planned"
    heaviest: dict[int, tuple[int, ...]] = Field(default_factory=dict)
