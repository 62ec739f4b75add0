"""The figures of a training: where it is, how fast, and how it goes."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.widgets.stat_tiles import StatTiles

_TILES = {
    "step": mark("Step"),
    "epoch": mark("Epoch"),
    "left": mark("Time left"),
    "speed": mark("Tokens per second"),
    "loss": mark("Loss"),
    "eval": mark("Eval loss"),
    "memory": mark("Memory"),
    "load": mark("Device"),
    "rate": mark("Learning rate"),
    "norm": mark("Gradient norm"),
}


class StepTiles(StatTiles):
    """Each figure of the last step under its name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Dashes until there is a step."""
        super().__init__(_TILES, columns=2, parent=parent)

    def show_step(self, last: events.StepDone, *, running: bool) -> None:
        """What is known after a step."""
        self.show_values(
            {
                "step": tr("{step} of {steps}").format(
                    step=formatting.number(last.step), steps=formatting.number(last.steps)
                ),
                "epoch": f"{last.epoch:.2f}",
                "left": tell(formatting.remaining(last.eta_s)) if running else "–",
                "speed": formatting.number(round(last.tokens_per_s)),
                "loss": formatting.loss(last.loss),
                "memory": formatting.memory(last.memory_bytes),
                "load": _load(last),
                "rate": formatting.small(last.learning_rate),
                "norm": formatting.loss(last.grad_norm),
            }
        )

    def show_evaluation(self, loss: float) -> None:
        """The loss on rows that are not trained on."""
        self.show_values({"eval": formatting.loss(loss)})


def _load(step: events.StepDone) -> str:
    """How busy and how warm the device is, as far as anybody could tell."""
    found = []
    if step.gpu_percent is not None:
        found.append(tr("GPU {gpu_percent:.0f} %").format(gpu_percent=step.gpu_percent))
    if step.gpu_celsius is not None:
        found.append(f"{step.gpu_celsius:.0f} °C")
    if step.cpu_percent is not None:
        found.append(tr("Processor {cpu_percent:.0f} %").format(cpu_percent=step.cpu_percent))
    return ", ".join(found)
