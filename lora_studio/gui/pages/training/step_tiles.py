"""Tiles with the metrics of the last training step."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards
from lora_studio.gui.language import mark, tr
from lora_studio.gui.widgets.stat_tiles import StatTiles

_TILES = {
    "step": mark("Step"),
    "epoch": mark("Epoch"),
    "loss": mark("Loss"),
    "eval": mark("Eval loss"),
    "cut": mark("Answers cut"),
    "kl": mark("KL to the reference"),
    "speed": mark("Tokens/s"),
    "memory": mark("Peak memory"),
    "rate": mark("Learning rate"),
    "norm": mark("Gradient norm"),
    "load": mark("Device"),
}


#: Names of tiles in reward training, whose loss stays near zero.
_REWARD_NAMES = {"loss": mark("Mean reward"), "eval": mark("Eval reward")}


class StepTiles(StatTiles):
    """Shows progress, speed, loss or mean reward, and memory of the last step."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show dashes until the first step."""
        super().__init__(_TILES, columns=2, parent=parent)
        self._show_figures({})

    def show_step(self, last: events.StepDone, *, running: bool) -> None:
        """Show the metrics of a step; the load of the device only while the training is running."""
        self._show_figures(last.figures)
        self.tiles["load"].setVisible(running)
        value: float | None = last.loss
        form = formatting.format_loss
        if has_rewards(last.figures):
            value, form = last.figures.get(events.REWARD), formatting.format_reward
        self.show_values(
            {
                "step": tr("{step} of {steps}").format(
                    step=formatting.format_number(last.step),
                    steps=formatting.format_number(last.steps),
                ),
                "epoch": formatting.format_float(last.epoch, ".2f"),
                "speed": formatting.format_number(round(last.tokens_per_s)),
                "loss": "" if value is None else form(value),
                "memory": formatting.format_memory(last.memory_bytes),
                "load": _load_text(last),
                "rate": formatting.format_setting(last.learning_rate),
                "norm": formatting.format_loss(last.grad_norm),
            }
        )

    def show_evaluation(self, event: events.Evaluated) -> None:
        """Show the eval loss or the mean reward of validation prompts."""
        value: float | None = event.loss
        form = formatting.format_loss
        if event.has_rewards:
            value, form = event.figures.get(events.REWARD), formatting.format_reward
        self.show_values({"eval": "" if value is None else form(value)})

    def clear(self) -> None:
        """Show a dash in all tiles, those of other training than reward training."""
        super().clear()
        self._show_figures({})

    def _show_figures(self, figures: Mapping[str, float]) -> None:
        """Show the tiles of reward training, and name those that differ there."""
        is_rewarded = has_rewards(figures)
        for key, name in _REWARD_NAMES.items():
            self.tiles[key].set_name(tr(name if is_rewarded else _TILES[key]))
        cut, kl = figures.get("cut_share"), figures.get("kl")
        self.tiles["cut"].setVisible(is_rewarded)
        self.tiles["kl"].setVisible(is_rewarded and kl is not None)
        self.show_values(
            {
                "cut": "" if cut is None else formatting.format_percent(cut),
                "kl": "" if kl is None else formatting.format_loss(kl),
            }
        )


def _load_text(step: events.StepDone) -> str:
    """Return utilization and temperature of the device, as far as they are known."""
    parts = []
    if step.gpu_percent is not None:
        parts.append(f"GPU {step.gpu_percent:.0f} %")
    if step.gpu_celsius is not None:
        parts.append(f"{step.gpu_celsius:.0f} °C")
    if step.cpu_percent is not None:
        parts.append(f"CPU {step.cpu_percent:.0f} %")
    return ", ".join(parts)
