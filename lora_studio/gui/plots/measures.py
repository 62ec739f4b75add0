"""What can be plotted of a training: names, units and how a value is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.gui.language import mark, tr

_GIB = float(2**30)


@dataclass(frozen=True)
class Measure:
    """A quantity that a training has at each step.

    `label` names it on an axis with its unit, in which a value is one `scale`-th as large. A
    `jagged` one changes with each batch, so that it is smoothed like the loss.
    """

    name: str
    title: str
    label: str
    say: Callable[[float], str]
    scale: float = 1.0
    jagged: bool = False

    def name_inside(self) -> str:
        """The title as it stands within a line, in the user's language."""
        own = self.title[:1].lower() + self.title[1:]
        return own if (said := tr(own)) == own else said


def _rate(value: float) -> str:
    return formatting.rate(value, tr("tokens"))


def _percent(value: float) -> str:
    return f"{value:.0f} %"


_KNOWN = {
    measure.name: measure
    for measure in (
        Measure("loss", mark("Loss"), mark("loss (nats per token)"), formatting.loss, jagged=True),
        Measure("learning_rate", mark("Learning rate"), mark("learning rate"), formatting.small),
        Measure(
            "grad_norm", mark("Gradient norm"), mark("gradient norm"), formatting.loss, jagged=True
        ),
        Measure("tokens_per_s", mark("Tokens per second"), mark("tokens/s"), _rate),
        Measure("memory_bytes", mark("Memory"), mark("memory (GiB)"), formatting.memory, 1 / _GIB),
        Measure("gpu_percent", mark("GPU busy"), mark("GPU busy (%)"), _percent),
        Measure(
            "gpu_celsius",
            mark("GPU temperature"),
            mark("GPU (°C)"),
            lambda value: f"{value:.0f} °C",
        ),
        Measure("cpu_percent", mark("Processors busy"), mark("processors (%)"), _percent),
        Measure(
            "accuracy",
            mark("Told apart"),
            mark("told apart (%)"),
            formatting.percent,
            100.0,
            jagged=True,
        ),
        Measure("margin", mark("Reward margin"), mark("margin"), formatting.loss, jagged=True),
        Measure("nll", mark("Answer loss"), mark("answer loss"), formatting.loss, jagged=True),
    )
}


def of(name: str) -> Measure:
    """A quantity by its name; one that an objective made up is shown under that name."""
    title = name.replace("_", " ")
    return _KNOWN.get(name) or Measure(
        name, title[:1].upper() + title[1:], title, formatting.small, jagged=True
    )


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names in the order that they are offered in."""
    order = list(_KNOWN)
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
