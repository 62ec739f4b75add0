"""What the window must not pull in."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "datasets", "bitsandbytes", "lora_studio.engine")


def test_the_window_is_imported_without_the_engine_and_its_libraries() -> None:
    code = (
        f"import sys, lora_studio.gui.app\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
