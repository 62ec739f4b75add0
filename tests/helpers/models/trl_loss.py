"""Print what TRL's trainers report for one optimizer step.

    python -m tests.helpers.models.trl_loss METHOD MODEL ROWS.json OUT [BASE]

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


def trl_step(method: str, model: Path, rows: list[Any], folder: Path, base: Path | None = None) -> dict[str, Any]:  # fmt: skip
    """Return what the trainer logs for one step over all rows, and its token ids of them.

    For "sft", rows hold input_ids and labels and are one micro-batch each; for the others they are
    text and one micro-batch. `base` is the reference model, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.json"
    file.write_text(json.dumps(rows), "utf-8")
    arguments = [method, model, file, folder / "out", *([base] if base else [])]
    completed = subprocess.run(
        [sys.executable, "-m", "tests.helpers.models.trl_loss", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    logged: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return logged


def _main(method: str, model: str, rows: list[dict[str, Any]], output: str, base: str = "") -> None:
    import torch
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    config, trainer_class = {
        "sft": (trl.SFTConfig, trl.SFTTrainer),
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": (trl.KTOConfig, trl.KTOTrainer),
        "orpo": (ORPOConfig, ORPOTrainer),
    }[method]
    together = 1 if method == "sft" else len(rows)
    settings: dict[str, Any] = {
        "output_dir": output, "per_device_train_batch_size": together,
        "gradient_accumulation_steps": len(rows) // together, "max_steps": 1, "learning_rate": 1e-9,
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "save_strategy": "no", "bf16": False,
        "gradient_checkpointing": False, "disable_tqdm": True,
    }  # fmt: skip
    if method == "sft":
        settings["dataset_kwargs"] = {"skip_prepare_dataset": True}
    if method == "kto":
        settings["train_sampling_strategy"] = "sequential"
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) if base else None
    trainer = trainer_class(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=config(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        **({"ref_model": reference} if base else {}),
    )
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "loss" in entry)
    print(json.dumps({"log": log, "rows": list(trainer.train_dataset)}))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    how, folder, rows_file, *others = sys.argv[1:]
    _main(how, folder, json.loads(Path(rows_file).read_text("utf-8")), *others)
