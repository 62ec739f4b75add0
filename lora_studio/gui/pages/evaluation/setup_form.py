"""What to evaluate: models, test sets, and metrics, with the dialogs that add some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHeaderView,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
    QTableWidgetItem,
    QWidget,
)
from shiboken6 import isValid

from lora_studio.core.chat import FolderChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.evaluation import plan, statistics, summary
from lora_studio.core.evaluation.columns import AnyColumnModel, Column, ServerModel
from lora_studio.core.evaluation.items import OWN_METRIC, EvaluationItem, create_item
from lora_studio.core.evaluation.metrics import METRICS, create_metric
from lora_studio.core.evaluation.plan import GREEDY, EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.test_sets import (
    AnyTestSet,
    BenchmarkTask,
    FileRows,
    ForgettingSet,
    HeldoutRows,
    PlaygroundPrompts,
    TestSetReport,
)
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.chat_models import ChatModelOption
from lora_studio.core.system.offline import is_local_address
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.evaluation.result_views import format_column
from lora_studio.gui.project import data_sources
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Size, Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    button,
    column,
    label,
    row,
    set_role,
    with_title,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder
from lora_studio.gui.widgets.rich_text import GrowingText
from lora_studio.gui.widgets.tables import fill_table, make_table, make_text
from lora_studio.gui.widgets.tooltips import plain_tip

_MOST_TOKENS = 8192
_MOST_ROWS = 1_000_000


class SetupForm(QWidget):
    """Chooses the columns, test sets, and metrics of a new evaluation.

    Signals:
        changed: the choice has changed.
        ollama_requested: the models of the Ollama server are needed; see `show_ollama_models`.
        benchmark_requested: the user wants to add a benchmark; see `add_test_set`.
    """

    changed = Signal()
    ollama_requested = Signal()
    benchmark_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without models."""
        super().__init__(parent)
        self._columns: dict[str, tuple[Column, QCheckBox]] = {}
        self._sets: dict[str, tuple[AnyTestSet, QCheckBox]] = {}
        self._reports: dict[str, TestSetReport] = {}
        self.models, self.tests, self.metrics = Card(tr("Models")), Card(tr("Test sets")), Card(tr("Metrics"))  # fmt: skip
        self.menu, self.judge = ModelMenu(), JudgeCard()
        self.menu.chosen.connect(self._add_model)
        self.menu.ollama_requested.connect(self.ollama_requested)
        self.judge.editor.ollama_requested.connect(self.ollama_requested)
        self.judge.changed.connect(self.changed)
        self._model_list, self._set_list = column(spacing=Spacing.S), column(spacing=Spacing.S)
        self.facts, self.problems = label(role="caption", wrap=True), label(role="error", wrap=True)
        self.automatic = _make_box(tr("Choose by what the answers look like"), checked=True)
        self.suggested = label(role="caption", wrap=True)
        self._boxes: dict[str, QCheckBox] = {}
        self.custom = LineEdit()
        self.custom_error = label(role="error", wrap=True)
        self.limit, self.max_tokens = QSpinBox(), QSpinBox()
        self._build()
        for test_set, checked in ((HeldoutRows(), True), (ForgettingSet(), True), (PlaygroundPrompts(), False)):  # fmt: skip
            self.add_test_set(test_set, checked=checked)

    # --- choice -------------------------------------------------------------------------------

    def show_columns(self, columns: Sequence[Column]) -> None:
        """Offer the models of a run; all are chosen."""
        for _, box in self._columns.values():
            box.hide()
            box.deleteLater()
        self._columns = {}
        for each in columns:
            self._add_column(each)
        self._on_columns_changed()

    def show_ollama_models(self, host: str, names: Sequence[str]) -> None:
        """Offer the models of an Ollama server."""
        self.menu.show_ollama_models(host, names)
        self.judge.editor.show_ollama_models(host, names)

    def list_test_sets(self) -> tuple[AnyTestSet, ...]:
        """Return the chosen test sets, with the limit."""
        limit = self.limit.value()
        return tuple(
            test_set.model_copy(update={"limit": limit})
            for test_set, box in self._sets.values()
            if box.isChecked()
        )

    def list_columns(self) -> tuple[Column, ...]:
        """Return the chosen models."""
        return tuple(each for each, box in self._columns.values() if box.isChecked())

    def list_metrics(self) -> tuple[str, ...]:
        """Return the names of the chosen metrics, () for those that suit each test set."""
        if self.automatic.isChecked():
            return ()
        chosen = [name for name, box in self._boxes.items() if box.isChecked()]
        custom = self.custom.text().strip()
        return tuple(dict.fromkeys([*chosen, custom] if custom else chosen))

    def find_blocker(self) -> str | None:
        """Return what is missing before an evaluation can start, None if nothing is."""
        if not self.list_columns():
            return tr("Choose at least one model.")
        if not self.list_test_sets():
            return tr("Choose at least one test set.")
        if not self.automatic.isChecked() and not self.list_metrics():
            return tr("Choose at least one metric.")
        return self._find_invalid_metric() or self.judge.find_blocker()

    def make_plan(self) -> EvaluationPlan:
        """Return the plan of the chosen evaluation."""
        return EvaluationPlan(
            columns=self.list_columns(),
            test_sets=self.list_test_sets(),
            metrics=self.list_metrics(),
            sampling=GREEDY.model_copy(update={"max_tokens": self.max_tokens.value()}),
            judge=self.judge.make_settings(),
        )

    def show_reports(
        self, reports: Iterable[TestSetReport], items: Sequence[EvaluationItem] = ()
    ) -> None:
        """Show what the test sets contain, and which metrics suit them; `items` are examples."""
        self._reports |= {report.key: report for report in reports}
        self.judge.show_items(items)
        self._show_facts()

    # --- models -------------------------------------------------------------------------------

    def _add_column(self, added: Column) -> None:
        box = _make_box(format_column(added), checked=True)
        box.toggled.connect(lambda _: self._on_columns_changed())
        self._columns[added.key] = (added, box)
        self._model_list.addWidget(box)

    def _add_model(self, title: str, model: AnyColumnModel) -> None:
        for each, box in self._columns.values():
            if each.model == model:
                box.setChecked(True)
                return
        key, number = title, 2
        while key in self._columns:
            key, number = f"{title} {number}", number + 1
        self._add_column(Column(key=key, title=key, model=model))
        self._on_columns_changed()

    def _on_columns_changed(self) -> None:
        self.judge.show_columns(self.list_columns())
        self.changed.emit()

    # --- test sets ----------------------------------------------------------------------------

    def add_test_set(self, test_set: AnyTestSet, *, checked: bool = True) -> None:
        """Offer a test set; one with the same key is replaced."""
        if test_set.key in self._sets:
            box = self._sets[test_set.key][1]
            self._sets[test_set.key] = (test_set, box)
            box.setChecked(True)
            self._on_sets_changed()
            return
        box = _make_box(localize(test_set.title), checked=checked)
        box.toggled.connect(lambda _: self._on_sets_changed())
        self._sets[test_set.key] = (test_set, box)
        self._set_list.addWidget(box)
        self._on_sets_changed()

    def _pick_file(self) -> None:
        data = tr("Datasets ({patterns})").format(patterns=data_sources.PATTERNS)
        choose_file(
            self.window(),
            tr("Select test file"),
            lambda name: self.add_test_set(FileRows(source=DataSource(path=name))),
            name_filter=";;".join((data, tr("All files (*)"))),
        )

    def _on_sets_changed(self) -> None:
        self._show_facts()
        self.changed.emit()

    def _show_facts(self) -> None:
        lines, problems, suggestions = [], [], []
        for key, (test_set, box) in self._sets.items():
            report = self._reports.get(key)
            if not box.isChecked() or report is None:
                continue
            title = localize(test_set.title)
            if report.problem is not None:
                problems.append(f"{title}: {localize_problem(report.problem)}")
                continue
            items = tr_n("{n} item", "{n} items", report.items)
            left_out = localize(report.left_out).rstrip(".")  # a part of a line, not a sentence
            detail = [items, left_out] if left_out else [items]
            if report.items:
                points = 100 * statistics.compute_smallest_difference(report.items)
                detail.append(
                    tr("enough to show a difference of about {points:.0f} points").format(
                        points=points
                    )
                )
            lines.append(f"{title}: {'  ·  '.join(detail)}")
            names = [
                tr("Correct") if name == OWN_METRIC else localize(create_metric(name).title)
                for name in report.suggested
            ]
            if names:
                suggestions.append(f"{title}: {', '.join(names)}")
        self.facts.setText("\n".join(lines))
        self.facts.setVisible(bool(lines))
        self.problems.setText("\n".join(problems))
        self.problems.setVisible(bool(problems))
        self.suggested.setText("\n".join(suggestions))
        self.suggested.setVisible(bool(suggestions) and self.automatic.isChecked())

    # --- metrics -----------------------------------------------------------------------------

    def _find_invalid_metric(self) -> str | None:
        for name in self.list_metrics():
            try:
                create_metric(name)
            except ProblemError as error:
                return localize_problem(error.problems[0])
        return None

    def _on_metrics_changed(self) -> None:
        self._choices.setVisible(not self.automatic.isChecked())
        self.custom_error.setText(self._find_invalid_metric() or "")
        self.custom_error.setVisible(bool(self.custom_error.text()))
        self._show_facts()
        self.changed.emit()

    # --- layout -------------------------------------------------------------------------------

    def _build(self) -> None:
        self.models.add(self._model_list, row(self.menu, None))
        self._build_sets()
        self._build_metrics()
        layout = column(
            ResponsiveColumns(
                column(self.models, self.metrics, None, spacing=Spacing.L),
                column(self.tests, self.judge, None, spacing=Spacing.L),
            ),
            None,
        )
        self.setLayout(layout)

    def _build_sets(self) -> None:
        self.limit.setRange(0, _MOST_ROWS)
        self.limit.setSpecialValueText(tr("all rows"))
        self.limit.setAccessibleName(tr("Rows per test set"))
        self.max_tokens.setRange(1, _MOST_TOKENS)
        self.max_tokens.setValue(GREEDY.max_tokens)
        self.max_tokens.setSuffix(f" {tr('tokens')}")
        self.max_tokens.setAccessibleName(tr("Longest answer"))
        self.limit.valueChanged.connect(lambda _: self.changed.emit())
        self.tests.add(self._set_list, self.facts, self.problems)
        self.benchmark = button(tr("Benchmark…"), self.benchmark_requested.emit, icon="search")
        self.tests.add(row(button(tr("File…"), self._pick_file, icon="file"), self.benchmark, None))
        more = CollapsibleSection()
        more.add(
            with_title(tr("Rows per test set"), self.limit),
            with_title(tr("Longest answer"), self.max_tokens),
        )
        self.tests.add(more)

    def _build_metrics(self) -> None:
        self._choices = QWidget()
        choices = column(spacing=Spacing.S)
        for name, info in METRICS.items():
            if not info.needs_parameter:
                box = QCheckBox(localize(info.title))
                box.setToolTip(plain_tip(localize(info.about)))
                box.toggled.connect(lambda _: self._on_metrics_changed())
                self._boxes[name] = box
                choices.addWidget(box)
        self.custom.setPlaceholderText("regex:^(yes|no)$")
        self.custom.setAccessibleName(tr("Metric with a parameter"))
        self.custom.setToolTip(
            tr("Also number:0.01, fields:name,total, exact:verbatim, or json_schema:FILE")
        )
        self.custom.textEdited.connect(lambda _: self._on_metrics_changed())
        choices.addWidget(with_title(tr("Metric with a parameter"), self.custom))
        self._choices.setLayout(choices)
        set_role(self.custom_error, "error")
        self.custom_error.hide()
        self.automatic.toggled.connect(lambda _: self._on_metrics_changed())
        self._choices.hide()
        self.metrics.add(self.automatic, self.suggested, self._choices, self.custom_error)


def _make_box(title: str, *, checked: bool = False) -> QCheckBox:
    box = QCheckBox(title.replace("&", "&&"))
    box.setChecked(checked)
    return box


_MOST_RUNS = 20


class ModelMenu(QPushButton):
    """Adds a model that isn't one of the run.

    Signals:
        chosen(title, model): a model was chosen.
        ollama_requested: the models of the Ollama server are needed; see `show_ollama_models`.
    """

    chosen = Signal(str, object)
    ollama_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the button with the models in files."""
        super().__init__(tr("Add model"), parent)
        self._options: dict[str, list[ChatModelOption]] = {}
        self._ollama: tuple[str, tuple[str, ...]] = ("", ())
        self._editor: ServerModelEditor | None = None
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self.fill)
        self.setMenu(self._menu)

    def show_options(self, options: Sequence[ChatModelOption]) -> None:
        """Set the models of other runs."""
        self._options = {}
        for option in options:
            self._options.setdefault(option.run, []).append(option)

    def show_ollama_models(self, host: str, names: Sequence[str]) -> None:
        """Set the models of the Ollama server."""
        self._ollama = (host, tuple(names))
        if self._editor is not None and isValid(self._editor):
            self._editor.show_ollama_models(*self._ollama)

    def fill(self) -> None:
        """Rebuild the menu."""
        for inner in self._menu.findChildren(QMenu):
            inner.deleteLater()
        self._menu.clear()
        for name, options in list(self._options.items())[:_MOST_RUNS]:
            inner = self._menu.addMenu(name.replace("&", "&&"))
            for option in options:
                title = localize(option.title)
                choose = partial(self.chosen.emit, f"{name}: {title}", option.chat_model)
                inner.addAction(title.replace("&", "&&"), choose)
        if self._options:
            self._menu.addSeparator()
        self._menu.addAction(tr("Adapter folder…"), self._pick_adapter)
        self._menu.addAction(tr("Model folder…"), self._pick_model)
        self._menu.addAction(tr("GGUF file…"), self._pick_gguf)
        self._menu.addAction(tr("Model on a server…"), self.ask_for_server_model)

    def ask_for_server_model(self) -> None:
        """Ask for a model in Ollama or on an OpenAI-compatible server."""
        self._editor = ServerModelEditor()
        self._editor.show_ollama_models(*self._ollama)
        self._editor.ollama_requested.connect(self.ollama_requested)
        dialog = ServerModelDialog(self._editor, self.window())
        dialog.chosen.connect(self.chosen)
        dialog.open()
        self.ollama_requested.emit()

    def _pick_adapter(self) -> None:
        choose_folder(self.window(), tr("Select adapter folder"), self._choose_adapter)

    def _choose_adapter(self, name: str) -> None:
        self.chosen.emit(Path(name).name, chat_models.create_adapter_chat_model(name))

    def _pick_model(self) -> None:
        choose_folder(
            self.window(),
            tr("Select model folder"),
            lambda name: self.chosen.emit(Path(name).name, FolderChatModel(folder=name)),
        )

    def _pick_gguf(self) -> None:
        choose_file(
            self.window(),
            tr("Select GGUF file"),
            lambda name: self.chosen.emit(Path(name).stem, GgufChatModel(file=name)),
            name_filter=tr("GGUF files (*.gguf)"),
        )


class ServerModelDialog(Dialog):
    """Asks for a model on a server.

    Signals:
        chosen(title, model): a model was entered.
    """

    chosen = Signal(str, object)

    def __init__(self, editor: ServerModelEditor, parent: QWidget | None = None) -> None:
        """Show an editor in the dialog."""
        text = tr("The model answers the same prompts as the other ones. Metrics that need probabilities of tokens aren't available for it.")  # fmt: skip
        super().__init__(tr("Add a model on a server"), text, parent)
        self.editor = editor
        self.body.addWidget(editor)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(button(tr("Add"), self._on_add, kind="primary"), default=True)
        editor.changed.connect(self._show_state)
        self._show_state()

    def _show_state(self) -> None:
        blocker = self.editor.find_blocker()
        self.add.setEnabled(blocker is None)
        self.add.setToolTip(plain_tip(blocker or ""))
        if self.isVisible():
            self._grow()

    def _grow(self) -> None:
        """Make room for an error that appeared."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        self.resize(self.width(), max(self.height(), layout.totalHeightForWidth(self.width())))

    def _on_add(self) -> None:
        model = self.editor.make_model()
        if model is not None:
            is_ollama = isinstance(model, OllamaChatModel)
            self.chosen.emit(f"Ollama: {model.name}" if is_ollama else model.name, model)
            self.accept()


_CRITERIA_HEIGHT = 64


class JudgeCard(Card):
    """Chooses a judge and what counts, and shows the exact text that it receives.

    Signals:
        changed: the judge has changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without a judge."""
        super().__init__(tr("Judge"), parent)
        self._columns: tuple[Column, ...] = ()
        self._item: EvaluationItem | None = None
        self.switch = QCheckBox(tr("Let another model compare the answers"))
        self.editor, self.criteria = ServerModelEditor(), QPlainTextEdit()
        self.about = label(role="caption", wrap=True)
        self.prompt = GrowingText(tr("Text that the judge receives"))
        self.prompt_section = CollapsibleSection(tr("Text that the judge receives"))
        self.prompt_note = label(role="caption", wrap=True)
        self._build()
        self._show_state()

    def show_columns(self, columns: Sequence[Column]) -> None:
        """Set the models whose answers are compared."""
        self._columns = tuple(columns)
        self._show_state()

    def show_items(self, items: Sequence[EvaluationItem]) -> None:
        """Use the first prompt of the test sets as an example."""
        self._item = next((item for item in items if not item.is_text), None)
        self._show_state()

    def find_blocker(self) -> str | None:
        """Return what is missing before the judge can compare, None if nothing is."""
        if not self.switch.isChecked():
            return None
        if len(self._columns) < 2:
            return tr("The judge compares the answers of two models. Choose at least two.")
        return self.editor.find_blocker()

    def make_settings(self) -> JudgeSettings | None:
        """Return the judge, None if it is off or not complete."""
        model = self.editor.make_model()
        if not self.switch.isChecked() or model is None or not self._columns:
            return None
        criteria = self.criteria.toPlainText().strip()
        return JudgeSettings(
            model=model,
            baseline=summary.choose_baseline(self._columns),
            criteria="" if criteria == plan.DEFAULT_CRITERIA else criteria,
        )

    def _on_switched(self, is_on: bool) -> None:
        if is_on:
            self.editor.ollama_requested.emit()
        self._on_changed()

    def _on_changed(self) -> None:
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        self._inner.setVisible(self.switch.isChecked())
        names = self._name_pair()
        self.about.setText(
            tr("Each answer is compared with that of {name}, twice, in both orders. Replies that contradict each other count as a tie.").format(name=names[0])
        )  # fmt: skip
        item = self._item or create_item(test_set="", raw_prompt="…", reference="…")
        first, second = (tr("(answer of {name})").format(name=name) for name in names)
        self.prompt.show_text(
            plan.build_judge_prompt(item, first, second, self.criteria.toPlainText())
        )
        self.prompt_note.setText(
            tr("Shown with the first prompt of the test sets; answers take the place of the parentheses.")
            if self._item is not None
            else tr("The prompt, the reference, and the answers take the place of the ellipses and parentheses.")
        )  # fmt: skip

    def _name_pair(self) -> tuple[str, str]:
        """Return the names of the baseline and of the first model that is compared with it."""
        if not self._columns:
            return tr("Base model"), tr("Adapter")
        baseline = summary.choose_baseline(self._columns)
        first = next(each for each in self._columns if each.key == baseline)
        second = next((each for each in self._columns if each.key != baseline), first)
        return format_column(first), format_column(second)

    def _build(self) -> None:
        self.switch.toggled.connect(self._on_switched)
        self.editor.changed.connect(self._on_changed)
        self.criteria.setPlaceholderText(plan.DEFAULT_CRITERIA)
        self.criteria.setAccessibleName(tr("What counts"))
        self.criteria.setTabChangesFocus(True)
        set_scaled_sizes(self.criteria, height=_CRITERIA_HEIGHT)
        self.criteria.textChanged.connect(self._on_changed)
        self.prompt_section.add(self.prompt_note, self.prompt)
        self._inner = QWidget()
        inside = column(
            self.editor, with_title(tr("What counts"), self.criteria), self.about, self.prompt_section
        )  # fmt: skip
        inside.setContentsMargins(0, 0, 0, 0)
        self._inner.setLayout(inside)
        self.add(self.switch, self._inner)


_OLLAMA, _SERVER = range(2)
_VARIABLE = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


class ServerModelEditor(QWidget):
    """Edits the address and the name of a model.

    Signals:
        changed: the model has changed.
        ollama_requested: the models of the Ollama server are needed; see `show_ollama_models`.
    """

    changed = Signal()
    ollama_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with Ollama on this computer, and no model."""
        super().__init__(parent)
        self._host = ""
        self.kind, self.name = QComboBox(), QComboBox()
        self.address, self.key_variable = LineEdit(), LineEdit()
        self.note, self.error = label(role="caption", wrap=True), label(role="error", wrap=True)
        self._build()
        self._on_kind_changed()

    def show_ollama_models(self, host: str, names: Sequence[str]) -> None:
        """Offer the models of an Ollama server, keeping what is typed."""
        self._host = host
        typed = self.name.currentText()
        self.name.clear()
        self.name.addItems(list(names))
        self.name.setEditText(typed)
        self._show_state()

    def make_model(self) -> OllamaChatModel | ServerModel | None:
        """Return the model, None if something is missing or invalid."""
        if self.find_blocker() is not None:
            return None
        name, address = self.name.currentText().strip(), self.address.text().strip()
        if self._is_ollama():
            return OllamaChatModel(name=name, host=address or self._host)
        return ServerModel(address=address, name=name, key_variable=self.key_variable.text().strip())  # fmt: skip

    def find_blocker(self) -> str | None:
        """Return what is missing or invalid, None if nothing is."""
        if invalid := self._find_invalid():
            return invalid
        if not self._is_ollama() and not self.address.text().strip():
            return tr("Enter the address of the server.")
        if not self.name.currentText().strip():
            return tr("Enter the name of the model on the server.")
        return None

    def _find_invalid(self) -> str | None:
        """Return what is wrong with what was entered so far."""
        address, variable = self.address.text().strip(), self.key_variable.text().strip()
        if address and "@" in address:
            return tr("Enter the address without a password.")
        if address and not self._is_ollama() and not _is_server(address):
            return tr("Enter an address such as {example}.").format(example="http://127.0.0.1:8000/v1")  # fmt: skip
        if variable and not self._is_ollama() and not _VARIABLE.match(variable):
            return tr("Enter the name of the environment variable that has the API key, such as {example}.").format(example="OPENAI_API_KEY")  # fmt: skip
        return None

    def _is_ollama(self) -> bool:
        return bool(self.kind.currentData() == _OLLAMA)

    def _on_kind_changed(self) -> None:
        if self._is_ollama():
            self.ollama_requested.emit()
        self._on_edited()

    def _on_edited(self) -> None:
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        is_ollama, invalid = self._is_ollama(), self._find_invalid()
        default = self._host or "http://127.0.0.1:11434"
        self.address.setPlaceholderText(default if is_ollama else "http://127.0.0.1:8000/v1")
        self._key.setVisible(not is_ollama)
        self.error.setText(invalid or "")
        self.error.setVisible(invalid is not None)
        address = self.address.text().strip() or (self._host if is_ollama else "")
        self.note.setVisible(invalid is None and not is_local_address(address))

    def _build(self) -> None:
        self.kind.addItem("Ollama", _OLLAMA)
        self.kind.addItem(tr("OpenAI-compatible server"), _SERVER)
        self.kind.setAccessibleName(tr("Kind of server"))
        self.kind.activated.connect(lambda _: self._on_kind_changed())
        self.note.setText(tr("This server is on another computer: prompts and answers are sent there."))  # fmt: skip
        self.name.setEditable(True)
        self.name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.name.setMinimumContentsLength(16)
        self.name.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.name.editTextChanged.connect(lambda _: self._on_edited())
        self.key_variable.setPlaceholderText("OPENAI_API_KEY")
        titles = (
            (self.address, tr("Address")), (self.name, tr("Model name")),
            (self.key_variable, tr("Environment variable with the API key (optional)")),
        )  # fmt: skip
        for part, title in titles:
            part.setAccessibleName(title)
        for line in (self.address, self.key_variable):
            line.textEdited.connect(lambda _: self._on_edited())
        address, name, self._key = (with_title(title, part) for part, title in titles)
        layout = column(
            with_title(tr("Server"), self.kind), address, name, self._key, self.error, self.note,
            spacing=Spacing.S,
        )  # fmt: skip
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)


def _is_server(address: str) -> bool:
    try:
        ServerModel(address=address, name="-")
    except ValidationError:
        return False
    return True


_MOST_SHOTS = 64
_WIDTH, _TABLE_HEIGHT = 640, 260
_KINDS = {
    "multiple_choice": mark("multiple choice"),
    "generate_until": mark("short answers"),
    "loglikelihood_rolling": mark("perplexity"),
    "": "",
}


class BenchmarkDialog(Dialog):
    """Searches benchmarks by name and dataset.

    Signals:
        chosen(test_set): a benchmark was chosen.
        ask(command): a question for the query workers; the answer arrives in `on_event`.
        outdated(command): drop the answer to a question.
    """

    chosen = Signal(object)
    ask = Signal(object)
    outdated = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """List all benchmarks first."""
        text = tr("Benchmarks are those of EleutherAI's lm-eval. When you add one, its items are downloaded from the Hugging Face Hub, unless they are on this computer.")  # fmt: skip
        super().__init__(tr("Add a benchmark"), text, parent)
        self._shown: list[BenchmarkInfo] = []
        self.search, self.shots = LineEdit(), QSpinBox()
        self.table = make_table(tr("Benchmarks"), [tr("Benchmark"), tr("Dataset"), tr("Kind")])
        self.count = label(role="caption", wrap=True)
        self.problem = GrowingText(tr("Problem"))
        self.query = DebouncedQuery(self._make_query, self)
        self.query.ask.connect(self.ask)
        self.query.outdated.connect(self.outdated)
        self._build()
        self.query.schedule()

    def on_event(self, event: object) -> None:
        """Show what was found, or why nothing can be searched."""
        asked = self.query.asked
        if asked is None or getattr(event, "id", None) != asked.id:
            return
        match event:
            case events.BenchmarksListed():
                self._show_benchmarks(event.benchmarks, event.total)
            case events.Failed():
                self._show_benchmarks((), 0)
                self.count.hide()
                self.problem.show_text(localize_problem(event.problem), "error")
                self.problem.show()
        self.query.on_event(event)

    def done(self, result: int) -> None:
        """Drop a pending question."""
        self.query.forget()
        super().done(result)

    def _make_query(self) -> commands.ListBenchmarks:
        return commands.ListBenchmarks(search=self.search.text().strip())

    def _show_benchmarks(self, benchmarks: Sequence[BenchmarkInfo], total: int) -> None:
        self._shown = list(benchmarks)
        self.problem.hide()
        self.count.show()
        if len(self._shown) < total:
            self.count.setText(
                tr("The first {shown} of {total} benchmarks. Enter a word to find others.").format(
                    shown=len(self._shown), total=total
                )
            )
        else:
            self.count.setText("" if total else tr("No benchmark has all these words."))
        fill_table(self.table, [_make_benchmark_row(info) for info in self._shown])
        if self._shown:
            self.table.selectRow(0)
        self._show_state()

    def _get_chosen(self) -> BenchmarkInfo | None:
        row = self.table.currentRow()
        chosen = self._shown[row] if 0 <= row < len(self._shown) else None
        return chosen if chosen is not None and chosen.is_supported else None

    def _show_state(self) -> None:
        self.add.setEnabled(self._get_chosen() is not None)

    def _on_busy(self, is_busy: bool) -> None:
        if is_busy and not self._shown:
            self.problem.hide()
            self.count.show()
            self.count.setText(tr("Reading the list of benchmarks. The first time, this takes up to a minute."))  # fmt: skip

    def _on_add(self) -> None:
        if (info := self._get_chosen()) is not None:
            self.chosen.emit(BenchmarkTask(task=info.name, shots=self.shots.value()))
            self.accept()

    def _build(self) -> None:
        self.search.setPlaceholderText(tr("Search by name or dataset, such as arc"))
        self.search.setAccessibleName(tr("Search benchmarks"))
        self.search.textEdited.connect(lambda _: self.query.schedule())
        self.query.busy_changed.connect(self._on_busy)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setMinimumSize(Size.scaled(_WIDTH), Size.scaled(_TABLE_HEIGHT))
        self.table.itemSelectionChanged.connect(self._show_state)
        self.table.doubleClicked.connect(lambda _: self._on_add())
        self.problem.hide()
        self.shots.setRange(0, _MOST_SHOTS)
        title = tr("Examples before each item (shots)")
        self.shots.setAccessibleName(title)
        for part in (self.search, self.problem, self.table, self.count):
            self.body.addWidget(part)
        self.body.addLayout(row(with_title(title, self.shots), None))
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(button(tr("Add"), self._on_add, kind="primary"), default=True)
        self._show_state()


def _make_benchmark_row(info: BenchmarkInfo) -> list[QTableWidgetItem]:
    kind = tr(_KINDS[info.output_type]) if info.output_type in _KINDS else tr("not supported")
    cells = [make_text(text) for text in (info.name, info.dataset, kind)]
    if not info.is_supported:
        for cell in cells:
            cell.setFlags(Qt.ItemFlag.NoItemFlags)
    return cells
