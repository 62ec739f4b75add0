"""Compare what an Ollama server has stored for a new model with what it was created from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.prompt_path import (
    NATIVE_SINCE,
    NO_TEMPLATE,
    Version,
    find_forced_renderer,
)
from lora_studio.engine.export.ollama.client import create_client
from lora_studio.engine.export.ollama.server import CreateRequest
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="export", field="ollama_name")

#: Keys that llama.cpp's quantizer writes when the server copies a file through it.
_REWRITTEN = ("general.file_type", "general.quantization_version", "general.parameter_count")


def find_differences(
    recipe: CreateRequest,
    digest: str,
    stored: events.OllamaShown,
    version: Version,
    gguf: Path,
    job: JobContext,
) -> list[Text]:
    """Return what the server has stored differently from what was sent; empty when all is equal."""
    facts = gguf_header.read(gguf)
    forced = find_forced_renderer(version, facts.architecture)
    embedded = str(facts.values.get("tokenizer.chat_template") or "")
    pairs: tuple[tuple[Text, Any, Any], ...] = (
        (text("the TEMPLATE"), recipe.template, _clear_default(stored.template, recipe)),
        (text("the chat template"), embedded, stored.chat_template or embedded),
        (text("the system prompt"), recipe.system, stored.system),
        (text("the stop strings"), set(recipe.stops), set(stored.stops)),
        (text("the renderer"), forced, stored.renderer),
        # The parsers of these architectures have the names of their renderers.
        (text("the parser"), forced, stored.parser),
    )
    differences = [name for name, expected, actual in pairs if expected != actual]
    differences += _list_added_parameters(recipe, stored)
    differences += find_essential_differences(recipe, digest, stored, version, gguf, job)
    return differences


def find_essential_differences(
    recipe: CreateRequest,
    digest: str,
    stored: events.OllamaShown,
    version: Version,
    gguf: Path,
    job: JobContext,
) -> list[Text]:
    """Return differences of the weights and of the parameters that were sent, which also embedding models use."""
    differences = _compare_sent_parameters(recipe, stored)
    if stored.digest and stored.digest != digest:
        differences += _compare_rewritten_file(stored, version, gguf, job)
    return differences


def _clear_default(template: str, recipe: CreateRequest) -> str:
    """Return the stored TEMPLATE; "" for what a server shows in place of none."""
    return "" if not recipe.template and template == NO_TEMPLATE else template


def _compare_sent_parameters(recipe: CreateRequest, stored: events.OllamaShown) -> list[Text]:
    differences = []
    for key, value in recipe.parameters.items():
        actual = stored.parameters.get(key)
        if actual is None:
            differences.append(text("{parameter} (missing)", parameter=key))
        elif not _is_equal(actual, value):
            differences.append(describe_parameter(key, actual, str(value)))
    return differences


def _list_added_parameters(recipe: CreateRequest, stored: events.OllamaShown) -> list[Text]:
    return [
        text("{parameter} (added by the server: {actual})", parameter=key, actual=actual)
        for key, actual in sorted(stored.parameters.items())
        if key not in recipe.parameters
    ]


def describe_parameter(name: str, actual: str, expected: str) -> Text:
    """Return a parameter with another value than expected as a phrase."""
    return text(
        "{parameter} ({actual} instead of {expected})",
        parameter=name,
        actual=actual,
        expected=expected,
    )


def _is_equal(actual: str, expected: float) -> bool:
    try:
        return float(actual) == float(expected)
    except ValueError:
        return False


# --------------------------------------------------------------------------------- the weights


def _compare_rewritten_file(
    stored: events.OllamaShown, version: Version, gguf: Path, job: JobContext
) -> list[Text]:
    """Return how the server's file differs from ours, if it is on this computer.

    Since 0.30 `create` copies files through llama.cpp's quantizer, which changes the digest.
    """
    if version < NATIVE_SINCE:
        return [text("the weights")]
    file = Path(stored.file)
    if not stored.file or not create_client(stored.host).is_loopback or not file.is_file():
        job.emit(
            events.LogLine(
                text=text(
                    "Ollama stored the weights in a file of its own, which isn't on this computer, "
                    "so they weren't compared."
                )
            )
        )
        return []
    return compare_files(gguf, file)


def compare_files(sent: Path, stored: Path) -> list[Text]:
    """Return how two GGUF files differ: in values of the header or in tensors."""
    from gguf import GGUFReader

    one, two = GGUFReader(sent), GGUFReader(stored)
    differences = [
        text("{key} of the file", key=key)
        for key in sorted({*one.fields, *two.fields})
        if not key.startswith("GGUF.")
        and key not in _REWRITTEN
        and _read_field(one, key) != _read_field(two, key)
    ]
    ours, theirs = ({tensor.name: tensor for tensor in reader.tensors} for reader in (one, two))
    differences += [
        text("the tensor {name}", name=name)
        for name in sorted({*ours, *theirs})
        if _summarize(ours.get(name)) != _summarize(theirs.get(name))
    ]
    return differences


def _read_field(reader: Any, key: str) -> object:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _summarize(tensor: Any) -> tuple[object, ...] | None:
    if tensor is None:
        return None
    digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()
    return tensor.tensor_type, tuple(tensor.shape), digest


# ----------------------------------------------------------------------------------- problems


def stored_differently_error(name: str, differences: Sequence[Text]) -> ProblemError:
    """Return the error that a server has stored something different from what was sent."""
    return fail(
        "ollama.stored_otherwise",
        "Ollama stored {model} differently from what was sent: {differences}.",
        "Its answers can differ from those of the trained model. Update Ollama and create the "
        "model again.",
        where=_WHERE,
        model=name,
        differences=tuple(differences[:8]),
    )


def missing_capability_warning(name: str, missing: Sequence[str]) -> Problem:
    """Return the warning that the server doesn't offer what the prompt's template supports."""
    return warning(
        "ollama.missing_capability",
        "Ollama doesn't recognize that {model} supports {capabilities}.",
        "Requests that use them fail or are ignored. Everything else is unaffected.",
        where=_WHERE,
        model=name,
        capabilities=", ".join(missing),
    )
