"""Entry point of `python -m lora_studio` and `lora-studio`: the window without arguments, else the
command line.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Start the window or the command line, importing only that one."""
    arguments = apply_offline_option(sys.argv[1:])
    sys.argv[1:] = arguments
    if not arguments or (len(arguments) == 1 and arguments[0].endswith(".lorastudio")):
        from lora_studio.gui.app import main as window

        sys.exit(window(arguments))
    from lora_studio.cli.app import app

    app(prog_name="lora-studio")


def apply_offline_option(arguments: list[str]) -> list[str]:
    """Apply `--offline`, which can be anywhere, and return the other arguments.

    The `engine` command has an `--offline` option of its own, which names a wheel folder.
    """
    verb = next((at for at, word in enumerate(arguments) if not word.startswith("-")), 0)
    everywhere = arguments[verb:][:1] != ["engine"]
    if "--offline" not in (arguments if everywhere else arguments[:verb]):
        return arguments
    from lora_studio.core.system import offline

    offline.switch(True)
    at = arguments.index("--offline")
    return arguments[:at] + arguments[at + 1 :]


if __name__ == "__main__":
    main()
