"""Program that loads the files of a tokenizer in a process with limits, which may end alone.

`tokenizer_files.require_loadable` starts it by its path. It imports nothing but the libraries that it
tries, because it runs before each new tokenizer is loaded. Its exit status says which limit was exceeded;
exceptions are left to the worker, which names the damaged file. Arguments: the folder, a text to encode,
and limits on processor time in seconds, memory in bytes, added tokens, characters in one token, and tokens.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Exit statuses.
EXIT_MEMORY, EXIT_ADDED, EXIT_LONG, EXIT_MANY = 3, 4, 5, 6


class Bounds(NamedTuple):
    """The limits on what a tokenizer contains."""

    added: int
    length: int
    tokens: int


#: Seconds between two looks at the memory of this process.
_INTERVAL = 0.1


def _exit_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _limit_process(seconds: int, memory: int) -> None:
    """Limit this process; on Windows, only the parent's clock remains."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        # The first limit sends a signal; at the second one the system kills the process.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        if sys.platform == "darwin":  # where the limit on data has no effect
            most = _get_peak_memory() + memory
            threading.Thread(target=_exit_beyond, args=(most,), daemon=True).start()


def _get_peak_memory() -> int:
    """Return the peak in bytes. A process may begin with that of its parent, which has loaded a model."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _exit_beyond(most: int) -> None:
    while _get_peak_memory() < most:
        time.sleep(_INTERVAL)
    os._exit(EXIT_MEMORY)


def _load_tokenizer(folder: Path, text: str, bounds: Bounds) -> None:
    """Load tokenizer.json, copy it as transformers does, and encode a text."""
    import tokenizers

    file = folder / "tokenizer.json"
    if file.is_file():
        tokenizer = tokenizers.Tokenizer.from_buffer(file.read_bytes())
        if len(tokenizer.get_added_tokens_decoder()) > bounds.added:
            os._exit(EXIT_ADDED)
        copied = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        copied.decode(copied.encode(text).ids)


def _load_merges(folder: Path, text: str, bounds: Bounds) -> None:
    """Load the older files of a tokenizer with merges."""
    from tokenizers import models

    names = [folder / name for name in ("vocab.json", "merges.txt")]
    if all(name.is_file() for name in names):
        models.BPE.from_file(*map(str, names))


def _load_pieces(folder: Path, text: str, bounds: Bounds) -> None:
    """Load the models of SentencePiece or tiktoken, whose conversion takes the square of a piece's length."""
    for file in folder.iterdir():
        if file.suffix in (".model", ".tiktoken"):
            lengths = [len(piece) for piece in _iter_pieces(file)]
            if max(lengths, default=0) > bounds.length:
                os._exit(EXIT_LONG)
            if len(lengths) > bounds.tokens:
                os._exit(EXIT_MANY)


def _iter_pieces(file: Path) -> Iterator[str | bytes]:
    import sentencepiece

    content = file.read_bytes()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
    except Exception:  # a list of tokens, one in each line
        yield from content.splitlines() or [b""]
        return
    model.encode("a b")
    yield from (model.id_to_piece(index) for index in range(len(model)))


_PARTS: tuple[Callable[[Path, str, Bounds], None], ...] = (
    _load_tokenizer, _load_merges, _load_pieces,
)  # fmt: skip


def _main() -> None:
    folder, text, seconds, memory, *rest = sys.argv[1:]
    bounds = Bounds(*map(int, rest))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _limit_process(int(seconds), int(memory))
    for load in _PARTS:
        try:
            load(Path(folder), text, bounds)
        except MemoryError:
            os._exit(EXIT_MEMORY)
        except BaseException:  # also a panic of Rust
            continue
    os._exit(0)


if __name__ == "__main__":
    _main()
