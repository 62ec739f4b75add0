"""Switches of libraries: no telemetry, no connections in offline mode, and none that can't be seen."""

from __future__ import annotations

import os

from lora_studio.core.system import offline, telemetry


def apply() -> None:
    """Set the libraries' own switches in the environment; call it before they are imported."""
    telemetry.turn_off()
    # Xet transfers files in native code, where connections can be neither counted nor refused. The Hub
    # offers the same files over HTTP; only those above its limit need Xet (`engine/hub/client.py`).
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    if offline.is_on():
        offline.switch(True)  # the environment may have set only one of its variables
