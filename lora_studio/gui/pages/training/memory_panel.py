"""Panel with the memory estimate of a training, and fixes if it doesn't fit the device."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from lora_studio.core import formatting, messages
from lora_studio.core.memory import advice
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.filling import fill_micro_batches
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.weights import describe_placement
from lora_studio.core.messages import text
from lora_studio.core.problems import Fix, Problem
from lora_studio.core.protocol.training import MemoryEstimate, describe_teacher
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.training.memory_bar import MemoryBar
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row, set_role

_UNKNOWN = mark(
    "The memory estimate appears when the model and device are known and all settings are valid."
)
#: Bytes of GPU memory from which a program is named, and how many are.
_NOTABLE, _PROGRAMS = 1 << 28, 3


class MemoryPanel(QWidget):
    """Shows the memory estimate of a plan; cheap enough to update on every keystroke.

    Signals:
        chosen(Fix): apply a change to the project.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without a plan."""
        super().__init__(parent)
        self.sentence = label(wrap=True)
        self.bar = MemoryBar()
        self.rows = label(role="caption", wrap=True)
        self.change = label(wrap=True)
        self.larger = button(tr("Use largest micro-batch"), lambda: self._choose(self._largest))
        self.fit = button(tr("Reduce memory use"), lambda: self._choose(self._cheapest))
        self._largest: Fix | None = None
        self._cheapest: Fix | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.sentence)
        layout.addWidget(self.bar)
        layout.addWidget(self.rows)
        layout.addWidget(self.change)
        layout.addLayout(row(self.fit, self.larger, None))
        self.show_plan(None)

    def show_plan(self, plan: MemoryPlan | None, *, measured: bool = True) -> Problem | None:
        """Show the estimate of a plan and return the problem if the plan doesn't fit.

        `measured` says whether row lengths are known; otherwise the estimate assumes the longest.
        """
        needed = estimate(fill_micro_batches(plan)) if plan else None
        self.bar.show_estimate(needed)
        self._largest = self._cheapest = None
        problem = None
        if plan is not None and needed is not None:
            self._show_sentence(needed)
            teacher = localize(describe_teacher(needed)) if needed.teacher else ""
            sentences = (
                _describe_rows(needed, measured), _describe_placement(plan), _describe_programs(plan), teacher,
                _explain_missing_time(needed, plan),
            )  # fmt: skip
            self.rows.setText(" ".join(filter(None, sentences)))
            problem = advice.check_fit(plan, needed)
            self._cheapest = problem.fix if problem else None
            self._largest = _find_largest_micro_batch(plan)
            if self._cheapest and self._largest and self._cheapest.changes == self._largest.changes:
                self._largest = None
        else:
            self.sentence.setText(tr(_UNKNOWN))
            set_role(self.sentence, "muted")
        self.bar.setVisible(needed is not None)
        self.rows.setVisible(needed is not None)
        self.change.setText(localize(problem.remedy) if problem else "")
        self.change.setVisible(problem is not None)
        _show_fix(self.larger, self._largest)
        _show_fix(self.fit, self._cheapest)
        return problem

    def _show_sentence(self, needed: MemoryEstimate) -> None:
        total = formatting.format_memory(needed.total)
        if needed.available is None:
            text = tr("Needs about {total}.").format(total=total)
        else:
            text = (
                tr("✓ Needs about {total} of the {available} available on {device}.")
                if needed.fits
                else tr("⚠ Needs about {total}, but only {available} is available on {device}.")
            ).format(
                total=total,
                available=formatting.format_memory(needed.available),
                device=localize(needed.device),
            )
        if needed.seconds is not None:
            time = localize(messages.describe_remaining(needed.seconds))
            text = f"{text} {tr('Estimated training time: {time}.').format(time=time)}"
        self.sentence.setText(text)
        set_role(self.sentence, "body" if needed.fits is not False else "warn")

    def _choose(self, fix: Fix | None) -> None:
        if fix is not None:
            self.chosen.emit(fix)


def _show_fix(target: QPushButton, fix: Fix | None) -> None:
    target.setVisible(fix is not None)
    if fix is not None:
        target.setText(localize(fix.label))


def _describe_placement(plan: MemoryPlan) -> str:
    """Return which of several GPUs are used, and how to use more of them."""
    placement = localize(describe_placement(plan))
    if plan.gpus < 2 or plan.spread:
        return placement
    return f"{placement} {tr('To train on several GPUs, select them on the Model page.')}"


def _explain_missing_time(needed: MemoryEstimate, plan: MemoryPlan) -> str:
    """Return when the training time is estimated; "" if it is, or if it never is for such a training."""
    if needed.seconds is not None or plan.processes > 1 or plan.rows.task == "grpo":
        return ""
    return tr(
        "The training time can be estimated once you have trained a similar model on this device."
    )


def _describe_programs(plan: MemoryPlan) -> str:
    """Return which programs have how much of the GPU's memory, the largest first; "" if that is little."""
    programs = [each for each in plan.device.programs if each.bytes >= _NOTABLE][:_PROGRAMS]
    if not programs:
        return ""
    names = (f"{each.name} {formatting.format_memory(each.bytes)}" for each in programs)
    text = tr("GPU memory in use: {programs}.").format(programs=", ".join(names))
    if any(each.name.startswith("ollama") for each in programs):
        text = f"{text} {tr('By default, Ollama keeps a model for five minutes after its last answer.')}"
    return text


def _describe_rows(needed: MemoryEstimate, measured: bool) -> str:
    tokens = tr_n("{n} token", "{n} tokens", needed.tokens)
    if measured:
        return tr("The largest micro-batch has {tokens}.").format(tokens=tokens)
    return tr(
        "The largest micro-batch has {tokens}, assuming every row has the maximum "
        "sequence length. Row lengths haven't been measured yet."
    ).format(tokens=tokens)


def _find_largest_micro_batch(plan: MemoryPlan) -> Fix | None:
    """Return a fix that sets the largest micro-batch that fits, None if it is already set."""
    size = advice.find_largest_micro_batch(plan)
    if size is None or size == plan.training.micro_batch:
        return None
    accumulation = plan.training.effective_batch // size
    return Fix(
        label=text(
            "Use largest micro-batch: {size} × {accumulation}",
            size=size,
            accumulation=accumulation,
        ),
        step="training",
        field="micro_batch",
        value=size,
        also=(("training", "gradient_accumulation", accumulation),),
    )
