"""Try a GGUF file in a child process first: llama.cpp ends the process where a model breaks its assumptions."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama

#: Tokens that the child evaluates.
_TOKENS = 4

#: Exit status of the child for a file that llama.cpp refuses without ending the process.
_REFUSED = 65

#: What ggml prints before it ends the process: "…/ops.cpp:6315: GGML_ASSERT(sect_dims <= ne0) failed".
_ASSERTION = re.compile(r"([\w.-]+:\d+: .*)$")


def require_computable(file: Path, job: JobContext) -> None:
    """Raise ProblemError for a file whose model ends the process that evaluates it.

    A file that can't be loaded is left to the caller, whose own attempt says why.
    """
    command = child_process.get_python_command(__name__, str(file))
    ended = child_process.run(command, job, lambda line: print(line, file=sys.stderr))
    if ended.status in (0, _REFUSED):
        return
    reasons = (match[1] for line in ended.lines if (match := _ASSERTION.search(line)))
    raise fail(
        "gguf.aborted",
        "llama.cpp stopped while it evaluated {file}: {reason}.",
        "llama.cpp can't run this model: a size in its configuration isn't one that llama.cpp expects. "
        "Use the merged model with transformers or vLLM, or try a newer llama.cpp.",
        where=Where(file=str(file)),
        file=file.name,
        reason=next(reasons, "") or f"{ended.status}",
    )


def _evaluate(file: Path) -> int:
    try:
        with Llama(file, context=64) as llama:
            ids = [number % llama.vocabulary_size for number in range(_TOKENS)]
            llama.compute_logits(ids, [_TOKENS - 1])
    except ProblemError:
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_evaluate(Path(sys.argv[1])))
