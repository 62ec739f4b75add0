"""The queries about the dataset: when each is sent and what its answer depends on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.jobs.debounced_query import DebouncedQuery, strip_model
from lora_studio.gui.language import tr
from lora_studio.gui.project.data_sources import select_fields
from lora_studio.gui.project.state import ProjectState

Kind = Literal["inspect_dataset", "measure_dataset", "lint_dataset", "plan_dataset"]
#: In this order, because each query uses what the previous one cached.
KINDS: tuple[Kind, ...] = ("inspect_dataset", "measure_dataset", "lint_dataset", "plan_dataset")

#: Rows in the first answer: the table shows them while the rest is still being read.
_PREVIEW = 200
_STEP: Step = "dataset"
#: Fields that determine the rows; split, template and maximum length don't affect them.
_ROWS = ("sources", "system_prompt", "train_on", "thinking", "fixes")
_TOKENS = (*_ROWS, "chat_template", "max_length", "too_long")
#: Lengths are measured before truncation, so that moving the limit needs no new query.
_LENGTHS = (*_ROWS, "chat_template")
_ALL = (*_TOKENS, "validation_share", "validation_count", "validation_file", "group_column")


class DatasetQueries(QObject):
    """Inspects the dataset after a change, measures and checks it, and counts the rows of the run.

    Signals:
        ask(command): a question for a worker.
        outdated(command): drop the answer to this question.
        canceled_by_user(kind): the user canceled the query.
        changed: a query started, progressed, ended or was canceled.
    """

    ask = Signal(object)
    outdated = Signal(object)
    canceled_by_user = Signal(str)
    changed = Signal()

    def __init__(self, state: ProjectState, parent: QObject) -> None:
        """Follow the project; the page passes the workers' events on."""
        super().__init__(parent)
        self.state = state
        self._canceled: set[Kind] = set()
        self._progress: dict[str, events.Progress] = {}
        makers = (
            self._make_inspection, self._make_measurement, self._make_linting, self._make_plan,
        )  # fmt: skip
        self._queries = {
            kind: DebouncedQuery(make, self, self._list_files)
            for kind, make in zip(KINDS, makers, strict=True)
        }
        for kind, query in self._queries.items():
            query.ask.connect(partial(self._on_asked, kind))
            query.outdated.connect(self.outdated)
            query.busy_changed.connect(lambda _: self.changed.emit())
        state.opened.connect(self._on_opened)
        state.value_changed.connect(self._on_value_changed)
        state.facts_changed.connect(self._on_facts_changed)
        self._on_opened()

    # --- for the page -------------------------------------------------------------------------

    def send_due(self) -> None:
        """Send every query that is due."""
        for query in self._queries.values():
            query.ask_now()

    def check_files(self) -> None:
        """Inspect the dataset again if its files have changed on disk."""
        inspection = self._queries["inspect_dataset"]
        if inspection.has_changed_files() and self._make_inspection() is not None:
            for query in self._queries.values():
                query.forget()
            for name in ("lengths", "plan"):
                self.state.forget(name)
            inspection.ask_now()

    def on_event(self, event: object) -> None:
        """Track progress and endings; answers arrive through the project's facts."""
        for kind, query in self._queries.items():
            if query.asked is not None and getattr(event, "id", None) == query.asked.id:
                self._on_event(kind, query, event)

    def get_running(self) -> tuple[Kind, events.Progress | None] | None:
        """Return the running query and its progress: the first without an answer."""
        for kind, query in self._queries.items():
            if query.busy:
                return kind, self._progress.get(kind)
        return None

    def get_canceled(self) -> Kind | None:
        """Return the first query that the user canceled."""
        return next((kind for kind in KINDS if kind in self._canceled), None)

    def is_busy(self, kind: Kind) -> bool:
        """Return whether an answer is pending."""
        return self._queries[kind].busy

    def describe_unread(self) -> str:
        """Return whether rows are being read or still have to be, "" when all are read."""
        inspection, answer = self._queries["inspect_dataset"], self.state.facts.dataset
        if answer is not None and answer.complete and not inspection.busy:
            return ""
        return tr("checking") if inspection.is_coming else tr("not checked yet")

    def cancel(self, kind: Kind) -> None:
        """Cancel a query until something changes."""
        self._canceled.add(kind)
        self.state.report(kind, [])
        self._queries[kind].forget()
        self.canceled_by_user.emit(kind)
        self.changed.emit()

    def resume(self, kind: Kind) -> None:
        """Send a canceled query again."""
        self._canceled.discard(kind)
        self._queries[kind].forget()
        self.send_due()
        self.changed.emit()

    def get_inspected_dataset(self) -> DatasetSpec | None:
        """Return the dataset of the latest inspection."""
        command = self._queries["inspect_dataset"].asked
        return command.dataset if isinstance(command, commands.InspectDataset) else None

    def get_token_inputs(self) -> tuple[DatasetSpec | None, ModelSpec | None, tuple[str, ...]]:
        """Return the dataset, the model, and the new tokens that a row's tokens depend on."""
        dataset = self._get_dataset()
        spec = select_fields(dataset, _TOKENS) if dataset else None
        return spec, self._get_model(), self._get_new_tokens()

    # --- questions ----------------------------------------------------------------------------

    def _make_inspection(self) -> commands.Question | None:
        dataset = self._get_dataset()
        if dataset is None or "inspect_dataset" in self._canceled:
            return None
        return commands.InspectDataset(dataset=select_fields(dataset, _ROWS), preview=_PREVIEW)

    def _make_measurement(self) -> commands.Question | None:
        dataset, model = self._read("measure_dataset"), self._get_model()
        if dataset is None or model is None:
            return None
        return commands.MeasureDataset(
            dataset=select_fields(dataset, _LENGTHS), model=model, new_tokens=self._get_new_tokens()
        )

    def _make_linting(self) -> commands.Question | None:
        dataset = self._read("lint_dataset")
        if dataset is None:
            return None
        model, tokens = self._get_model(), self._get_new_tokens()
        spec = select_fields(dataset, _ALL)
        command = commands.LintDataset(dataset=spec, model=model, new_tokens=tokens)
        training, inspected = self.state.get_spec("training"), self.state.facts.dataset
        has_labels = (
            inspected is not None
            and inspected.task is not None
            and TASKS[inspected.task].has_classes
        )
        if has_labels and isinstance(training, TrainingSpec):  # only labels depend on the split
            return command.model_copy(update={"seed": training.seed})
        return command

    def _make_plan(self) -> commands.Question | None:
        dataset, model = self._read("plan_dataset"), self._get_model()
        training = self.state.get_spec("training")
        if dataset is None or model is None or not isinstance(training, TrainingSpec):
            return None
        return commands.PlanDataset(
            dataset=dataset, model=model, new_tokens=self._get_new_tokens(), seed=training.seed
        )

    def _list_files(self) -> list[Path]:
        dataset = self.state.get_spec(_STEP)
        sources = dataset.sources if isinstance(dataset, DatasetSpec) else ()
        return [Path(source.path) for source in sources if not source.is_hub]

    def _get_dataset(self) -> DatasetSpec | None:
        dataset = self.state.get_spec(_STEP)
        if not isinstance(dataset, DatasetSpec):
            return None
        problems = checks.filter_by_step(checks.check(self.state.draft), _STEP)
        return None if checks.filter_errors(problems) else dataset

    def _read(self, kind: Kind) -> DatasetSpec | None:
        """Return the dataset once it is completely read, unchanged since, and has usable rows."""
        inspected, dataset = self.state.facts.dataset, self._get_dataset()
        if inspected is None or dataset is None or kind in self._canceled:
            return None
        current = self.get_inspected_dataset() == select_fields(dataset, _ROWS)
        is_usable = inspected.complete and inspected.task is not None and inspected.rows_used > 0
        return dataset if current and is_usable else None

    def _get_model(self) -> ModelSpec | None:
        model = self.state.get_spec("model")
        if not isinstance(model, ModelSpec) or self.state.facts.model is None:
            return None
        return strip_model(model)

    def _get_new_tokens(self) -> tuple[str, ...]:
        lora = self.state.get_spec("lora")
        return lora.new_tokens if isinstance(lora, LoraSpec) else ()

    # --- handlers -----------------------------------------------------------------------------

    def _on_asked(self, kind: Kind, question: commands.Question) -> None:
        """Drop the progress of the previous query and send the next one."""
        if self._progress.pop(kind, None) is not None:
            self.changed.emit()
        self.ask.emit(question)

    def _on_event(self, kind: Kind, query: DebouncedQuery, event: object) -> None:
        if isinstance(event, events.Progress):
            self._progress[kind] = event
            self.changed.emit()
        elif isinstance(event, events.Ending):
            self._progress.pop(kind, None)
        query.on_event(event)
        if kind == "inspect_dataset" and isinstance(event, events.Done):
            for following in ("measure_dataset", "lint_dataset", "plan_dataset"):
                self._queries[following].ask_now()

    def _on_opened(self) -> None:
        self._canceled.clear()
        self._progress.clear()
        for query in self._queries.values():
            query.forget()
        self._queries["inspect_dataset"].schedule()

    def _on_value_changed(self, step: str, field: str) -> None:
        if step == _STEP or (step, field) == ("training", "seed"):
            self._plan_again()
        if (step, field) == ("training", "seed"):
            self._queries["lint_dataset"].schedule()
        if step != _STEP:
            return
        if field in _ROWS:
            self._canceled.clear()
            for kind in (*KINDS, "read_rows", "show_row"):
                self.state.report(kind, [])
        if field in ("sources", "fixes"):  # set by a drop or a click, not by typing
            self._queries["measure_dataset"].forget()
            self.state.forget("lengths")  # those of other rows
            self._queries["inspect_dataset"].ask_now()
        elif field in _ROWS:
            self._queries["inspect_dataset"].schedule()
        if field in _LENGTHS:
            self._queries["measure_dataset"].schedule()
        if field in _ALL:
            self._queries["lint_dataset"].schedule()

    def _plan_again(self) -> None:
        """Drop the counts of other settings; until the next answer, counts are approximate."""
        self.state.forget("plan")
        self.state.report("plan_dataset", [])
        self._queries["plan_dataset"].forget()
        self._queries["plan_dataset"].schedule()

    def _on_facts_changed(self, name: str) -> None:
        if name == "model":
            self._queries["measure_dataset"].schedule()
            self._queries["lint_dataset"].schedule()
            self._plan_again()
