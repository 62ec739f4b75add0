"""The loss that TRL's trainer reports for one optimizer step: `python -m … MODEL ROWS.json OUT`.

A process of its own, because TRL's kernels need Triton's interpreter where there is no GPU, which
has to be chosen before Triton is imported.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def trl_loss(model_folder: str, rows: list[dict[str, list[int]]], output: str) -> float:
    """One step over all rows, a micro-batch each; rows hold input_ids and labels."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=SFTConfig(
            output_dir=output, per_device_train_batch_size=1,
            gradient_accumulation_steps=len(rows), max_steps=1, learning_rate=1e-9,
            logging_steps=1, report_to="none", use_cpu=True, save_strategy="no", bf16=False,
            gradient_checkpointing=False, dataset_kwargs={"skip_prepare_dataset": True},
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
    )  # fmt: skip
    trainer.train()
    return float(next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    folder, rows_file, output_folder = sys.argv[1:]
    print(trl_loss(folder, json.loads(Path(rows_file).read_text("utf-8")), output_folder))
