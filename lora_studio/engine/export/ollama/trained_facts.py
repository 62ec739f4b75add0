"""What the run of a model folder says about the model: its system prompt and its kinds of conversations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.dataset.samples import Sample
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.server.probes import ProbeKind


@dataclass(frozen=True)
class TrainedFacts:
    """The system prompt to serve a model with, and the special kinds of conversations in its data.

    `kinds` is None if the data is unknown.
    """

    system: str = ""
    kinds: tuple[ProbeKind, ...] | None = None


def read_trained_facts(folder: Path) -> TrainedFacts:
    """Return the facts of the run that a folder belongs to, or none; raises ProblemError.

    The held-out conversations stand for the whole data, from which they were drawn at random.
    """
    for parent in (folder, *folder.parents[:2]):
        run = RunFolder(parent)
        if run.manifest_file.is_file() and run.project_file.is_file():
            rows = heldout.read_heldout(run)
            kinds = {kind for row in rows for kind in _iter_kinds(row)}
            return TrainedFacts(
                run.load_project().export.system_prompt, tuple(sorted(kinds)) if rows else None
            )
    return TrainedFacts()


def _iter_kinds(row: Sample) -> Iterator[ProbeKind]:
    turns = row.messages
    if any(one.role == other.role for one, other in itertools.pairwise(turns)):
        yield ProbeKind.NEIGHBORS
    if row.tools or any(turn.tool_calls or turn.role == "tool" for turn in turns):
        yield ProbeKind.TOOLS
    if any(turn.thinking or "</think>" in turn.content for turn in turns):
        yield ProbeKind.THINKING
