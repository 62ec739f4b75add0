"""Compare a merged model with what was trained: every setting, token and weight by its value."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lora_studio.core import limits
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.model import folders as folders_module
from lora_studio.core.problems import ProblemError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import parse_json, read_bytes, read_json
from lora_studio.engine.model import safetensors_files, safetensors_header
from lora_studio.engine.model.safetensors_files import StoredTensor
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system
from lora_studio.engine.selftest import tensor_faults
from lora_studio.engine.selftest.expected_model import ExpectedModel, ExpectedTensor
from lora_studio.engine.selftest.judging import StageComparison, summarize_faults
from lora_studio.engine.selftest.oracle import settings_rules
from lora_studio.engine.selftest.oracle.gguf_tensors import is_rounded_alike
from lora_studio.engine.selftest.tensor_faults import (
    MISSING,
    TensorFault,
    describe_difference,
    describe_text_difference,
    iter_differences,
)

#: Files of these types change what a loader loads if they are added to a model.
_LOADED = frozenset(
    {".json", ".jinja", ".txt", ".model", ".py", ".tiktoken", ".safetensors", ".bin"}
)

#: Folders in a model whose files transformers loads.
_LOADED_FOLDERS = ("additional_chat_templates", "custom_generate", "1_Pooling")

#: Settings that record who wrote the file and from where; no loader acts on them.
_COSMETIC = ("_name_or_path",)

#: A setting of which loaders only compare the major version, to correct the tokenizers of older models.
_VERSION = "transformers_version"


def compare_merged(merged: Path, expected: ExpectedModel, job: JobContext) -> StageComparison:
    """Return how a merged model differs from what was trained; reads one tensor at a time."""
    differences = list(_iter_file_differences(expected.folder, merged))
    if expected.trained is not None and expected.recipe is not None:
        adapter = Path(expected.merge.adapters[0].folder)
        known = {str(difference) for difference in differences}
        rules = settings_rules.find_differences(expected.merge.base, adapter, merged, expected.trained, expected.dtype)  # fmt: skip
        differences += [difference for difference in rules if str(difference) not in known]
    faults: list[TensorFault] = []
    try:
        differences += _iter_format_differences(merged)
        faults = _find_tensor_faults(merged, expected, job)
    except ProblemError as error:  # a file is missing or truncated
        if is_caused_by_system(error):
            raise
        differences.append(error.problems[0].what)
    return StageComparison(
        faults=summarize_faults([*differences, *(fault.describe() for fault in faults)]),
        cause=tensor_faults.find_cause(faults, expected.changed),
        is_reproduced=not differences and not faults,
        is_exact=not differences and not faults and not expected.unproven,
        compared=describe_comparison(expected),
    )


def describe_comparison(expected: ExpectedModel) -> Text:
    """Return what was compared, and why the updates were not if PEFT couldn't compute them."""
    compared = counted(
        len(expected.tensors),
        "{n} tensor and all settings, tokens, and templates were compared by value",
        "{n} tensors and all settings, tokens, and templates were compared by value",
    )
    if not expected.unproven:
        return compared
    return text(
        "{compared}, but only with a second merge: PEFT can't compute the updates of this adapter "
        "one by one ({reason})",
        compared=compared,
        reason=expected.unproven,
    )


# --- small files ------------------------------------------------------------------------------


def _iter_file_differences(expected: Path, actual: Path) -> Iterator[Text]:
    names = set(_list_loaded_files(expected))
    for name in sorted(names):
        if not (actual / name).is_file():
            yield text("{file} is missing", file=name)
        elif not name.endswith(".safetensors"):
            yield from _compare_file(expected / name, actual / name)
    for name in _list_loaded_files(actual):
        if Path(name).suffix in _LOADED and name not in names:
            yield text("{file} is not part of the trained model", file=name)


def _list_loaded_files(folder: Path) -> list[str]:
    """Return the files of a model, relative to its folder."""
    folders = (folder, *(folder / name for name in _LOADED_FOLDERS))
    files = (file for each in folders if each.is_dir() for file in each.iterdir())
    return sorted(file.relative_to(folder).as_posix() for file in files if file.is_file())


def _compare_file(expected: Path, actual: Path) -> Iterator[Text]:
    try:
        if read_bytes(expected, limits.LARGE_FILE) == read_bytes(actual, limits.LARGE_FILE):
            return
        if actual.suffix == ".json":
            pair = [
                _drop_cosmetic(read_json(file, limits.LARGE_FILE)) for file in (expected, actual)
            ]
            for difference in iter_differences(*pair):
                yield text("{file}: {difference}", file=actual.name, difference=difference)
            return
        texts = [read_bytes(file, limits.LARGE_FILE).decode("utf-8") for file in (expected, actual)]
    except UnicodeDecodeError:
        yield text("{file} is a different file than in training", file=actual.name)
    except (OSError, ValueError, RecursionError) as error:
        if is_caused_by_system(error):
            raise
        reason = describe_os_error(error)
        yield text("{file} can't be read ({reason})", file=actual.name, reason=reason)
    else:
        yield describe_text_difference(actual.name, *texts)


def _iter_format_differences(merged: Path) -> Iterator[Text]:
    """Yield the weight files without the format in their metadata that transformers requires."""
    for file in sorted(merged.glob("*.safetensors")):
        try:
            header = parse_json(safetensors_header.read_header_bytes(file), limits.WEIGHTS_VALUES)
            stated = (header.get("__metadata__") or {}).get("format", MISSING)
        except (OSError, ValueError, AttributeError):
            continue  # reading the tensors says why
        if stated != "pt":
            yield text(
                "{file}: {difference}",
                file=file.name,
                difference=describe_difference("format", "pt", stated),
            )


def _drop_cosmetic(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    kept = {name: value for name, value in content.items() if name not in _COSMETIC}
    if isinstance(version := kept.get(_VERSION), str):
        kept[_VERSION] = version.partition(".")[0]
    return json.loads(json.dumps(kept))


# --- weights ----------------------------------------------------------------------------------


def _find_tensor_faults(
    merged: Path, expected: ExpectedModel, job: JobContext
) -> list[TensorFault]:
    stored = safetensors_files.read_index(merged, job.check)
    names = {tensor.name for tensor in expected.tensors}
    faults = [*_find_repeated_tensors(stored), *_find_moved_tensors(merged, stored)]
    faults += [TensorFault(name, "additional") for name in stored if name not in names]
    for number, tensor in enumerate(expected.tensors):
        job.report_progress(
            text("comparing the merged model"), number, len(expected.tensors), "tensors"
        )
        fault = _compare_tensor(tensor, stored.get(tensor.name))
        if fault is not None:
            faults.append(fault)
    return _identify_others(faults, stored, expected)


def _find_repeated_tensors(stored: dict[str, StoredTensor]) -> list[TensorFault]:
    """Return the tensors that are in two files, of which a loader uses either."""
    names = Counter(
        tensor.name
        for file in {tensor.file for tensor in stored.values()}
        for tensor in safetensors_files.read_header(file)
    )
    return [TensorFault(name, "repeated") for name, count in names.items() if count > 1]


def _find_moved_tensors(merged: Path, stored: dict[str, StoredTensor]) -> Iterator[TensorFault]:
    """Yield the tensors that aren't in the file that the index names, where some loaders look for them."""
    file = merged / folders_module.INDEX
    listed = folders_module.read_index(merged)["weight_map"] if file.is_file() else {}
    for name, tensor in stored.items():
        if (wanted := listed.get(name, tensor.file.name)) != tensor.file.name:
            yield TensorFault(name, "moved", tensor.file.name, wanted)


def _compare_tensor(tensor: ExpectedTensor, stored: StoredTensor | None) -> TensorFault | None:
    if stored is None:
        return TensorFault(tensor.name, "missing")
    if stored.shape != tensor.shape:
        shapes = (_format_shape(stored.shape), _format_shape(tensor.shape))
        return TensorFault(tensor.name, "shape", *shapes)
    if stored.dtype != tensor.dtype:
        return TensorFault(tensor.name, "type", stored.dtype, tensor.dtype)
    wanted, actual = tensor.read(), stored.read()
    if torch.equal(_get_bytes(wanted), _get_bytes(actual)):
        return None
    if tensor.changed and is_rounded_alike(wanted, actual):
        return None
    return _classify(tensor, wanted, actual)


def _classify(tensor: ExpectedTensor, wanted: torch.Tensor, actual: torch.Tensor) -> TensorFault:
    """Return what a wrong tensor looks like."""
    rows, total = _count_unequal_rows(wanted, actual), wanted.shape[0] if wanted.shape else 1
    if actual.is_floating_point() and not bool(torch.isfinite(actual.float()).all()):
        return TensorFault(tensor.name, "infinite")
    if not bool(actual.any()):
        return TensorFault(tensor.name, "zeros")
    if _is_permuted(wanted, actual):
        return TensorFault(tensor.name, "permuted")
    if tensor.trained is not None and tensor.changed:
        base = tensor.trained.read_base().to(wanted.dtype)
        if torch.equal(_get_bytes(base), _get_bytes(actual)):
            return TensorFault(tensor.name, "base")
        factor = _fit_factor(base, wanted, actual)
        if factor is not None:
            return TensorFault(tensor.name, "scaled", factor=factor)
    return TensorFault(tensor.name, "differs", rows=rows, total=total)


def _fit_factor(base: torch.Tensor, wanted: torch.Tensor, actual: torch.Tensor) -> float | None:
    """Return f of actual ≈ base + f · (wanted − base) by least squares; None where that isn't so."""
    update, change = (wanted.double() - base.double()), (actual.double() - base.double())
    size = float((update * update).sum())
    if not size:
        return None
    factor = float((change * update).sum()) / size
    rest = float((change - factor * update).norm())
    rounding = torch.finfo(wanted.dtype).eps * float(actual.double().norm())
    explained = rest <= 0.1 * math.sqrt(size) * abs(factor) + 2 * rounding
    return factor if explained and abs(factor - 1) > 0.02 else None


def _is_permuted(wanted: torch.Tensor, actual: torch.Tensor) -> bool:
    if len(wanted.shape) < 2:
        return torch.equal(wanted.flatten().sort().values, actual.flatten().sort().values)
    pair = [sorted(row.tobytes() for row in _get_bytes(t).numpy()) for t in (wanted, actual)]
    return pair[0] == pair[1]


def _identify_others(
    faults: list[TensorFault], stored: dict[str, StoredTensor], expected: ExpectedModel
) -> list[TensorFault]:
    """Return the faults, with the name of the right tensor whose values a wrong one has."""
    unknown = {fault.name: fault for fault in faults if fault.kind == "differs"}
    if not unknown:
        return faults
    values = {name: _get_bytes(stored[name].read()[:64]) for name in unknown}
    equal_to: dict[str, str] = {}
    for tensor in expected.tensors:
        alike = [name for name in unknown if stored[name].shape == tensor.shape]
        if not alike:
            continue
        wanted = tensor.read()
        for name in alike:
            if torch.equal(_get_bytes(wanted[:64]), values[name]) and torch.equal(
                _get_bytes(wanted), _get_bytes(stored[name].read())
            ):
                equal_to.setdefault(name, tensor.name)
    return [
        TensorFault(fault.name, "other", equal_to[fault.name]) if fault.name in equal_to else fault
        for fault in faults
    ]


def _count_unequal_rows(wanted: torch.Tensor, actual: torch.Tensor) -> int:
    one, other = _get_bytes(wanted), _get_bytes(actual)
    return int((one != other).any(dim=1).sum())


def _get_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor, row by row."""
    rows = max(tensor.shape[0] if tensor.shape else 1, 1)
    data = torch.from_numpy(safetensors_files.view_bytes(tensor))
    return data.reshape(rows, len(data) // rows)


def _format_shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
