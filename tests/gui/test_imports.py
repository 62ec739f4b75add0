"""Libraries that the window must not import."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "datasets", "bitsandbytes", "lora_studio.engine")


def test_gui_import_does_not_load_engine_libraries() -> None:
    code = (
        f"import sys, lora_studio.gui.app\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
