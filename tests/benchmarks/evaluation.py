"""Compare evaluations with lm-eval's Hugging Face runner: the same items, in one run of lm-eval each.

    python -m tests.benchmarks.evaluation [--items 48] [--rounds 2] [--busy]

SmolLM2-135M-Instruct in float32 answers and scores items made from the sample data: questions with four
answers to choose from (two examples before each), sums to complete (four examples), and texts whose
perplexity is measured. lm-eval makes the requests and the scores; only the runner differs: its own one
for Hugging Face models, with a batch size of 1 (its default) and of 8, or the batches of an evaluation
here. They take turns (A-B-C-A-B-C), and every score of every item must be the same. The goal is against
the faster of lm-eval's two.

Wall time is worthless on a CPU that other programs use; with `--busy`, every way gets one thread, and
its CPU seconds are counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.core.model.spec import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.system import paths
from lora_studio.engine.generation import batched, continuations, prefix_cache
from lora_studio.engine.model import sources
from tests.helpers.runs.jobs import recorded_job

#: lm-eval's seconds divided by ours, at least.
GOAL = 1.5

#: Largest difference of a log-probability, in nats; the order of float32 sums differs.
SAME_LOGPROB = 2e-2


WAYS = ("ours", "lm-eval, batch 1", "lm-eval, batch 8")

_DATA = "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {file}, train: {shots}}}}}\ntest_split: test\nfewshot_split: train\nfewshot_config: {{sampler: first_n}}\n"
TASKS = {
    "choices": (2, """
task: choices
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]
"""),
    "sums": (4, """
task: sums
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 24, do_sample: false}
metric_list: [{metric: exact_match}]
"""),
    "texts": (0, """
task: texts
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list: [{metric: word_perplexity}]
"""),
}  # fmt: skip


class BatchedRunner(LM):
    """The batches of an evaluation, behind lm-eval's interface of models."""

    def __init__(self, network: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._network, self._tokenizer, self._job = network, tokenizer, recorded_job()[0]

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """Return the log-probability of each continuation, and whether it is the most likely one."""
        pairs = [
            continuations.split_prompt_and_continuation(
                self._tokenizer, *request.args, add_special_tokens=True
            )
            for request in requests
        ]
        scores = dict(continuations.continuation_logprobs(self._network, pairs, self._job))
        return [(scores[i].logprob, scores[i].is_greedy) for i in range(len(pairs))]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """Return the log-probability of each text."""
        most = prefix_cache.get_context_length(self._network)
        windows = [
            (index, window)
            for index, request in enumerate(requests)
            for window in continuations.split_text(
                self._tokenizer, request.args[0], most, add_special_tokens=True
            )
        ]
        sums = [0.0] * len(requests)
        scored = continuations.continuation_logprobs(
            self._network, [window for _, window in windows], self._job
        )
        for position, score in scored:
            sums[windows[position][0]] += score.logprob
        return sums

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """Return the greedy answer to each prompt."""
        settings = requests[0].args[1]
        answers = batched.generate_batch(
            self._network, self._tokenizer, [request.args[0] for request in requests],
            Sampling(temperature=0.0, max_tokens=settings["max_gen_toks"]), self._job,
            stops=[request.args[1]["until"] for request in requests], add_special_tokens=True,
        )  # fmt: skip
        texts = {index: answer.text for index, answer in answers}
        return [texts[index] for index in range(len(requests))]


def write_tasks(folder: Path, count: int) -> None:
    """Write lm-eval's definitions, and the items, made from the sample data with a fixed seed."""
    lines = (paths.get_resources_folder() / "sample" / "assistant.jsonl").read_text("utf-8")
    turns = [json.loads(line)["messages"] for line in lines.splitlines()]
    pairs = [(t[-2]["content"], t[-1]["content"]) for t in turns if len(t) >= 2]
    dice = random.Random(7)
    dice.shuffle(pairs)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TASKS}
    for question, answer in pairs[: count + 8]:
        gold = dice.randrange(4)
        choices = [other for _, other in dice.sample(pairs, 3)]
        choices.insert(gold, answer)
        a, b = dice.randrange(2, 60), dice.randrange(2, 60)
        rows["choices"].append({"question": question, "choices": choices, "gold": gold})
        rows["sums"].append({"question": f"What is {a} + {b}?", "answer": str(a + b)})
        rows["texts"].append({"text": f"{question}\n{answer}"})
    for name, (_, definition) in TASKS.items():
        file, shots = folder / f"{name}.jsonl", folder / f"{name}-shots.jsonl"
        for path, chosen in ((file, rows[name][8:]), (shots, rows[name][:8])):
            path.write_text("".join(json.dumps(row) + "\n" for row in chosen), "utf-8")
        common = _DATA.format(file=file, shots=shots)
        (folder / f"{name}.yaml").write_text(definition + common, "utf-8")


def run(runner: LM, folder: Path, task: str, *, busy: bool) -> tuple[float, list[dict[str, Any]]]:
    """Return the seconds of a task in the runner, and lm-eval's record of each item."""
    clock = time.process_time if busy else time.perf_counter
    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def measure(*arguments: Any, **settings: Any) -> Any:
            nonlocal spent
            began = clock()
            result = call(*arguments, **settings)
            spent += clock() - began
            return result

        return measure

    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(runner, name, timed(getattr(type(runner), name).__get__(runner)))
    result = simple_evaluate(
        runner, tasks=[task], num_fewshot=TASKS[task][0], bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )  # fmt: skip
    return spent, sorted(result["samples"][task], key=lambda sample: sample["doc_id"])


def find_differences(
    task: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]
) -> list[str]:
    """Return the items whose answers or scores differ, in words."""
    metrics = {"choices": ("acc", "acc_norm"), "sums": ("exact_match",), "texts": ()}[task]
    found = []
    for a, b in zip(ours, theirs, strict=True):
        name = f"{task} {a['doc_id']}"
        found += [f"{name}: {m} {a[m]} ≠ {b[m]}" for m in metrics if a[m] != b[m]]
        for one, other in zip(a["resps"], b["resps"], strict=True):
            x, y = one[0], other[0]
            if isinstance(x, str):
                found += [f"{name}: {x!r} ≠ {y!r}"] if x != y else []
                continue
            x, y = (value[0] if isinstance(value, tuple | list) else value for value in (x, y))
            if not math.isclose(x, y, rel_tol=1e-4, abs_tol=SAME_LOGPROB):
                found.append(f"{name}: log-probability {x:.4f} ≠ {y:.4f}")
    return found


def compare(folder: Path, rounds: int, *, busy: bool) -> dict[str, Any]:
    """Run all ways in turns; return seconds, ratios, and what differs."""
    spec = ModelSpec(source=f"{BUILTIN_PREFIX}{DEFAULT_BUILTIN}")
    model = sources.resolve(spec, recorded_job()[0])
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    runners: dict[str, LM] = {
        "ours": BatchedRunner(network, tokenizer),
        "lm-eval, batch 1": HFLM(pretrained=network, tokenizer=tokenizer, batch_size=1),
        "lm-eval, batch 8": HFLM(pretrained=network, tokenizer=tokenizer, batch_size=8),
    }
    seconds: dict[str, dict[str, list[float]]] = {t: {way: [] for way in WAYS} for t in TASKS}
    differences: list[str] = []
    for number in range(rounds):
        for task in TASKS:
            records = {}
            for way in WAYS:
                spent, records[way] = run(runners[way], folder, task, busy=busy)
                seconds[task][way].append(spent)
            if not number:
                for way in WAYS[1:]:
                    differences += find_differences(task, records["ours"], records[way])
    medians = {t: {w: statistics.median(v) for w, v in ways.items()} for t, ways in seconds.items()}
    totals = {way: sum(medians[task][way] for task in TASKS) for way in WAYS}
    best = min(totals[way] for way in WAYS[1:])
    return {
        "seconds": medians,
        "totals": totals,
        "differences": differences,
        "ratio": best / totals["ours"],
    }


def main() -> int:
    """Measure; return 1 if the goal is missed or an item differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=48, help="items of each task")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="count processor time, one thread")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.busy:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_tasks(Path(folder), arguments.items)
        report = compare(Path(folder), arguments.rounds, busy=arguments.busy)
    for task, ways in (*report["seconds"].items(), ("all", report["totals"])):
        print(f"{task:12}", *(f"{way}: {ways[way]:.1f} s" for way in WAYS), sep="  ")
    print(*report["differences"] or ["every item has the same answers and scores"], sep="\n")
    print(f"lm-eval's faster way / ours: {report['ratio']:.2f}  (goal ≥ {GOAL})")
    return int(report["ratio"] < GOAL or bool(report["differences"]))


if __name__ == "__main__":
    sys.exit(main())
