"""Tell before training whether llama.cpp's converter knows the pre-tokenizer of a model.

The converter recognizes how a tokenizer splits text by a hash of the token IDs of one text, and refuses to
convert a model whose hash isn't in its list. Text and list are read from the converter that an export
would run; nothing of it is run.
"""

from __future__ import annotations

import ast
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.messages import Text
from lora_studio.core.model.embedding_files import read_pooling
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.export.gguf.converter import locate_converter
from lora_studio.engine.model import loading

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
    if any(_hash(variant) in known[1] for variant in variants):
        return None
    return _unknown_problem(tool, is_own=bool(llama_cpp))


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


def _hash(ids: list[int]) -> str:
    return hashlib.sha256(str(ids).encode()).hexdigest()


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


def _unknown_problem(tool: Text, *, is_own: bool) -> Problem:
    return warning(
        "model.unknown_pre_tokenizer",
        "{tool} doesn't know the pre-tokenizer of this model, so it can't be exported as a GGUF file "
        "for Ollama, LM Studio, or llama.cpp.",
        "Choose another model, or update this llama.cpp. You can still train, merge, and use the model "
        "with transformers or vLLM."
        if is_own
        else "Choose another model, or the folder of a newer llama.cpp on the Export page. You can still "
        "train, merge, and use the model with transformers or vLLM.",
        where=Where(step="model", field="source"),
        tool=tool,
    )
