"""What projects and runs ask for beyond their folder (code, hosts, files elsewhere), and what the user allowed.

This is the one place that decides what a foreign folder may make the program read, write, run, or send.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import Text, join_sentences, text
from lora_studio.core.model import remote_code
from lora_studio.core.model.spec import classify_source, is_local_source
from lora_studio.core.problems import STEPS, Problem, ProblemError, Step, Where, fail, warning
from lora_studio.core.project.project import SPECS, SUFFIX, Draft, Project
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.spec import list_facts
from lora_studio.core.system import consent, paths
from lora_studio.core.system.consent import DigestRecord
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import raise_unless_damaged
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


# --- what the user has accepted -------------------------------------------------------------------
#
# The record of projects is in the user's configuration. A project that isn't in it comes from elsewhere; one that
# asks for more than before was changed elsewhere.


def is_known_project(project_file: Path) -> bool:
    """Return whether the user has created, saved or accepted the project at this path."""
    return str(project_file.resolve()) in _read_known_projects()


def list_new_requests(draft: Draft, requests: Iterable[AccessRequest]) -> list[AccessRequest]:
    """Return those of a project's requests that the user hasn't accepted yet."""
    accepted = _read_known_projects().get(str(draft.path.resolve()), []) if draft.path else []
    return [request for request in requests if request.key not in accepted]


def accept_requests(draft: Draft, requests: Iterable[AccessRequest]) -> None:
    """Record a project with the requests that the user was shown or has made; it may do nothing else.

    The caller lists them once, shows them, and passes the same ones: what the project asks for also depends
    on the disk, and may have changed meanwhile. Nothing happens if the record can't be stored.
    """
    if draft.path is None:
        return
    key = str(draft.path.resolve())
    accepted = [request.key for request in requests]
    try:
        known = _read_known_projects(raise_unless_damaged)
        if known.get(key) == accepted:
            return
        known.pop(key, None)
        known[key] = accepted
        latest = dict(list(known.items())[-limits.KNOWN_PROJECTS :])
        write_atomic(_get_known_projects_file(), json.dumps(latest, indent=1))
    except OSError:
        return  # asking again is better than not opening the project


def list_accepted(folder: Path) -> set[str]:
    """Return the keys of what the user has accepted for the projects in a folder, with absolute paths."""
    accepted: set[str] = set()
    for path, keys in _read_known_projects().items():
        for key in keys if Path(path).parent == folder else ():
            kind, _, target = key.partition(" ")
            if kind in ("read", "write"):
                key = f"{kind} {os.path.normpath(folder / expand_home(Path(target)))}"
            accepted.add(key)
    return accepted


def _read_known_projects(
    on_error: Callable[[Exception], None] = lambda _: None,
) -> dict[str, list[str]]:
    """Return the accepted requests by path; `on_error` gets the error of a file that can't be read."""
    content = consent.read_record(_get_known_projects_file(), on_error)
    if not isinstance(content, dict):
        return {}
    return {
        path: [key for key in keys if isinstance(key, str)]
        for path, keys in content.items()
        if isinstance(keys, list)
    }


def _get_known_projects_file() -> Path:
    return paths.get_config_folder() / "known_projects.json"


# --- judges ---------------------------------------------------------------------------------------
#
# A run names the server that gets its prompts and answers, and the environment variable whose value is sent there as a
# key. Allowed is what this user has accepted for a project.


def require_judge_allowed(reward: RewardSpec, name: str) -> None:
    """Raise ProblemError if a reward sends something that the user hasn't accepted; `name` is the reward's."""
    requests = list(iter_judge_requests(reward.model_dump()))
    if not _is_judge_allowed(requests):
        raise fail(
            "training.judge_not_trusted",
            "The reward {name} asks for something that you haven't allowed yet: {requests}",
            "If you trust that server, open the project in the window, or run `lora-studio --trust {digest} …`. "
            "Otherwise, remove this reward.",
            where=Where(step="training", field="rewards"),
            name=name,
            requests=join_sentences([request.text for request in requests]),
            digest=_compute_judge_digest(requests),
        )


def list_unallowed_judges(draft: Draft) -> list[AccessRequest]:
    """Return what the judges of a project ask for that the user hasn't accepted yet."""
    judges = [list(iter_judge_requests(reward)) for reward in iter_rewards(draft)]
    return [
        request for requests in judges if not _is_judge_allowed(requests) for request in requests
    ]


def _is_judge_allowed(requests: Sequence[AccessRequest]) -> bool:
    accepted = {key for keys in _read_known_projects().values() for key in keys}
    is_accepted = all(request.key in accepted for request in requests)
    return is_accepted or consent.is_trusted_here(_compute_judge_digest(requests))


def _compute_judge_digest(requests: Sequence[AccessRequest]) -> str:
    return consent.compute_digest("\0".join(["judge", *(each.key for each in requests)]).encode())


# --- runs -----------------------------------------------------------------------------------------
#
# A run may come from somebody else, and names its model, data, adapters, folders, trackers, and servers itself. A job
# starts if this user created the run, has opened a project in its folder that asks for the same, or has allowed exactly
# these requests. Code is asked for by its content (`core/system/consent.py`).

_ALLOWED_RUNS = DigestRecord("allowed_runs.json")


def list_run_requests(run: Path, frozen: Project) -> list[AccessRequest]:
    """Return what a run asks for outside its project; the paths of `frozen` are absolute."""
    values = {step: frozen.get_spec(step).model_dump() for step in STEPS}
    return list_requests_outside(Draft(frozen.name, values, find_run_home(run) / f"run{SUFFIX}"))


def list_unallowed_of_run(run: Path, frozen: Project) -> list[AccessRequest]:
    """Return what a run asks for if the user hasn't allowed it: all of it, because it is allowed as a whole."""
    requests = list_run_requests(run, frozen)
    if not requests or consent.is_trusted_here(digest := compute_run_digest(requests)):
        return []
    accepted = list_accepted(find_run_home(run))
    if digest in _ALLOWED_RUNS or all(request.key in accepted for request in requests):
        return []
    return requests


def find_run_home(run: Path) -> Path:
    """Return the folder that a run may read: that of its project, or its own if it isn't in one.

    A folder is that of a project if it has a project file; `~/runs` makes no project of `~`.
    """
    run = run.resolve()
    folder = run.parent.parent
    return folder if run.parent.name == RUNS and any(folder.glob(f"*{SUFFIX}")) else run


def allow_requests(requests: Sequence[AccessRequest]) -> None:
    """Record that the user allows a run to do this; if that can't be stored, it counts for this process.

    The requests are those that the user was shown, or those of a run that this user has created.
    """
    if requests and not _ALLOWED_RUNS.add(digest := compute_run_digest(requests)):
        consent.trust_in_this_process([digest])


def require_run_allowed(run: Path, frozen: Project) -> None:
    """Raise ProblemError if a run asks for something that the user hasn't allowed."""
    if requests := list_unallowed_of_run(run, frozen):
        raise fail(
            "run.access_not_allowed",
            "This run was created by someone else or on another computer. It asks for something that you "
            "haven't allowed yet: {requests}",
            "If you expect that, allow it in the window, or run `lora-studio --trust {digest} …`.",
            where=Where(file=str(run)),
            requests=join_sentences([request.text for request in requests]),
            digest=compute_run_digest(requests),
        )


def compute_run_digest(requests: Sequence[AccessRequest]) -> str:
    """Return the hash under which the user can allow the requests of a run."""
    keys = sorted(request.key for request in requests)
    return consent.compute_digest("\0".join(["run", *keys]).encode("utf-8", "surrogatepass"))


# --- runs that are exported for a cluster, where nothing that was allowed here is known -----------


class ClusterConsent(NamedTuple):
    """One hash to allow on the cluster, and what it allows."""

    digest: str
    texts: tuple[Text, ...]


def list_cluster_consents(frozen: Project) -> list[ClusterConsent]:
    """Return what a run needs consent for on a cluster; the paths of `frozen` are absolute.

    Its model, data, starting adapter, and the files of its rewards are copied, so they need none.
    """
    rewards = frozen.training.rewards
    copied = {
        frozen.model.source, frozen.training.teacher, frozen.lora.start_from, frozen.dataset.validation_file,
        *(source.path for source in frozen.dataset.sources), *(reward.schema_file for reward in rewards),
    }  # fmt: skip
    requests = list_run_requests(Path("/exported"), frozen)
    requests = [each for each in requests if each.kind != "read" or each.target not in copied]
    consents = list(_iter_code_consents(frozen))
    if requests:
        consents.insert(0, _create_cluster_consent(compute_run_digest(requests), requests))
    for reward in rewards:
        if judged := list(iter_judge_requests(reward.model_dump())):
            consents.append(_create_cluster_consent(_compute_judge_digest(judged), judged))
    return consents


def _create_cluster_consent(digest: str, requests: Sequence[AccessRequest]) -> ClusterConsent:
    return ClusterConsent(digest, tuple(request.text for request in requests))


def _iter_code_consents(frozen: Project) -> Iterator[ClusterConsent]:
    for reward in frozen.training.rewards:
        if reward.kind == "python" and reward.code_file:
            what = text("Run the Python code in {file}.", file=Path(reward.code_file).name)
            with contextlib.suppress(OSError):  # copying names the reason
                yield ClusterConsent(spec_module.find_code(Path(reward.code_file)).digest, (what,))
    if frozen.model.trust_remote_code and is_local_source(frozen.model.source):
        folder = Path(frozen.model.source)
        with contextlib.suppress(OSError, ProblemError):
            if (code := remote_code.find_code(folder)) is not None:
                what = text("Run the Python code of the model {model}.", model=folder.name)
                yield ClusterConsent(code.digest, (what,))


def describe_cluster_consents(consents: list[ClusterConsent]) -> Problem | None:
    """Return a warning that says what to allow on the cluster, and how; None for nothing."""
    if not consents:
        return None
    return warning(
        "cluster.needs_consent",
        "On the cluster, this run needs your consent again: {requests}",
        "If you agree, start it there with `./train.sh {options}`. README.md in the folder says so, too.",
        where=Where(step="training"),
        requests=join_sentences([each for consent in consents for each in consent.texts]),
        options=format_options(consents),
    )


def format_options(consents: list[ClusterConsent]) -> str:
    """Return the options of `train.sh` that allow everything."""
    return " ".join(f"--trust {consent.digest}" for consent in consents)
