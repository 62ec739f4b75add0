"""Name the version that supports a model's architecture where an older program refuses it."""

from __future__ import annotations

import re
from pathlib import Path

from lora_studio.core.messages import Text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.templates.server.prompt_path import FORCED_RENDERERS
from lora_studio.engine.runtime import llama_cpp

#: What llama.cpp (src/llama-model.cpp), its quantizer, and Ollama print.
_UNKNOWN = re.compile(r"(?:unknown|unsupported)(?: model)? architecture:? *[\\'\"]*([\w.-]+)", re.IGNORECASE)  # fmt: skip


def find_unknown_architecture(output: str) -> str:
    """Return the architecture that llama.cpp says it doesn't know, "" if it says nothing like that."""
    match = _UNKNOWN.search(output)
    return match[1] if match else ""


def unknown_architecture_error(
    program: Text | str, version: str, architecture: str, gguf: Path, where: Where
) -> ProblemError:
    """Return the error for a program that is older than the architecture of a GGUF file.

    `version` is that of the program, "" if it isn't known.
    """
    import llama_cpp_py_sync  # loads the library

    is_known = _is_supported(gguf)
    return fail(
        "gguf.unknown_architecture",
        "{program} {version} doesn't support the architecture {architecture}."
        if version
        else "{program} doesn't support the architecture {architecture}.",
        "llama.cpp {build}, which is built in, supports it. Update the program to a release with "
        "this llama.cpp or a later one."
        if is_known
        else "Update the program to a release that supports it.",
        where=where,
        program=program,
        version=version,
        architecture=architecture,
        build=llama_cpp_py_sync.__llama_cpp_tag__,
    )


def outdated_ollama_error(
    version: str, architecture: str, gguf: Path, where: Where
) -> ProblemError:
    """Return the error for an Ollama that is older than the architecture of a GGUF file."""
    _, since = FORCED_RENDERERS.get(architecture, ("", ()))
    if not since:
        return unknown_architecture_error("Ollama", version, architecture, gguf, where)
    return fail(
        "gguf.unknown_architecture",
        "{program} {version} doesn't support the architecture {architecture}.",
        "Update Ollama: {needed} and later support it.",
        where=where,
        program="Ollama",
        version=version,
        architecture=architecture,
        needed=".".join(map(str, since)),
    )


def _is_supported(gguf: Path) -> bool:
    """Return whether the built-in llama.cpp loads a GGUF file's vocabulary, which needs its architecture."""
    try:
        llama_cpp.tokenize_prompts(gguf, ())
    except ProblemError:
        return False
    return True
