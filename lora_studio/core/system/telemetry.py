"""Usage statistics and error reports of libraries, which are off: this program contacts no one unasked."""

from __future__ import annotations

import os

#: Variables that turn off what a library would send, with the value that does so. Sources: the
#: documentation of huggingface_hub (HF_HUB_DISABLE_TELEMETRY), MLflow (MLFLOW_DISABLE_TELEMETRY),
#: Weights & Biases (WANDB_ERROR_REPORTING) and Unsloth (UNSLOTH_DISABLE_STATISTICS); the sources of
#: datasets (HF_UPDATE_DOWNLOAD_COUNTS) and transformers, which asks a service on the Hub to convert
#: weights (DISABLE_SAFETENSORS_CONVERSION). DO_NOT_TRACK is a convention (https://donottrack.sh).
VARIABLES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def turn_off() -> None:
    """Turn off telemetry in this process and its children; call it before a library is imported.

    A variable that the user has set stays as it is.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
