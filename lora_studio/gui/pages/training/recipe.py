"""Form with the training settings, a summary of the run, and the memory estimate."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import Task
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import NO_TEXT
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Step
from lora_studio.core.project import presets
from lora_studio.core.project.presets import Preset
from lora_studio.core.protocol import events
from lora_studio.core.training import (
    distillation,
    embedding,
    grpo,
    optimizers,
    preference,
    trackers,
)
from lora_studio.core.training.optimizers import OPTIMIZERS
from lora_studio.core.training.recipe_checks import (
    check_build_tools,
    check_for,
    find_usual_rate,
    optimizer_unavailable_error,
)
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.field_editor import FieldEditor, Style
from lora_studio.gui.controls.field_group import FieldGroup
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.training.memory_panel import MemoryPanel
from lora_studio.gui.pages.training.preset_panel import PresetPanel
from lora_studio.gui.pages.training.reward_list import RewardList
from lora_studio.gui.pages.training.reward_trial import RewardTrial
from lora_studio.gui.project import memory_plan, run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    column,
    label,
    set_visible,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList

_STEP: Step = "training"
_MAIN = ("epochs", "learning_rate", "micro_batch", "gradient_accumulation")
_RATE_GROUP = mark("Learning rate")
_DISTILLATION_GROUP = mark("Learning from a teacher")
#: Fields of the collapsed section, by the title of their group.
_ADVANCED: dict[str, tuple[str, ...]] = {
    mark("Duration"): (
        "max_steps", "keep_best", "best_by", "scored_rows", "early_stopping",
        "early_stopping_delta",
    ),
    _RATE_GROUP: (
        "schedule", "warmup_share", "warmup_steps", "lowest_rate", "schedule_cycles",
        "schedule_power", "decay_share",
    ),
    mark("Optimizer"): ("optimizer", "lora_plus_ratio", "weight_decay", "max_grad_norm"),
    _DISTILLATION_GROUP: tuple(distillation.DistillationSettings.model_fields),
    mark("Memory and speed"): ("backend", "gradient_checkpointing", "packing", "group_by_length", "torch_compile", "liger"),
    mark("Evaluation and checkpoints"): ("cadence", "eval_every", "save_every", "save_minutes", "keep_checkpoints", "trackers"),
    mark("Samples"): ("sample_prompts", "sample_rows", "sample_tokens"),
    mark("Noise and seed"): ("neftune_alpha", "seed"),
}  # fmt: skip
_OPTIMIZERS: dict[str, optimizers.OptimizerInfo] = {
    str(name): about for name, about in OPTIMIZERS.items()
}
#: Fields whose choices are too many or too long for buttons side by side.
_COMBOS = ("optimizer", "schedule", "best_by")
#: Fields that only these schedules use.
_SCHEDULE_FIELDS: dict[str, tuple[str, ...]] = {
    "lowest_rate": (
        "cosine_with_min_lr", "polynomial", "warmup_stable_decay", "reduce_on_plateau",
    ),
    "schedule_cycles": ("cosine_with_restarts",),
    "schedule_power": ("polynomial",),
    "decay_share": ("warmup_stable_decay",),
}  # fmt: skip
_NEEDS_PAIRS = mark("Not used: your data has no pairs of chosen and rejected answers.")
_NEEDS_LABELS = mark("Not used: your data has no texts with labels.")
_NEEDS_PROMPTS = mark("Not used: your data has no prompts for rewards.")
_NEEDS_SEARCH_PAIRS = mark("Not used: your data has no pairs for search.")
_NEEDS_CONVERSATIONS = mark("Not used: only supervised training learns from a teacher.")
#: Fields that only these kinds of data use, and the help text for other data.
_TASK_FIELDS: dict[str, tuple[tuple[Task, ...], str]] = {
    "preference": (("preference",), _NEEDS_PAIRS),
    "dpo_loss": (("preference",), _NEEDS_PAIRS),
    "beta": (
        ("preference", "kto"),
        mark("Not used: your data has neither answer pairs nor labeled answers."),
    ),
    "label_smoothing": (("preference",), _NEEDS_PAIRS),
    "simpo_beta": (("preference",), _NEEDS_PAIRS),
    "simpo_gamma": (("preference",), _NEEDS_PAIRS),
    **dict.fromkeys(grpo.GrpoSettings.model_fields, (("grpo",), _NEEDS_PROMPTS)),
    **dict.fromkeys(
        embedding.EmbeddingSettings.model_fields, (("embedding",), _NEEDS_SEARCH_PAIRS)
    ),
    "class_weights": (("classification",), _NEEDS_LABELS),
}
#: Fields whose choices are cards, each with a sentence.
_CARDS = ("preference", "dpo_loss", "grpo_variant", "pooling", "class_weights")


class RecipeForm(QWidget):
    """Shows presets and fields on the left, and a summary of the earlier steps on the right."""

    def __init__(self, state: ProjectState, add_editor: Callable[..., FieldEditor]) -> None:
        """Create the editors with `add_editor`, which is `StepPage.add_editor`."""
        super().__init__()
        self.state = state
        self.estimate = label(wrap=True)
        self.summary = FactList()
        self.memory = MemoryPanel()
        self.memory.chosen.connect(state.apply_fix)
        self.presets = PresetPanel(state)
        self.presets.chosen.connect(self._apply_preset)
        self._editors = {
            field: add_editor(field, style=_choose_style(field))
            for field in (*_TASK_FIELDS, *_MAIN, *itertools.chain(*_ADVANCED.values()))
        }
        self.rewards = add_editor("rewards", control=RewardList())
        self._rewards_card = Card(tr("Rewards"))
        self.rewards.set_label_visible(False)
        self.trial = RewardTrial(state)
        self._rewards_card.add(self.rewards, self.trial)
        self.preference = FieldGroup(
            tr("Training method"),
            [self._editors[field] for field in _TASK_FIELDS],
            wide=_CARDS,
        )
        self._groups = {
            title: FieldGroup(tr(title), [self._editors[field] for field in fields])
            for title, fields in _ADVANCED.items()
        }
        self._build_layout()
        state.value_changed.connect(self._refresh)
        state.facts_changed.connect(self._refresh)
        state.opened.connect(self._refresh)
        state.run_changed.connect(self.refresh_memory)
        self._refresh()

    def _build_layout(self) -> None:
        self._advanced = CollapsibleSection()
        self._advanced.add(*self._groups.values(), self.preference)
        self._advanced.body.setSpacing(Spacing.XL)
        self._settings = Card(tr("Training settings"))
        main = FieldGroup("", [self._editors[field] for field in _MAIN])
        self._settings.add(main, self.estimate, self._advanced)
        summary = Card(tr("Summary"))
        summary.add(self.summary)
        memory = Card(tr("Memory and time"))
        memory.add(self.memory)
        left = column(self._rewards_card, self._settings, memory, None, spacing=Spacing.L)
        columns = ResponsiveColumns(left, column(summary, None), (2, 1))
        self.setLayout(column(self.presets, columns, None, spacing=Spacing.L))

    def _apply_preset(self, preset: Preset) -> None:
        """Change all fields of a preset as one undo step."""
        changes = presets.list_differences(self.state.get, preset)
        self.state.change(
            tr(preset.title), [(change.step, change.field, change.after) for change in changes]
        )

    def _refresh(self, *_: object) -> None:
        self._place_preference()
        training, split = self.state.get_spec(_STEP), run_preview.split(self.state)
        if isinstance(training, TrainingSpec):
            negatives = run_preview.describe_negatives(training, self._get_task())
            steps = run_preview.describe_steps(training, split)
            self.estimate.setText(f"{steps} {negatives}".strip())
        else:
            self.estimate.setText(tr("Fix the errors above to see the number of steps."))
        self._refresh_help()
        self.refresh_memory()
        self._report_unavailable()
        adapter = memory_plan.get_adapter_size(self.state)
        trainable = _describe_trainable(adapter) if adapter else tr("not available yet")
        self.summary.show_facts(
            [
                (tr("Model"), str(self.state.get("model", "source")) or tr("not selected")),
                (tr("Precision"), self._describe_precision()),
                (tr("Adapter"), self._describe_adapter()),
                (tr("Trainable"), trainable),
                (tr("Rows"), split.describe() if split else tr("not loaded yet")),
                (tr("Device"), self._describe_device()),
                (tr("Backend"), run_preview.describe_backend(self.state)),
            ]
        )

    def refresh_memory(self, *_: object) -> None:
        """Update the estimate; don't report its problem during a job, because the job uses memory."""
        facts = self.state.facts
        plan, measured = memory_plan.make_plan(self.state), bool(facts.lengths or facts.plan)
        problem = self.memory.show_plan(plan, measured=measured)
        if self.state.running == "train":
            self.state.report("memory", [])  # the job reports when it runs out of memory
        elif not self.state.running:
            self.state.report("memory", [problem] if problem else [])

    def _describe_adapter(self) -> str:
        """Return type, rank, and layers of the adapter: its page isn't on the shortest way to Train."""
        lora = self.state.get_spec("lora")
        if not isinstance(lora, LoraSpec):
            return tr("not available yet")
        if lora.start_from:
            return tr("continues from {folder}").format(folder=Path(lora.start_from).name)
        kinds, layers = (
            self.state.get_facts("lora", field).choices for field in ("adapter_type", "targets")
        )
        kind = tr("{kind}, rank {rank}").format(kind=kinds[lora.adapter_type], rank=lora.rank)
        return f"{kind} · {layers[lora.targets]}"

    def _get_task(self) -> Task | None:
        data = self.state.facts.dataset
        return data.task if data is not None else None

    def _place_preference(self) -> None:
        """Move the settings of the training method to the top while the data need them."""
        self.rewards.is_searchable = self._get_task() == "grpo"
        set_visible(self._rewards_card, self.rewards.is_searchable)
        is_used = self._get_task() not in (None, "sft", "text")
        if is_used != (self._settings.body.indexOf(self.preference) >= 0):
            if is_used:
                self._settings.body.insertWidget(0, self.preference)
            else:
                self._advanced.body.addWidget(self.preference)
        method, loss = (str(self.state.get(_STEP, field)) for field in ("preference", "dpo_loss"))
        self.preference.show_only(preference.list_used_settings(self._get_task(), method, loss))

    def _refresh_help(self) -> None:
        """Explain fields that the data or the optimizer doesn't use, or hide them."""
        task = self._get_task()
        for field, (tasks, unused) in _TASK_FIELDS.items():
            self._set_help(field, tr(unused) if task is not None and task not in tasks else "")
        is_unused = task not in (None, "sft", "text")
        self._set_help("teacher", tr(_NEEDS_CONVERSATIONS) if is_unused else "")
        teacher = str(self.state.get(_STEP, "teacher"))
        used = distillation.list_distillation_settings(task, teacher)
        self._groups[_DISTILLATION_GROUP].show_only(used or ("teacher",))
        self._set_help("learning_rate", self._describe_usual_rate(task))
        schedule = self.state.get(_STEP, "schedule")
        optimizer = _OPTIMIZERS.get(str(self.state.get(_STEP, "optimizer")))
        if schedule_free := optimizer is not None and optimizer.schedule_free:
            assert optimizer is not None
            unused = tr("Not used: {optimizer} doesn't need a learning rate schedule.")
            self._set_help("schedule", unused.format(optimizer=tr(optimizer.title)))
        else:
            self._set_help("schedule", "")
        self._groups[_RATE_GROUP].show_only(
            [
                field
                for field in _ADVANCED[_RATE_GROUP]
                if schedule in _SCHEDULE_FIELDS.get(field, (schedule,))
                and not (schedule_free and field in _SCHEDULE_FIELDS)
            ]
        )

    def _describe_usual_rate(self, task: Task | None) -> str:
        """Return a help text with the usual rate of preference training; empty for other data."""
        training = self.state.get_spec(_STEP)
        usual = find_usual_rate(task, training) if isinstance(training, TrainingSpec) else None
        if usual is None:
            return ""
        return tr("Peak learning rate. {rate} is common for {method}.").format(
            rate=formatting.format_decimal(usual.usual), method=localize(usual.method)
        )

    def _set_help(self, field: str, unused: str) -> None:
        field_editor = self._editors[field]
        field_editor.set_help(unused or field_editor.facts.description)

    def _report_unavailable(self) -> None:
        """Report an optimizer or trackers that don't work with this machine's devices or packages."""
        machine, training = self.state.facts.devices, self.state.get_spec(_STEP)
        reason, tools = NO_TEXT, []
        if machine is not None and machine.devices and isinstance(training, TrainingSpec):
            chosen = str(self.state.get("model", "device"))
            device = machine.devices[0].name if chosen == "auto" else chosen
            tools = check_build_tools(machine.missing_build_tool, device, training)
            if not optimizers.explain_unavailable(
                training.optimizer, chosen
            ):  # the checks report that
                reason = optimizers.explain_unavailable(training.optimizer, device, machine.missing)
        chosen_trackers = training.trackers if isinstance(training, TrainingSpec) else ()
        missing = trackers.check_installed(chosen_trackers, machine.missing if machine else ())
        unavailable = [optimizer_unavailable_error(reason)] if reason else []
        task = self._get_task()
        rates = check_for(task, training) if task and isinstance(training, TrainingSpec) else []
        model = self.state.facts.model
        has_teacher = bool(str(self.state.get(_STEP, "teacher")).strip())
        problem = model.teacher_problem if model and has_teacher else None
        teacher = [problem] if problem else []
        self.state.report("recipe", [*unavailable, *missing, *tools, *rates, *teacher])

    def _describe_precision(self) -> str:
        """Return the format of the weights, with what "auto" means on the device."""
        choices = self.state.get_facts("model", "precision").choices
        value = str(self.state.get("model", "precision"))
        plan = memory_plan.make_plan(self.state) if value == "auto" else None
        if plan is not None:
            return tr("{format} (best for this device)").format(
                format=choices.get(plan.precision, plan.precision)
            )
        return choices.get(value, value)

    def _describe_device(self) -> str:
        """Return the training devices, grouped by title: `2 × RTX 4090`."""
        model, machine = self.state.get_spec("model"), self.state.facts.devices
        devices = model.devices if isinstance(model, ModelSpec) else ()
        titles = {
            device.name: localize(device.title) for device in (machine.devices if machine else ())
        }
        if machine and machine.devices:
            titles["auto"] = localize(machine.devices[0].title)
        counts = Counter(titles.get(name, name) for name in devices)
        return ", ".join(
            f"{count} × {title}" if count > 1 else title for title, count in counts.items()
        )


def _choose_style(field: str) -> Style:
    if field in _CARDS:
        return "cards"
    return "combo" if field in _COMBOS else "auto"


def _describe_trainable(adapter: events.ParametersCounted) -> str:
    return tr("{trainable} parameters ({share})").format(
        trainable=formatting.format_count(adapter.trainable),
        share=formatting.format_percent(adapter.percent / 100),
    )
