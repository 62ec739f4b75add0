"""`python -m lora_studio` and `lora-studio`: the window without arguments, else the verbs."""

from __future__ import annotations

import sys


def main() -> None:
    """Imports the window or the command line only when it is wanted."""
    if "--offline" in sys.argv:
        from lora_studio.core import offline

        sys.argv.remove("--offline")
        offline.switch(True)
    arguments = sys.argv[1:]
    if not arguments or (len(arguments) == 1 and arguments[0].endswith(".lorastudio")):
        from lora_studio.gui.app import main as window

        sys.exit(window(arguments))
    from lora_studio.cli import app

    app(prog_name="lora-studio")


if __name__ == "__main__":
    main()
