"""The report of a run's self-test, which decides what may be created in Ollama."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from lora_studio.core import limits
from lora_studio.core.export import DIRECT_SOURCE, ExportSpec, is_direct_export
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.export import PARTS
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import read_json


def write(run: RunFolder, report: dict[str, Any]) -> None:
    """Write the report and record its checksum; raises OSError."""
    write_atomic(run.selftest_file, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    checksums.record_checksums(run, run.path, [run.selftest_file.name])


def delete(run: RunFolder) -> None:
    """Delete the report of an earlier test; raises OSError."""
    checksums.forget_checksums(run, run.path, [run.selftest_file.name])
    run.selftest_file.unlink(missing_ok=True)


def read(run: RunFolder) -> dict[str, Any]:
    """Return the report, {} if the run wasn't tested; raises ProblemError if it is damaged."""
    file = run.selftest_file
    try:
        if (damage := checksums.find_damage(run, run.path, names=[file.name])) is not None:
            raise InvalidContentError(damage)
        content = read_json(file, limits.LARGE_FILE)
        if not isinstance(content, dict):
            raise InvalidContentError("it isn't a JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise fail(
            "run.damaged_file",
            "{file} in the run folder is damaged.",
            "Run the self-test again, which writes the file again.",
            where=Where(file=str(file)),
            file=file.name,
        ) from error
    return content


def reduce_to_merged(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without the results of GGUF files; raises KeyError or TypeError if malformed."""
    stages = [stage for stage in report["stages"] if stage["stage"] == "merged"]
    columns = ("prompt", "base + adapter", "merged")
    answers = [{name: row[name] for name in columns if name in row} for row in report["answers"]]
    passed = all(stage["passed"] for stage in stages)
    return report | {"stages": stages, "answers": answers, "passed": passed}


def is_merged_rounded(run: RunFolder) -> bool:
    """Return whether rounding to bfloat16 has changed noticeably what was trained, by default and not by choice.

    That is what the verdict "lossy" says of a merged model: its values are right, but their precision is too low.
    """
    if not (run.has_merged and run.has_adapter and is_merged_in_bfloat16(run)):
        return False
    try:
        stages = reduce_to_merged(read(run))["stages"]
        return any(stage["verdict"] == "lossy" for stage in stages)
    except (ProblemError, KeyError, TypeError):
        return False


def is_merged_in_bfloat16(run: RunFolder) -> bool:
    """Return whether the merged model was written in bfloat16 because its base is, and not by choice.

    Only then does an export from base and adapter use another data type.
    """
    merged = run.read_manifest().get("merged")
    if not isinstance(merged, dict):
        return False
    return merged.get("dtype") == "auto" and merged.get("stored_dtype") == "bfloat16"


def is_exported_directly(run: RunFolder, spec: ExportSpec) -> bool:
    """Return whether the files of a run are converted from base and adapter, not from its merged model."""
    return is_direct_export(spec, has_merged=run.has_merged, is_rounded=is_merged_rounded(run))


def is_direct_file(run: RunFolder, quantization: str) -> bool:
    """Return whether an exported file was made from base and adapter, by the record of its export."""
    record = run.read_manifest().get("gguf")
    record = record if isinstance(record, dict) else {}
    files = record.get("files")
    entry = files.get(quantization) if isinstance(files, dict) else None
    source = (record | entry if isinstance(entry, dict) else record).get("from")
    return bool(source == DIRECT_SOURCE)


def list_stages_before(quantization: str, tested: Collection[str], *, is_direct: bool) -> list[str]:
    """Return the stages that a file must not have failed before its own, in the order of an export.

    The merged model is one of them unless the file was made from base and adapter and was itself tested.
    """
    return ["converted"] if is_direct and quantization in tested else ["merged", "converted"]


def list_tests_of_files(
    written: Iterable[events.GgufWritten], tested: Iterable[events.SelfTested]
) -> list[events.SelfTested]:
    """Return the tests that count for the files of an export.

    That of the merged model doesn't if every file was made from base and adapter and was itself tested.
    """
    results = list(tested)
    stages = {result.stage for result in results}
    files = [event for event in written if event.quantization not in PARTS]
    if not files or not all(file.is_direct and file.quantization in stages for file in files):
        return results
    return [result for result in results if result.stage != "merged"]


def forget_files(run: RunFolder) -> None:
    """Remove the results of GGUF files, which are about to be replaced; raises OSError."""
    try:
        report = reduce_to_merged(read(run))
    except (ProblemError, KeyError, TypeError):
        report = {"stages": []}
    if report["stages"]:
        write(run, report)
    else:
        delete(run)
