"""From what the user named to a local Hugging Face folder: folder, hub id, GGUF file, built-in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.model.catalog import refusal_of
from lora_studio.core.model.spec import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system import paths
from lora_studio.core.system.files import folder_atomic, reason_of
from lora_studio.engine.runtime.channel import JobContext

_SOURCE = Where(step="model", field="source")


def resolve(spec: ModelSpec, job: JobContext) -> Path:
    """The local Hugging Face folder of a model; fetched or converted once, then cached.

    Raises ProblemError when there is none to be had, CancelledError when the user cancels.
    """
    local = Path(spec.source)
    match spec.kind:
        case "none":
            raise fail(
                "model.none",
                "No model is chosen.",
                "Choose a folder, a GGUF file or a hub id.",
                where=_SOURCE,
            )
        case "builtin":
            from lora_studio.engine.model import builtin

            name = spec.source.removeprefix(BUILTIN_PREFIX)
            if name != DEFAULT_BUILTIN:
                raise fail(
                    "model.unknown_builtin",
                    f"No model called {name} comes along.",
                    f"The one that does is {DEFAULT_BUILTIN}.",
                    where=_SOURCE,
                )
            return from_gguf(builtin.fetch(job), job)
        case "gguf":
            return from_gguf(local, job)
        case "hub" if not local.is_dir():
            from lora_studio.engine.hub import models

            own_code = spec.trust_remote_code
            fetched = models.fetch(spec.source, spec.revision, job, own_code=own_code)
            return check_folder(fetched)
    return check_folder(local)


@dataclass(frozen=True)
class ModelLocation:
    """A model of which no weights were read: headers as `safetensors_headers` has them, the bytes of
    its files, those that are still to be fetched, and whether its terms have to be accepted."""

    folder: Path
    headers: dict[str, dict[str, Any]]
    bytes: int
    missing: int = 0
    gated: bool = False


def look(spec: ModelSpec, job: JobContext) -> ModelLocation:
    """What there is of a model, without fetching weights from the hub; raises as `resolve` does."""
    if spec.kind != "hub" or Path(spec.source).is_dir():
        folder = resolve(spec, job)
        headers = safetensors_headers(folder)
        return ModelLocation(
            folder, headers, sum(x.stat().st_size for x in folder.glob("*.safetensors"))
        )
    from lora_studio.engine.hub import models

    found = models.outline(spec.source, spec.revision, job, own_code=spec.trust_remote_code)
    check_architecture(found.folder)
    return ModelLocation(found.folder, found.headers, found.bytes, found.missing, found.gated)


def resolve_tokenizer(spec: ModelSpec, job: JobContext) -> Path:
    """The folder of a model's tokenizer and configuration: of a hub model these alone are fetched.

    Raises as `resolve` does.
    """
    if spec.kind != "hub" or Path(spec.source).is_dir():
        return resolve(spec, job)
    from lora_studio.engine.hub import models

    own_code = spec.trust_remote_code
    folder = models.small_files(spec.source, spec.revision, own_code=own_code)
    read_config(folder)
    return folder


def check_folder(folder: Path) -> Path:
    """The folder itself; raises ProblemError when it holds no model that may be loaded."""
    if not folder.is_dir():
        raise fail(
            "model.not_found",
            f"There is no folder {folder}.",
            "Check the spelling, or choose it again if it was moved.",
            where=_SOURCE,
        )
    check_architecture(folder)
    if safetensors_headers(folder):
        return folder
    pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)]  # fmt: skip
    if pickled:
        raise fail(
            "model.pickle",
            f"{folder} stores its weights as {sorted(pickled)[0]}. That format can run any code "
            "when it is opened, so it is never loaded.",
            "Choose a model that is stored as safetensors; most have such a version.",
            where=_SOURCE,
        )
    raise fail(
        "model.no_weights",
        f"{folder} holds no .safetensors file.",
        "Choose the folder that directly holds config.json and the .safetensors files.",
        where=_SOURCE,
    )


def check_architecture(folder: Path) -> None:
    """Raises ProblemError for a model that is known not to write text from left to right."""
    why_not = refusal_of(read_config(folder).get("architectures"))
    if why_not:
        raise fail(
            "model.not_generative",
            why_not,
            "Choose a causal language model; its architecture usually ends in ForCausalLM.",
            where=_SOURCE,
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json; raises ProblemError when there is none or it is broken."""
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise fail(
            "model.not_a_model",
            f"{folder} holds no config.json, so it is no Hugging Face model.",
            "Choose the folder that directly holds config.json and .safetensors.",
            where=_SOURCE,
        ) from None
    except (OSError, ValueError) as error:
        raise unreadable(folder, f"config.json cannot be read: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise unreadable(folder, "config.json is not an object")
    return content


def from_gguf(file: Path, job: JobContext) -> Path:
    """The folder that a GGUF file was turned into; done once for each content."""
    if not file.is_file():
        raise fail(
            "model.not_found",
            f"There is no file {file}.",
            "Check the spelling, or choose it again if it was moved.",
            where=_SOURCE,
        )
    from lora_studio.engine.model import from_gguf as model_from_gguf

    target = paths.cache_folder() / "models" / f"gguf-{_content_hash(file, job)}"
    if not _is_whole(target):
        with folder_atomic(target, stays=_is_whole) as folder:
            model_from_gguf.convert(file, folder, job)
    return target


def _is_whole(folder: Path) -> bool:
    """Whether a model was put there, by this process or by another, which reads it by now."""
    return (folder / "config.json").is_file()


def _content_hash(file: Path, job: JobContext) -> str:
    """First 24 hex digits of the SHA-256 of the file and of how it is converted."""
    digest = hashlib.sha256(b"v2")
    total = file.stat().st_size
    with file.open("rb") as stream:
        done = 0
        while block := stream.read(1 << 24):
            digest.update(block)
            done += len(block)
            job.progress("reading model file", done, total, "bytes")
    return digest.hexdigest()[:24]


def unreadable(folder: Path, why: str) -> ProblemError:
    """The problem of a model whose files are broken."""
    return fail(
        "model.unreadable",
        f"The model in {folder} cannot be read: {why.rstrip('.')}.",
        "Fetch or copy the model again; a file of it is damaged or missing.",
        where=_SOURCE,
    )


def identity(folder: Path) -> dict[str, Any]:
    """What tells one base model from another, without reading all of it.

    `hash` covers the configuration and, of each weight file, name, size, header and 16 samples of
    64 KiB; `commit` is the hub's where the folder is a snapshot of the hub.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        length = file.stat().st_size
        size += length
        digest.update(f"{file.name}:{length}".encode())
        digest.update(_header(file))
        with file.open("rb") as stream:
            for sample in range(16):
                stream.seek(length * sample // 16)
                digest.update(stream.read(1 << 16))
    commit = folder.name if folder.parent.name == "snapshots" else None
    return {"folder": str(folder), "hash": digest.hexdigest(), "bytes": size, "commit": commit}


def safetensors_headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Tensor name -> {dtype, shape, data_offsets} of every weight file; reads headers only.

    Raises ProblemError when a file is torn.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            header = json.loads(_header(file))
        except (OSError, ValueError) as error:
            raise unreadable(folder, f"{file.name}: {error}") from error
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if file.stat().st_size < 8 + len(_header(file)) + end:
            raise unreadable(folder, f"{file.name} is shorter than its header says")
        found |= header
    return found


def _header(file: Path) -> bytes:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("no safetensors header")
        return stream.read(length)


def stored_dtype(headers: dict[str, dict[str, Any]]) -> str:
    """The number format that most weights are stored in, in the words of the precision setting."""
    sizes: dict[str, int] = {}
    for entry in headers.values():
        begin, end = entry["data_offsets"]
        sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - begin
    most = max(sizes, key=lambda name: sizes[name], default="")
    return {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}.get(most, most.lower())


def licence(folder: Path) -> str | None:
    """The licence that the model card states, None when it states none."""
    import yaml

    try:
        text = (folder / "README.md").read_text("utf-8")
        front = text.split("---", 2)[1] if text.startswith("---") else ""
        card = yaml.safe_load(front)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, IndexError):
        return None
    found = card.get("license") if isinstance(card, dict) else None
    return str(found) if found and found != "unknown" else None
