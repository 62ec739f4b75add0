"""Upload from a run to the Hugging Face Hub: adapter, merged model or GGUF files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_studio.core.evaluation import storage
from lora_studio.core.export import What
from lora_studio.core.messages import Template, text
from lora_studio.core.network.bounded_answers import UntrustedAnswerError
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.playground import Playground
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums, model_card, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.model_card import CardFacts
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.hub.client import NETWORK_ERRORS, contact_hub
from lora_studio.engine.model.folder import read_license, require_inside
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
    """Upload in one commit, with a model card of the run; emits `Pushed`. Raises ProblemError.

    The token is that of `hf auth login` or HF_TOKEN; only the Hub library reads it.
    """
    import huggingface_hub

    files = _get_files(run, what)
    if huggingface_hub.get_token() is None:
        raise fail(
            "hub.no_token",
            "You are not signed in to the Hugging Face Hub.",
            "Sign in with `hf auth login`, or set HF_TOKEN to a token with write access.",
        )
    api = huggingface_hub.HfApi()
    job.report_progress(text("contacting the Hub"), 0, None)
    with _translate_upload_errors(repository):
        created = api.create_repo(repository, private=private, exist_ok=True)
        repository = created.repo_id
        if private and not api.repo_info(repository).private:
            job.warn(
                warning(
                    "hub.public",
                    "{repository} already exists and is public: everyone can see what you upload.",
                    "Make it private on its Hub page, or choose another repository.",
                    repository=repository,
                )
            )
    card = model_card.build_card(what, repository, _get_facts(run, project, files))
    _upload(api, repository, what, _get_contents(project, files) | {_CARD: card.encode()}, job)
    job.emit(
        events.Pushed(
            repository=repository,
            what=what,
            url=str(created),
            files=len(files) + 1,
            bytes=sum(file.stat().st_size for file in files),
        )
    )


def preview_card(run: RunFolder, project: Project, repository: str, what: What) -> str:
    """Return the card that `push` would write; raises ProblemError if there is nothing to upload."""
    return model_card.build_card(what, repository, _get_facts(run, project, _get_files(run, what)))


#: Problem and remedy if a run lacks the files to upload.
_MISSING: dict[What, tuple[Template, Template]] = {
    "adapter": ("This run has no adapter yet.", "Train first."),
    "merged": ("This run has no merged model yet.", "Merge first."),
    "gguf": ("This run has no GGUF file yet.", "Export first."),
}


def _get_files(run: RunFolder, what: What) -> list[Path]:
    folder = {"adapter": run.adapter, "merged": run.merged, "gguf": run.gguf}[what]
    checksums.require_intact(run, folder)
    files = sorted(
        require_inside(file) for file in folder.glob("*") if file.is_file() and file.name != _CARD
    )
    if what == "gguf":
        files = [file for file in files if file.suffix == ".gguf"]
    if not files:
        missing, remedy = _MISSING[what]
        raise fail(f"hub.no_{what}", missing, remedy, where=Where(file=str(folder)))
    return files


def _get_contents(project: Project, files: list[Path]) -> dict[str, Path | bytes]:
    """Return the files to upload by name.

    An adapter's settings name its base model. A folder of this computer is replaced by its name: the
    path would reveal details of the computer and is useless to others.
    """
    contents: dict[str, Path | bytes] = {file.name: file for file in files}
    for file in files:
        if file.name == "adapter_config.json":
            config: dict[str, Any] = read_json(file)
            base = model_card.get_base_id(project)
            config["base_model_name_or_path"] = base or Path(project.model.source).name
            contents[file.name] = (json.dumps(config, indent=2) + "\n").encode()
    return contents


def _upload(
    api: Any, repository: str, what: What, contents: dict[str, Path | bytes], job: JobContext
) -> None:
    """Upload large files one after another, then commit all of them at once."""
    from huggingface_hub import CommitOperationAdd

    sizes = {
        name: (len(content) if isinstance(content, bytes) else content.stat().st_size)
        for name, content in contents.items()
    }
    operations = {name: CommitOperationAdd(name, content) for name, content in contents.items()}
    total, done = sum(sizes.values()), 0
    with _translate_upload_errors(repository):
        for name, operation in operations.items():
            job.report_progress(text("uploading {file}", file=name), done, total, "bytes")
            api.preupload_lfs_files(repository, [operation])
            done += sizes[name]
        job.report_progress(text("creating the commit"), 0, None)
        api.create_commit(
            repository, list(operations.values()), commit_message=f"Upload {what} by LoRA Studio"
        )


def _get_facts(run: RunFolder, project: Project, files: list[Path]) -> CardFacts:
    selftest = selftest_report.read(run)
    manifest = run.read_manifest()
    base = (manifest.get("base_model") or {}).get("folder")
    return CardFacts(
        project=project,
        manifest=manifest,
        events=tuple(run.iter_events()),
        selftest=selftest,
        # Also None when the base has moved: it is not needed here.
        license_name=read_license(Path(base)) if isinstance(base, str) else None,
        files=tuple((file.name, file.stat().st_size) for file in files),
        evaluation=storage.read_latest(run.evaluations_folder, complete=True),
        votes=Playground.of_run(run.path).find_votes(),
        has_capped_scores=isinstance(base, str) and _has_capped_scores(Path(base)),
    )


def _has_capped_scores(folder: Path) -> bool:
    """Return whether the configuration of a base asks for capped attention scores; False if it has moved."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("attn_logit_softcapping"))


@contextmanager
def _translate_upload_errors(repository: str) -> Iterator[None]:
    """Raise ProblemError for whatever goes wrong with the Hub inside the block."""
    from huggingface_hub import errors

    try:
        with contact_hub(Purpose.HUB_UPLOAD):
            yield
    except errors.HFValidationError as error:
        raise fail(
            "hub.bad_name",
            "“{repository}” is not a valid repository name.",
            "Use name or organization/name, with letters, digits, hyphens, periods, and "
            "underscores.",
            repository=repository,
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise _http_error(repository, status) from error
    except NETWORK_ERRORS as error:
        raise fail(
            "hub.interrupted",
            "The upload to {repository} was interrupted ({reason}).",
            "Check the network and try again. Uploaded data is not sent twice.",
            repository=repository,
            reason=error.reason
            if isinstance(error, UntrustedAnswerError)
            else type(error).__name__,
        ) from error


def _http_error(repository: str, status: int) -> ProblemError:
    """Return the problem of an HTTP status, 0 for a missing answer."""
    if status in (401, 403):
        return fail(
            "hub.not_allowed",
            "You don't have write access to {repository} (status {status:d}).",
            "Sign in with a token that has write access (`hf auth login`), and check the owner of "
            "the repository.",
            repository=repository,
            status=status,
        )
    return fail(
        "hub.failed",
        "The upload to {repository} failed: the Hub answered with status {status:d}."
        if status
        else "The upload to {repository} failed: the Hub didn't respond.",
        "Try again later. Uploaded data is not sent twice.",
        repository=repository,
        status=status,
    )
