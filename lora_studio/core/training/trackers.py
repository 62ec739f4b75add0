"""Trackers that can record the metrics of a training in addition to the run folder."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from lora_studio.core.messages import text
from lora_studio.core.problems import Fix, Problem, Where, error

Tracker = Literal["tensorboard", "wandb", "mlflow"]

TITLES: dict[str, str] = {
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
    "mlflow": "MLflow",
}

#: The pip package of each tracker; its module has the name of the tracker.
PACKAGES: dict[str, str] = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
}


def check_installed(chosen: Collection[str], missing: Collection[str]) -> list[Problem]:
    """Return a problem for each selected tracker among the `missing` packages, with a fix."""
    return [
        error(
            "training.no_tracker",
            "{tracker} is selected as an experiment tracker but isn't installed.",
            "Install it with pip install {package}, or turn it off.",
            where=Where(step="training", field="trackers"),
            fix=Fix(
                label=text("Turn {tracker} off", tracker=TITLES[name]),
                step="training",
                field="trackers",
                value=[other for other in chosen if other != name],
            ),
            tracker=TITLES[name],
            package=PACKAGES[name],
        )
        for name in chosen
        if name in missing
    ]
