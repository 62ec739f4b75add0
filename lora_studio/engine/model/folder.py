"""A Hugging Face model folder: what it contains and whether it can be used, without reading
weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.model import folders
from lora_studio.core.model.catalog import explain_refusal
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import (
    leads_outside,
    open_regular,
    read_bytes,
    read_json,
)
from lora_studio.engine.hub.datasets import read_front_matter
from lora_studio.engine.model import safetensors_header

_SOURCE = Where(step="model", field="source")

#: Suffixes of settings, vocabularies and templates; those of `_VOCABULARIES` can be large.
_READ_AS_A_WHOLE = (".json", ".jinja", ".txt", ".model", ".md")
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "merges.txt",
    folders.INDEX,
)

#: A weight of one layer in a list of layers.
_LAYER = re.compile(r"(?P<list>.*?)\.(?P<number>\d+)\.(?P<part>.+)")

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_folder(folder: Path, check: Callable[[], None] = lambda: None) -> Path:
    """Return the folder; raises ProblemError for a model that may not be loaded, and what `check` does."""
    if not folder.is_dir():
        raise fail(
            "model.not_found",
            "The folder {folder} doesn't exist.",
            "Check the spelling, or choose the folder again if it was moved.",
            where=_SOURCE,
            folder=str(folder),
        )
    require_bounded_files(folder)
    check_architecture(folder)
    if (folder / folders.INDEX).is_file():
        try:
            folders.list_weight_files(folder)
        except (OSError, ValueError) as error:
            reason = text("{error}", error=describe_os_error(error))
            raise unreadable_model_error(folder, reason) from error
    if read_safetensors_headers(folder, check):
        return folder
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise fail(
            "model.pickle",
            "{folder} stores its weights as a pickle ({file}). Pickle files can run any code when "
            "they are opened, so they are never loaded.",
            "Choose a model that is stored as safetensors. Most models have such a version.",
            where=_SOURCE,
            folder=str(folder),
            file=pickles[0],
        )
    raise fail(
        "model.no_weights",
        "{folder} has no .safetensors file.",
        "Choose the folder that directly contains config.json and the .safetensors files.",
        where=_SOURCE,
        folder=str(folder),
    )


def require_bounded_files(folder: Path) -> None:
    """Raise ProblemError if a file that libraries read as a whole is larger than any model's."""
    for file in folder.iterdir():
        limit = limits.LARGE_FILE if file.name in _VOCABULARIES else limits.SMALL_FILE
        if file.suffix in _READ_AS_A_WHOLE and file.is_file() and file.stat().st_size > limit:
            reason = text("{file} is larger than {limit:size}", file=file.name, limit=limit)
            raise unreadable_model_error(folder, reason)


def check_architecture(folder: Path) -> None:
    """Raise ProblemError for a model that is known not to be a causal language model."""
    refusal = explain_refusal(read_config(folder).get("architectures"))
    if refusal:
        raise fail(
            "model.not_generative",
            refusal,
            "Choose a causal language model; its architecture usually ends in ForCausalLM.",
            where=_SOURCE,
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json; raises ProblemError when it is missing or broken."""
    file = folder / "config.json"
    try:
        content = read_json(file)
    except FileNotFoundError:
        raise fail(
            "model.not_a_model",
            "{folder} is not a Hugging Face model: it has no config.json.",
            "Choose the folder that directly contains config.json and the .safetensors files.",
            where=_SOURCE,
            folder=str(folder),
        ) from None
    except (OSError, ValueError) as error:
        reason = text("config.json can't be read ({reason})", reason=describe_os_error(error))
        raise unreadable_model_error(folder, reason) from error
    if not isinstance(content, dict):
        raise unreadable_model_error(folder, text("config.json is not a JSON object"))
    try:
        require_harmless(content)
    except InvalidContentError as error:
        reason = text("config.json can't be used ({reason})", reason=error.reason)
        raise unreadable_model_error(folder, reason) from error
    return content


def unreadable_model_error(folder: Path, reason: Template | Text) -> ProblemError:
    """Return the error for a model whose files are broken."""
    return fail(
        "model.unreadable",
        "The model in {folder} can't be read: {reason}.",
        "Download or copy the model again. A file is damaged or missing.",
        where=_SOURCE,
        folder=str(folder),
        reason=reason,
    )


def require_all_weights(folder: Path, info: Mapping[str, Any], expected: Iterable[str]) -> None:
    """Raise ProblemError unless transformers found exactly the weights that the model needs.

    It fills missing weights and those of another size with random values, and leaves out layers that config.json
    doesn't count. `info` is its report, `expected` are the names of the model's weights.
    """
    if missing := info["missing_keys"]:
        raise unreadable_model_error(folder, text("{tensor} is missing", tensor=min(missing)))
    if mismatched := info["mismatched_keys"]:
        name, stored, needed = min(mismatched)
        reason = text(
            "{tensor} has the shape {stored}, but config.json requires {needed}",
            tensor=name,
            stored=" × ".join(map(str, stored)),
            needed=" × ".join(map(str, needed)),
        )
        raise unreadable_model_error(folder, reason)
    if extra := _find_extra_layer(info["unexpected_keys"], expected):
        reason = text("the weights contain {name}, but config.json states fewer layers", name=extra)
        raise unreadable_model_error(folder, reason)


def _find_extra_layer(unexpected: Iterable[str], expected: Iterable[str]) -> str:
    """Return the name of a layer with weights that aren't used although it is built as all others, or "".

    Layers that predict further tokens have weights that others lack, and may be left out.
    """
    layers: dict[str, dict[str, set[str]]] = {}
    for name in expected:
        if match := _LAYER.match(name):
            numbers = layers.setdefault(match["list"], {})
            numbers.setdefault(match["number"], set()).add(match["part"])
    extra: dict[tuple[str, str], set[str]] = {}
    for name in unexpected:
        if match := _LAYER.match(name):
            extra.setdefault((match["list"], match["number"]), set()).add(match["part"])
    for (name, number), parts in extra.items():
        known = layers.get(name, {})
        if number not in known and parts in known.values():
            return f"{name}.{number}"
    return ""


def require_inside(file: Path) -> Path:
    """Return a file to copy or upload; raises ProblemError if it is a link out of its folder."""
    if not leads_outside(file, file.parent):
        return file
    raise fail(
        "model.link_outside",
        "{file} is a link to a file outside of its folder, so it isn't copied.",
        "If the file belongs there, replace the link with a copy of it. Otherwise, delete the link.",
        where=Where(file=str(file)),
        file=file.name,
    )


def get_identity(folder: Path) -> dict[str, Any]:
    """Return a fingerprint of a base model, without reading all of it.

    `hash` covers the configuration and, of each weight file, name, size, header and 16 samples of
    64 KiB; `commit` is the Hub's when the folder is a snapshot of the Hub.
    """
    digest = hashlib.sha256(read_bytes(folder / "config.json"))
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        length = file.stat().st_size
        size += length
        digest.update(f"{file.name}:{length}".encode())
        digest.update(safetensors_header.read_header_bytes(file))
        with open_regular(file) as stream:
            for sample in range(16):
                stream.seek(length * sample // 16)
                digest.update(stream.read(1 << 16))
    commit = folder.name if folder.parent.name == "snapshots" else None
    return {"folder": str(folder), "hash": digest.hexdigest(), "bytes": size, "commit": commit}


def require_same_base(run: RunFolder, folder: Path) -> None:
    """Raise ProblemError if the model in `folder` isn't the one that the run recorded.

    Weights of the same shapes would be accepted anywhere else, and the answers would be meaningless.
    """
    recorded = run.read_manifest().get("base_model")
    expected = recorded.get("hash") if isinstance(recorded, dict) else None
    if isinstance(expected, str) and get_identity(folder)["hash"] != expected:
        raise fail(
            "run.base_changed",
            "The base model in {folder} has changed since the adapter was trained on it.",
            "Restore the model that the adapter was trained on. To merge into another one, choose it on "
            "the Merge page.",
            where=Where(step="model", field="source", file=str(folder)),
            folder=str(folder),
        )


def read_safetensors_headers(
    folder: Path, check: Callable[[], None] = lambda: None
) -> safetensors_header.Header:
    """Return tensor name -> {dtype, shape, data_offsets} of every weight file; reads headers only.

    `check` is called before each file; it may raise. Raises ProblemError when a file is invalid or
    truncated.
    """
    headers: safetensors_header.Header = {}
    for file in sorted(folder.glob("*.safetensors")):
        check()
        try:
            header, _ = safetensors_header.read_header(file)
        except (OSError, InvalidContentError) as error:
            reason = text("{file} ({reason})", file=file.name, reason=describe_os_error(error))
            raise unreadable_model_error(folder, reason) from error
        headers |= header
    return headers


def get_stored_dtype(headers: safetensors_header.Header) -> str:
    """Return the dtype that most weights are stored in, as the precision setting names it."""
    sizes: dict[str, int] = {}
    for entry in headers.values():
        begin, end = entry["data_offsets"]
        sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - begin
    main_dtype = max(sizes, key=lambda name: sizes[name], default="")
    return {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}.get(main_dtype, main_dtype.lower())


def read_license(folder: Path) -> str | None:
    """Return the license that the model card states, None when it states none."""
    stated = read_front_matter(folder / "README.md").get("license")
    named = isinstance(stated, str) and stated.lower() not in ("", "~", "null", "unknown")
    return stated if named else None


#: Names of numbers of layers, experts, and labels, as the configurations of transformers have them, and
#: how many there may be.
_COUNTS = (
    (re.compile(r"(layers?|blocks|depths?|stacks)$"), limits.MODEL_LAYERS),
    (re.compile(r"experts?($|_)"), limits.MODEL_EXPERTS),
    (re.compile(r"^num_labels$"), limits.MODEL_LABELS),
    (re.compile(r"^(hidden_size|intermediate_size|vocab_size|head_dim)$"), limits.MODEL_WIDTH),
)

#: Numbers that are at least 1 in every model.
_NEEDED = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")

#: Architectures that hold a mask of as many rows and columns as they have positions.
_MASKED = ("gpt_bigcode", "gpt_neo", "openai-gpt")
_POSITIONS = ("max_position_embeddings", "n_positions")

#: Names of the choices of attention and experts. transformers takes a value with a slash for a repository of
#: the Hub, from which it downloads and runs code.
_IMPLEMENTATION = re.compile(r"(_|^)implementation(_internal)?$")

#: Configurations inside each other, such as that of the text part.
_DEPTH = 8


def require_harmless(config: Mapping[str, Any]) -> None:
    """Raise InvalidContentError for a number or a size that no model has, and for code from the Hub."""
    for name, value in _iter_values(config, _DEPTH):
        if (
            _IMPLEMENTATION.search(name)
            and isinstance(value, str)
            and not (re.fullmatch(r"[\w|.-]*", value) is not None)
        ):
            raise InvalidContentError(
                "{name} requires custom code from {value}", name=name, value=value[:100]
            )
        if name in _NEEDED and type(value) is int and value < 1:
            raise InvalidContentError(
                "{name} is {value}, but must be at least 1", name=name, value=_shorten(value)
            )
        if name in _POSITIONS and config.get("model_type") in _MASKED:
            _require_at_most(limits.MODEL_MASK, name, value)
        for pattern, limit in _COUNTS:
            if pattern.search(name):
                _require_at_most(limit, name, value)


def _require_at_most(limit: int, name: str, value: Any) -> None:
    if isinstance(value, int | float) and value > limit:
        raise InvalidContentError(
            "{name} is {value}, more than {limit:d}", name=name, value=_shorten(value), limit=limit
        )


def _shorten(number: float) -> str:
    """Return a number, which may have a thousand digits, as a short text."""
    try:
        return f"{number:g}"
    except OverflowError:
        return f"{str(number)[:10]}…"


def _iter_values(
    config: Mapping[str, Any], depth: int, parent: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a configuration; those of an object of choices have its name."""
    for name, value in config.items():
        name = parent if _IMPLEMENTATION.search(parent) else str(name)
        if isinstance(value, dict) and depth > 0:
            yield from _iter_values(value, depth - 1, name)
        elif isinstance(value, list):
            numbers = (item for item in value if isinstance(item, int | float))
            yield name, max(numbers, default=None)
        else:
            yield name, value
