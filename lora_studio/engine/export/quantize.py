"""From one 16-bit GGUF file to a quantised one, in a child process that may crash or be killed."""

from __future__ import annotations

import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

from lora_studio.core.export import Quantization
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine import disk
from lora_studio.engine.channel import Job
from lora_studio.engine.export import child
from lora_studio.engine.failures import disk_full
from lora_studio.engine.llama import threads

#: "[  12/ 272]  blk.0.attn_q.weight - …", one line for each tensor.
_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")

_PROGRAM = "llama-quantize.exe" if sys.platform == "win32" else "llama-quantize"


def quantize(
    source: Path, target: Path, quantization: Quantization, llama_cpp: str, job: Job
) -> str:
    """Writes `target` and says which llama.cpp did; raises ProblemError.

    `llama_cpp` is the user's own folder or empty.
    """
    binary, tool = _find(llama_cpp)
    order = [str(source), str(target), quantization, str(threads())]
    command = [str(binary), *order] if binary else child.python(__name__, *order)

    def heed(line: str) -> None:
        if match := _TENSOR.search(line):
            job.progress(f"quantising to {quantization}", int(match[1]), int(match[2]), "tensors")
        else:
            print(line, file=sys.stderr)

    ended = child.run(command, job, heed)
    if ended.status != 0 or not target.is_file():
        raise _failed(ended, quantization, target)
    return tool


def _find(llama_cpp: str) -> tuple[Path | None, str]:
    """The user's own quantiser, else one on PATH, else None for the packaged library; its name."""
    if llama_cpp:
        for place in ("build/bin", "bin", "build/bin/Release", "."):
            binary = Path(llama_cpp, place, _PROGRAM)
            if binary.is_file():
                return binary, f"llama.cpp in {llama_cpp}"
    if found := shutil.which(_PROGRAM):
        return Path(found), f"llama.cpp on PATH ({found})"
    return None, f"packaged llama.cpp (llama-cpp-py-sync {metadata.version('llama-cpp-py-sync')})"


def _failed(ended: child.Ended, quantization: Quantization, target: Path) -> ProblemError:
    said = next((line for line in reversed(ended.lines) if "fail" in line or "error" in line), "")
    if "No space left" in said or shutil.disk_usage(target.parent).free < disk.RESERVE:
        return ProblemError(disk_full(f"quantising to {quantization}", target))
    reason = said or f"it ended with status {ended.status}"
    return fail(
        "quantize.failed",
        f"llama.cpp could not quantise to {quantization}: {reason.strip().rstrip('.')}.",
        "Try another quantisation, or Q8_0, which suits every model. The log has the details.",
        where=Where(step="export", field="quantizations"),
    )


def _main() -> int:
    """The child: SOURCE TARGET TYPE THREADS; the status is llama.cpp's."""
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    source, target, quantization, count = sys.argv[1:]
    ffi, lib = get_ffi(), get_lib()
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{quantization}")
    parameters.nthread = int(count)
    status = lib.llama_model_quantize(
        source.encode(), target.encode(), ffi.new("llama_model_quantize_params *", parameters)
    )
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(_main())
