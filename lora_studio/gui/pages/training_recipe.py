"""The training page before training: the recipe, and what will run with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio.core import events, words
from lora_studio.core.dataset import Task
from lora_studio.core.problems import Step
from lora_studio.core.training import TrainingSpec
from lora_studio.gui import memory_plan, plan
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.theme import Space
from lora_studio.gui.widgets.basics import Card, More, column, label
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.editors import FieldEditor
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.memory_panel import MemoryPanel

_STEP: Step = "training"
_MAIN = ("epochs", "learning_rate", "micro_batch", "gradient_accumulation")
_MORE = (
    "max_steps", "lora_plus_ratio", "neftune_alpha", "schedule", "warmup_share", "optimizer", "weight_decay", "max_grad_norm",
    "preference", "beta", "gradient_checkpointing", "eval_every", "save_every", "save_minutes", "keep_checkpoints", "seed",
)  # fmt: skip
#: What the rows have to be for a field to count.
_FOR: dict[str, dict[Task, str]] = {
    "preference": {"preference": "pairs of a better and a worse answer"},
    "beta": {"preference": "pairs of answers", "kto": "labelled answers"},
}


class Recipe(QWidget):
    """Fields to the left; to the right one line from each step before this one."""

    def __init__(self, state: ProjectState, add_editor: Callable[..., FieldEditor]) -> None:
        """`add_editor` makes and registers the editor of a field, `Page.add_editor`."""
        super().__init__()
        self.state = state
        self.estimate = label(wrap=True)
        self.ready = FactList()
        recipe = Card("Recipe")
        more = More()
        # Side by side the optimizers would push the second column out of line with the one above.
        made = {
            field: add_editor(field, style="combo" if field == "optimizer" else "auto")
            for field in (*_MAIN, *_MORE)
        }
        self._of_preference = [made[field] for field in _FOR]
        more.add(_grid([made[field] for field in _MORE]))
        recipe.add(_grid([made[field] for field in _MAIN]), self.estimate, more)
        ready = Card("What will run")
        ready.setMinimumWidth(300)
        ready.add(self.ready)
        self.memory = MemoryPanel()
        self.memory.chosen.connect(lambda fix: state.change(fix.label, fix.changes))
        memory = Card("Memory and time")
        memory.add(self.memory)
        left = column(recipe, memory, None, spacing=Space.L)
        columns = Columns(left, column(ready, None), (2, 1))
        self.setLayout(column(columns, None))
        state.value_changed.connect(self._show)
        state.facts_changed.connect(self._show)
        state.opened.connect(self._show)
        self._show()

    def _show(self, *_: object) -> None:
        training, split = self.state.spec(_STEP), plan.split(self.state)
        if isinstance(training, TrainingSpec):
            self.estimate.setText(plan.steps_in_words(training, split.train if split else None))
        else:
            self.estimate.setText("Correct the values above to see the number of steps.")
        self._say_what_applies()
        self._show_memory()
        model = self.state.facts.model
        adapter = model.adapter if model else None
        self.ready.show_facts(
            [
                ("Model", str(self.state.get("model", "source")) or "none chosen"),
                ("Precision", self._precision()),
                ("Trains", _adapter_in_words(adapter) if adapter else "not counted yet"),
                ("Rows", split.in_words() if split else "not read yet"),
                ("Device", self._device()),
            ]
        )

    def _show_memory(self) -> None:
        """A problem is reported with its remedy; not during a run, which holds memory itself."""
        plan = memory_plan.of(self.state)
        problem = self.memory.show_plan(plan, measured=self.state.facts.lengths is not None)
        if not self.state.running:
            self.state.report("memory", [problem] if problem else [])

    def _say_what_applies(self) -> None:
        data = self.state.facts.dataset
        task = data.task if data is not None else None
        for made in self._of_preference:
            tasks = _FOR[made.field]
            unused = task is not None and task not in tasks
            said = f"Not used: your rows are no {' or '.join(tasks.values())}."
            made.set_help(said if unused else made.about.description)

    def _precision(self) -> str:
        choices = self.state.about("model", "precision").choices
        value = str(self.state.get("model", "precision"))
        return choices.get(value, value)

    def _device(self) -> str:
        name, found = self.state.get("model", "device"), self.state.facts.devices
        for device in found.devices if found else ():
            if name in ("auto", device.name):
                return device.title
        return str(name)


def _grid(editors: Sequence[FieldEditor]) -> QGridLayout:
    """Two columns."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(Space.XL)
    grid.setVerticalSpacing(Space.L)
    for index, made in enumerate(editors):
        line, place = divmod(index, 2)
        grid.addWidget(made, line, place, Qt.AlignmentFlag.AlignTop)
    grid.setColumnStretch(0, 1)
    grid.setColumnStretch(1, 1)
    return grid


def _adapter_in_words(adapter: events.ParametersCounted) -> str:
    return f"{words.count(adapter.trainable)} parameters ({words.percent(adapter.percent / 100)})"
