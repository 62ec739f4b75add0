"""The LoRA step: rank, alpha, dropout, target modules, and the size of the adapter."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.lora import starting_adapter
from lora_studio.core.lora.spec import LoraSpec, Targets
from lora_studio.core.memory import adapter_size
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.filling import fill_micro_batches
from lora_studio.core.problems import ProblemError, Step
from lora_studio.core.protocol import events
from lora_studio.gui.controls.cards import CardOption, CardsControl
from lora_studio.gui.controls.preset_number import PresetNumberControl
from lora_studio.gui.controls.slider_number import SliderNumberControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.lora.block_drawing import (
    DEFAULT_LAYERS,
    BlockDrawing,
    list_targeted_names,
)
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project import memory_plan
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    column,
    label,
    set_role,
    set_visible,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.tooltips import plain_tip

#: Preset ranks, each with a title and its purpose.
_RANKS = (
    (8, mark("Rank 8"), mark("Tone, style, and format")),
    (16, mark("Rank 16"), mark("Most tasks (start here)")),
    (32, mark("Rank 32"), mark("A new domain")),
    (64, mark("Rank 64"), mark("A lot of new material")),
)
#: Stops of the slider, closer together around common ranks.
_STOPS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_DROPOUT = {
    0.0: mark("No dropout: fastest, and a good default for most datasets."),
    0.05: mark("Light dropout: reduces overfitting on a few hundred rows."),
    0.1: mark(
        "Stronger dropout: reduces overfitting when you train on a small dataset for many epochs."
    ),
}
_STEP: Step = "lora"

#: Editors that are hidden while the adapter type doesn't use their setting.
_ONLY_LORA = ("alpha", "use_rslora", "use_dora", "init", "own_ranks", "bias")


class LoraPage(StepPage):
    """Edits the adapter settings and shows the number of trainable parameters.

    The count is immediate if the layer widths are known. Otherwise the inspector counts, and its latest
    count is shown meanwhile.
    """

    step = "lora"
    title = "LoRA"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Create the page: rank presets on top, adapter settings on the left, layers on the right."""
        super().__init__(state, parent)
        self.presets = CardsControl(
            [CardOption(rank, tr(name), tr(use)) for rank, name, use in _RANKS]
        )
        self.presets.setAccessibleName(tr("Rank presets"))
        self.rank = SliderNumberControl(state.get_facts(_STEP, "rank"), _STOPS)
        self.alpha = PresetNumberControl(
            state.get_facts(_STEP, "alpha"), {tr("1 × rank"): 0, tr("2 × rank"): 0}
        )
        self.dropout = PresetNumberControl(
            state.get_facts(_STEP, "dropout"),
            {formatting.format_float(value, "g"): value for value in _DROPOUT},
        )
        self.drawing = BlockDrawing()
        self.sentence = label(role="section", wrap=True)
        self.detail = label(role="muted", wrap=True)
        self._stale = False
        self._started: LoraSpec | None = None  # the settings of the adapter to start from
        self._build_layout()
        self.presets.edited.connect(self._choose_rank)
        self.rank.slid.connect(self._slide_rank)
        self.drawing.toggled.connect(self._choose_layers)
        state.value_changed.connect(self._on_value_changed)
        state.opened.connect(self._show_all)
        state.facts_changed.connect(self._on_facts_changed)
        self._show_all()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _build_layout(self) -> None:
        strength = Card(tr("Adapter"))
        strength.add(
            self.add_editor("adapter_type", style="segments"),
            self.add_editor("rank", control=self.rank),
            self.add_editor("alpha", control=self.alpha),
        )
        strength.add(self.add_editor("dropout", control=self.dropout))
        more = CollapsibleSection()
        more.add(
            self.add_editor("use_rslora"),
            self.add_editor("use_dora"),
            self.add_editor("init"),
            self.add_editor("blocks"),
            self.add_editor("own_ranks"),
            self.add_editor("bias", style="segments"),
            self.add_editor("modules_to_save"),
            self.add_editor("new_tokens"),
            self.add_editor("start_from"),
        )
        strength.add(more)
        layers = Card(tr("Layers"))
        layers.add(
            self.add_editor("targets", style="combo"),
            self.drawing,
            self.add_editor("target_names"),
        )
        result = Card()
        result.add(self.sentence, self.detail)
        self.body.addWidget(self.presets)
        self.body.addWidget(result)
        self.body.addWidget(ResponsiveColumns(column(strength, None), column(layers, None), (2, 3)))
        self.body.addStretch(1)

    # --- user actions -------------------------------------------------------------------------

    def _choose_rank(self, rank: int) -> None:
        """Set the rank; alpha keeps its ratio to it, in the same undo step."""
        self.state.change(tr("Rank {rank}").format(rank=rank), [(_STEP, "rank", rank)])

    def _slide_rank(self, rank: int) -> None:
        """Set the rank while the slider moves; the whole movement is one undo step."""
        self.state.change(tr("Rank"), [(_STEP, "rank", rank)], merges=True)

    def _choose_layers(self, names: list[str]) -> None:
        self.state.change(
            tr("Target modules"), [(_STEP, "targets", "names"), (_STEP, "target_names", names)]
        )

    # --- display ------------------------------------------------------------------------------

    def _on_value_changed(self, step: str, field: str) -> None:
        if step == _STEP:
            self._stale = True
            self._show_all()
        elif field == "preference":  # a reward model has a head
            self._show_sentence()

    def _on_facts_changed(self, name: str) -> None:
        if name == "model":
            self._stale = False
            self._show_all()
        elif name in ("dataset", "plan"):  # the plan has the labels of a classifier
            self._show_sentence()

    def _show_all(self) -> None:
        self._show_start()
        self._show_strength()
        self._show_layers()
        self._show_sentence()

    def _show_start(self) -> None:
        """Show and disable the settings that the starting adapter determines."""
        spec = self.state.get_spec(_STEP)
        starting: LoraSpec | None = None
        if isinstance(spec, LoraSpec) and spec.start_from:
            with suppress(ProblemError):
                starting_adapter.read_config(Path(spec.start_from))
                starting = starting_adapter.resolve_lora(spec)
        changed, self._started = starting != self._started, starting
        if not changed and starting is None:
            return
        for field in starting_adapter.TAKEN:
            field_editor = self.editors[field]
            field_editor.setEnabled(starting is None)
            field_editor.setToolTip(
                plain_tip(
                    "" if starting is None else tr("Set by the adapter that training starts from.")
                )
            )
            decided = self.state.get(_STEP, field) if starting is None else getattr(starting, field)
            field_editor.control.show_value(decided)
        for part in (self.presets, self.drawing):
            part.setEnabled(starting is None)

    def _get_effective(self, field: str) -> object:
        """Return the value that training uses: the starting adapter's if it determines the
        field.
        """
        if self._started is not None and field in starting_adapter.TAKEN:
            return getattr(self._started, field)
        return self.state.get(_STEP, field)

    def _show_strength(self) -> None:
        is_lora = self._get_effective("adapter_type") != "miss"
        for field in _ONLY_LORA:
            unused = field == "alpha" or self._is_default(field)
            set_visible(self.editors[field], is_lora or not unused)
        rank, alpha = self._get_effective("rank"), self._get_effective("alpha")
        self.presets.show_value(rank)
        ratio = ""
        if isinstance(rank, int) and isinstance(alpha, int) and rank > 0:
            self.alpha.set_presets({tr("1 × rank"): rank, tr("2 × rank"): 2 * rank})
            ratio = tr("Currently {ratio} × rank.").format(
                ratio=formatting.format_float(alpha / rank, ".3g")
            )
        description = tr(self.state.get_facts(_STEP, "alpha").description)
        self.editors["alpha"].set_help(f"{ratio} {description}".strip())
        dropout = self.state.get(_STEP, "dropout")
        help_text = _DROPOUT.get(dropout) if isinstance(dropout, int | float) else None
        self.editors["dropout"].set_help(
            tr(help_text or self.state.get_facts(_STEP, "dropout").description)
        )

    def _is_default(self, field: str) -> bool:
        return bool(self.state.get(_STEP, field) == self.state.get_facts(_STEP, field).default)

    def _show_layers(self) -> None:
        model = self.state.facts.model
        self.drawing.set_layers(model.linear_names if model else DEFAULT_LAYERS)
        targets, names = self._get_effective("targets"), self._get_effective("target_names")
        named = [str(name) for name in names] if isinstance(names, list | tuple) else []
        is_preset = targets in list(self.state.get_facts(_STEP, "targets").choices)
        chosen = (
            list_targeted_names(cast(Targets, targets), named, self.drawing.get_slots())
            if is_preset
            else set()
        )
        self.drawing.show_chosen(chosen)
        self.editors["target_names"].setVisible(targets == "names")

    def _show_sentence(self) -> None:
        model, spec = self.state.facts.model, self.state.get_spec(_STEP)
        at_once = (
            adapter_size.count_parameters(model, spec)
            if model and isinstance(spec, LoraSpec)
            else None
        )
        counted = memory_plan.get_adapter_size(self.state)
        waiting = self._stale and at_once is None
        set_role(self.sentence, "muted" if counted is None or waiting else "section")
        if spec is None:
            sentence = tr("Fix the values below to see the number of trainable parameters.")
        elif model is None and self.state.get("model", "source"):
            sentence = tr(
                "The number of trainable parameters appears when the model details are known."
            )
        elif model is None:
            sentence = tr("Select a model to see the number of trainable parameters.")
        elif counted is None and model.adapter_problem is not None:
            sentence = localize(model.adapter_problem.what)
        elif counted is None:
            sentence = tr("No trainable parameters: this model has none of the selected layers.")
        else:
            sentence = _describe_size(counted)
        self.sentence.setText(sentence)
        details = [_describe_detail(counted), self._describe_memory()] if counted and model else []
        if self._started is not None and isinstance(spec, LoraSpec):
            shape = starting_adapter.describe(starting_adapter.read_config(Path(spec.start_from)))
            note = tr(
                "Continues from an adapter: {shape}. Settings that the adapter determines "
                "are disabled below."
            )
            details.append(note.format(shape=localize(shape)))
        self.detail.setText(" ".join(part for part in details if part))
        self.detail.setVisible(bool(self.detail.text()))

    def _describe_memory(self) -> str:
        """Return the memory that training with this adapter needs, and how much is free."""
        plan = memory_plan.make_plan(self.state)
        if plan is None:
            return ""
        memory = estimate(fill_micro_batches(plan))
        needed, free = (
            formatting.format_memory(memory.total),
            formatting.format_memory(plan.device.free_bytes),
        )
        if memory.fits:
            return tr("Training needs {needed} of memory; {free} is free.").format(
                needed=needed, free=free
            )
        return tr("Training needs {needed} of memory, but only {free} is free.").format(
            needed=needed, free=free
        )


def _describe_size(counted: events.ParametersCounted) -> str:
    return tr(
        "{trained} of {total} parameters are trainable ({share}); adapter weights: {size}"
    ).format(
        trained=formatting.format_count(counted.trainable),
        total=formatting.format_count(counted.total),
        share=formatting.format_percent(counted.percent / 100),
        size=formatting.format_size(counted.adapter_bytes),
    )


def _describe_detail(counted: events.ParametersCounted) -> str:
    return tr("Target modules in every block: {layers}.").format(
        layers=formatting.join_names(counted.targets, tr("and"))
    )
