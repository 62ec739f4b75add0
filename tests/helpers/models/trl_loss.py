"""Print what TRL's trainers report for one optimizer step, and save the gradients.

    python -m tests.helpers.models.trl_loss VARIANTS.json MODEL ROWS.json OUT [BASE]

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


def trl_steps(
    variants: list[dict[str, Any]],
    model: Path,
    rows: list[Any],
    folder: Path,
    base: Path | None = None,
) -> list[dict[str, Any]]:
    """Return what each of several trainers logs for one step over all rows, and its token ids of them.

    A variant has the method of its trainer, and settings of TRL. For "sft", rows hold input_ids and labels
    and are one micro-batch each; for the others they are text and one micro-batch. `base` is the reference
    model, if there is one. "model" and "rows" of a variant take precedence. The gradients of variant n are in
    `folder`/out/n.safetensors, by parameter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "variants.json", folder / "rows.json"
    for file, content in zip(files, (variants, rows), strict=True):
        file.write_text(json.dumps(content), "utf-8")
    arguments = [files[0], model, files[1], folder / "out", *([base] if base else [])]
    completed = subprocess.run(
        [sys.executable, "-m", "tests.helpers.models.trl_loss", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    logged: list[dict[str, Any]] = json.loads(completed.stdout.splitlines()[-1])
    return logged


def _train(
    variant: dict[str, Any], model: str, rows: list[dict[str, Any]], output: Path, base: str
) -> dict[str, Any]:
    import torch
    import trl
    from datasets import Dataset
    from safetensors.torch import save_file
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class SaveGradients(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
            grads = {name: value.grad for name, value in model.named_parameters()}
            output.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: grad.clone() for name, grad in grads.items() if grad is not None}, output)  # fmt: skip

    method = variant.pop("method")
    config, trainer_class = {
        "sft": (trl.SFTConfig, trl.SFTTrainer),
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": (trl.KTOConfig, trl.KTOTrainer),
        "orpo": (ORPOConfig, ORPOTrainer),
        "cpo": (CPOConfig, CPOTrainer),
        "reward": (trl.RewardConfig, trl.RewardTrainer),
    }[method]
    together = 1 if method == "sft" else len(rows)
    settings: dict[str, Any] = {
        "output_dir": str(output.with_suffix("")), "per_device_train_batch_size": together,
        "gradient_accumulation_steps": len(rows) // together, "max_steps": 1, "learning_rate": 1e-9,
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "save_strategy": "no", "bf16": False,
        "gradient_checkpointing": False, "disable_tqdm": True, "max_grad_norm": 0.0, **variant,
    }  # fmt: skip
    if method == "sft":
        settings["dataset_kwargs"] = {"skip_prepare_dataset": True}
    if method == "kto":
        settings["train_sampling_strategy"] = "sequential"
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    needs_reference = base and method in ("dpo", "kto")
    reference = {"ref_model": AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)} if needs_reference else {}  # fmt: skip
    auto = AutoModelForSequenceClassification if method == "reward" else AutoModelForCausalLM
    trainer = trainer_class(
        model=auto.from_pretrained(model, dtype=torch.float32),
        args=config(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[SaveGradients()],
        **reference,
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return {"log": log, "rows": list(trainer.train_dataset)}


def _main(variants: str, model: str, rows: str, output: str, base: str = "") -> None:
    results = []
    for number, variant in enumerate(json.loads(Path(variants).read_text("utf-8"))):
        content = json.loads(Path(rows).read_text("utf-8"))
        own_model, content = variant.pop("model", model), variant.pop("rows", content)
        results.append(_train(variant, own_model, content, Path(output) / f"{number}.safetensors", base))  # fmt: skip
    print(json.dumps(results))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    _main(*sys.argv[1:])
