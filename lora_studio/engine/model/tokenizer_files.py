"""Check the files of a tokenizer, and name the damaged one if a tokenizer can't be loaded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system import paths
from lora_studio.core.system.files import copy_file, create_folder, describe_os_error
from lora_studio.core.system.foreign_files import parse_json, read_bytes
from lora_studio.engine.model import folder as folder_module
from lora_studio.engine.model import tokenizer_trial
from lora_studio.engine.model.folder import unreadable_model_error
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.failures import translate_library_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Vocabularies, which tokenizers parses itself; they are searched only for IDs that are too large.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")

#: Files that are loaded in a separate process first, besides models of SentencePiece and tiktoken.
_TRIED = ("tokenizer.json", "vocab.json", "merges.txt")

#: JSON objects that transformers reads, in the order in which they are suspected.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")

#: Those whose texts may become tokens.
_TOKEN_SETTINGS = _SETTINGS[:3]

#: Settings that list tokens, each of which is added to the vocabulary.
_ADDED = ("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens")

_TOO_MANY_ADDED: Template = "its tokenizer adds more than {limit:number} tokens to its vocabulary"

_TOO_LONG_TOKENS: Template = "its tokenizer has tokens that are too long"

#: Words in the names of settings that may be longer than a token.
_PROSE = ("template", "prompt")

_ALL = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", *_SETTINGS)

#: Largest token ID. The largest vocabularies have about a million tokens; tokenizers allocates memory
#: up to the largest ID.
MAX_ID = 10_000_000

#: The wall-clock limit of the trial as a multiple of its CPU limit, since it may have to share the processor.
_PATIENCE = 4

_TOO_LONG = getattr(signal, "SIGXCPU", None)

#: Hashes of the content that this process needn't try again.
_LOADABLE: set[str] = set()

_LONG_NUMBER = re.compile(rb"[:\[,]\s*\d{8,}")


class LoadLimitError(InvalidContentError):
    """Raised for a tokenizer that can't be loaded within the limits, or ends the process that loads it."""


@contextmanager
def report_damage(folder: Path, load: Callable[[Path], object]) -> Iterator[None]:
    """Translate every exception in the block, which loads a tokenizer, into a ProblemError that names
    the damaged file.

    `load` loads the tokenizer of another folder, to find out which file is at fault.
    """
    try:
        _check_files(folder)
    except InvalidContentError as error:
        raise unreadable_model_error(folder, error.reason) from error
    try:
        with translate_library_errors(
            lambda reason: unreadable_model_error(folder, _describe(folder, reason, load)),
            LoadLimitError,
        ):
            yield
    except LoadLimitError as error:  # without a look for the file, which would load it here
        raise unreadable_model_error(folder, error.reason) from error


def _check_files(folder: Path) -> None:
    """Raise InvalidContentError for a file that isn't JSON or has token IDs beyond `MAX_ID`."""
    for name in dict.fromkeys((*_VOCABULARIES, *_SETTINGS)):
        try:
            content = read_bytes(folder / name, limits.LARGE_FILE)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _damaged(name, describe_os_error(error)) from error
        if name in _SETTINGS:
            _check_settings(name, content)
        if name in _VOCABULARIES and _LONG_NUMBER.search(content):
            _check_ids(name, content)


def _check_settings(name: str, content: bytes) -> None:
    try:
        settings = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise _damaged(name, describe_os_error(error)) from error
    if not isinstance(settings, dict):
        raise _damaged(name, text("it isn't a JSON object"))
    if name == "config.json":
        folder_module.require_harmless(settings)  # transformers reads it with the tokenizer
    lists = [settings.get(key) for key in _ADDED]
    if name == "added_tokens.json":
        lists.append(settings)
    if sum(len(added) for added in lists if isinstance(added, dict | list)) > limits.ADDED_TOKENS:
        raise InvalidContentError(_TOO_MANY_ADDED, limit=limits.ADDED_TOKENS)
    if name in _TOKEN_SETTINGS and len(content) > limits.TOKEN_LENGTH:
        _check_lengths(name, settings)


def _check_lengths(name: str, settings: dict[str, Any]) -> None:
    """Raise InvalidContentError for a text that is longer than any token, and no template or prompt."""
    for key, value in settings.items():
        if _has_long_text([key] if _is_prose(key) else [key, value]):
            raise InvalidContentError(
                "{key} in its {file} has more than {limit:number} characters",
                key=key[:40],
                file=name,
                limit=limits.TOKEN_LENGTH,
            )


def _is_prose(key: str) -> bool:
    # transformers makes a token of every setting with this ending
    return any(word in key for word in _PROSE) and not key.endswith("_token")


def _has_long_text(values: list[Any]) -> bool:
    pending = list(values)
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            pending += [*current, *current.values()]
        elif isinstance(current, list):
            pending += current
        elif isinstance(current, str) and len(current) > limits.TOKEN_LENGTH:
            return True
    return False


def _check_ids(name: str, content: bytes) -> None:
    try:
        vocabulary = parse_json(content)
    except ValueError as error:
        raise _damaged(name, describe_os_error(error)) from error
    for number in _iter_numbers(vocabulary):
        if number > MAX_ID:
            raise _damaged(name, text("the token ID {id:d} is too large", id=number))


def _iter_numbers(value: Any) -> Iterator[int]:
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            pending += current.values()
        elif isinstance(current, list):
            pending += current
        elif isinstance(current, int):
            yield current


def _damaged(name: str, reason: Template | Text) -> InvalidContentError:
    return InvalidContentError(_describe_damage(name, reason))


def _describe_damage(name: Text | str, reason: Template | Text) -> Text:
    return text("its {file} is damaged ({reason})", file=name, reason=reason)


# --- the trial --------------------------------------------------------------------------------


def require_loadable(folder: Path) -> None:
    """Load the files of a tokenizer in a process of its own, which may end alone.

    The libraries of tokenizers abort their process if an allocation fails, and nothing interrupts them.
    What could be loaded is remembered by the hash of its content, on the disk as well. Raises
    LoadLimitError, and OSError if the process can't be started.
    """
    key = _hash_content(folder)
    record = paths.get_cache_folder() / "tokenizers" / key
    with suppress(OSError):
        if key in _LOADABLE or record.is_file():
            return
    arguments = (
        folder.resolve(), TRIAL, int(limits.TOKENIZER_SECONDS), limits.TOKENIZER_MEMORY,
        limits.ADDED_TOKENS, limits.TOKEN_LENGTH, limits.VOCABULARY,
    )  # fmt: skip
    command = [sys.executable, "-P", tokenizer_trial.__file__, *map(str, arguments)]
    try:
        status = child_process.run_alone(command, _PATIENCE * limits.TOKENIZER_SECONDS)
    except TimeoutError:
        status = -(_TOO_LONG or 1)
    if status < 0 or status in _REFUSALS:
        too_slow = status == -(_TOO_LONG or 1)
        reason = _TOO_SLOW if too_slow else _REFUSALS.get(status, _ABORTED)
        raise LoadLimitError(
            reason,
            seconds=limits.TOKENIZER_SECONDS,
            memory=limits.TOKENIZER_MEMORY,
            limit=limits.ADDED_TOKENS,
            tokens=limits.VOCABULARY,
        )
    _LOADABLE.add(key)
    with suppress(OSError):
        create_folder(record.parent)
        record.touch()


_TOO_SLOW: Template = "loading its tokenizer takes longer than {seconds:duration}"
_ABORTED: Template = (
    "its tokenizer ends the process that loads it, because a file is damaged or too large"
)
_REFUSALS: dict[int, Template] = {
    tokenizer_trial.EXIT_MEMORY: "its tokenizer needs more than {memory:memory} of memory",
    tokenizer_trial.EXIT_ADDED: _TOO_MANY_ADDED,
    tokenizer_trial.EXIT_LONG: _TOO_LONG_TOKENS,
    tokenizer_trial.EXIT_MANY: "its tokenizer has more than {tokens:number} tokens",
}


def _hash_content(folder: Path) -> str:
    """Return the hash of the files that the trial reads, and of the version of their library."""
    digest = hashlib.sha256(importlib.metadata.version("tokenizers").encode())
    for file in sorted(folder.iterdir()):
        if file.name in _TRIED or file.suffix in (".model", ".tiktoken"):
            digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0")
            digest.update(read_bytes(file, limits.LARGE_FILE))
    return digest.hexdigest()


# --- after a failure --------------------------------------------------------------------------


def _describe(folder: Path, reason: Text | str, load: Callable[[Path], object]) -> Text:
    """Return which file of the tokenizer is damaged, as far as that can be found out."""
    for name, check in (
        ("tokenizer.json", open_tokenizer),
        ("tokenizer.model", open_sentencepiece),
        ("vocab.json", _open_vocabulary),
        ("merges.txt", _open_merges),
    ):
        if (folder / name).is_file() and (refused := _try(check, folder / name)) is not None:
            both = text("merges.txt or vocab.json") if name == "merges.txt" else name
            return _describe_damage(both, refused)
    for name in _SETTINGS:
        if (folder / name).is_file() and _loads_without(folder, name, load):
            return _describe_damage(name, reason)
    files = [name for name in _ALL if (folder / name).is_file()]
    if not files:
        return text("it has no tokenizer")
    return text(
        "its tokenizer can't be loaded from {files} ({reason})", files=listed(files), reason=reason
    )


def _try(check: Callable[[Path], object], file: Path) -> Text | None:
    """Return why a file can't be opened; None if it can."""
    try:
        with translate_library_errors(
            lambda reason: InvalidContentError(Text.model_validate(reason)), ImportError
        ):
            check(file)
    except ImportError:
        return None
    except InvalidContentError as error:
        return error.reason
    return None


def open_tokenizer(file: Path) -> Tokenizer:
    """Return the tokenizer in a tokenizer.json, after it was copied and used once; raises any exception."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_buffer(read_bytes(file, limits.LARGE_FILE))
    tokenizers.Tokenizer.from_str(tokenizer.to_str()).encode(TRIAL)  # transformers copies it so
    return tokenizer


def open_sentencepiece(file: Path) -> None:
    """Open a model of SentencePiece; raises any exception."""
    import sentencepiece

    sentencepiece.SentencePieceProcessor(model_proto=read_bytes(file, limits.LARGE_FILE))


def _open_vocabulary(file: Path) -> None:
    vocabulary = parse_json(read_bytes(file, limits.LARGE_FILE).decode("utf-8"))
    if not isinstance(vocabulary, dict):
        raise InvalidContentError("it isn't a JSON object")
    for token, number in vocabulary.items():
        if not isinstance(number, int) or not 0 <= number <= MAX_ID:
            raise InvalidContentError("the token {token} has no valid ID", token=token[:40])


def _open_merges(file: Path) -> None:
    from tokenizers import models

    models.BPE.from_file(str(file.with_name("vocab.json")), str(file))


def _loads_without(folder: Path, name: str, load: Callable[[Path], object]) -> bool:
    """Return whether the tokenizer can be loaded without one of its files."""
    with tempfile.TemporaryDirectory(prefix="lora-studio-") as temporary:
        for other in (*_ALL, "chat_template.jinja"):
            if other != name and (folder / other).is_file():
                copy_file(folder / other, Path(temporary) / other)
        return _try(load, Path(temporary)) is None


#: A text with letters, digits, blanks, an emoji and other scripts, which every tokenizer must encode.
TRIAL = "Grüße, 42 × 你好 🙂\n\n <s>x</s>"
