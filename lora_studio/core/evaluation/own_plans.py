"""Continue only plans of this user, or those that stay inside the project.

A plan is a file of the run, so it may come from somebody else. It can name a server, the environment
variable whose value is sent there as a key, and files anywhere on this computer as test sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.chat import AdapterSpeaker, GgufSpeaker, ModelSpeaker, OllamaSpeaker
from lora_studio.core.evaluation.columns import AnyColumnModel, ServerModel
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.test_sets import FileRows, PlaygroundPrompts
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.model.spec import BUILTIN_PREFIX
from lora_studio.core.problems import fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import DigestRecord
from lora_studio.core.system.offline import is_local_address

_RECORD = DigestRecord("evaluations.json")


def remember(plan: EvaluationPlan) -> None:
    """Record that this user started a plan; nothing happens if it can't be stored."""
    _RECORD.add(_compute_digest(plan))


def require_own(plan: EvaluationPlan, project: Path) -> None:
    """Raise ProblemError for the plan of somebody else that reads or sends more than the project's files.

    `project` is the folder of the project.
    """
    digest = _compute_digest(plan)
    requests = list(dict.fromkeys(_iter_requests(plan, project)))
    if not requests or digest in _RECORD or consent.is_trusted_here(digest):
        return
    raise fail(
        "evaluation.plan_not_trusted",
        "This evaluation was started by someone else or on another computer. It would {requests}.",
        "Start a new evaluation. If you trust this one, run `lora-studio --trust {digest} evaluate RUN --resume`.",
        requests=listed(requests),
        digest=digest,
    )


def _iter_requests(plan: EvaluationPlan, project: Path) -> Iterator[Text]:
    """Yield what a plan reads or sends beyond the project."""
    models = [column.model for column in plan.columns]
    if plan.judge is not None:
        models.append(plan.judge.model)
    for model in models:
        yield from _iter_model_requests(model, project)
    for test_set in plan.test_sets:
        if isinstance(test_set, FileRows):
            yield from _iter_path_requests(test_set.source.path, project)
        elif isinstance(test_set, PlaygroundPrompts):
            yield from _iter_path_requests(test_set.project, project)


def _iter_model_requests(model: AnyColumnModel, project: Path) -> Iterator[Text]:
    match model:
        case ServerModel(address=address, key_variable=variable):
            yield text("send questions to {address}", address=address)
            if variable:
                yield text(
                    "send the value of the environment variable {variable} to {address}",
                    variable=variable,
                    address=address,
                )
        case OllamaSpeaker(host=host):
            if not is_local_address(host):
                yield text("send questions to {address}", address=host)
        case ModelSpeaker(folder=folder):
            yield from _iter_path_requests(folder, project)
        case GgufSpeaker(file=file, tokenizer=tokenizer):
            yield from _iter_path_requests(file, project)
            yield from _iter_path_requests(tokenizer, project)
        case AdapterSpeaker(adapters=adapters):
            for adapter in adapters:
                yield from _iter_path_requests(adapter.folder, project)


def _iter_path_requests(path: str, project: Path) -> Iterator[Text]:
    """Yield a request for a path outside the project; "" is inside.

    A relative path isn't: it may be an ID on the Hub, and it is read from the folder of the process.
    """
    if not path or path.startswith(BUILTIN_PREFIX):
        return
    try:
        is_inside = Path(path).is_absolute() and Path(path).resolve().is_relative_to(project.resolve())  # fmt: skip
    except (OSError, ValueError, RuntimeError):
        is_inside = False
    if not is_inside:
        yield text("read {path}", path=path)


def _compute_digest(plan: EvaluationPlan) -> str:
    return consent.compute_digest(f"evaluation\0{plan.model_dump_json()}".encode())
