"""From a run to a repository on the Hugging Face hub: adapter, merged model or GGUF files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_studio.core.export import What
from lora_studio.core.problems import Problem, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import model_card
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.model_card import CardFacts
from lora_studio.engine.hub.errors import network_errors
from lora_studio.engine.model.folder import read_license
from lora_studio.engine.runtime.channel import JobContext

_CARD = "README.md"


def push(
    run: RunFolder,
    project: Project,
    repository: str,
    what: What,
    job: JobContext,
    *,
    private: bool = True,
) -> None:
    """Uploads in one commit, with a card made of the run; emits `Pushed`. Raises ProblemError.

    The token is the one of `hf auth login` or HF_TOKEN; it is read by the library alone.
    """
    import huggingface_hub

    files = _files(run, what)
    if huggingface_hub.get_token() is None:
        raise fail(
            "hub.no_token",
            "You are not signed in to the Hugging Face hub.",
            "Sign in with `hf auth login`, or set HF_TOKEN to a token that may write.",
        )
    api = huggingface_hub.HfApi()
    job.progress("looking at the hub", 0, None)
    with _reported(repository):
        made = api.create_repo(repository, private=private, exist_ok=True)
        repository = made.repo_id
        if private and not api.repo_info(repository).private:
            job.emit(events.Warned(problem=_public(repository)))
    text = model_card.card(what, repository, _facts(run, project, files))
    _upload(api, repository, what, _contents(project, files) | {_CARD: text.encode()}, job)
    job.emit(
        events.Pushed(
            repository=repository,
            what=what,
            url=str(made),
            files=len(files) + 1,
            bytes=sum(file.stat().st_size for file in files),
        )
    )


def preview(run: RunFolder, project: Project, repository: str, what: What) -> str:
    """The card that `push` would make; raises ProblemError where there is nothing to upload."""
    return model_card.card(what, repository, _facts(run, project, _files(run, what)))


def _files(run: RunFolder, what: What) -> list[Path]:
    folder = {"adapter": run.adapter, "merged": run.merged, "gguf": run.gguf}[what]
    files = sorted(file for file in folder.glob("*") if file.is_file() and file.name != _CARD)
    if what == "gguf":
        files = [file for file in files if file.suffix == ".gguf"]
    if not files:
        name, first = {
            "adapter": ("adapter", "Train first."),
            "merged": ("merged model", "Merge first."),
            "gguf": ("GGUF file", "Export first."),
        }[what]
        raise fail(
            f"hub.no_{what}", f"This run has no {name} yet.", first, where=Where(file=str(folder))
        )
    return files


def _contents(project: Project, files: list[Path]) -> dict[str, Path | bytes]:
    """What is uploaded under which name.

    An adapter's settings name its base; a folder of this computer would tell others about the
    computer and be of no use to them.
    """
    contents: dict[str, Path | bytes] = {file.name: file for file in files}
    for file in files:
        if file.name == "adapter_config.json":
            config: dict[str, Any] = json.loads(file.read_text("utf-8"))
            base = model_card.base_id(project)
            config["base_model_name_or_path"] = base or Path(project.model.source).name
            contents[file.name] = (json.dumps(config, indent=2) + "\n").encode()
    return contents


def _upload(
    api: Any, repository: str, what: What, contents: dict[str, Path | bytes], job: JobContext
) -> None:
    """Sends large files one after another, then makes one commit of all."""
    from huggingface_hub import CommitOperationAdd

    sizes = {name: _size(content) for name, content in contents.items()}
    operations = {name: CommitOperationAdd(name, content) for name, content in contents.items()}
    total, done = sum(sizes.values()), 0
    with _reported(repository):
        for name, operation in operations.items():
            job.progress(f"uploading {name}", done, total, "bytes")
            api.preupload_lfs_files(repository, [operation])
            done += sizes[name]
        job.progress("making the commit", 0, None)
        api.create_commit(
            repository, list(operations.values()), commit_message=f"Upload {what} by LoRA Studio"
        )


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _facts(run: RunFolder, project: Project, files: list[Path]) -> CardFacts:
    try:
        selftest: dict[str, Any] = json.loads(run.selftest_file.read_text("utf-8"))
    except (OSError, ValueError):
        selftest = {}
    manifest = run.manifest()
    base = manifest.get("base_model", {}).get("folder")
    return CardFacts(
        project=project,
        manifest=manifest,
        events=tuple(run.events()),
        selftest=selftest,
        # None too where the base is no longer where it was: it is not needed here.
        licence=read_license(Path(base)) if base else None,
        files=tuple((file.name, file.stat().st_size) for file in files),
    )


def _public(repository: str) -> Problem:
    return Problem(
        code="hub.public",
        what=f"{repository} exists already and is public: everyone can see what is uploaded.",
        remedy="Make it private on its page on the hub, or name another repository.",
        severity="warning",
    )


@contextmanager
def _reported(repository: str) -> Iterator[None]:
    """Turns whatever goes wrong with the hub in the block into ProblemError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise fail(
            "hub.bad_name",
            f"“{repository}” cannot be the name of a repository.",
            "Write it as name or organisation/name, of letters, digits, - . and _.",
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise fail(
                "hub.not_allowed",
                f"The hub does not let you write to {repository} (status {status}).",
                "Sign in with a token that may write (`hf auth login`), and check whose it is.",
            ) from error
        raise fail(
            "hub.failed",
            f"The hub answered with {status or 'nothing'} while {repository} was being written.",
            "Try again later: what the hub already has is not sent twice.",
        ) from error
    except network_errors() as error:
        raise fail(
            "hub.interrupted",
            f"The upload to {repository} was interrupted ({type(error).__name__}).",
            "Check the network and try again: what the hub already has is not sent twice.",
        ) from error
