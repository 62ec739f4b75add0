"""Form with the training settings, a summary of the run, and the memory estimate."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting, messages
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import advice
from lora_studio.core.memory.advice import fill_micro_batches
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.weights import describe_placement
from lora_studio.core.messages import NO_TEXT, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, Step
from lora_studio.core.project import presets
from lora_studio.core.project.presets import Preset
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import (
    COMPONENTS,
    Component,
    MemoryEstimate,
    describe_teacher,
)
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training import distillation, optimizers, trackers
from lora_studio.core.training.optimizers import OPTIMIZERS
from lora_studio.core.training.recipe_checks import (
    check_build_tools,
    check_for,
    find_usual_rate,
    optimizer_unavailable_error,
)
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui import theme
from lora_studio.gui.controls.choices import CardOption, CardsControl
from lora_studio.gui.controls.field_editor import FieldEditor, FieldGroup, Style
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.training.reward_list import RewardList
from lora_studio.gui.pages.training.reward_trial import RewardTrial
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    button,
    column,
    label,
    row,
    set_role,
    set_visible,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.tooltips import plain_tip

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
_NEEDS_CONVERSATIONS = mark("Not used: only supervised training learns from a teacher.")
#: Fields that only data of some tasks uses, and the help text for other data.
_TASK_FIELDS = {field: task.unused_settings for task in TASKS.values() for field in task.settings}
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
        adapter = run_preview.get_adapter_size(self.state)
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
        plan, measured = run_preview.make_plan(self.state), bool(facts.lengths or facts.plan)
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

    def _get_task(self) -> TaskName | None:
        data = self.state.facts.dataset
        return data.task if data is not None else None

    def _place_preference(self) -> None:
        """Move the settings of the training method to the top while the data need them."""
        name = self._get_task()
        task = TASKS[name] if name is not None else None
        self.rewards.is_searchable = task is not None and task.writes_rollouts
        set_visible(self._rewards_card, self.rewards.is_searchable)
        is_used = task is not None and bool(task.settings)
        if is_used != (self._settings.body.indexOf(self.preference) >= 0):
            if is_used:
                self._settings.body.insertWidget(0, self.preference)
            else:
                self._advanced.body.addWidget(self.preference)
        method, loss = (str(self.state.get(_STEP, field)) for field in ("preference", "dpo_loss"))
        own = task.list_settings(method, loss) if task is not None else ()
        self.preference.show_only(own or TASKS["preference"].list_settings(method, loss))

    def _refresh_help(self) -> None:
        """Explain fields that the data or the optimizer doesn't use, or hide them."""
        task = self._get_task()
        used = TASKS[task].settings if task is not None else tuple(_TASK_FIELDS)
        for field, unused in _TASK_FIELDS.items():
            self._set_help(field, "" if field in used else tr(unused))
        is_unused = task is not None and not TASKS[task].is_supervised
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

    def _describe_usual_rate(self, task: TaskName | None) -> str:
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
        plan = run_preview.make_plan(self.state) if value == "auto" else None
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


class PresetPanel(QWidget):
    """Shows the presets; the one that matches the project's settings is selected.

    Signals:
        chosen(Preset): apply a preset, after the user has seen its changes.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Follow the project in `state`; the preview below the cards is hidden at first."""
        super().__init__(parent)
        self._state = state
        self._previewed: Preset | None = None
        self.cards = CardsControl([CardOption(p.name, p.title, p.text) for p in presets.PRESETS])
        self.cards.setAccessibleName(tr("Presets"))
        self.changes = label(wrap=True)
        self.evidence = label(role="muted", wrap=True)
        self.apply = button(tr("Apply"), self._apply, kind="primary")
        self.cancel = button(tr("Cancel"), self._cancel)
        self.preview = QFrame()
        self.preview.setProperty("surface", "card")
        inner = QHBoxLayout(self.preview)
        inner.setContentsMargins(Spacing.CARD, Spacing.M, Spacing.CARD, Spacing.M)
        inner.setSpacing(Spacing.S)
        inner.addLayout(column(self.changes, self.evidence, spacing=Spacing.XS), 1)
        inner.addWidget(self.cancel)
        inner.addWidget(self.apply)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.cards)
        layout.addWidget(self.preview)
        self.cards.edited.connect(self._show_preview)
        state.value_changed.connect(self._on_value_changed)
        state.opened.connect(self._cancel)
        self._refresh()

    def _show_preview(self, name: str) -> None:
        self._previewed = presets.find_preset(name)
        self._refresh()

    def _apply(self) -> None:
        preset, self._previewed = self._previewed, None
        if preset is not None:
            self.chosen.emit(preset)
        self._refresh()

    def _cancel(self) -> None:
        self._previewed = None
        self._refresh()

    def _on_value_changed(self, step: str, field: str) -> None:
        if (step, field) in presets.FIELDS:
            self._refresh()

    def _refresh(self) -> None:
        preset = self._previewed
        changes = presets.list_differences(self._state.get, preset) if preset else []
        if preset is None or not changes:
            self._previewed = None
            current = presets.find_current(self._state.get)
            self.cards.show_value(current.name if current else None)
            self.preview.hide()
            return
        self.cards.show_value(preset.name)
        self.changes.setText(
            tr("{title} changes {settings}: {changes}").format(
                title=tr(preset.title),
                settings=tr_n("{n} setting", "{n} settings", len(changes)),
                changes=" · ".join(localize(change.text) for change in changes),
            )
        )
        self.evidence.setText(tr(preset.evidence) if preset.evidence else "")
        self.evidence.setVisible(bool(preset.evidence))
        self.preview.show()


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
    if needed.seconds is not None or plan.processes > 1 or TASKS[plan.rows.task].writes_rollouts:
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


_HEIGHT, _GAP, _SWATCH = 18, 1.0, 10


def get_component_color(component: Component) -> QColor:
    """Return the color of a component in the current theme; the last one, overhead, is gray."""
    palette = theme.get_palette()
    index = list(COMPONENTS).index(component)
    return QColor(palette.series[index] if index < len(palette.series) else palette.muted)


class MemoryBar(QWidget):
    """Shows an estimate to scale, with its legend below; the rest of the bar is free memory.

    If the estimate exceeds the memory of the device, the bar spans the estimate and a line marks
    where the memory ends.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without an estimate."""
        super().__init__(parent)
        self.bar = _Bar()
        self.entries = {name: _Entry(name) for name in COMPONENTS}
        self.free = label(role="caption")
        legend = QWidget()
        flow = FlowLayout(legend, spacing=Spacing.M)
        for entry in self.entries.values():
            flow.addWidget(entry)
        flow.addWidget(self.free)
        policy = legend.sizePolicy()
        policy.setHeightForWidth(True)
        legend.setSizePolicy(policy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.bar)
        layout.addWidget(legend)
        theme.get_theme().changed.connect(self.update)
        self.show_estimate(None)

    def show_estimate(self, needed: MemoryEstimate | None) -> None:
        """Show an estimate, or nothing for None."""
        self.bar.show_estimate(needed)
        for name, entry in self.entries.items():
            entry.show_size(needed.parts[name] if needed else None)
        self.free.setText(_format_free(needed))
        self.free.setVisible(bool(self.free.text()))
        self.bar.setAccessibleName(describe(needed))


def describe(needed: MemoryEstimate | None) -> str:
    """Return the estimate as text for screen readers."""
    if needed is None:
        return tr("Memory: not available yet")
    parts = [
        f"{tr(COMPONENTS[name])} {formatting.format_memory(size)}"
        for name, size in needed.parts.items()
    ]
    return tr("Memory: {parts}; total {total}. {free}").format(
        parts=", ".join(parts),
        total=formatting.format_memory(needed.total),
        free=_format_free(needed),
    )


def _format_free(needed: MemoryEstimate | None) -> str:
    if needed is None or needed.available is None:
        return ""
    free = needed.available - needed.total
    return (
        tr("{left} free").format(left=formatting.format_memory(free))
        if free >= 0
        else tr("{missing} over the limit").format(missing=formatting.format_memory(-free))
    )


class _Bar(QWidget):
    """Components side by side, to scale."""

    def __init__(self) -> None:
        super().__init__()
        self._estimate: MemoryEstimate | None = None
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_estimate(self, needed: MemoryEstimate | None) -> None:
        self._estimate = needed
        self.update()

    def sizeHint(self) -> QSize:
        """Return a width that fits all components."""
        return QSize(240, _HEIGHT)

    def list_segments(self) -> list[tuple[Component, QRectF]]:
        """Return the rectangle of each component, in pixels."""
        if (needed := self._estimate) is None:
            return []
        span = max(needed.total, needed.available or 0, 1)
        x, rectangles = 0.0, []
        for name, size in needed.parts.items():
            width = self.width() * size / span
            rectangles.append((name, QRectF(x, 0.0, width, float(self.height()))))
            x += width
        return rectangles

    def get_limit_position(self) -> float | None:
        """Return the x position where the device's memory ends, None if it isn't exceeded."""
        needed = self._estimate
        if needed is None or needed.available is None or needed.total <= needed.available:
            return None
        return self.width() * needed.available / needed.total

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the components with thin gaps, which separate them without relying on color."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        outline = QPainterPath()
        outline.addRoundedRect(frame, Spacing.XS, Spacing.XS)
        painter.fillPath(outline, theme.color("hover"))
        painter.setClipPath(outline)
        for name, rectangle in self.list_segments():
            if rectangle.width() >= _GAP:
                painter.fillRect(rectangle.adjusted(0, 0, -_GAP, 0), get_component_color(name))
        if (limit := self.get_limit_position()) is not None:
            excess = QRectF(limit, 0, self.width() - limit, self.height())
            error_color = theme.color("error")
            painter.fillRect(excess, QBrush(error_color, Qt.BrushStyle.BDiagPattern))
            painter.setPen(QPen(error_color, 2))
            painter.drawLine(excess.topLeft(), excess.bottomLeft())
        painter.setClipping(False)
        painter.setPen(QPen(theme.color("edge"), 1))
        painter.drawPath(outline)

    def event(self, event: QEvent) -> bool:
        """Show a tooltip for the component under the mouse."""
        if isinstance(event, QHelpEvent) and self._estimate is not None:
            for name, rectangle in self.list_segments():
                if rectangle.contains(event.pos()):
                    size = formatting.format_memory(self._estimate.parts[name])
                    QToolTip.showText(
                        event.globalPos(), plain_tip(f"{tr(COMPONENTS[name])}: {size}"), self
                    )
                    return True
        return super().event(event)


class _Entry(QWidget):
    """An entry of the legend: color, name and size of a component."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._name = tr(COMPONENTS[component])
        self.text = label(role="caption")
        self.setLayout(row(_Swatch(component), self.text, spacing=Spacing.XS))

    def show_size(self, size: int | None) -> None:
        self.text.setText(
            f"{self._name} {formatting.format_memory(size)}" if size is not None else self._name
        )


class _Swatch(QWidget):
    """A square in the color of a component."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self._component = component
        self.setFixedSize(_SWATCH, _SWATCH)
        theme.get_theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the square in the current theme's color."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(get_component_color(self._component))
        painter.drawRoundedRect(self.rect(), 2, 2)
