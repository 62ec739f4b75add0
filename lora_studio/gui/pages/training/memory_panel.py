"""Whether a training fits its device: the bar, a sentence, and what to press where it does not."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.memory import advice
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.problems import Fix, Problem
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.gui.language import inside, mark, tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.training.memory_bar import MemoryBar
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row, set_role

_UNKNOWN = mark(
    "The memory it takes appears once model and device are known and every value is valid."
)


class MemoryPanel(QWidget):
    """Follows a plan. Cheap enough for every keystroke.

    Signals:
        chosen(Fix): a change that the user wants.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Says what is missing until there is a plan."""
        super().__init__(parent)
        self.sentence = label(wrap=True)
        self.bar = MemoryBar()
        self.rows = label(role="caption", wrap=True)
        self.larger = button(
            tr("Largest micro-batch that fits"), lambda: self._choose(self._largest)
        )
        self.fit = button(tr("Make it fit"), lambda: self._choose(self._cheapest))
        self._largest: Fix | None = None
        self._cheapest: Fix | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.sentence)
        layout.addWidget(self.bar)
        layout.addWidget(self.rows)
        layout.addLayout(row(self.fit, self.larger, None))
        self.show_plan(None)

    def show_plan(self, plan: MemoryPlan | None, *, measured: bool = True) -> Problem | None:
        """Shows what a plan takes; the problem, with its remedy, where it does not fit.

        `measured` says whether the lengths of the rows are known.
        """
        found = estimate(plan) if plan else None
        self.bar.show_estimate(found)
        self._largest = self._cheapest = None
        problem = None
        if plan is not None and found is not None:
            self._say(found)
            self.rows.setText(_rows(found, measured))
            self._largest = _largest(plan)
            problem = advice.problem(plan, found)
            self._cheapest = problem.fix if problem else None
        else:
            self.sentence.setText(tr(_UNKNOWN))
            set_role(self.sentence, "muted")
        self.bar.setVisible(found is not None)
        self.rows.setVisible(found is not None)
        _show(self.larger, self._largest, "")
        _show(self.fit, self._cheapest, tr("Make it fit: {change}"))
        return problem

    def _say(self, found: MemoryEstimate) -> None:
        total = formatting.memory(found.total)
        if found.available is None:
            takes = tr("About {total}.").format(total=total)
        else:
            takes = (
                tr("✓ About {total} of {available} free on {device}.")
                if found.fits
                else tr("⚠ About {total} of {available} free on {device}: does not fit.")
            ).format(total=total, available=formatting.memory(found.available), device=found.device)
        if found.seconds is not None:
            time = tell(formatting.remaining(found.seconds))
            takes += " " + tr("Takes {time}.").format(time=time)
        self.sentence.setText(takes)
        set_role(self.sentence, "body" if found.fits is not False else "warn")

    def _choose(self, fix: Fix | None) -> None:
        if fix is not None:
            self.chosen.emit(fix)


def _show(made: QPushButton, fix: Fix | None, before: str) -> None:
    made.setVisible(fix is not None)
    if fix is not None:
        made.setText(before.format(change=inside(tell(fix.label))) if before else tell(fix.label))


def _rows(found: MemoryEstimate, measured: bool) -> str:
    tokens = tr_n("{n} token", "{n} tokens", found.tokens)
    if measured:
        return tr("The largest micro-batch has {tokens}.").format(tokens=tokens)
    return tr(
        "The largest micro-batch has {tokens} if rows are as long as they may be: not measured yet."
    ).format(tokens=tokens)


def _largest(plan: MemoryPlan) -> Fix | None:
    """The largest micro-batch that fits, unless it is the one that is set."""
    size = advice.largest_micro_batch_that_fits(plan)
    if size is None or size == plan.training.micro_batch:
        return None
    accumulation = plan.training.effective_batch // size
    return Fix(
        label=f"Largest micro-batch that fits: {size} × {accumulation}",
        step="training",
        field="micro_batch",
        value=size,
        also=(("training", "gradient_accumulation", accumulation),),
    )
