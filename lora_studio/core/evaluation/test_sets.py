"""Test sets to choose from: where the items of an evaluation come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.problems import Problem


class _TestSet(BaseModel):
    """Base of test sets. With `limit`, only so many items are drawn, by `seed`; 0 is all of them."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    limit: int = Field(0, ge=0)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class HeldoutRows(_TestSet):
    """The rows that were held out of the training of the run: its validation rows."""

    kind: Literal["heldout"] = "heldout"

    @property
    def key(self) -> str:
        """A name that is unique among the test sets of an evaluation."""
        return "heldout"

    @property
    def title(self) -> Text:
        """The display name."""
        return text("Held-out rows")


class FileRows(_TestSet):
    """The rows of a file, folder, or Hub dataset; its format is detected as for training data."""

    kind: Literal["file"] = "file"
    source: DataSource

    @property
    def key(self) -> str:
        """A name that is unique among the test sets of an evaluation."""
        return f"file:{self.source.path}"

    @property
    def title(self) -> Text:
        """The display name."""
        return text(self.source.path.replace("\\", "/").rsplit("/", 1)[-1])


class PlaygroundPrompts(_TestSet):
    """The questions of the conversations saved in the Playground of a project, without references."""

    kind: Literal["playground"] = "playground"
    project: str = ""

    @property
    def key(self) -> str:
        """A name that is unique among the test sets of an evaluation."""
        return "playground"

    @property
    def title(self) -> Text:
        """The display name."""
        return text("Playground prompts")


class ForgettingSet(_TestSet):
    """The built-in set of general questions: whether training has damaged other abilities."""

    kind: Literal["forgetting"] = "forgetting"

    @property
    def key(self) -> str:
        """A name that is unique among the test sets of an evaluation."""
        return "forgetting"

    @property
    def title(self) -> Text:
        """The display name."""
        return text("Forgetting")


class BenchmarkTask(_TestSet):
    """A public benchmark that lm-eval knows, such as "arc_easy"; `shots` examples precede each item."""

    kind: Literal["benchmark"] = "benchmark"
    task: str = Field(min_length=1)
    shots: int = Field(0, ge=0, le=64)

    @property
    def key(self) -> str:
        """A name that is unique among the test sets of an evaluation."""
        return f"benchmark:{self.task}"

    @property
    def title(self) -> Text:
        """The display name."""
        return text(self.task)


AnyTestSet = HeldoutRows | FileRows | PlaygroundPrompts | ForgettingSet | BenchmarkTask
TestSet = Annotated[AnyTestSet, Field(discriminator="kind")]


class TestSetReport(BaseModel):
    """What a test set contained: `items` are used, `rows` were read.

    `trained` rows were also trained on and are left out, `repeated` ones occur more than once,
    `unusable` ones have no prompt or can't be read, for `reasons` with their counts. `not_drawn` were
    left out by the limit. `unchecked` says why it isn't known which rows were trained on, empty if it is.
    `problem` says why the whole set can't be used; it has no items then.
    """

    __test__ = False  # the name is no test's

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    key: str
    title: Text = NO_TEXT
    rows: int = 0
    items: int = 0
    trained: int = 0
    repeated: int = 0
    unusable: int = 0
    not_drawn: int = 0
    reasons: tuple[tuple[Text, int], ...] = ()
    without_reference: int = 0
    suggested: tuple[str, ...] = ()
    unchecked: Text = NO_TEXT
    problem: Problem | None = None

    @property
    def left_out(self) -> Text:
        """How many rows were left out because they were trained on; empty if none were."""
        if not self.trained:
            return NO_TEXT
        return counted(
            self.trained,
            "{n} row was trained on and is left out.",
            "{n} rows were trained on and are left out.",
        )
