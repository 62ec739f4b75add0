"""GGUF files of base models and adapters, converted once and kept in the cache for serving."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lora_studio.core.llama_cpp import CONVERTER, LORA_CONVERTER
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import text
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.core.system.mounts import create_folder
from lora_studio.engine.export.gguf import conversion, converter, direct_gguf
from lora_studio.engine.export.gguf.adapter_gguf import write_adapter_gguf
from lora_studio.engine.export.gguf.converter import UnsupportedModelError
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model.folder import get_identity
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

#: Days after which a file that wasn't served is deleted.
_MOST_DAYS = 30


def get_folder() -> Path:
    """Return the folder of these files."""
    return paths.get_cache_folder() / "served"


def find_base(run: RunFolder, project: Project, job: JobContext) -> Path:
    """Return the folder of the base model of a run, in 16 bits if available; raises ProblemError."""
    return merging.resolve_intact_base(project.model, project.merging, job, run)


def write_base(
    run: RunFolder, project: Project, base: Path, llama_cpp: str, job: JobContext
) -> Path:
    """Return the GGUF file of a base model, with the tokenizer and chat template that a run trained with.

    The weights keep the 16-bit format that they are stored in. Raises ProblemError.
    """
    llama_cpp = _choose_converter_folder(llama_cpp)
    recipe = DirectMerge(base=base, adapters=(), merging=MergingSpec())
    adds_bos = conversion.may_add_bos(run, project)
    with _make_scratch() as scratch:
        try:
            source = direct_gguf.write_headers(
                recipe,
                scratch,
                trust=project.model.trust_remote_code,
                tokenizer=[adapter_files.read(run.adapter)],
            )
        except NeedsPeftError as error:  # without adapters, nothing does
            raise AssertionError(error.reason) from error
        kind = conversion.choose_first_pass(source.tensors, ())
        _, tool = converter.find_converter(llama_cpp)
        contents = (get_identity(base)["hash"], _hash(source.folder.iterdir()))
        facts = [*contents, kind, adds_bos, str(tool)]

        def convert(target: Path) -> None:
            size = sum(tensor.bytes for tensor in source.tensors)
            disk.require_free_space(scratch, size, text("The base model's GGUF file"))
            for folder in dict.fromkeys((llama_cpp, "")):
                with contextlib.suppress(UnsupportedModelError):
                    converter.convert(
                        source.folder, target, converter.choose_model_name(project.name, source.folder),
                        folder, job, kind=kind, recipe=source.recipe, adds_bos=adds_bos,
                    )  # fmt: skip
                    return

        return _write_once(facts, convert, job)


def write_adapter(run: RunFolder, base: Path, llama_cpp: str, job: JobContext) -> Path:
    """Return the GGUF file of a run's adapter; raises ProblemError."""
    checksums.require_intact(run, run.adapter, on_block=job.check)
    llama_cpp = _choose_converter_folder(llama_cpp)
    _, tool = converter.find_converter(llama_cpp, LORA_CONVERTER)
    files = [
        run.adapter / adapter_files.CONFIG,
        run.adapter / adapter_files.WEIGHTS,
        base / "config.json",
    ]
    facts = [_hash(files), str(tool)]
    return _write_once(
        facts, lambda target: write_adapter_gguf(run.adapter, base, target, llama_cpp, job), job
    )


def _choose_converter_folder(llama_cpp: str) -> str:
    """Return the user's own llama.cpp folder if it has a converter; releases have programs only."""
    return llama_cpp if llama_cpp and Path(llama_cpp, CONVERTER).is_file() else ""


@contextmanager
def _make_scratch() -> Iterator[Path]:
    """Yield a temporary folder on the disk of the cache."""
    create_folder(get_folder())
    with tempfile.TemporaryDirectory(dir=get_folder(), prefix=".") as folder:
        yield Path(folder)


def _write_once(facts: Sequence[object], write: Callable[[Path], object], job: JobContext) -> Path:
    """Return the file that these facts decide on; `write` writes it where it doesn't exist yet."""
    key = hashlib.sha256(json.dumps([*facts]).encode()).hexdigest()
    file = get_folder() / f"{key[:32]}.gguf"
    if file.is_file():
        os.utime(file)
        return file
    _delete_unused()
    with _make_scratch() as scratch:
        part = scratch / file.name
        write(part)
        part.replace(file)
    job.emit(
        events.Log(
            text=text(
                "Wrote {file} ({size:size}). It is reused until it hasn't been served for {days} days.",
                file=str(file),
                size=file.stat().st_size,
                days=_MOST_DAYS,
            )
        )
    )
    return file


def _delete_unused() -> None:
    oldest = time.time() - _MOST_DAYS * 86_400
    for file in get_folder().glob("*.gguf"):
        with contextlib.suppress(OSError):  # another process may have deleted it, or run it
            if file.stat().st_mtime < oldest:
                file.unlink()


def _hash(files: Iterable[Path]) -> str:
    """Return a hash of names and contents."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0")
        with open_regular(file) as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
