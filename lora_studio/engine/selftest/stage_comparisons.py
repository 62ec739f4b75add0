"""Compare every stage of a run with what was trained, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from lora_studio.core.export import DIRECT_SOURCE, MERGED_SOURCE
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import conversion, direct_gguf, quantizer
from lora_studio.engine.export.gguf.converter import FirstPass, find_converter
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.model.safetensors_files import PlannedFile
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system
from lora_studio.engine.selftest.comparison import StageComparison
from lora_studio.engine.selftest.expected_model import ExpectedModel, open_expected
from lora_studio.engine.selftest.gguf_comparison import ConvertedFile, GgufComparer
from lora_studio.engine.selftest.merged_comparison import compare_merged

#: Stage of the file that all quantizations are made from.
_CONVERTED = "converted"


class RunComparer:
    """Compares the merged model and GGUF files of a run; one that fails doesn't stop the next."""

    def __init__(
        self,
        folder: RunFolder,
        project: Project,
        scratch: Path,
        job: JobContext,
        *,
        all_rows: bool = False,
    ) -> None:
        """Compare in `scratch`; the adapter must be intact."""
        self._all_rows = all_rows
        self._folder, self._project, self._scratch, self._job = folder, project, scratch, job
        self._trust = project.model.trust_remote_code
        self._opened: dict[tuple[str, str], ExpectedModel] = {}
        manifest = folder.read_manifest()
        self._record, self._merged_record = (
            entry if isinstance(entry, dict) else {}
            for entry in (manifest.get("gguf"), manifest.get("merged"))
        )

    def compare_merged(self) -> StageComparison:
        """Return how the merged model differs."""
        try:
            return compare_merged(self._folder.merged, self.open_merged(), self._job)
        except ProblemError as error:
            if is_caused_by_system(error):
                raise
            return _not_compared(error)

    def open_merged(self) -> ExpectedModel:
        """Return the merged model that is expected; raises ProblemError."""
        return self._open(MERGED_SOURCE)

    def compare_files(self, files: Mapping[str, Path]) -> dict[str, StageComparison]:
        """Return how each GGUF file differs; files are grouped by how they were converted."""
        groups: dict[tuple[str, str, str], dict[str, ConvertedFile]] = {}
        comparisons: dict[str, StageComparison] = {}
        for stage, file in files.items():
            entry = self._get_entry(stage)
            group = (*self._get_source(entry), str(entry.get("pass", "")))
            try:
                converted = self._describe(stage, file, entry)
            except ProblemError as error:  # llama.cpp is missing, or may no longer run
                comparisons[stage] = _not_compared(error)
                continue
            groups.setdefault(group, {})[stage] = converted
        for (source, dtype, first), group_files in groups.items():
            try:
                comparer = self._create_comparer(source, dtype, first)
            except ProblemError as error:
                if is_caused_by_system(error):
                    raise
                comparisons |= {stage: _not_compared(error) for stage in group_files}
                continue
            comparisons |= comparer.compare(group_files)
        return comparisons

    def is_stored_like_merged(self, stage: str) -> bool:
        """Return whether a file was converted from the merged model, or from values of the same data types.

        Then rounding has changed both alike. Raises ProblemError.
        """
        source, dtype = self._get_source(self._get_entry(stage))
        if source == MERGED_SOURCE:
            return True
        both = (self._open(source, dtype), self.open_merged())
        ours, merged = ({t.name: t.dtype for t in expected.tensors} for expected in both)
        return ours == merged

    def _get_entry(self, stage: str) -> dict[str, Any]:
        """Return how a file was written, from the record of its export."""
        entry = (self._record.get("files") or {}).get(stage)
        return self._record | (entry if isinstance(entry, dict) else {})

    def _describe(self, stage: str, file: Path, entry: dict[str, Any]) -> ConvertedFile:
        llama_cpp = self._project.export.llama_cpp
        binary, quantizer_name = quantizer.find_quantizer(llama_cpp)
        _, converter_name = find_converter(llama_cpp)
        kind = str(entry.get("pass", "F16")) if stage == _CONVERTED else stage
        same_quantizer = entry.get("quantizer") in (None, str(quantizer_name))
        is_quantized = stage != _CONVERTED and kind != entry.get("pass")
        return ConvertedFile(
            file,
            kind,
            imatrix=is_quantized and bool(entry.get("imatrix")),
            same_quantizer=not is_quantized or (same_quantizer and binary is None),
            same_converter=entry.get("converter") in (None, str(converter_name)),
        )

    def _create_comparer(self, source: str, dtype: str, first: str) -> GgufComparer:
        expected, project = self._open(source, dtype), self._project
        scratch = self._scratch / f"comparison-{first}-{source}-{dtype}"
        scratch.mkdir()
        if first not in ("F32", "F16", "BF16"):
            tensors = [PlannedFile(t.name, t.dtype, t.shape) for t in expected.tensors]
            first = conversion.choose_first_pass(tensors, project.export.quantizations)
        return GgufComparer(
            expected,
            scratch,
            self._job,
            name=project.name,
            llama_cpp=project.export.llama_cpp,
            kind=cast(FirstPass, first),
            adds_bos=conversion.may_add_bos(self._folder, project),
            trust=self._trust,
            all_rows=self._all_rows,
        )

    def _get_source(self, entry: dict[str, Any]) -> tuple[str, str]:
        """Return what a file was made from, and the precision setting of a direct merge; "" if unknown."""
        guess = MERGED_SOURCE if self._folder.has_merged else DIRECT_SOURCE
        source = str(entry.get("from") or guess)
        return source, str(entry.get("dtype") or "") if source == DIRECT_SOURCE else ""

    def _get_merged_settings(self) -> MergingSpec:
        """Return the settings with the storage that the merged model was written with."""
        recorded = {k: v for k, v in self._merged_record.items() if k in merging.STORAGE}
        return _change(self._project.merging, recorded)

    def _open(self, source: str, dtype: str = "") -> ExpectedModel:
        """Return the expected model of a merge, or of a direct export with this precision; raises ProblemError."""
        if (source, dtype) not in self._opened:
            project = self._project
            if source == MERGED_SOURCE:
                merge = DirectMerge(
                    base=merging.resolve_intact_base(
                        project.model, project.merging, self._job, self._folder
                    ),
                    adapters=tuple(merging.get_chosen_adapters(self._folder, project.merging)),
                    merging=self._get_merged_settings(),
                )
            else:
                merge = direct_gguf.plan_direct_merge(self._folder, project, self._job)
                settings = _change(merge.merging, {"dtype": dtype} if dtype else {})
                merge = merge.model_copy(update={"merging": settings})
            scratch = self._scratch / f"expected-{len(self._opened)}"
            expected = open_expected(merge, scratch, self._job, trust=self._trust)
            self._opened[source, dtype] = expected
        return self._opened[source, dtype]


def _change(settings: MergingSpec, recorded: dict[str, Any]) -> MergingSpec:
    """Return settings with those that a file was written with, unless the manifest is damaged."""
    try:
        return MergingSpec.model_validate(settings.model_dump() | recorded)
    except ValidationError:
        return settings


def _not_compared(error: ProblemError) -> StageComparison:
    reason = error.problems[0].what
    return StageComparison(compared=text("not compared by value: {reason}", reason=reason))
