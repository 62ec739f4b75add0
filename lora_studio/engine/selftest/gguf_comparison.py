"""Compare GGUF files with what was trained: every key and every tensor by its value.

The reference is a fresh conversion of base + adapter. Its header is written without weights; its
tensors are compared one at a time while the converter computes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lora_studio.core import limits
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import InvalidContentError, ProblemError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.engine.export.gguf import quantizer
from lora_studio.engine.export.gguf.converter import (
    FirstPass,
    UnsupportedModelError,
    choose_model_name,
    convert,
)
from lora_studio.engine.export.gguf.tensor_comparison import (
    ComparisonRequest,
    TensorDifference,
    TensorDifferences,
)
from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.gguf_header import GgufLayout, GgufTensor
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system
from lora_studio.engine.selftest import tensor_faults
from lora_studio.engine.selftest.expected_model import ExpectedModel, open_expected
from lora_studio.engine.selftest.judging import StageComparison, summarize_faults
from lora_studio.engine.selftest.oracle.gguf_tensors import FileJudgment, judge_files
from lora_studio.engine.selftest.tensor_faults import (
    MISSING,
    TensorFault,
    describe_difference,
    iter_differences,
)

#: Quantized with an importance matrix or by another version, a tensor may be this much farther from
#: its source than a fresh quantization.
_FARTHER = 2.0

#: An importance matrix of extreme spread (log-normal, σ = 3) changes the factor of a tensor to its source
#: by up to 0.47 of the relative error of a fresh quantization.
_FACTOR = 0.6

#: Such a tensor is the base's if its distance to that is less than this share of its distance to the
#: trained tensor. Updates far smaller than the quantization error can't be detected: with them,
#: correct tensors reach 0.994.
_NEARER_TO_BASE = 0.98


@dataclass(frozen=True)
class ConvertedFile:
    """A file to compare, and how it was written.

    `kind` is its quantization, `imatrix` whether that had an importance matrix. `same_quantizer`,
    `same_converter`: the same version of the program is used.
    """

    file: Path
    kind: str
    imatrix: bool = False
    same_quantizer: bool = True
    same_converter: bool = True

    @property
    def is_repeatable(self) -> bool:
        """Return whether a fresh quantization gives the same bytes."""
        return self.same_quantizer and not self.imatrix


class GgufComparer:
    """Compares the files of a run that were converted in one way."""

    def __init__(
        self,
        expected: ExpectedModel,
        scratch: Path,
        job: JobContext,
        *,
        name: str,
        llama_cpp: str,
        kind: FirstPass,
        adds_bos: bool,
        trust: bool,
        all_rows: bool = False,
    ) -> None:
        """Use the converter with these settings; `kind` is the type that it writes.

        The check that doesn't use the converter reads a sample of rows of a large tensor, or `all_rows`.
        """
        self._all_rows = all_rows
        self._expected, self._scratch, self._job = expected, scratch, job
        self._name, self._llama_cpp, self._kind, self._trust = name, llama_cpp, kind, trust
        self._adds_bos = adds_bos
        self._outline = scratch / "outline.gguf"

    def compare(self, files: Mapping[str, ConvertedFile]) -> dict[str, StageComparison]:
        """Return how each file differs, by stage; one that can't be read has that as its fault."""
        comparisons: dict[str, StageComparison] = {}
        layouts: dict[str, GgufLayout] = {}
        for stage, converted in files.items():
            fault = _find_damage(converted.file, layouts, stage)
            if fault is not None:
                comparisons[stage] = StageComparison((fault,))
        if not layouts:
            return comparisons
        judgments = self._judge(layouts)
        try:
            paths = {stage: files[stage].file for stage in layouts}
            result = self._run(ComparisonRequest(files=paths, result=self._result))
            outline = gguf_header.read_layout(self._outline)
            planned = self._plan_types(files)
            others = {stage: paths[stage] for stage in layouts if not files[stage].is_repeatable}
            request = ComparisonRequest(files=others, result=self._result)
            base = self._run_on_base(request) if others else None
            faults = {
                stage: [
                    *find_tensor_list_faults(layout, outline),
                    *_find_faults(stage, files[stage], result, base),
                    *find_type_faults(layout, outline, planned.get(stage)),
                ]
                for stage, layout in layouts.items()
            }
            identified = self._identify(faults, paths)
        except (ProblemError, OSError, ValueError) as error:
            if is_caused_by_system(error):
                raise
            reason = error.problems[0].what if isinstance(error, ProblemError) else describe_os_error(error)  # fmt: skip
            message = text("not compared by value: {reason}", reason=reason)
            return comparisons | {
                stage: self._summarize_judgment(judgment, message)
                for stage, judgment in judgments.items()
            }
        for stage in layouts:
            comparisons[stage] = self._summarize(stage, files[stage], layouts[stage], outline, result, identified[stage], judgments[stage])  # fmt: skip
        return comparisons

    def _judge(self, layouts: Mapping[str, GgufLayout]) -> dict[str, FileJudgment]:
        """Return what the rules of the self-test's own find wrong in each file, by stage."""
        expected = self._expected
        if expected.trained is None:
            return {stage: FileJudgment(unknown=expected.unproven) for stage in layouts}
        adapter = Path(expected.merge.adapters[0].folder)
        has_tokenizer = (adapter / "tokenizer_config.json").is_file()
        return judge_files(
            layouts,
            expected.trained,
            expected.merge.base,
            adapter if has_tokenizer else expected.merge.base,
            self._job,
            trust=self._trust,
            all_rows=self._all_rows,
        )

    def _summarize_judgment(self, judgment: FileJudgment, compared: Text) -> StageComparison:
        """Return the result for a file that wasn't compared with a fresh conversion."""
        messages = [*judgment.differences, *(fault.describe() for fault in judgment.faults)]
        cause = tensor_faults.find_cause(judgment.faults, self._expected.changed)
        return StageComparison(summarize_faults(messages), cause=cause, compared=compared)

    @property
    def _result(self) -> Path:
        return self._scratch / "comparison.json"

    def _run(self, request: ComparisonRequest, recipe: Path | None = None) -> TensorDifferences:
        """Run the converter and return what it compared; raises ProblemError."""
        requested = self._scratch / "request.json"
        requested.write_text(request.model_dump_json(), "utf-8")
        try:
            self._convert(requested, recipe)
        except UnsupportedModelError:
            self._expected = open_expected(
                self._expected.merge, self._scratch, self._job, trust=self._trust, whole=True
            )
            self._convert(requested, None)
        return TensorDifferences.model_validate_json(read_bytes(request.result, limits.LARGE_FILE))

    def _convert(self, requested: Path, recipe: Path | None) -> None:
        folder = self._expected.folder
        outline = self._outline if recipe is None else self._outline.with_name("base.gguf")
        convert(
            folder, outline, choose_model_name(self._name, folder), self._llama_cpp, self._job,
            kind=self._kind, compare=requested, recipe=recipe or self._expected.recipe,
            adds_bos=self._adds_bos,
        )  # fmt: skip

    def _plan_types(self, files: Mapping[str, ConvertedFile]) -> dict[str, dict[str, str]]:
        """Return the quantizer's types by stage and tensor, of files that this version wrote."""
        types: dict[bool, dict[str, dict[str, str]]] = {}
        known = [file for file in files.values() if file.same_quantizer]
        for imatrix in {file.imatrix for file in known}:
            kinds = {file.kind for file in known if file.imatrix == imatrix} - {self._kind}
            types[imatrix] = (
                quantizer.plan_types(self._outline, sorted(kinds), self._job, imatrix=imatrix)
                if kinds
                else {}
            )
        planned = {
            stage: {} if file.kind == self._kind else types[file.imatrix].get(file.kind)
            for stage, file in files.items()
            if file.same_quantizer
        }
        return {stage: by_tensor for stage, by_tensor in planned.items() if by_tensor is not None}

    # --- what a wrong tensor is instead ---------------------------------------------------------

    def _identify(
        self, faults: Mapping[str, list[TensorFault]], paths: Mapping[str, Path]
    ) -> dict[str, list[TensorFault]]:
        """Return the faults, with the name of the tensor that a wrong one equals."""
        suspects = {
            stage: [fault.name for fault in found if fault.kind == "differs"]
            for stage, found in faults.items()
        }
        suspects = {stage: names for stage, names in suspects.items() if names}
        if not suspects:
            return dict(faults)
        request = ComparisonRequest(
            files={stage: paths[stage] for stage in suspects},
            result=self._result,
            suspects=suspects,
        )
        base_result = self._run_on_base(request)
        base = base_result.equal_to if base_result is not None else {}
        others = self._run(request).equal_to
        return {
            stage: [
                _name_other(fault, base.get(stage, {}), others.get(stage, {})) for fault in found
            ]
            for stage, found in faults.items()
        }

    def _run_on_base(self, request: ComparisonRequest) -> TensorDifferences | None:
        """Return what the request gives for the base model; None if it can't be converted."""
        recipe = self._expected.recipe
        if recipe is None:
            return None
        without = self._expected.merge.model_copy(update={"adapters": ()})
        base_recipe = recipe.with_name("base.json")
        base_recipe.write_text(without.model_dump_json(), "utf-8")
        try:
            return self._run(request, base_recipe)
        except ProblemError:
            return None  # the adapter enlarges the vocabulary or unties the head

    def _summarize(
        self,
        stage: str,
        converted: ConvertedFile,
        layout: GgufLayout,
        outline: GgufLayout,
        result: TensorDifferences,
        faults: Sequence[TensorFault],
        judgment: FileJudgment,
    ) -> StageComparison:
        values = find_value_differences(
            layout, outline, converted.kind, same_converter=converted.same_converter
        )
        known = {str(value) for value in values}
        values += [each for each in judgment.differences if str(each) not in known]
        faults = _combine(faults, judgment.faults)
        messages = [*values, *(fault.describe() for fault in faults)]
        compared = counted(
            len(outline.tensors),
            "{n} tensor and {keys} keys were compared by value",
            "{n} tensors and {keys} keys were compared by value",
            keys=len(outline.values),
        )
        is_reproduced = not messages and not result.differences.get(stage)
        return StageComparison(
            faults=summarize_faults(messages),
            cause=tensor_faults.find_cause(faults, self._expected.changed),
            is_reproduced=is_reproduced,
            is_exact=is_reproduced and not judgment.unknown,
            compared=judgment.describe(compared, converted.kind),
        )


def _combine(faults: Sequence[TensorFault], judged: Sequence[TensorFault]) -> list[TensorFault]:
    """Return the faults by both comparisons, each tensor once: "differs" says the least."""
    combined: dict[str, TensorFault] = {}
    for fault in (*faults, *judged):
        earlier = combined.get(fault.name)
        if earlier is None or (earlier.kind == "differs" and fault.kind != "differs"):
            combined[fault.name] = fault
    return list(combined.values())


def _find_damage(file: Path, layouts: dict[str, GgufLayout], stage: str) -> Text | None:
    """Add the layout of a readable file; return why another can't be read."""
    try:
        layout = gguf_header.read_layout(file)
        size = file.stat().st_size
    except (OSError, InvalidContentError) as error:
        if is_caused_by_system(error):
            raise
        return text("the file can't be read ({reason})", reason=describe_os_error(error))
    if size < layout.needed_bytes:
        return text(
            "the file is truncated: it has {actual} of {expected} bytes",
            actual=size,
            expected=layout.needed_bytes,
        )
    layouts[stage] = layout
    return None


def _find_faults(
    stage: str, converted: ConvertedFile, result: TensorDifferences, base: TensorDifferences | None
) -> Iterator[TensorFault]:
    """Yield the wrong tensors of a file, not yet identified; `base`: how it differs from the base."""
    from_base = base.differences.get(stage, {}) if base is not None else {}
    can_be_base = base is not None and not converted.is_repeatable
    for name, difference in result.differences.get(stage, {}).items():
        if can_be_base and _is_of_base(from_base.get(name), difference):
            yield TensorFault(name, "base")
        elif converted.is_repeatable or not _is_near(difference):
            yield _classify(name, difference)


def _is_near(difference: TensorDifference) -> bool:
    """Return whether another quantizer or an importance matrix explains a difference."""
    if difference.error is None or difference.zeros or difference.permuted or difference.odd_rows:
        return False
    if difference.healthy is None:
        return True  # needs an importance matrix: only statistics can tell
    return difference.error <= _FARTHER * difference.healthy and not _is_multiplied(difference)


def _is_multiplied(difference: TensorDifference) -> bool:
    """Return whether a tensor has its values times a factor that no importance matrix explains."""
    if difference.healthy is None or not difference.size:
        return False
    allowed = _FACTOR * difference.healthy / difference.size
    return abs(difference.factor - difference.healthy_factor) > allowed


def _is_of_base(from_base: TensorDifference | None, difference: TensorDifference) -> bool:
    """Return whether a tensor is a quantization of the base's; None where it equals a fresh one."""
    if from_base is None:
        return True
    if from_base.error is None or difference.error is None:
        return False
    return _is_near(from_base) and from_base.error < _NEARER_TO_BASE * difference.error


def _classify(name: str, difference: TensorDifference) -> TensorFault:
    fault = TensorFault(name, "differs", rows=difference.rows, total=difference.total)
    if difference.infinite:
        return replace(fault, kind="infinite")
    if difference.zeros:
        return replace(fault, kind="zeros")
    if difference.odd_rows and not difference.permuted:
        return replace(fault, rows=difference.odd_rows)
    return replace(fault, kind="permuted") if difference.permuted else fault


def _name_other(
    fault: TensorFault, base: Mapping[str, str], merged: Mapping[str, str]
) -> TensorFault:
    if base.get(fault.name) == fault.name:
        return replace(fault, kind="base")
    if fault.name in merged:
        return replace(fault, kind="other", other=merged[fault.name])
    if fault.name in base:
        return replace(fault, kind="other", other=base[fault.name])
    return fault


#: Keys that describe where the model comes from; no loader acts on them.
_COSMETIC = re.compile(
    r"general\.(name|basename|finetune|size_label|author|organization|version|description|tags|"
    r"languages|quantized_by|url|doi|uuid|repo_url|license(\..*)?|source\..*|base_model\..*|"
    r"dataset\..*|datasets)|quantize\.imatrix\..*"
)

#: llama.cpp's loader derives the behavior of Phi-3's tokens from this part of `general.name`.
_PHI3 = re.compile(r"phi-?3", re.IGNORECASE)

_FILE_TYPE = "general.file_type"

#: Number of a float32 among the types of values.
_FLOAT32 = 6


def find_value_differences(
    actual: GgufLayout, expected: GgufLayout, kind: str, *, same_converter: bool
) -> list[Text]:
    """Return every key whose value differs; `kind` is the quantization of the file.

    Another version of the converter may write more or fewer keys.
    """
    differences: list[Text] = []
    for key in [*expected.values, *(key for key in actual.values if key not in expected.values)]:
        if _COSMETIC.fullmatch(key):
            continue
        if (key in actual.values) != (key in expected.values):
            if same_converter or key.startswith("tokenizer."):
                pair = [_read(layout, key) for layout in (expected, actual)]
                differences.append(describe_difference(key, *pair))
        elif key == _FILE_TYPE:
            differences += _iter_file_type_differences(actual, kind)
        else:
            differences += _iter_value_differences(key, expected, actual)
    names = [str(_read(layout, "general.name")) for layout in (expected, actual)]
    if bool(_PHI3.search(names[0])) != bool(_PHI3.search(names[1])):
        differences.append(describe_difference("general.name", *names))
    return differences


def find_tensor_list_faults(actual: GgufLayout, expected: GgufLayout) -> list[TensorFault]:
    """Return tensors that are missing, additional, or of another shape or unknown type."""
    faults = [
        TensorFault(name, "additional") for name in actual.tensors if name not in expected.tensors
    ]
    for name, wanted in expected.tensors.items():
        stored = actual.tensors.get(name)
        if stored is None:
            faults.append(TensorFault(name, "missing"))
        elif stored.shape != wanted.shape:
            faults.append(TensorFault(name, "shape", _format_shape(stored), _format_shape(wanted)))
        elif stored.bytes is None:
            actual_type, expected_type = map(gguf_header.get_type_name, (stored.type, wanted.type))
            faults.append(TensorFault(name, "type", actual_type, expected_type))
    return faults


def find_type_faults(
    actual: GgufLayout, expected: GgufLayout, planned: dict[str, str] | None
) -> list[TensorFault]:
    """Return tensors of another type than the quantizer chooses.

    `planned` has its choices by tensor, None if they are unknown; other tensors keep the type that
    the converter writes.
    """
    faults: list[TensorFault] = []
    if planned is None:
        return faults
    for name, wanted in expected.tensors.items():
        stored = actual.tensors.get(name)
        kind = planned.get(name) or gguf_header.get_type_name(wanted.type)
        if stored is not None and (stored_kind := gguf_header.get_type_name(stored.type)) != kind:
            faults.append(TensorFault(name, "type", stored_kind, kind))
    return faults


def _format_shape(tensor: GgufTensor) -> str:
    return " × ".join(map(str, tensor.shape))


def _iter_value_differences(key: str, expected: GgufLayout, actual: GgufLayout) -> Iterator[Text]:
    if expected.values[key].type != actual.values[key].type:
        yield text("{key} is stored as another type of value than llama.cpp expects", key=key)
    elif expected.read_raw(key) != actual.read_raw(key):
        yield from iter_differences(_read(expected, key), _read(actual, key), key)


def _iter_file_type_differences(actual: GgufLayout, kind: str) -> Iterator[Text]:
    """Yield a difference if the file says that it has another quantization."""
    from gguf.constants import LlamaFileType

    name = "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"
    stored = _read(actual, _FILE_TYPE)
    known = getattr(LlamaFileType, name, None)
    if known is not None and stored != known.value:
        yield describe_difference(_FILE_TYPE, known.value, stored)


def _read(layout: GgufLayout, key: str) -> Any:
    """Return a value for people: a float32 with its own digits, not those of its 64 bits."""
    if key not in layout.values:
        return MISSING
    value, stored = layout.read_value(key), layout.values[key]
    if _FLOAT32 in stored.type and stored.kind in (_FLOAT32, gguf_header.LIST):
        floats = value if isinstance(value, list) else [value]
        shown = [float(str(np.float32(item))) if math.isfinite(item) else str(item) for item in floats]  # fmt: skip
        return shown if isinstance(value, list) else shown[0]
    return value
