"""Tiles with the metrics of the last training step."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting, messages
from lora_studio.core.protocol import events
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.widgets.stat_tiles import StatTiles

_TILES = {
    "step": mark("Step"),
    "epoch": mark("Epoch"),
    "left": mark("Time remaining"),
    "speed": mark("Tokens/s"),
    "loss": mark("Loss"),
    "eval": mark("Eval loss"),
    "memory": mark("Memory"),
    "load": mark("Device"),
    "rate": mark("Learning rate"),
    "norm": mark("Gradient norm"),
}


class StepTiles(StatTiles):
    """Shows progress, speed, loss and memory of the last step."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show dashes until the first step."""
        super().__init__(_TILES, columns=2, parent=parent)

    def show_step(self, last: events.StepDone, *, running: bool) -> None:
        """Show the metrics of a step."""
        self.show_values(
            {
                "step": tr("{step} of {steps}").format(
                    step=formatting.format_number(last.step),
                    steps=formatting.format_number(last.steps),
                ),
                "epoch": formatting.format_float(last.epoch, ".2f"),
                "left": localize(messages.describe_remaining(last.eta_s)) if running else "–",
                "speed": formatting.format_number(round(last.tokens_per_s)),
                "loss": formatting.format_loss(last.loss),
                "memory": formatting.format_memory(last.memory_bytes),
                "load": _load_text(last),
                "rate": formatting.format_setting(last.learning_rate),
                "norm": formatting.format_loss(last.grad_norm),
            }
        )

    def show_evaluation(self, loss: float) -> None:
        """Show the eval loss."""
        self.show_values({"eval": formatting.format_loss(loss)})


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
