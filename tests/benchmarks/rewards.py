"""Measure the speed of reward training: ours and TRL's GRPOTrainer on the CPU, in turns (A-B-A-B).

    python -m tests.benchmarks.rewards [--rounds 2] [--steps 3] [--prompts 4] [--answers 8] [--tokens 48]

SmolLM2-135M-Instruct in 32-bit with the same adapter, prompts, number of answers, and maximum length; every
way runs in a process of its own. TRL's log-probabilities are computed by PyTorch, since its kernel for them only
runs on GPUs. Counted are the tokens of answers, written and trained, per CPU second from the
end of the first step to the end of the last: other programs hardly change that. Tokens per second of elapsed
time are printed beside it. Answers are sampled, so both ways write different ones; tokens per second allow for
it. Every answer trains: rewards are spread so widely that no two answers to a prompt are likely to get the same.
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
#: The least that ours / TRL should be.
GOAL = 2.0
_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

#: CPU time and elapsed time in seconds at the end of a step, and the tokens of its answers.
_Moment = tuple[float, float, float]


def by_us(work: Path, recipe: dict[str, int]) -> dict[str, float]:
    """Train by our loop."""
    from lora_studio.core.protocol import events
    from tests.helpers.runs.jobs import new_run, train

    clock: list[_Moment] = []

    def note(event: Any, _: Any) -> None:
        if isinstance(event, events.StepDone):
            answers = recipe["prompts"] * recipe["answers"]
            clock.append(_read_clock(answers * event.figures["answer_tokens"]))

    run = new_run(
        work,
        model={"source": MODEL, "device": "cpu", "precision": "fp32"},
        lora={"rank": 16, "alpha": 32, "targets": "all_linear"},
        dataset={
            "sources": [{"path": str(work / "prompts.jsonl"), "format": "prompts"}],
            "validation_share": 0.0,
        },
        training={
            "micro_batch": 4, "gradient_accumulation": recipe["prompts"] // 4, "epochs": 1000,
            "max_steps": recipe["steps"], "group_size": recipe["answers"], "save_every": 0,
            "rollout_tokens": recipe["tokens"], "learning_rate": 1e-5,
            "rewards": [{"kind": "length", "max_length": 0, "length_margin": 10_000}],
        },
    )  # fmt: skip
    channel = train(run, note)
    assert isinstance(channel.events[-1], events.Done), channel.events[-1]
    return _compute_speed(clock)


def by_trl(work: Path, recipe: dict[str, int]) -> dict[str, float]:
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
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=rate,
        args=trl.GRPOConfig(
            output_dir=str(work / "trl"), per_device_train_batch_size=4,
            gradient_accumulation_steps=answers // 4, num_generations=recipe["answers"],
            max_completion_length=recipe["tokens"], max_steps=recipe["steps"], learning_rate=1e-5,
            use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
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


def _measure(way: str, work: Path, recipe: dict[str, int]) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if way == "TRL":  # to import its kernels; none of them runs
        environment["TRITON_INTERPRET"] = "1"
    arguments = ["--way", way, "--work", str(work)]
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


def main() -> int:
    """Print the speeds of each round and their ratio; return 1 if it is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {
        "rounds": 2,
        "steps": 3,
        "prompts": 4,
        "answers": 8,
        "tokens": 48,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--way", choices=list(_WAYS))
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    recipe = {name: getattr(options, name) for name in ("steps", "prompts", "answers", "tokens")}
    if options.way:
        print(json.dumps(_WAYS[options.way](options.work, recipe)))
        return 0
    speeds: dict[str, list[float]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for way in _WAYS:
                work = Path(folder) / f"{way}-{number}"
                work.mkdir()
                rows = ({"prompt": f"What is {n} plus {n + 3}? Explain."} for n in range(64))
                (work / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                result = _measure(way, work, recipe)
                speeds[way].append(result["per_second"])
                print(
                    f"{way}: {result['tokens']:.0f} tokens, {result['per_second']:.1f} per CPU second, "
                    f"{result['per_elapsed_second']:.1f} per second",
                    flush=True,
                )
    ratio = statistics.median(speeds["ours"]) / statistics.median(speeds["TRL"])
    print(f"ours / TRL: {ratio:.2f} (goal {GOAL})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
