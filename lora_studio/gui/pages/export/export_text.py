"""Texts of the export page about files, disk space and llama.cpp."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lora_studio.core import formatting, limits
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_json
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize


def describe_disk_space(sizes: events.SizesEstimated | None, quantizations: Sequence[str]) -> str:
    """Return how much disk space the selected files need and how much is free; "" if unknown."""
    if sizes is None or not all(name in sizes.bytes for name in quantizations):
        return ""
    files = sum(sizes.bytes[name] for name in quantizations)
    is_kept = sizes.pass_kind in quantizations
    temporary = 0 if is_kept else sizes.bytes.get(sizes.pass_kind, 0)
    needed = (
        tr("Disk space: {files}, plus {temporary} during the export.")
        if temporary
        else tr("Disk space: {files}.")
    ).format(files=formatting.format_size(files), temporary=formatting.format_size(temporary))
    if sizes.free is None:
        return needed
    free = (
        tr("✗ Only {free} is available.")
        if sizes.free < files + temporary
        else tr("{free} is available.")
    ).format(free=formatting.format_size(sizes.free))
    return f"{needed} {free}"


def describe_tools(description: str, sizes: events.SizesEstimated | None) -> str:
    """Return the description of the llama.cpp field, including which llama.cpp is used."""
    if sizes is None or not sizes.tools:
        return description
    return f"{description} {tr('Currently used: {tools}.').format(tools=localize(sizes.tools))}"


def format_self_test_answers(run: RunFolder | None) -> str:
    """Return the answers of each stage of the self-test, by prompt; "" if there are none."""
    try:
        rows = read_json(run.selftest_file, limits.LARGE_FILE)["answers"] if run else []
        conversations = [
            [f"» {row['prompt'].strip()}"]
            + [f"{stage}:\n{text.strip()}" for stage, text in row.items() if stage != "prompt"]
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "\n\n\n".join("\n\n".join(conversation) for conversation in conversations)


def format_llama_command(written: Sequence[events.GgufWritten], *, embeds: bool) -> str:
    """Return the command that chats with the smallest GGUF file, or serves its vectors; "" without one."""
    models = [event for event in written if event.quantization != "adapter"]
    smallest = min(models, key=lambda event: event.bytes, default=None)
    if smallest is None:
        return ""
    file = shlex.quote(smallest.file)
    return f"llama-server -m {file} --embeddings" if embeds else f"llama-cli -m {file} -cnv"


def describe_readiness(*, is_direct: bool, has_merged: bool, blocker: str) -> tuple[str, str]:
    """Return status and advice before an export; both "" if there is nothing to say."""
    if is_direct and has_merged:
        return tr("Ready to export"), tr(
            "Files are created from the base model and the adapter, because rounding changed the merged model."
        )
    if is_direct:
        return tr("Ready to export"), tr(
            "Files are created directly from the base model and the adapter, without a merged"
            " copy. If you want to keep or upload a merged model, merge first."
        )
    return ("", "") if has_merged else (tr("Nothing to export yet"), blocker)
