"""Items of public benchmarks: prompts, choices, and targets exactly as EleutherAI's lm-eval makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from itertools import groupby
from typing import Any

from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.test_sets import BenchmarkTask
from lora_studio.core.messages import Text, text
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.core.system import offline
from lora_studio.engine.evaluation import benchmark_index
from lora_studio.engine.hub.client import contact_hub
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

#: Seed of few-shot examples, lm-eval's default.
_FEWSHOT_SEED = 1234


def load_benchmark_items(test_set: BenchmarkTask, job: JobContext) -> list[EvaluationItem]:
    """Return the items of a benchmark; raises ProblemError if it can't be loaded."""
    info = find_benchmark(test_set.task, job)
    _require_supported(info)
    job.show_stage(text("loading {benchmark}", benchmark=info.name))
    with _translate_errors(info):
        task = load_task(info, test_set.shots)
        instances = sorted(task.instances, key=lambda each: (each.doc_id, each.idx))
        groups = [list(group) for _, group in groupby(instances, lambda each: each.doc_id)]
        items = []
        for group in groups:
            job.check()
            items.append(_to_item(test_set.key, task, group))
    return items


def find_benchmark(name: str, job: JobContext) -> BenchmarkInfo:
    """Return a benchmark by its name; raises ProblemError that lists similar ones."""
    own = benchmark_index.read_own()
    index = own if name in own else benchmark_index.read_index(job)
    if name in index:
        return index[name]
    similar = [other for other in index if name.lower() in other.lower()][:8]
    raise fail(
        "evaluation.unknown_benchmark",
        "Unknown benchmark: {task}.",
        "Choose one of these: {names}."
        if similar
        else "Search with `lora-studio benchmarks TEXT`.",
        task=name,
        names=", ".join(similar),
    )


def load_task(info: BenchmarkInfo, shots: int) -> Any:
    """Return lm-eval's task with its requests, each item after `shots` examples; raises what it raises."""
    task_manager = benchmark_index.import_task_manager()
    with contact_hub(Purpose.DATASET_DOWNLOAD), _without_progress_bars():
        loaded = task_manager(include_defaults=False).load([info.file])
        task = loaded["tasks"][info.name]
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
        task.build_all_requests(rank=0, world_size=1)
    return task


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep lm-eval's progress bars out of the log of the run."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        yield


@contextmanager
def _translate_errors(info: BenchmarkInfo) -> Iterator[None]:
    """Raise ProblemError for a benchmark that isn't available, or whose data can't be read."""
    with translate_library_errors(lambda reason: _unreadable_error(info, reason), OSError):
        try:
            yield
        except ImportError as error:
            package = benchmark_index.name_package(error)
            raise fail(
                "evaluation.benchmark_needs_package",
                "The benchmark {task} needs the package {package}, which isn't installed.",
                "Install it in the engine's environment: {command}",
                task=info.name,
                package=package,
                command=benchmark_index.format_install_command(package),
            ) from error
        except (
            OSError
        ) as error:  # datasets' errors of the network and of the cache are of this type
            if offline.is_on():
                raise _offline_error(info) from error
            raise _unreadable_error(info, str(error)[:300]) from error


def _offline_error(info: BenchmarkInfo) -> ProblemError:
    return fail(
        "evaluation.benchmark_offline",
        "Offline mode is on, and the dataset {dataset} of the benchmark {task} is not on this computer.",
        offline.REMEDY,
        task=info.name,
        dataset=info.dataset,
    )


def _unreadable_error(info: BenchmarkInfo, reason: Text | str) -> ProblemError:
    return fail(
        "evaluation.benchmark_unavailable",
        "The benchmark {task} can't be loaded: {reason}.",
        "Check the connection to the Hugging Face Hub, or choose another benchmark.",
        task=info.name,
        reason=reason if isinstance(reason, Text) else reason.rstrip("."),
    )


def _require_supported(info: BenchmarkInfo) -> None:
    """Raise ProblemError for a benchmark whose items can't be asked or scored as ours are."""
    if not info.is_supported:
        raise _unsupported_error(info.name)


def _unsupported_error(task: str) -> ProblemError:
    return fail(
        "evaluation.unsupported_benchmark",
        "The benchmark {task} is scored in a way that isn't supported.",
        "Choose a benchmark with choices, short answers, or texts.",
        task=task,
    )


def _to_item(key: str, task: Any, requests: list[Any]) -> EvaluationItem:
    """Return the item of one document; raises ProblemError for a kind that isn't supported."""
    first = requests[0]
    facts: dict[str, Any] = {"source": task.task_name, "row": first.doc_id + 1}
    match task.OUTPUT_TYPE:
        case "multiple_choice":
            return _to_choice_item(key, task, requests, facts)
        case "generate_until":
            prompt, settings = first.args[:2]
            stops = settings.get("until") or ()
            return create_item(
                test_set=key,
                raw_prompt=prompt,
                reference=_get_target(task, first.doc),
                metric=_choose_metric(task),
                stops=tuple([stops] if isinstance(stops, str) else stops),
                **facts,
            )
        case "loglikelihood_rolling":
            return create_item(test_set=key, reference=first.args[0], **facts)
    raise _unsupported_error(task.task_name)


def _to_choice_item(
    key: str, task: Any, requests: list[Any], facts: dict[str, Any]
) -> EvaluationItem:
    """Return a multiple-choice item.

    The delimiter ends the prompt, because the length of a choice counts without it. Blanks at the end of
    a prompt are scored as part of the choice in any case.
    """
    document = requests[0].doc
    choices = list(task.doc_to_choice(document))
    gold = task.doc_to_target(document)
    delimiter = task.config.target_delimiter
    correct = choices.index(gold) if isinstance(gold, str) and gold in choices else gold
    if task.multiple_input or not isinstance(correct, int) or delimiter.strip():
        raise _unsupported_error(task.task_name)
    return create_item(
        test_set=key,
        raw_prompt=requests[0].args[0] + delimiter,
        choices=choices,
        correct=correct if 0 <= correct < len(choices) else None,
        **facts,
    )


def _get_target(task: Any, document: Any) -> str:
    """Return the text that an answer is compared with, the first one of several."""
    target = task.doc_to_target(document)
    if task.config.doc_to_choice is not None:
        target = task.doc_to_choice(document)[target]
    if isinstance(target, list | tuple):
        target = target[0] if target else ""
    return str(target)


def _choose_metric(task: Any) -> str:
    """Return the metric that is closest to the benchmark's own, "" for those that suit its answers."""
    metrics = {metric["metric"]: metric for metric in task.config.metric_list or ()}
    if (exact := metrics.get("exact_match")) is None:
        return ""
    filters = [
        step["function"] for each in task.config.filter_list or () for step in each["filter"]
    ]
    if "regex" in filters:
        return "number"
    is_lenient = any(exact.get(name) for name in ("ignore_case", "ignore_punctuation"))
    return "exact" if is_lenient else "exact:verbatim"
