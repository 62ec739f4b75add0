"""What a run that is exported for a cluster asks for there, where nothing that was allowed here is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lora_studio.core.messages import Text, join_sentences, text
from lora_studio.core.model import remote_code
from lora_studio.core.model.spec import is_local_source
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.project import judge_consent, run_consent
from lora_studio.core.project.project import Project
from lora_studio.core.rewards import user_code


class ClusterConsent(NamedTuple):
    """One hash to allow on the cluster, and what it allows."""

    digest: str
    texts: tuple[Text, ...]


def list_consents(frozen: Project) -> list[ClusterConsent]:
    """Return what a run needs consent for on a cluster; the paths of `frozen` are absolute.

    Its model, data, starting adapter, and the files of its rewards are copied, so they need none.
    """
    return [*_iter_access(frozen), *_iter_code(frozen), *_iter_judges(frozen)]


def describe_consents(consents: list[ClusterConsent]) -> Problem | None:
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


def _iter_access(frozen: Project) -> Iterator[ClusterConsent]:
    copied = {f"read {path}" for path in _iter_copied(frozen)}
    requests = [
        request
        for request in run_consent.list_requests(Path("/exported"), frozen)
        if request.key not in copied
    ]
    if requests:
        digest = run_consent.compute_digest(requests)
        yield ClusterConsent(digest, tuple(request.text for request in requests))


def _iter_copied(frozen: Project) -> Iterator[str]:
    yield from (frozen.model.source, frozen.training.teacher, frozen.lora.start_from)
    yield from (source.path for source in frozen.dataset.sources)
    yield frozen.dataset.validation_file
    yield from (reward.schema_file for reward in frozen.training.rewards)


def _iter_code(frozen: Project) -> Iterator[ClusterConsent]:
    for reward in frozen.training.rewards:
        if reward.kind == "python" and reward.code_file:
            what = text("Run the Python code in {file}.", file=Path(reward.code_file).name)
            try:
                yield ClusterConsent(user_code.find_code(Path(reward.code_file)).digest, (what,))
            except OSError:
                continue  # copying names the reason
    if frozen.model.trust_remote_code and is_local_source(frozen.model.source):
        try:
            code = remote_code.find_code(Path(frozen.model.source))
        except (OSError, ProblemError):
            return
        if code is not None:
            name = Path(frozen.model.source).name
            what = text("Run the Python code of the model {model}.", model=name)
            yield ClusterConsent(code.digest, (what,))


def _iter_judges(frozen: Project) -> Iterator[ClusterConsent]:
    for reward in frozen.training.rewards:
        if requests := judge_consent.list_requests(reward):
            digest = judge_consent.compute_digest(requests)
            yield ClusterConsent(digest, tuple(request.text for request in requests))
