"""Check the files of a tokenizer, and name the damaged one if a tokenizer can't be loaded."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import parse_json, read_bytes
from lora_studio.engine.model.folder import unreadable_model_error
from lora_studio.engine.runtime.failures import translate_library_errors

#: Vocabularies, which tokenizers parses itself; they are searched only for IDs that are too large.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")

#: JSON objects that transformers reads, in the order in which they are suspected.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")

_ALL = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", *_SETTINGS)

#: Largest token ID. The largest vocabularies have about a million tokens; tokenizers allocates memory
#: up to the largest ID.
MAX_ID = 10_000_000

_LONG_NUMBER = re.compile(rb"[:\[,]\s*\d{8,}")


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
    with translate_library_errors(
        lambda reason: unreadable_model_error(folder, _describe(folder, reason, load))
    ):
        yield


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


# --- after a failure --------------------------------------------------------------------------


def _describe(folder: Path, reason: Text | str, load: Callable[[Path], object]) -> Text:
    """Return which file of the tokenizer is damaged, as far as that can be found out."""
    for name, check in (
        ("tokenizer.json", _open_tokenizer),
        ("tokenizer.model", _open_sentencepiece),
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


def _open_tokenizer(file: Path) -> None:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_buffer(read_bytes(file, limits.LARGE_FILE))
    tokenizers.Tokenizer.from_str(tokenizer.to_str()).encode(TRIAL)  # transformers copies it so


def _open_sentencepiece(file: Path) -> None:
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
                shutil.copyfile(folder / other, Path(temporary) / other)
        return _try(load, Path(temporary)) is None


#: A text with letters, digits, blanks, an emoji and other scripts, which every tokenizer must encode.
TRIAL = "Grüße, 42 × 你好 🙂\n\n <s>x</s>"
