"""What the run of a model folder says about the model: how it is to be served, and its kinds of conversations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.core.dataset.samples import Sample
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.server.probes import ProbeKind
from lora_studio.engine.export.ollama.derivation import list_parameters


@dataclass(frozen=True)
class TrainedFacts:
    """The system prompt and parameters to serve a model with, and the special kinds of its conversations.

    `kinds` is None if the data is unknown; without a run, there are no `parameters`.
    """

    system: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
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
            spec = run.load_project().export
            return TrainedFacts(
                spec.system_prompt, list_parameters(spec), tuple(sorted(kinds)) if rows else None
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
