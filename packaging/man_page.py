"""Generate the manual page from the command line: `python packaging/man_page.py > lora-studio.1`."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

import typer

from lora_studio import __version__
from lora_studio.cli.app import app

INTRODUCTION = """\
Without arguments, or with a project, the window opens. With a command, LoRA Studio does in the
terminal what the window does, on the same project files. A PROJECT is a folder with one
NAME.lorastudio file in it, or that file; a RUN is a folder in its runs/."""

EXIT_STATUS = (("0", "It was done."), ("1", "It was begun and failed."),
               ("2", "It was refused: a wrong command line, or a project with problems."),
               ("130", "It was interrupted."))  # fmt: skip

ENVIRONMENT = (
    ("LORA_STUDIO_DATA", "Folder for the engine and for projects made from samples."),
    ("LORA_STUDIO_CACHE", "Folder for what can be fetched or computed again."),
    ("LORA_STUDIO_CONFIG", "Folder for preferences."),
    ("LORA_STUDIO_LOGS", "Folder for logs."),
    ("LORA_STUDIO_ENGINES", "Folder for engines, in place of that in LORA_STUDIO_DATA."),
    ("LORA_STUDIO_TORCH_INDEX", "Where the engine's PyTorch comes from, as for --torch."),
    ("LORA_STUDIO_ENGINE", "Command line of a worker, in place of the installed engine."),
    ("LORA_STUDIO_READER_MEMORY", "Bytes of memory that reading a dataset or model may use."),
    ("HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE", "As the Hugging Face libraries read them."),
    ("HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE", "Proxy and certificates for every download."),
    ("OLLAMA_HOST", "Where Ollama listens."),
)


def roff(text: str) -> str:
    """Return text as one paragraph, with everything escaped that roff would interpret."""
    text = re.sub(r"\s+", " ", text.replace("\\", "\\e").replace("-", "\\-")).strip()
    return re.sub(r"^([.'])", r"\\&\1", text)


def commands_under(command: Any, path: str) -> list[tuple[str, Any]]:
    """Return all commands, including those in groups, with their full names in alphabetical order."""
    if not hasattr(command, "commands"):
        return [(path, command)]
    commands: list[tuple[str, Any]] = []
    for name, part in sorted(command.commands.items()):
        if not part.hidden:
            commands += commands_under(part, f"{path} {name}")
    return commands


def described(path: str, command: Any) -> list[str]:
    """Return the roff lines for one command: synopsis, description, and options."""
    context = typer.Context(command, info_name=path)
    called = " ".join(command.collect_usage_pieces(context))
    lines = [f'.SS "{roff(path)} {roff(called)}"', roff(inspect.cleandoc(command.help or ""))]
    for item in sorted(command.params, key=lambda item: item.param_type_name):
        record = item.get_help_record(context)
        if record is not None:
            lines += [".TP", f".B {roff(record[0])}", roff(record[1]) or "\\&"]
    return lines


def page() -> str:
    """Return the manual page."""
    command = typer.main.get_command(app)
    lines = [
        f'.TH LORA\\-STUDIO 1 "" "LoRA Studio {__version__}" "User Commands"',
        ".SH NAME",
        "lora\\-studio \\- fine\\-tune a language model with LoRA and run it in Ollama",
        ".SH SYNOPSIS",
        ".B lora\\-studio\n.RI [ PROJECT.lorastudio ]\n.br",
        ".B lora\\-studio\n.I COMMAND\n.RI [ OPTIONS ]\n.RI [ ARGUMENTS ]",
        ".SH DESCRIPTION",
        roff(INTRODUCTION),
        ".SH COMMANDS",
        "Each command explains itself with",
        ".BR \\-\\-help .",
    ]
    for path, part in commands_under(command, "lora-studio"):
        lines += described(path, part)
    for title, entries in (("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)):
        lines.append(f".SH {title}")
        for name, text in entries:
            lines += [".TP", f".B {roff(name)}", roff(text)]
    lines += [".SH SEE ALSO", "/usr/share/doc/lora\\-studio, and the same texts in the program."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
