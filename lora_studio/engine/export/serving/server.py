"""Serve runs at an OpenAI-compatible address on this computer, with llama-server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core import llama_cpp as programs
from lora_studio.core.llama_cpp import CONVERTER, LORA_CONVERTER
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import listed, text
from lora_studio.core.problems import Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedAdapter
from lora_studio.core.runs import checksums
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.core.system.programs import find_on_path
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.engine.export.gguf import conversion, converter, direct_gguf
from lora_studio.engine.export.gguf.adapter_gguf import write_adapter_gguf
from lora_studio.engine.export.gguf.converter import UnsupportedModelError
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.export.gguf.llama_server import KEY_VARIABLE, LlamaServer, ServerProcess
from lora_studio.engine.export.ollama import jinja_check
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import loading
from lora_studio.engine.model.folder import get_identity
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.chat_format import ChatFormat
from lora_studio.engine.tokens.trained_prompts import list_trained_prompts

#: What to do when llama-server fails.
_REMEDY = "Details are in its output. Update llama.cpp, or serve a smaller GGUF file."

#: Seconds between two reports of what the server printed.
_LOG_INTERVAL = 0.2


@dataclass(frozen=True)
class PreparedModel:
    """What llama-server runs: a GGUF file, and adapters with their files, for one chat template.

    `longest` is the number of tokens of the longest text that an embedding model reads, 0 for other models.
    `projector` is the file with the encoders of images and audio.
    """

    file: Path
    name: str
    tokenizer: PreTrainedTokenizerBase
    context: int
    adapters: tuple[ServedAdapter, ...] = ()
    adapter_files: tuple[Path, ...] = ()
    longest: int = 0
    projector: Path | None = None


def serve(command: commands.Serve, job: JobContext) -> None:
    """Serve runs until the command is canceled; raises ProblemError, also if llama-server ends.

    Raises CancelledError only before the server is ready.
    """
    program = find_program(command.llama_cpp)
    model = _prepare_file(command, job) if command.file else _prepare_adapters(command, job)
    log = _ServerLog(job)
    process = ServerProcess(job, log.add, _REMEDY)
    is_ready = False
    try:
        with process.run(
            program, model.file, list_options(model), port=command.port,
            # a key of the user, so that clients keep working after a restart
            key=os.environ.get(KEY_VARIABLE, "").partition(",")[0].strip(),
            variables=choose_variables(model.tokenizer),
        ) as server:  # fmt: skip
            if model.adapters:
                server.set_scales([adapter.scale for adapter in model.adapters])
            job.emit(
                events.ServerReady(
                    address=server.address, model=model.name, file=str(model.file), program=process.program,
                    key=server.key, adapters=model.adapters, embeds=model.longest > 0,
                )
            )  # fmt: skip
            is_ready = True
            if not model.longest:
                _report_prompts(server, model, job)
            while True:
                process.check()
                process.require_running()
                log.flush()
                time.sleep(_LOG_INTERVAL)
    except CancelledError:
        if not is_ready:
            raise
    finally:
        log.flush()


def find_program(llama_cpp: str) -> str:
    """Return llama-server of the user's own folder, else the one on PATH; raises ProblemError."""
    program = programs.find_program(llama_cpp, programs.SERVER) if llama_cpp else None
    program = program or find_on_path(programs.SERVER)
    if program is None:
        raise fail(
            "serve.no_llama_server",
            "{program}, llama.cpp's server, was not found in {searched}.",
            "Install llama.cpp with `{brew}` (macOS, Linux) or `{winget}` (Windows), or download a "
            "release from {releases} and choose its folder as the llama.cpp folder.",
            where=Where(step="export", field="llama_cpp"),
            program=programs.SERVER,
            searched=listed([llama_cpp, "PATH"] if llama_cpp else ["PATH"]),
            brew="brew install llama.cpp",
            winget="winget install llama.cpp",
            releases="https://github.com/ggml-org/llama.cpp/releases",
        )
    return program


def list_options(model: PreparedModel) -> list[str]:
    """Return the options of llama-server for a model. Scales are set when it runs."""
    options = ["--alias", model.name, "--ctx-size", str(model.context)]
    for file in model.adapter_files:
        # Newer versions read a comma as the start of the next file, unless it is quoted.
        options += ["--lora", f'"{file}"' if "," in str(file) else str(file)]
    if model.projector is not None:
        options += ["--mmproj", str(model.projector)]
    if model.longest:
        # A text is embedded in one physical batch, or refused.
        batch = str(model.longest)
        options += ["--embeddings", "--batch-size", batch, "--ubatch-size", batch]
    return options


def choose_variables(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return variables with which llama-server builds prompts as training did.

    llama.cpp turns reasoning on for chat templates with `enable_thinking`, which training leaves
    undefined. Some templates take that for off.
    """
    try:
        form = ChatFormat(tokenizer)
        plain = form.to_plain([Message(role="user", content="Hello")])
        trained, on, off = (
            form.template.render(plain, True, tools=None, **switch)
            for switch in ({}, {"enable_thinking": True}, {"enable_thinking": False})
        )
    except Exception:  # foreign code may raise anything; llama-server then refuses it, too
        return {}
    return {"LLAMA_ARG_REASONING": "off"} if trained == off != on else {}


def _prepare_file(command: commands.Serve, job: JobContext) -> PreparedModel:
    """Return the merged model of a run in one of its GGUF files; raises ProblemError."""
    run = RunFolder(Path(command.runs[0].run))
    project = run.load_project()
    file = Path(command.file)
    if not file.is_file():
        raise fail(
            "serve.no_file",
            "The GGUF file {file} doesn't exist.",
            "Export the run again.",
            where=Where(step="export", file=command.file),
            file=command.file,
        )
    job.report_progress(text("checking the GGUF file"), 0, None)
    checksums.require_intact_source(file, job.check)
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    context = project.export.num_ctx
    longest = min(project.dataset.max_length, context) if _yields_vectors(run) else 0
    projector: Path | None = run.get_projector_file(project.name)
    if projector is not None and projector.is_file():
        checksums.require_intact_source(projector, job.check)
    else:
        projector = None
    return PreparedModel(
        file, project.name, tokenizer, context, longest=longest, projector=projector
    )


def _yields_vectors(run: RunFolder) -> bool:
    task = get_task(run.read_manifest())
    return task is not None and task.yields_vectors


def _prepare_adapters(command: commands.Serve, job: JobContext) -> PreparedModel:
    """Return the base model of runs with their adapters; raises ProblemError.

    The first run's tokenizer and chat template are served.
    """
    runs = [RunFolder(Path(served.run)) for served in command.runs]
    for run in runs:
        if _yields_vectors(run):
            raise fail(
                "serve.embedding_adapter",
                "{run:run} trained an embedding model, whose adapter can't be served on the base model.",
                "Export the run, and serve its GGUF file.",
                where=Where(step="export", file=str(run.path)),
                run=run_names.read_stored_name(run),
            )
    projects = [run.load_project() for run in runs]
    bases = [find_base(*pair, job) for pair in zip(runs, projects, strict=True)]
    identity = get_identity(bases[0])["hash"]
    tokenizers = []
    for run, project, base in zip(runs, projects, bases, strict=True):
        if get_identity(base)["hash"] != identity:
            raise fail(
                "serve.other_base",
                "{run:run} was trained on another base model than {first:run}.",
                "Serve runs of different base models separately, each with its own port.",
                where=Where(step="export", file=str(run.path)),
                run=run_names.read_stored_name(run),
                first=run_names.read_stored_name(runs[0]),
            )
        tokenizers.append(
            loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
        )
        if tokenizers[-1].chat_template != tokenizers[0].chat_template:
            job.warn(
                warning(
                    "serve.other_template",
                    "{run:run} was trained with another chat template than {first:run}, whose template is served.",
                    "Serve it separately for the prompts that it was trained on.",
                    where=Where(step="export", file=str(run.path)),
                    run=run_names.read_stored_name(run),
                    first=run_names.read_stored_name(runs[0]),
                )
            )
    files = [write_adapter(run, bases[0], command.llama_cpp, job) for run in runs]
    file = write_base(runs[0], projects[0], bases[0], command.llama_cpp, job)
    adapters = tuple(
        ServedAdapter(id=number, name=run_names.read_stored_name(run), scale=served.scale)
        for number, (run, served) in enumerate(zip(runs, command.runs, strict=True))
    )
    context = max(project.export.num_ctx for project in projects)
    return PreparedModel(file, projects[0].name, tokenizers[0], context, adapters, tuple(files))


def _report_prompts(server: LlamaServer, model: PreparedModel, job: JobContext) -> None:
    """Compare the prompts that the server builds with those of training, and report the result."""
    try:
        trained = list_trained_prompts(model.tokenizer)
    except UnusableRow:
        return  # a model without a usable chat template was trained on documents
    for problem in jinja_check.compare_prompts(server, model.tokenizer, trained, job):
        job.warn(problem)


class _ServerLog:
    """Reports what the server prints, a few times a second; lines come from another thread."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._flushed = 0.0

    def add(self, line: str) -> None:
        """Add a line, and report if the last report was long enough ago."""
        with self._lock:
            self._lines.append(line)
        if time.monotonic() - self._flushed > _LOG_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Report the lines since the last report."""
        with self._lock:
            lines, self._lines = tuple(self._lines), []
            self._flushed = time.monotonic()
        if lines:
            self._job.emit(events.ServerLogged(lines=lines))


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
    job.log(
        text(
            "Wrote {file} ({size:size}). It is reused until it hasn't been served for {days} days.",
            file=str(file),
            size=file.stat().st_size,
            days=_MOST_DAYS,
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
