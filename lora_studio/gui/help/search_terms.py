"""Synonyms: terms that people type for a setting or a command that has another name here."""

from __future__ import annotations

import re

#: Field of a step, as `step.field`, or name of a command or page -> other terms for it, in American
#: spelling. They are searched in every language of the window.
SYNONYMS: dict[str, str] = {
    "model.source": "base model checkpoint huggingface hub path",
    "model.precision": "quantize quantization qlora 4-bit 8-bit bitsandbytes load_in_4bit dtype bf16 fp16",
    "model.quant_type": "nf4 fp4 bnb_4bit_quant_type",
    "model.double_quant": "double quantization nested bnb_4bit_use_double_quant",
    "model.device": "gpu cuda cpu mps device_map",
    "model.sharding": "fsdp ddp multi-gpu distributed",
    "model.trust_remote_code": "trust remote code custom code",
    "lora.rank": "r lora_r dimension",
    "lora.alpha": "lora_alpha scaling",
    "lora.dropout": "lora_dropout",
    "lora.targets": "target_modules layers",
    "lora.target_names": "target_modules layers",
    "lora.use_rslora": "rslora rank-stabilized",
    "lora.init": "init_lora_weights pissa eva initialization",
    "lora.blocks": "layers_to_transform",
    "lora.own_ranks": "rank_pattern alpha_pattern",
    "lora.modules_to_save": "modules_to_save embeddings lm_head",
    "lora.start_from": "continue adapter resume checkpoint",
    "dataset.sources": "files data jsonl csv parquet upload",
    "dataset.max_length": "seq length sequence length max_seq_length context length max tokens cutoff",
    "dataset.too_long": "truncate truncation split drop",
    "dataset.train_on": "loss mask completion only assistant_only_loss",
    "dataset.thinking": "reasoning think chain of thought",
    "dataset.validation_share": "eval split test size",
    "dataset.validation_count": "eval split test size",
    "dataset.chat_template": "jinja prompt format",
    "training.preference": "dpo orpo kto preference rlhf",
    "training.beta": "beta dpo temperature",
    "training.epochs": "num_train_epochs",
    "training.max_steps": "max_steps step limit",
    "training.micro_batch": "batch size per_device_train_batch_size",
    "training.gradient_accumulation": "batch size effective gradient_accumulation_steps",
    "training.learning_rate": "lr",
    "training.lora_plus_ratio": "loraplus_lr_ratio",
    "training.schedule": "lr_scheduler_type cosine linear scheduler",
    "training.warmup_share": "warmup_ratio",
    "training.warmup_steps": "warmup_steps",
    "training.lowest_rate": "min_lr",
    "training.schedule_cycles": "num_cycles restarts",
    "training.optimizer": "adam adamw lion sgd optim",
    "training.weight_decay": "regularization l2",
    "training.max_grad_norm": "gradient clipping clip",
    "training.gradient_checkpointing": "activation checkpointing memory",
    "training.packing": "sequence packing",
    "training.liger": "liger fused kernels",
    "training.torch_compile": "compile inductor",
    "training.eval_every": "eval_steps evaluation",
    "training.save_every": "save_steps checkpoint",
    "training.keep_checkpoints": "save_total_limit",
    "training.keep_best": "load_best_model_at_end",
    "training.early_stopping": "patience",
    "training.sample_tokens": "max tokens max_new_tokens",
    "training.backend": "unsloth peft",
    "training.trackers": "wandb tensorboard mlflow report_to logging",
    "training.seed": "random seed reproducibility",
    "merging.dtype": "bf16 fp16 fp32 precision",
    "merging.weight": "adapter scale",
    "merging.shard_size_gb": "max_shard_size",
    "export.quantizations": "quantize quantization gguf q4_k_m q8_0 bits",
    "export.imatrix": "importance matrix calibration",
    "export.num_ctx": "context length max tokens window",
    "export.temperature": "sampling",
    "export.top_p": "nucleus sampling",
    "export.self_test": "verify validation",
    "cluster": "slurm remote multi-node accelerate",
    "library": "adapters lora",
    "diagnostics": "bug report support",
    "go_runs": "history experiments",
    "go_playground": "chat inference test",
    "go_settings": "preferences options dark mode light mode theme offline proxy language",
    "go_export": "gguf ollama hugging face upload push quantize serve openai api llama-server",
    "go_merging": "merge fuse",
    "go_training": "fine-tune finetune",
    "larger": "zoom in font size",
    "smaller": "zoom out font size",
    "settings.theme": "dark mode light mode appearance color scheme",
    "settings.text_size": "font size zoom",
    "settings.language": "translation locale",
}

#: British spellings of parts of words, and the American ones that the search uses.
_AMERICAN = (
    (r"(quanti|optimi|tokeni|normali|initiali|regulari|visuali|summari|stabili|organi)s(e|a|i)", r"\1z\2"),
    (r"colour", "color"),
    (r"labell(ed|ing)", r"label\1"),
    (r"licence", "license"),
    (r"catalogue", "catalog"),
    (r"behaviour", "behavior"),
    (r"neighbour", "neighbor"),
    (r"\bgrey", "gray"),
    (r"centre", "center"),
)  # fmt: skip


def to_american(text: str) -> str:
    """Return text in lower case with British spellings replaced by American ones."""
    for british, american in _AMERICAN:
        text = re.sub(british, american, text)
    return text
