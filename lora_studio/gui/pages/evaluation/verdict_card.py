"""The answer in words: is it better, and what did it forget?"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio.core.evaluation.preferences import Preference
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.summary import EvaluationSummary
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, LabelRole, label

_GLYPHS: dict[str, tuple[str, LabelRole]] = {
    "better": ("▲", "ok"), "worse": ("▼", "error"), "unclear": ("=", "muted"), "too_few": ("?", "muted"),
}  # fmt: skip


class EvaluationVerdictCard(Card):
    """Shows one sentence for each model: the change on the task, and below it what was forgotten."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__("", parent)
        self.sentences: list[str] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(2, 1)
        self.note = label(role="caption", wrap=True)
        self.add(self._grid, self.note)

    def show_results(
        self,
        results: EvaluationResults,
        shown: EvaluationSummary,
        preferences: Sequence[Preference] = (),
        *,
        note: str = "",
    ) -> None:
        """Show the verdicts of an evaluation, of its judge, and of people who voted."""
        self._clear()
        names = list_column_names(results.plan)
        for key, name in names.items():
            if key == shown.baseline:
                continue
            verdict, report = shown.get_main_verdict(key), shown.forgetting.get(key)
            if verdict is not None:
                self._add(name, *_GLYPHS[verdict.finding], localize(verdict.sentence))
            elif report is None:
                self._add(name, "?", "muted", tr("Nothing to compare yet"))
            if report is not None:
                glyph, role = _GLYPHS["worse" if report.has_forgotten else "unclear"]
                self._add(
                    "" if verdict is not None else name, glyph, role, localize(report.sentence)
                )
            for each in preferences:
                if (each.column, each.baseline) == (key, shown.baseline):
                    sentence = f"{localize(each.judged_by)}: {localize(each.sentence)}"
                    self._add("", *_GLYPHS[each.finding], sentence, is_main=False)
        if not self.sentences:
            self._add("", "", "muted", tr("To get a verdict, evaluate at least two models."))
        facts = self._describe(results, names[shown.baseline])
        if note:
            items = tr_n("{n} item that all evaluations have", "{n} items that all evaluations have", len(results.items))  # fmt: skip
            facts = "  ·  ".join((facts, note, items))
        self.note.setText(facts)

    def _describe(self, results: EvaluationResults, baseline: str) -> str:
        parts = [tr("Compared with: {name}").format(name=baseline)]
        if not results.is_complete:
            parts.append(tr("Partial results; intervals become narrower with every answer."))
        parts += [
            f"{localize(report.title)}: {localize(report.left_out)}"
            for report in results.facts.test_sets
            if report.left_out
        ]
        names = list_column_names(results.plan)
        parts += [
            f"{names.get(report.key, report.key)}: {localize_problem(report.problem)}"
            for report in results.facts.columns
            if report.problem is not None
        ]
        if results.facts.judge_problem is not None:
            problem = localize_problem(results.facts.judge_problem)
            parts.append(tr("Judge: {result}").format(result=problem))
        return "  ·  ".join(parts)

    def _add(
        self, name: str, glyph: str, role: LabelRole, sentence: str, *, is_main: bool = True
    ) -> None:
        row = self._grid.rowCount()
        heading = label(name, "label")
        is_found = is_main and role in ("ok", "error")
        text = label(sentence, "section" if is_found else "body", wrap=True)
        for number, part in enumerate((heading, label(glyph, role), text)):
            self._grid.addWidget(part, row, number)
        text.setAccessibleName(f"{name} {sentence}".strip())
        self.sentences.append(f"{name}: {sentence}" if name else sentence)

    def _clear(self) -> None:
        self.sentences = []
        while (item := self._grid.takeAt(0)) is not None:
            if (part := item.widget()) is not None:
                part.hide()
                part.deleteLater()
