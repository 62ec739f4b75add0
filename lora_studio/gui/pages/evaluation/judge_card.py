"""The judge of an evaluation: a model that compares answers in pairs; off by default."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QPlainTextEdit, QWidget

from lora_studio.core.evaluation import judge_prompt, summary
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.plan import JudgeSettings
from lora_studio.gui.language import tr
from lora_studio.gui.pages.evaluation.column_names import format_column
from lora_studio.gui.pages.evaluation.server_model_editor import ServerModelEditor
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.widgets.basics import Card, CollapsibleSection, column, label, with_title
from lora_studio.gui.widgets.growing_text import GrowingText

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
            criteria="" if criteria == judge_prompt.DEFAULT_CRITERIA else criteria,
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
            judge_prompt.build_judge_prompt(item, first, second, self.criteria.toPlainText())
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
        self.criteria.setPlaceholderText(judge_prompt.DEFAULT_CRITERIA)
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
