"""Quantize a GGUF file, in a child process that may crash or be killed.

The quantizer's dry run also predicts the size of a file, by the same rules.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.llama_cpp import QUANTIZER, find_program, get_variables
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.programs import find_on_path
from lora_studio.engine.export.gguf.architecture_support import (
    find_unknown_architecture,
    unknown_architecture_error,
)
from lora_studio.engine.runtime import child_process, disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import find_program_disk_problem
from lora_studio.engine.runtime.failures import disk_full_problem
from lora_studio.engine.runtime.llama_cpp import count_threads

#: "[  12/ 272]  blk.0.attn_q.weight - …", one line for each tensor.
_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s*(\S*)")

#: The same line in a dry run: shape, type now and, where that changes, the type to be.
_PLANNED = re.compile(
    r"\[\s*\d+/\s*\d+\]\s+(\S+)\s+- \[([\d, ]+)\], type =\s*(\w+), size =[^\[\n]*?MiB(?: \((\w+)\))?\n"
)

_WHERE = Where(step="export", field="llama_cpp")

#: A type in the quantizer's help: "  38  or  MXFP4_MOE :  MXFP4 MoE".
_LISTED = re.compile(r"\s*\d+\s+or\s+(\w+)\s*:")

#: Alignment of tensors in the file, in bytes.
_ALIGNMENT = 32

#: Values and bytes of a block of types that the package gguf does not know yet (ggml-common.h).
_BLOCKS = {"Q1_0": (128, 18), "Q2_0": (64, 18)}

#: What `MXFP4_MOE` makes of the experts' tensors.
_EXPERT_TYPE = "mxfp4"

#: Begins the lines of the child that answer the question.
_RESULT = "RESULT"

_PROGRAM = f"{QUANTIZER}.exe" if sys.platform == "win32" else QUANTIZER


def quantize(
    source: Path,
    target: Path,
    quantization: Quantization,
    llama_cpp: str,
    job: JobContext,
    *,
    imatrix: Path | None = None,
) -> Text:
    """Write `target`; return the llama.cpp that wrote it. Raises ProblemError.

    `llama_cpp` is the user's own folder or empty, `imatrix` a file of `imatrix.write`.
    """
    if imatrix is None and QUANTIZATIONS[quantization].needs_imatrix:
        raise fail(
            "quantize.needs_imatrix",
            "{quantization} needs an importance matrix.",
            "Turn on the importance matrix, or choose another quantization.",
            where=Where(step="export", field="imatrix"),
            quantization=quantization,
        )
    binary, tool = find_quantizer(llama_cpp)
    order = [str(source), str(target), quantization, str(count_threads())]
    matrix = [str(imatrix)] if imatrix else []
    command = child_process.get_python_command(__name__, "quantize", *order, *matrix)
    if binary:
        command = [str(binary), *(["--imatrix", *matrix] if matrix else []), *order]

    def on_line(line: str) -> None:
        if match := _TENSOR.search(line):
            job.report_progress(_get_stage(quantization), int(match[1]), int(match[2]), "tensors")
        else:
            print(line, file=sys.stderr)

    variables = get_variables(command[0])
    ended = child_process.run(command, job, on_line, variables)
    if ended.status != 0 or not target.is_file():
        if architecture := find_unknown_architecture("\n".join(ended.lines)):
            raise unknown_architecture_error(tool, "", architecture, source, _WHERE)
        raise _quantization_error(ended, quantization, source, target)
    return tool


def estimate_sizes(
    source: Path, quantizations: Sequence[Quantization], job: JobContext, *, imatrix: bool = False
) -> dict[Quantization, int]:
    """Return the bytes that each quantization of `source` would need, by the packaged library.

    Only shapes and types of `source` matter: `converter.convert(outline=True)` leaves out weights. With an
    importance matrix the quantizer chooses other types for some tensors. Quantizations that are
    impossible for this model are left out, and those for mixtures of experts if it has no experts.
    Raises ProblemError when the file can't be read.
    """
    results = _run_dry("sizes", source, quantizations, job, imatrix=imatrix)
    return {_get_quantization(name): int(size) for name, size in results}


def plan_types(
    source: Path, quantizations: Sequence[str], job: JobContext, *, imatrix: bool = False
) -> dict[str, dict[str, str]]:
    """Return the type that the packaged library gives each tensor, by quantization.

    An importance matrix changes some types. Impossible quantizations are left out.
    Only shapes and types of `source` matter. Raises ProblemError when the file can't be read.
    """
    planned: dict[str, dict[str, str]] = {}
    for name, tensor, kind in _run_dry("types", source, quantizations, job, imatrix=imatrix):
        planned.setdefault(name, {})[tensor] = kind
    return planned


def _run_dry(
    what: str, source: Path, quantizations: Sequence[str], job: JobContext, *, imatrix: bool
) -> list[list[str]]:
    """Return the words of each line that the child prints about `what`, "sizes" or "types"."""
    results: list[list[str]] = []

    def on_line(line: str) -> None:
        match line.split():
            case [mark, *words] if mark == _RESULT:
                results.append(words)
            case _:
                print(line, file=sys.stderr)

    command = child_process.get_python_command(
        __name__, what, str(source), str(int(imatrix)), *quantizations
    )
    ended = child_process.run(command, job, on_line)
    if ended.status != 0:
        raise _quantization_error(ended, _get_quantization(quantizations[0]), source, source)
    return results


def _get_quantization(name: str) -> Quantization:
    return next(known for known in QUANTIZATIONS if known == name)


def find_quantizer(llama_cpp: str) -> tuple[Path | None, Text]:
    """Return the user's own quantizer, else one on PATH, else None; and its name.

    None means the packaged library.
    """
    if llama_cpp and (binary := find_program(llama_cpp, QUANTIZER)) is not None:
        return Path(binary), text("llama.cpp in {folder}", folder=llama_cpp)
    if path := find_on_path(_PROGRAM):
        return Path(path), text("llama.cpp on PATH ({file})", file=path)
    version = metadata.version("llama-cpp-py-sync")
    return None, text(
        "bundled llama.cpp ({package} {version})", package="llama-cpp-py-sync", version=version
    )


def list_known_types(binary: Path, job: JobContext) -> frozenset[str]:
    """Return the types that a quantizer lists in its help; none if it lists them in another form."""
    names: set[str] = set()

    def on_line(line: str) -> None:
        if match := _LISTED.match(line):
            names.add(match[1])

    variables = get_variables(str(binary))
    child_process.run([str(binary), "--help"], job, on_line, variables)
    return frozenset(names)


def require_known_types(
    quantizations: Sequence[Quantization], llama_cpp: str, job: JobContext
) -> None:
    """Raise ProblemError if the quantizer that will be used doesn't have one of these types."""
    binary, tool = find_quantizer(llama_cpp)
    known = list_known_types(binary, job) if binary else frozenset()
    if known and (unknown := [name for name in quantizations if name not in known]):
        raise fail(
            "quantize.unknown_type",
            "The quantizer of {tool} doesn't have {names}.",
            "Choose other quantizations, or use a newer llama.cpp.",
            where=Where(step="export", field="quantizations"),
            tool=tool,
            names=", ".join(unknown),
        )


def _get_stage(quantization: Quantization) -> Text:
    return text("Quantizing to {quantization}", quantization=quantization)


def _quantization_error(
    ended: child_process.ChildExit, quantization: Quantization, source: Path, target: Path
) -> ProblemError:
    if any("data validation failed" in line for line in ended.lines):
        return _out_of_range_error(ended, quantization)
    message = next(
        (line for line in reversed(ended.lines) if "fail" in line or "error" in line), ""
    )
    stage = _get_stage(quantization)
    if problem := find_program_disk_problem(ended.lines, stage, source, target):
        return ProblemError(problem)
    if shutil.disk_usage(target.parent).free < disk.RESERVE:
        return ProblemError(disk_full_problem(stage, target))
    return fail(
        "quantize.failed",
        "Quantizing to {quantization} failed: {reason}."
        if message
        else "Quantizing to {quantization} failed with status {status:d}.",
        "Choose another quantization. Q8_0 works with every model. Details are in the log.",
        where=Where(step="export", field="quantizations"),
        quantization=quantization,
        reason=message.strip().rstrip("."),
        status=ended.status,
    )


def _out_of_range_error(ended: child_process.ChildExit, quantization: Quantization) -> ProblemError:
    """Return the error for a tensor with a value that its new type can't hold."""
    names = [match[3] for line in ended.lines if (match := _TENSOR.search(line))]
    return fail(
        "quantize.out_of_range",
        "The tensor {tensor} contains values that are too large for {quantization}.",
        "Choose another quantization, such as BF16 or Q8_0.",
        where=Where(step="export", field="quantizations"),
        tensor=names[-1] if names else "?",
        quantization=quantization,
    )


# --- the child --------------------------------------------------------------------------------


class Quantizer:
    """The packaged library's quantizer."""

    def __init__(self) -> None:
        from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

        self.ffi, self.lib = get_ffi(), get_lib()
        self.lib.llama_backend_init()
        self._kept: list[Any] = []  # cffi frees what nothing in Python points to

    def run(
        self, source: str, target: str, quantization: str, *, dry: bool = False, **settings: Any
    ) -> int:
        """Return llama.cpp's own status: 0 for success."""
        parameters = self.lib.llama_model_quantize_default_params()
        prefix = "ALL" if quantization == "F32" else "MOSTLY"
        parameters.ftype = getattr(self.lib, f"LLAMA_FTYPE_{prefix}_{quantization}")
        parameters.dry_run = dry
        for name, value in settings.items():
            setattr(parameters, name, value)
        c_parameters = self.ffi.new("llama_model_quantize_params *", parameters)
        return int(self.lib.llama_model_quantize(source.encode(), target.encode(), c_parameters))

    def create_importance_matrix(self, values: dict[str, Any]) -> Any:
        """Return an importance matrix for the quantizer, from float32 arrays by tensor name."""
        entries = self.ffi.new("struct llama_model_imatrix_data[]", len(values) + 1)
        for entry, (name, array) in zip(entries, values.items(), strict=False):
            entry.name = self._keep(self.ffi.new("char[]", name.encode()))
            entry.data = self._keep(self.ffi.from_buffer("float[]", array))
            entry.size = array.size
        return self._keep(entries)  # the last entry's name stays null: that ends the list

    @contextmanager
    def capture_log(self) -> Iterator[list[str]]:
        """Collect what llama.cpp logs; afterwards it logs as before."""
        messages: list[str] = []

        def append(_level: int, text: Any, _data: Any) -> None:
            messages.append(self.ffi.string(text).decode("utf-8", errors="replace"))

        callback = self.ffi.callback("void(enum ggml_log_level, char *, void *)", append)
        before, data = self.ffi.new("ggml_log_callback *"), self.ffi.new("void **")
        self.lib.llama_log_get(before, data)
        self.lib.llama_log_set(callback, self.ffi.NULL)
        try:
            yield messages
        finally:  # the library must not call the callback after Python has freed it
            self.lib.llama_log_set(before[0], data[0])

    def _keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value


def _quantize(source: str, target: str, quantization: str, count: str, *imatrix: str) -> int:
    quantizer = Quantizer()
    settings: dict[str, Any] = {"nthread": int(count)}
    if imatrix:
        from lora_studio.engine.export.gguf.imatrix import read

        settings["imatrix"] = quantizer.create_importance_matrix(read(Path(imatrix[0])))
    return int(quantizer.run(source, target, quantization, **settings) != 0)


def _print_plans(what: str, source: str, imatrix: str, *quantizations: str) -> int:
    quantizer = Quantizer()
    settings = _get_dry_settings(quantizer, imatrix)
    for name in quantizations:
        with quantizer.capture_log() as messages:
            status = quantizer.run(source, "", name, dry=True, **settings)
        text = "".join(messages)
        is_possible = status == 0
        if what == "types" and is_possible:
            for tensor, _, now, then in _PLANNED.findall(text):
                print(_RESULT, name, tensor, (then or now).upper())
        elif what == "sizes":
            if is_possible and QUANTIZATIONS[_get_quantization(name)].needs_experts:
                is_possible = _has_type(text, _EXPERT_TYPE)
            if is_possible:
                size = parse_planned_bytes(text, Path(source).stat().st_size)
                print(_RESULT, name, size)
            else:
                print(name, *text.splitlines()[-2:], file=sys.stderr)
    return 0


def _get_dry_settings(quantizer: Quantizer, imatrix: str) -> dict[str, Any]:
    """Return the settings of a dry run, which only checks whether there is an importance matrix."""
    import numpy as np

    settings: dict[str, Any] = {"nthread": 1}
    if imatrix == "1":
        settings["imatrix"] = quantizer.create_importance_matrix({"none": np.ones(1, np.float32)})
    return settings


def _has_type(text: str, kind: str) -> bool:
    """Return whether a dry run's log gives this type to any tensor."""
    return any((then or now).lower() == kind for _, _, now, then in _PLANNED.findall(text))


def parse_planned_bytes(text: str, source_bytes: int) -> int:
    """Return the size of the file that a dry run's log describes, given that of its source.

    Header and vocabulary are those of the source; raises ValueError for a log without tensors.
    """
    before = after = 0
    for _, shape, now, then in _PLANNED.findall(text):
        before += _count_tensor_bytes(shape, now)
        after += _count_tensor_bytes(shape, then or now)
    if not after:
        raise ValueError("the quantizer named no tensors")
    return source_bytes - before + after


def _count_tensor_bytes(shape: str, kind: str) -> int:
    """Return the bytes of a tensor with its padding: `width` bytes per block of `size` values."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name = kind.upper()
    size, width = _BLOCKS.get(name) or GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    values = math.prod(map(int, shape.split(",")))
    return -(-(values // size * width) // _ALIGNMENT) * _ALIGNMENT


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    sys.exit(_quantize(*arguments) if what == "quantize" else _print_plans(what, *arguments))
