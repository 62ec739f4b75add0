"""Print the advantages, losses, and metrics of TRL's GRPOTrainer for given answers, and save the gradients.

    python -m tests.helpers.models.trl_grpo CASE.json MODEL OUT

It is a separate process, because TRL's kernels need Triton's interpreter without a GPU, which must be
selected before Triton is imported. The last printed line is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_trl_grpo(case: dict[str, Any], model: Path, folder: Path) -> list[dict[str, Any]]:
    """Return `advantages`, `loss`, and `metrics` by TRL's names for each of the case's `variants`, which are
    settings of TRL and, in `rewards`, one number for each answer.

    `prompts` and `answers` are token ids, one prompt per answer; `old` and
    `reference` the log-probabilities of the answers' tokens. The gradients of variant n are in
    `folder`/n.safetensors, by parameter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_text(json.dumps(case), "utf-8")
    completed = subprocess.run(
        [sys.executable, "-m", "tests.helpers.models.trl_grpo", str(folder / "case.json"), str(model), str(folder)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    results: list[dict[str, Any]] = json.loads(completed.stdout.splitlines()[-1])
    return results


def _run(variant: dict[str, Any], case: dict[str, Any], model: str, file: Path) -> dict[str, Any]:
    import torch
    import trl
    from datasets import Dataset
    from safetensors.torch import save_file
    from torch.nn.utils.rnn import pad_sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def roll_out(prompts: list[str], _: Any) -> dict[str, Any]:
        logprobs = [[0.0] * len(answer) for answer in case["answers"]]
        return {"prompt_ids": case["prompts"], "completion_ids": case["answers"], "logprobs": logprobs}  # fmt: skip

    rows, group, rewards = len(case["answers"]), case["group"], variant.pop("rewards")
    config = trl.GRPOConfig(
        output_dir=str(file.with_suffix("")), per_device_train_batch_size=rows, num_generations=group,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, **variant,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    prompts = [f"prompt {number}" for number in range(rows // group)]
    trainer = trl.GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=lambda **_: rewards,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=tokenizer,
        rollout_func=roll_out,
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = [{"prompt": prompts[number // group]} for number in range(rows)]
    if trainer.beta:  # the reference is given
        trainer.ref_model = trainer.model
    inputs = trainer._generate_and_score_completions(batch)
    for name, key in (("old", "old_per_token_logps"), ("reference", "ref_per_token_logps")):
        values = [torch.tensor(row) for row in case[name]]
        inputs[key] = pad_sequence(values, batch_first=True)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    grads = {name: value.grad for name, value in trainer.model.named_parameters()}
    save_file({name: grad.clone() for name, grad in grads.items() if grad is not None}, file)
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    return {"advantages": inputs["advantages"].tolist(), "loss": float(loss.detach()), "metrics": metrics}  # fmt: skip


def _main(case_file: str, model: str, folder: str) -> None:
    case = json.loads(Path(case_file).read_text("utf-8"))
    results = [
        _run(variant, case, model, Path(folder) / f"{number}.safetensors")
        for number, variant in enumerate(case["variants"])
    ]
    print(json.dumps(results))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    _main(*sys.argv[1:])
