"""Conversations held out of training, which the self-test and the checks of a template use."""

from __future__ import annotations

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError, Where, fail
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import parse_json, read_text
from lora_studio.core.tasks.samples import Message, Sample


def is_expected(run: RunFolder) -> bool:
    """Return whether a run has held-out rows, or had some that are missing now."""
    return run.heldout_file.exists() or (
        checksums.find_damage(run, run.path, names=[run.heldout_file.name]) is not None
    )


def read_heldout(run: RunFolder) -> list[Sample]:
    """Return the held-out rows of a run, [] without any; raises ProblemError if they are damaged.

    Each line is `{"messages": […], "tools": […]}` or `{"text": …}`.
    """
    file = run.heldout_file
    if not is_expected(run):
        return []
    try:
        if (damage := checksums.find_damage(run, run.path, names=[file.name])) is not None:
            raise InvalidContentError(damage)
        lines = read_text(file, limits.LARGE_FILE).split("\n")
        if lines.pop():
            raise ValueError("the last line is incomplete")
        return [_parse_row(parse_json(line)) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise fail(
            "run.damaged_file",
            "{file} in the run folder is damaged.",
            "Restore it from a backup, or resume the training, which writes it again.",
            where=Where(file=str(file)),
            file=file.name,
        ) from error


def read_texts(run: RunFolder) -> list[str]:
    """Return the held-out texts of an embedding model, each once: queries, and what they should find.

    Raises ProblemError if they are damaged.
    """
    contents = (turn.content for sample in read_heldout(run) for turn in sample.messages)
    return list(dict.fromkeys(contents))


def _parse_row(row: dict[str, object]) -> Sample:
    if "text" in row:
        return Sample("text", text=str(row["text"]))
    turns = row["messages"]
    tools = row.get("tools", ())
    if not isinstance(turns, list) or not isinstance(tools, list | tuple):
        raise TypeError
    return Sample("sft", tuple(Message.model_validate(turn) for turn in turns), tools=tuple(tools))
