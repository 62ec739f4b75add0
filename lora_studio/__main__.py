"""Entry point of `python -m lora_studio` and `lora-studio`: the window without arguments, else the
command line.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable


def main() -> None:
    """Start the window or the command line, importing only that one."""
    from lora_studio.core.network import connections

    open_closed_streams()
    arguments = apply_trust_option(apply_offline_option(sys.argv[1:]))
    connections.start()
    sys.argv[1:] = arguments
    if not arguments or (len(arguments) == 1 and arguments[0].endswith(".lorastudio")):
        from lora_studio.gui.app import main as window

        sys.exit(_open_window(window, arguments))
    if arguments == ["--check-window"]:
        from lora_studio.gui.window_check import check_window

        sys.exit(check_window())
    for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8 can't print every character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from lora_studio.cli.app import main as command_line

    command_line()


def _open_window(window: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run the window and return the exit status; a problem before it opens goes to the terminal."""
    from lora_studio.core.problems import ProblemError

    try:
        return window(arguments)
    except ProblemError as error:
        print(error, file=sys.stderr)
        return 1


def open_closed_streams() -> None:
    """Open the null device for standard streams that the parent has closed.

    Otherwise a file that is opened later would get the number of stdout and whatever is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8")
            setattr(sys, name, stream)


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


def apply_trust_option(arguments: list[str]) -> list[str]:
    """Apply each `--trust HASH`, which can be anywhere, and return the other arguments."""
    rest, digests = [], []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--trust":
            rest.append(word)
        elif value := value if equals else next(words, ""):
            digests.append(value)
        else:
            return arguments  # the command line reports the missing hash
    if digests:
        from lora_studio.core.system import consent

        consent.trust_in_this_process(digests)
    return rest


if __name__ == "__main__":
    main()
