"""What the export page says of files, disk space and llama.cpp."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.language import tr


def room(sizes: events.SizesEstimated | None, chosen: Sequence[str]) -> str:
    """Disk space for the ticked files and for the one that they are made of; "" while unknown."""
    if sizes is None or not all(name in sizes.bytes for name in chosen):
        return ""
    files = sum(sizes.bytes[name] for name in chosen)
    passing = 0 if sizes.pass_kind in chosen else sizes.bytes.get(sizes.pass_kind, 0)
    text = tr("Disk: {files} for the files").format(files=formatting.size(files))
    if passing:
        text += tr(", {passing} more while they are made").format(passing=formatting.size(passing))
    if sizes.free is not None:
        text += tr(", {free} free").format(free=formatting.size(sizes.free))
        if sizes.free < files + passing:
            text += tr(" ✗ too little")
    return f"{text}."


def tools(about: str, sizes: events.SizesEstimated | None) -> str:
    """What the field for a llama.cpp is for, and which one that comes to."""
    if sizes is None or not sizes.tools:
        return about
    return " ".join((about, tr("Used now: {tools}.").format(tools=sizes.tools)))


def answers(run: RunFolder | None) -> str:
    """What each stage of the self-test answered to the same questions; "" where none were asked."""
    try:
        rows = json.loads(run.selftest_file.read_text("utf-8"))["answers"] if run else []
        talks = [
            [f"» {row['prompt'].strip()}"]
            + [f"{stage}:\n{text.strip()}" for stage, text in row.items() if stage != "prompt"]
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "\n\n\n".join("\n\n".join(talk) for talk in talks)


def llama_command(written: Sequence[events.GgufWritten]) -> str:
    """Chats with the smallest file, which brings its own chat template; "" without one."""
    models = [event for event in written if event.quantization != "adapter"]
    smallest = min(models, key=lambda event: event.bytes, default=None)
    return f"llama-cli -m {shlex.quote(smallest.file)} -cnv" if smallest else ""
