"""The earlier result of a merged model, which is reused while nothing it depends on changes."""

from __future__ import annotations

import hashlib
from typing import Any

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import JobContext


def compute_fingerprint(folder: RunFolder) -> str:
    """Return a hash that changes with the merged model, the adapter or the held-out conversations.

    It covers name, size and time of each file: reading all weights would take as long as the test.
    """
    digest = hashlib.sha256()
    files = [*folder.merged.rglob("*"), *folder.adapter.rglob("*"), folder.heldout_file]
    for file in sorted(file for file in files if file.is_file()):
        facts = file.stat()
        digest.update(f"{file.name}\t{facts.st_size}\t{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_earlier_result(folder: RunFolder, job: JobContext) -> dict[str, Any] | None:
    """Return the saved result, reduced to the merged stage, if it is valid and the merged model intact."""
    try:
        report = selftest_report.reduce_to_merged(selftest_report.read(folder))
        is_current = report["merged_from"] == compute_fingerprint(folder)
    except (ProblemError, KeyError, TypeError):
        return None
    if not is_current or not report["stages"]:
        return None
    damage = checksums.find_damage(folder, folder.merged, on_block=job.check)
    return report if damage is None else None


def emit_earlier_result(earlier: dict[str, Any], job: JobContext) -> events.SelfTested:
    """Emit the merged stage's earlier result again."""
    result = events.SelfTested.model_validate(earlier["stages"][0])
    job.emit(events.Log(text=text("The merged model was tested before and is unchanged.")))
    job.emit(result)
    return result
