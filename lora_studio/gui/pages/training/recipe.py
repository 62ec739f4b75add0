"""The training page before training: the recipe, and what will run with it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import Task
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Step
from lora_studio.core.project import presets
from lora_studio.core.project.presets import Preset
from lora_studio.core.protocol import events
from lora_studio.core.training import optimizers, trackers
from lora_studio.core.training.optimizers import OPTIMIZERS
from lora_studio.core.training.recipe_checks import optimizer_not_available
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.controls.field_group import FieldGroup
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.training.memory_panel import MemoryPanel
from lora_studio.gui.pages.training.preset_panel import PresetPanel
from lora_studio.gui.project import memory_plan
from lora_studio.gui.project import run_preview as plan
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, CollapsibleSection, column, label
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList

_STEP: Step = "training"
_MAIN = ("epochs", "learning_rate", "micro_batch", "gradient_accumulation")
#: What is folded away, by what it is about.
_MORE: dict[str, tuple[str, ...]] = {
    mark("Length"): ("max_steps", "keep_best", "early_stopping", "early_stopping_delta"),
    mark("Learning rate"): (
        "schedule", "warmup_share", "warmup_steps", "lowest_rate", "schedule_cycles",
        "schedule_power", "decay_share",
    ),
    mark("Optimizer"): ("optimizer", "lora_plus_ratio", "weight_decay", "max_grad_norm"),
    mark("Memory and speed"): ("backend", "gradient_checkpointing", "packing", "group_by_length", "torch_compile", "liger"),
    mark("Evaluations and checkpoints"): ("cadence", "eval_every", "save_every", "save_minutes", "keep_checkpoints", "trackers"),
    mark("Samples"): ("sample_prompts", "sample_rows", "sample_tokens"),
    mark("Objective"): ("preference", "beta", "neftune_alpha", "seed"),
}  # fmt: skip
_ABOUT: dict[str, optimizers.OptimizerInfo] = {
    str(name): about for name, about in OPTIMIZERS.items()
}
#: Many choices, or such of many letters: side by side they would push the columns out of line.
_COMBOS = ("optimizer", "schedule")
#: Fields that only some schedules have a use for.
_OF_SCHEDULE: dict[str, tuple[str, ...]] = {
    "lowest_rate": (
        "cosine_with_min_lr", "polynomial", "warmup_stable_decay", "reduce_on_plateau",
    ),
    "schedule_cycles": ("cosine_with_restarts",),
    "schedule_power": ("polynomial",),
    "decay_share": ("warmup_stable_decay",),
}  # fmt: skip
#: What the rows have to be for a field to count.
_FOR: dict[str, dict[Task, str]] = {
    "preference": {"preference": mark("pairs of a better and a worse answer")},
    "beta": {"preference": mark("pairs of answers"), "kto": mark("labelled answers")},
}


class RecipeForm(QWidget):
    """Fields to the left; to the right one line from each step before this one."""

    def __init__(self, state: ProjectState, add_editor: Callable[..., FieldEditor]) -> None:
        """`add_editor` makes and registers the editor of a field, `Page.add_editor`."""
        super().__init__()
        self.state = state
        self.estimate = label(wrap=True)
        self.ready = FactList()
        recipe = Card(tr("Recipe"))
        more = CollapsibleSection()
        made = {
            field: add_editor(field, style="combo" if field in _COMBOS else "auto")
            for field in (*_MAIN, *itertools.chain(*_MORE.values()))
        }
        self._made = made
        self._groups = {
            title: FieldGroup(tr(title), [made[field] for field in fields])
            for title, fields in _MORE.items()
        }
        more.add(*self._groups.values())
        more.body.setSpacing(Spacing.XL)
        recipe.add(FieldGroup("", [made[field] for field in _MAIN]), self.estimate, more)
        ready = Card(tr("What will run"))
        ready.add(self.ready)
        self.memory = MemoryPanel()
        self.memory.chosen.connect(lambda fix: state.change(tell(fix.label), fix.changes))
        memory = Card(tr("Memory and time"))
        memory.add(self.memory)
        left = column(recipe, memory, None, spacing=Spacing.L)
        columns = ResponsiveColumns(left, column(ready, None), (2, 1))
        self.presets = PresetPanel(state)
        self.presets.chosen.connect(self._take_preset)
        self.setLayout(column(self.presets, columns, None, spacing=Spacing.L))
        state.value_changed.connect(self._show)
        state.facts_changed.connect(self._show)
        state.opened.connect(self._show)
        state.run_changed.connect(self._show_memory)
        self._show()

    def _take_preset(self, preset: Preset) -> None:
        """All its fields as one step of undo."""
        found = presets.differences(self.state.get, preset)
        self.state.change(tr(preset.title), [(item.step, item.field, item.after) for item in found])

    def _show(self, *_: object) -> None:
        training, split = self.state.spec(_STEP), plan.split(self.state)
        if isinstance(training, TrainingSpec):
            self.estimate.setText(plan.steps_in_words(training, split.train if split else None))
        else:
            self.estimate.setText(tr("Correct the values above to see the number of steps."))
        self._say_what_applies()
        self._show_memory()
        self._report_device()
        model = self.state.facts.model
        adapter = model.adapter if model else None
        self.ready.show_facts(
            [
                (tr("Model"), str(self.state.get("model", "source")) or tr("none chosen")),
                (tr("Precision"), self._precision()),
                (tr("Trains"), _adapter_in_words(adapter) if adapter else tr("not counted yet")),
                (tr("Rows"), split.in_words() if split else tr("not read yet")),
                (tr("Device"), self._device()),
                (tr("Backend"), plan.backend(self.state)),
            ]
        )

    def _show_memory(self, *_: object) -> None:
        """A problem is reported with its remedy; not during a run, which holds memory itself."""
        plan, measured = memory_plan.of(self.state), self.state.facts.lengths is not None
        problem = self.memory.show_plan(plan, measured=measured)
        if self.state.running == "train":
            self.state.report("memory", [])  # it tells itself when memory runs out
        elif not self.state.running:
            self.state.report("memory", [problem] if problem else [])

    def _say_what_applies(self) -> None:
        data = self.state.facts.dataset
        task = data.task if data is not None else None
        for field, tasks in _FOR.items():
            unused = task is not None and task not in tasks
            self._say_unused(field, tr("your rows are no {kinds}").format(kinds=tr(" or ").join(map(tr, tasks.values()))) if unused else "")  # fmt: skip
        schedule = self.state.get(_STEP, "schedule")
        about = _ABOUT.get(str(self.state.get(_STEP, "optimizer")))
        schedule_free = about is not None and about.schedule_free
        self._say_unused(
            "schedule",
            tr("{title} needs none").format(title=tr(about.title))
            if about and schedule_free
            else "",
        )
        self._groups["Learning rate"].show_only(
            [
                field
                for field in _MORE["Learning rate"]
                if schedule in _OF_SCHEDULE.get(field, (schedule,))
                and not (schedule_free and field in _OF_SCHEDULE)
            ]
        )

    def _say_unused(self, field: str, why: str) -> None:
        made = self._made[field]
        made.set_help(tr("Not used: {why}.").format(why=why) if why else made.about.description)

    def _report_device(self) -> None:
        """What the devices of this machine, or the packages of its engine, rule out."""
        found, training = self.state.facts.devices, self.state.spec(_STEP)
        reason = ""
        if found is not None and found.devices and isinstance(training, TrainingSpec):
            chosen = str(self.state.get("model", "device"))
            device = found.devices[0].name if chosen == "auto" else chosen
            if not optimizers.why_not(training.optimizer, chosen):  # said by the checks already
                reason = optimizers.why_not(training.optimizer, device, found.missing)
        chosen_trackers = training.trackers if isinstance(training, TrainingSpec) else ()
        untracked = trackers.not_installed(chosen_trackers, found.missing if found else ())
        refused = [optimizer_not_available(reason)] if reason else []
        self.state.report("recipe", [*refused, *untracked])

    def _precision(self) -> str:
        choices = self.state.about("model", "precision").choices
        value = str(self.state.get("model", "precision"))
        return choices.get(value, value)

    def _devices(self) -> tuple[str, ...]:
        """Names of all that train together, one for each process."""
        model = self.state.spec("model")
        return model.devices if isinstance(model, ModelSpec) else ()

    def _device(self) -> str:
        """Each kind of device that trains, with their number where several do."""
        found = self.state.facts.devices
        titles = {device.name: device.title for device in (found.devices if found else ())}
        if found and found.devices:
            titles["auto"] = found.devices[0].title
        many = Counter(titles.get(name, name) for name in self._devices())
        return ", ".join(
            f"{count} × {title}" if count > 1 else title for title, count in many.items()
        )


def _adapter_in_words(adapter: events.ParametersCounted) -> str:
    return tr("{trainable} parameters ({value})").format(
        trainable=formatting.count(adapter.trainable),
        value=formatting.percent(adapter.percent / 100),
    )
