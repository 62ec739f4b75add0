"""The LoRA step: the shape of the adapter, and what it costs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from PySide6.QtWidgets import QWidget

from lora_studio.core import events, start_adapter, words
from lora_studio.core.lora import LoraSpec, Targets
from lora_studio.core.problems import ProblemError, Step
from lora_studio.gui.pages.page import Page
from lora_studio.gui.project_state import Change, ProjectState
from lora_studio.gui.widgets.basics import Card, More, column, label, set_role
from lora_studio.gui.widgets.block_drawing import USUAL, BlockDrawing, meant_by
from lora_studio.gui.widgets.cards_control import CardsControl, Choice
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.preset_number import PresetNumberControl

_RANKS = (
    Choice(8, "Rank 8", "tone, style and format"),
    Choice(16, "Rank 16", "most tasks: start here"),
    Choice(32, "Rank 32", "a new domain"),
    Choice(64, "Rank 64", "much new material"),
)
_DROPOUT = {
    0.0: "None: fastest, and fine for most datasets.",
    0.05: "A little: helps with some hundred rows.",
    0.1: "More: helps when a small dataset is gone through many times.",
}
_STEP: Step = "lora"


class LoraPage(Page):
    """The adapter is counted by the inspector: this page shows the latest count."""

    step = "lora"
    title = "LoRA"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Cards of ranks on top; strength to the left, layers to the right."""
        super().__init__(state, parent)
        self.presets = CardsControl(_RANKS)
        self.presets.setAccessibleName("Usual ranks")
        self.alpha = PresetNumberControl(
            state.about(_STEP, "alpha"), {"1 × rank": 0, "2 × rank": 0}
        )
        self.dropout = PresetNumberControl(
            state.about(_STEP, "dropout"), {f"{value:g}": value for value in _DROPOUT}
        )
        self.drawing = BlockDrawing()
        self.sentence = label(role="section", wrap=True)
        self.detail = label(role="muted", wrap=True)
        self._stale = False
        self._started: dict[str, Any] | None = None  # settings of the adapter to go on from
        self._lay_out()
        self.presets.edited.connect(self._choose_rank)
        self.drawing.toggled.connect(self._choose_layers)
        state.value_changed.connect(self._value_changed)
        state.opened.connect(self._show_all)
        state.facts_changed.connect(self._facts_changed)
        self._show_all()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        strength = Card("Strength")
        strength.add(self.add_editor("rank"), self.add_editor("alpha", control=self.alpha))
        strength.add(self.add_editor("dropout", control=self.dropout))
        more = More()
        more.add(
            self.add_editor("use_rslora"),
            self.add_editor("use_dora"),
            self.add_editor("init"),
            self.add_editor("blocks"),
            self.add_editor("own_ranks"),
            self.add_editor("bias", style="segments"),
            self.add_editor("modules_to_save"),
            self.add_editor("start_from"),
        )
        strength.add(more)
        layers = Card("Layers")
        layers.add(
            self.add_editor("targets", style="combo"),
            self.drawing,
            self.add_editor("target_names"),
        )
        result = Card()
        result.add(self.sentence, self.detail)
        self.body.addWidget(self.presets)
        self.body.addWidget(result)
        self.body.addWidget(Columns(column(strength, None), column(layers, None), (2, 3)))
        self.body.addStretch(1)

    # --- what the user does -------------------------------------------------------------------

    def _choose_rank(self, rank: int) -> None:
        """Alpha keeps its ratio to the rank, in the same step of undo."""
        changes: list[Change] = [(_STEP, "rank", rank)]
        if (ratio := self._ratio()) is not None:
            limit = self.state.about(_STEP, "alpha").maximum or 4096
            changes.append((_STEP, "alpha", int(min(max(1, round(ratio * rank)), limit))))
        self.state.change(f"Rank {rank}", changes)

    def _choose_layers(self, names: list[str]) -> None:
        self.state.change(
            "Target modules", [(_STEP, "targets", "names"), (_STEP, "target_names", names)]
        )

    def _ratio(self) -> float | None:
        rank, alpha = self.state.get(_STEP, "rank"), self.state.get(_STEP, "alpha")
        numbers = isinstance(rank, int) and isinstance(alpha, int)
        return alpha / rank if numbers and rank > 0 else None

    # --- what is shown ------------------------------------------------------------------------

    def _value_changed(self, step: str, field: str) -> None:
        if step == _STEP:
            self._stale = True
            self._show_all()

    def _facts_changed(self, name: str) -> None:
        if name == "model":
            self._stale = False
            self._show_all()

    def _show_all(self) -> None:
        self._show_start()
        self._show_strength()
        self._show_layers()
        self._show_sentence()

    def _show_start(self) -> None:
        """Where training goes on from an adapter, that one decides the shape."""
        spec = self.state.spec(_STEP)
        found: dict[str, Any] | None = None
        if isinstance(spec, LoraSpec) and spec.start_from:
            with suppress(ProblemError):
                found = start_adapter.read(Path(spec.start_from))
        self._started = found
        for field in start_adapter.TAKEN:
            made = self.editors[field]
            made.setEnabled(found is None)
            made.setToolTip("" if found is None else "Taken from the adapter to go on from.")
        for part in (self.presets, self.drawing):
            part.setEnabled(found is None)

    def _show_strength(self) -> None:
        rank = self.state.get(_STEP, "rank")
        self.presets.show_value(rank if self._started is None else self._started["r"])
        if isinstance(rank, int):
            self.alpha.set_presets({"1 × rank": rank, "2 × rank": 2 * rank})
        ratio = self._ratio()
        counts = ratio is not None and self._started is None
        said = f"Now {ratio:.3g} × rank. " if counts else ""
        self.editors["alpha"].set_help(f"{said}{self.state.about(_STEP, 'alpha').description}")
        dropout = self.state.get(_STEP, "dropout")
        words_for = _DROPOUT.get(dropout) if isinstance(dropout, int | float) else None
        self.editors["dropout"].set_help(
            words_for or self.state.about(_STEP, "dropout").description
        )

    def _show_layers(self) -> None:
        model = self.state.facts.model
        self.drawing.set_layers(model.linear_names if model else USUAL)
        targets = self.state.get(_STEP, "targets")
        names = self.state.get(_STEP, "target_names")
        decided = self._started.get("target_modules") if self._started is not None else None
        if isinstance(decided, list):
            targets, names = "names", [str(name).rpartition(".")[2] for name in decided]
        named = [str(name) for name in names] if isinstance(names, list | tuple) else []
        known = targets in list(self.state.about(_STEP, "targets").choices)
        chosen = meant_by(cast(Targets, targets), named, self.drawing.layers()) if known else set()
        self.drawing.show_chosen(chosen)
        self.editors["target_names"].setVisible(self.state.get(_STEP, "targets") == "names")

    def _show_sentence(self) -> None:
        model = self.state.facts.model
        counted = model.adapter if model else None
        set_role(self.sentence, "muted" if counted is None or self._stale else "section")
        if self.state.spec(_STEP) is None:
            self.sentence.setText("Correct the values below to see how much trains.")
        elif model is None:
            self.sentence.setText("Choose a model to see how much of it trains.")
        elif counted is None:
            self.sentence.setText("Nothing trains: this model has none of these layers.")
        else:
            self.sentence.setText(_sentence(counted))
        said = [_detail(counted)] if counted and model else []
        if self._started is not None:
            shape = start_adapter.described(self._started)
            said.append(f"Goes on from an adapter: {shape}. What it decides is grey below.")
        self.detail.setText(" ".join(said))
        self.detail.setVisible(bool(self.detail.text()))


def _sentence(counted: events.ParametersCounted) -> str:
    return (
        f"{words.count(counted.trainable)} of {words.count(counted.total)} parameters train "
        f"({words.percent(counted.percent / 100)}), {words.size(counted.adapter_bytes)} on disk"
    )


def _detail(counted: events.ParametersCounted) -> str:
    return f"In {words.listed(counted.targets)} of every block."
