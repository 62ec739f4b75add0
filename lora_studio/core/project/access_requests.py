"""What a project asks for beyond its own folder: code, hosts, files and folders elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import classify_source, is_local_source
from lora_studio.core.problems import Step
from lora_studio.core.project.project import SPECS, Draft
from lora_studio.core.spec import list_facts
from lora_studio.core.system.offline import is_local_address
from lora_studio.core.system.paths import expand_home
from lora_studio.core.training.trackers import TITLES

#: What a request allows: programs to run, data to leave this computer, files outside the project's
#: folder to be read or written, or a download from the Hub.
AccessKind = Literal["code", "send", "read", "write", "download"]

#: Trackers that send metrics to a server.
_SENDING_TRACKERS = ("wandb", "mlflow")

#: Settings that name a model.
_MODELS: tuple[tuple[Step, str], ...] = (("model", "source"), ("training", "teacher"))
_PROGRAMS = ("export", "llama_cpp")

#: The folder of a project's runs, in that of the project.
RUNS = "runs"

#: The field with a folder that is written to; those of other path fields are read.
_WRITTEN = ("export", "lm_studio_folder")


@dataclass(frozen=True)
class AccessRequest:
    """One thing a project asks for: its kind, what it concerns, and a sentence about it."""

    kind: AccessKind
    target: str
    text: Text

    @property
    def key(self) -> str:
        """What identifies the request in the record of known projects."""
        return f"{self.kind} {self.target}"


def list_requests(draft: Draft) -> list[AccessRequest]:
    """Return what a project asks for beyond its folder, without looking at any of it."""
    requests = [*_list_code(draft), *_list_judges(draft), *list_requests_outside(draft)]
    return list(dict.fromkeys(requests))


def list_requests_outside(draft: Draft) -> list[AccessRequest]:
    """Return what a project asks for beyond its folder, but code and judges, which are asked for by themselves."""
    requests = [*_list_sending(draft), *_list_paths(draft), *_list_downloads(draft)]
    return list(dict.fromkeys(requests))


def _list_code(draft: Draft) -> Iterator[AccessRequest]:
    model = _get_text(draft, "model", "source")
    if draft.get("model", "trust_remote_code") is True and model:
        yield AccessRequest(
            "code", model, text("Run the Python code of the model {model}.", model=model)
        )
    if folder := _get_text(draft, "export", "llama_cpp"):
        yield AccessRequest(
            "code", folder, text("Run the llama.cpp programs in {folder}.", folder=folder)
        )
    for reward in iter_rewards(draft):
        if file := _get_reward_text(reward, "python", "code_file"):
            yield AccessRequest("code", file, text("Run the Python code in {file}.", file=file))


def _list_sending(draft: Draft) -> Iterator[AccessRequest]:
    host = _get_text(draft, "export", "ollama_host")
    if not is_local_address(host):
        yield AccessRequest(
            "send", host, text("Connect to Ollama at {host}, and send models there.", host=host)
        )
    for name in _iter_items(draft, "training", "trackers"):
        if name in _SENDING_TRACKERS:
            tracker = TITLES[name]
            yield AccessRequest(
                "send", name, text("Send the metrics of trainings to {tracker}.", tracker=tracker)
            )


def _list_judges(draft: Draft) -> Iterator[AccessRequest]:
    for reward in iter_rewards(draft):
        yield from iter_judge_requests(reward)


def iter_judge_requests(reward: Mapping[str, Any]) -> Iterator[AccessRequest]:
    """Yield what a reward sends to another computer, and the key that it sends."""
    host = _get_reward_text(reward, "judge", "address")
    variable = _get_reward_text(reward, "judge", "key_variable")
    if host and not is_local_address(host):
        yield AccessRequest(
            "send",
            f"judge {host}",  # not what is sent to an Ollama of that address
            text("Send prompts and answers to the server at {host}.", host=host),
        )
    if host and variable:
        what = text(
            "Send the value of the environment variable {variable} to {host}.",
            variable=variable,
            host=host,
        )
        yield AccessRequest("send", f"key {variable} {host}", what)


def _list_paths(draft: Draft) -> Iterator[AccessRequest]:
    for path, is_written in _iter_paths(draft):
        if (target := find_outside(path, draft.folder)) is None:
            continue
        if is_written:
            yield _make_write_request(target)
        elif target == path:
            yield AccessRequest("read", path, text("Read {path}.", path=path))
        else:
            what = text("Read {path}, which is a link to {target}.", path=path, target=target)
            yield AccessRequest("read", target, what)
    if (
        draft.folder is not None
        and (draft.folder / RUNS).is_symlink()
        and (target := find_outside(RUNS, draft.folder)) is not None
    ):
        yield _make_write_request(target)


def _make_write_request(folder: str) -> AccessRequest:
    return AccessRequest("write", folder, text("Write files to {folder}.", folder=folder))


def _list_downloads(draft: Draft) -> Iterator[AccessRequest]:
    for model in (_get_text(draft, *field) for field in _MODELS):
        if classify_source(model) == "hub" and not _exists(model, draft.folder):
            yield AccessRequest(
                "download",
                model,
                text("Download the model {model} from Hugging Face.", model=model),
            )
    for source in _iter_sources(draft):
        if _is_hub_dataset(source, draft.folder):
            yield AccessRequest(
                "download",
                source,
                text("Download the dataset {dataset} from Hugging Face.", dataset=source),
            )


def _iter_paths(draft: Draft) -> Iterator[tuple[str, bool]]:
    """Yield each path except those of programs, and whether files are written there."""
    for step, spec in SPECS.items():
        for facts in list_facts(spec):
            value = _get_text(draft, step, facts.name)
            if facts.path and value and (step, facts.name) not in (*_MODELS, _PROGRAMS):
                yield value, (step, facts.name) == _WRITTEN
    for model in (_get_text(draft, *field) for field in _MODELS):
        is_hub = classify_source(model) == "hub"
        if is_local_source(model) or (is_hub and _exists(model, draft.folder)):
            yield model, False
    for source in _iter_sources(draft):
        if not _is_hub_dataset(source, draft.folder):
            yield source, False
    for reward in iter_rewards(draft):
        if path := _get_reward_text(reward, "json_schema", "schema_file"):
            yield path, False
    for adapter in _iter_items(draft, "merging", "further"):
        yield adapter.rpartition("=")[0] or adapter, False


def _iter_sources(draft: Draft) -> Iterator[str]:
    sources = draft.get("dataset", "sources")
    for source in sources if isinstance(sources, list | tuple) else ():
        path = source.get("path") if isinstance(source, dict) else source
        if isinstance(path, str) and path:
            yield path


def iter_rewards(draft: Draft) -> Iterator[dict[str, Any]]:
    """Yield the rewards of a project that may be valid."""
    rewards = draft.get("training", "rewards")
    for reward in rewards if isinstance(rewards, list | tuple) else ():
        if isinstance(reward, dict):
            yield reward


def _get_reward_text(reward: Mapping[str, Any], kind: str, field: str) -> str:
    """Return a text of a reward of a kind, "" for another kind."""
    value = reward.get(field) if reward.get("kind") == kind else None
    return value if isinstance(value, str) else ""


def _iter_items(draft: Draft, step: Step, field: str) -> Iterator[str]:
    value = draft.get(step, field)
    yield from (
        item for item in (value if isinstance(value, list | tuple) else ()) if isinstance(item, str)
    )


def _get_text(draft: Draft, step: Step, field: str) -> str:
    value = draft.get(step, field)
    return value if isinstance(value, str) else ""


def _is_hub_dataset(path: str, folder: Path | None) -> bool:
    try:
        return DataSource(path=path).is_hub and not _exists(path, folder)
    except ValueError:
        return False  # not a valid path either, which the project's checks report


def _exists(path: str, folder: Path | None) -> bool:
    try:
        return folder is not None and (folder / path).exists()
    except (OSError, ValueError):
        return False


def find_outside(path: str, folder: Path | None) -> str | None:
    """Return what to ask for if a path leads out of a folder, None if it stays inside.

    That is the path itself, or the target of a link that seems to be inside. A folder that contains the
    user's home folder holds more than a project: nothing counts as inside.
    """
    if folder is None:
        return path
    try:
        inside, target = folder.resolve(), (folder / expand_home(Path(path))).resolve()
        if target.is_relative_to(inside) and not Path.home().resolve().is_relative_to(inside):
            return None
        named = Path(os.path.normpath(inside / expand_home(Path(path))))
    except (OSError, ValueError, RuntimeError):
        return path  # no file system takes it, so the project's checks refuse it
    return str(target) if named.is_relative_to(inside) and named != target else path
