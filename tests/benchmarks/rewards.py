"""Measure the speed of reward training: ours and TRL's GRPOTrainer on the CPU, in turns (A-B-A-B).

    python -m tests.benchmarks.rewards [--precision fp32|bf16] [--kinds task short] [--rounds 2] [--steps 2]
        [--prompts 4] [--answers 8] [--tokens 64] [--micro_batch 4]

SmolLM2-135M-Instruct with the same adapter, precision, prompts, number of answers, and maximum length; every
way runs in a process of its own with one thread. Counted are the tokens of answers, written and trained, per
CPU second from the end of the first step to the end of the last: other programs change that much less than the
elapsed time, whose tokens per second are printed beside it. Answers are sampled and end by themselves, so both ways write
different ones; tokens per second allow for it. Every answer trains: rewards are spread so widely that no two
answers to a prompt are likely to get the same.

A prompt decides how much there is to share: we compute it once for its answers, TRL once for each, both while
writing and while training. There are two kinds:

- task: what a model needs to be rated by rules: the task, the format to answer in, and an example, then the
  question; 206 tokens with the chat template. The goal is for these.
- short: a bare question, where there is little to share; 42 tokens.

TRL uses its cache, writes all answers of a step in one batch, computes no old log-probabilities, since there is
one update per step, and has the same micro-batch. Its log-probabilities are computed by PyTorch, since its kernel
for them only runs on GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "builtin:SmolLM2-135M-Instruct"
#: A task as users write it for rewards that check format and result.
_TASK = (
    "Solve the problem below. First explain in a few short sentences how you get to the result, one step "
    "in each sentence, between <reasoning> and </reasoning>. Then write nothing but the number that is the "
    "result between <answer> and </answer>, without units or any other words.\n\nExample:\nProblem: Anna has 3 "
    "boxes with 4 pens in each. She gives 5 pens away. How many pens does she keep?\n<reasoning>There are 3 * 4 = "
    "12 pens in the boxes. After giving 5 away, 12 - 5 = 7 pens are left.</reasoning>\n<answer>7</answer>\n\nProblem: "
)
#: Questions by kind, for a number.
_PROMPTS: dict[str, str] = {
    "task": _TASK
    + "A shop sells {n} apples in the morning and {more} in the afternoon. How many does it sell that day?",
    "short": "What is {n} plus {more}? Explain.",
}
#: The least that ours / TRL should be.
GOAL = 2.0
_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

#: CPU time and elapsed time in seconds at the end of a step, and the tokens of its answers.
_Moment = tuple[float, float, float]


def by_us(work: Path, recipe: dict[str, int], precision: str) -> dict[str, float]:
    """Train by our loop."""
    from lora_studio.core.protocol import events
    from tests.helpers.runs.jobs import new_run, train

    clock: list[_Moment] = []

    def note(event: Any, _: Any) -> None:
        if isinstance(event, events.StepDone):
            answers = recipe["prompts"] * recipe["answers"]
            clock.append(_read_clock(answers * event.metrics["answer_tokens"]))

    run = new_run(
        work,
        model={"source": MODEL, "device": "cpu", "precision": precision},
        lora={"rank": 16, "alpha": 32, "targets": "all_linear"},
        dataset={
            "sources": [{"path": str(work / "prompts.jsonl"), "format": "prompts"}],
            "validation_share": 0.0,
        },
        training={
            "micro_batch": recipe["micro_batch"], "epochs": 1000,
            "gradient_accumulation": recipe["prompts"] // recipe["micro_batch"],
            "max_steps": recipe["steps"], "group_size": recipe["answers"], "save_every": 0,
            "rollout_tokens": recipe["tokens"], "learning_rate": 1e-5,
            "rewards": [{"kind": "length", "max_length": 0, "length_margin": 10_000}],
        },
    )  # fmt: skip
    channel = train(run, note)
    assert isinstance(channel.events[-1], events.Done), channel.events[-1]
    return _compute_speed(clock)


def by_trl(work: Path, recipe: dict[str, int], precision: str) -> dict[str, float]:
    """Train by TRL's GRPOTrainer, with the same micro-batches."""
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from lora_studio.core.model.spec import ModelSpec
    from lora_studio.engine.model import sources
    from tests.helpers.runs.jobs import make_job

    folder = sources.resolve(ModelSpec(source=MODEL), make_job())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    clock: list[_Moment] = []
    written: list[int] = []

    def rate(completion_ids: list[list[int]], **_: Any) -> list[float]:
        written.append(sum(map(len, completion_ids)))
        return [max(0.0, 1 - len(ids) / 100) for ids in completion_ids]

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.append(_read_clock(float(written[-1])))

    rows = [json.loads(line) for line in (work / "prompts.jsonl").read_text().splitlines()]
    answers = recipe["prompts"] * recipe["answers"]

    class PlainHead(trl.GRPOTrainer):
        """Computes log-probabilities by PyTorch: TRL's kernel for them can't be compiled for a CPU."""

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Any,
            attention_mask: Any,
            logits_to_keep: int,
            *_: Any,
            **__: Any,
        ) -> tuple[Any, Any, None]:
            logits = model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                logits_to_keep=logits_to_keep + 1,
            ).logits[:, :-1]
            chosen = logits.gather(-1, input_ids[:, -logits_to_keep:, None])[..., 0]
            logprobs = chosen - logits.logsumexp(-1)
            return logprobs, torch.zeros_like(logprobs), None

    trainer = PlainHead(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if precision == "bf16" else torch.float32),
        reward_funcs=rate,
        args=trl.GRPOConfig(
            output_dir=str(work / "trl"), per_device_train_batch_size=recipe["micro_batch"],
            gradient_accumulation_steps=answers // recipe["micro_batch"], num_generations=recipe["answers"],
            max_completion_length=recipe["tokens"], max_steps=recipe["steps"], learning_rate=1e-5,
            use_cpu=True, bf16=precision == "bf16", gradient_checkpointing=False, report_to="none", save_strategy="no",
            disable_tqdm=True, temperature=1.0,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=_LAYERS, task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    return _compute_speed(clock)


def _read_clock(tokens: float) -> _Moment:
    return time.process_time(), time.monotonic(), tokens


def _compute_speed(clock: list[_Moment]) -> dict[str, float]:
    """Return the tokens of answers after the first step, and per second of CPU time and of elapsed time."""
    tokens = sum(tokens for *_, tokens in clock[1:])
    cpu, elapsed = clock[-1][0] - clock[0][0], clock[-1][1] - clock[0][1]
    return {"tokens": tokens, "per_second": tokens / cpu, "per_elapsed_second": tokens / elapsed}


_WAYS = {"ours": by_us, "TRL": by_trl}


def _measure(way: str, work: Path, recipe: dict[str, int], precision: str) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if way == "TRL":  # to import its kernels; none of them runs
        environment["TRITON_INTERPRET"] = "1"
    arguments = ["--way", way, "--work", str(work), "--precision", precision]
    arguments += [text for name, value in recipe.items() for text in (f"--{name}", str(value))]
    completed = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.rewards", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    if completed.returncode:
        sys.exit(completed.stderr[-4000:])
    result: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return result


def compare(kind: str, rounds: int, recipe: dict[str, int], precision: str) -> float:
    """Print the speeds of each round with one kind of prompts; return ours / TRL's."""
    speeds: dict[str, list[float]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for way in _WAYS:
                work = Path(folder) / f"{way}-{number}"
                work.mkdir()
                rows = ({"prompt": _PROMPTS[kind].format(n=n, more=n + 3)} for n in range(3, 67))
                (work / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                result = _measure(way, work, recipe, precision)
                speeds[way].append(result["per_second"])
                print(
                    f"{way}: {result['tokens']:.0f} tokens, {result['per_second']:.1f} per CPU second, "
                    f"{result['per_elapsed_second']:.1f} per second",
                    flush=True,
                )
    ratio = statistics.median(speeds["ours"]) / statistics.median(speeds["TRL"])
    goal = f" (goal {GOAL})" if kind == "task" else ""
    print(f"{kind} prompts, {precision}: ours / TRL: {ratio:.2f}{goal}", flush=True)
    return ratio


def main() -> int:
    """Print the speeds of each round and their ratio; return 1 if it is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"steps": 2, "prompts": 4, "answers": 8, "tokens": 64, "micro_batch": 4}
    for name, default in {"rounds": 2, **sizes}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kinds", nargs="+", choices=list(_PROMPTS), default=list(_PROMPTS))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--way", choices=list(_WAYS))
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    recipe = {name: getattr(options, name) for name in sizes}
    if options.way:
        print(json.dumps(_WAYS[options.way](options.work, recipe, options.precision)))
        return 0
    ratios = {
        kind: compare(kind, options.rounds, recipe, options.precision) for kind in options.kinds
    }
    return int(ratios.get("task", GOAL) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
