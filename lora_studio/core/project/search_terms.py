"""Synonyms: terms that people type for a setting or a command that has another name here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

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
    "lora.adapter_type": "peft type miss bone lora",
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
    "training.preference": "dpo orpo kto simpo cpo preference rlhf reward model bradley terry",
    "training.class_weights": "classification classifier sequence classification labels imbalance class weights f1",
    "training.grpo_variant": "grpo dr grpo dapo gspo ppo rlvr reinforcement learning rl reward loss_type",
    "training.group_size": "num_generations group size rollouts g",
    "training.rollout_tokens": "max_completion_length max tokens answer length",
    "training.rollout_passes": "num_iterations mu ppo epochs",
    "training.kl_beta": "kl beta reference divergence",
    "training.clip_low": "epsilon clip clipping",
    "training.clip_high": "epsilon_high clip higher clipping",
    "training.dpo_loss": "loss_type sigmoid hinge slic ipo robust cdpo",
    "training.teacher": "distillation knowledge teacher student kd gkd minillm",
    "training.distillation_weight": "distillation alpha lambda kl weight",
    "training.distillation_temperature": "distillation temperature soft targets",
    "training.distillation_top_k": "distillation top-k logits sparse cache",
    "training.beta": "beta dpo temperature tau",
    "training.simpo_beta": "simpo beta reward scale",
    "training.simpo_gamma": "simpo gamma gamma_beta_ratio target reward margin",
    "training.label_smoothing": "label_smoothing noisy labels swapped robust",
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
    "training.best_by": "metric_for_best_model generation accuracy",
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
    "new": "new project create",
    "open": "open project load",
    "save": "save project",
    "save_as": "save as copy project duplicate",
    "folder": "show project folder file manager explorer finder",
    "undo": "undo revert",
    "redo": "redo",
    "quit": "quit exit close",
    "cluster": "export for cluster slurm remote multi-node accelerate",
    "library": "adapter library adapters lora",
    "diagnostics": "diagnostics bug report support",
    "logs": "show log logs error traceback",
    "help": "help documentation docs manual reference field",
    "shortcuts": "keyboard shortcuts hotkeys cheat sheet",
    "tour": "tour tutorial getting started introduction",
    "about": "about version license licenses",
    "sign_in": "sign in log in login hugging face token hf_token hub token access token account gated private",
    "job": "show running job progress",
    "stop": "stop cancel abort end running job",
    "pause": "pause training",
    "problem": "next problem error warning",
    "primary": "main button start training continue",
    "go_home": "home start recent projects",
    "go_model": "base model checkpoint import gguf download hugging face hub",
    "go_lora": "lora adapter",
    "go_dataset": "dataset data rows findings duplicates clean lint personal data pii columns mapping lengths",
    "go_runs": "runs history experiments compare delete queue grid search tags",
    "go_evaluation": "evaluate evaluation benchmark accuracy exact match rouge perplexity compare better forgetting test lm-eval",
    "go_playground": "playground chat inference test compare models blind vote temperature",
    "go_settings": "settings preferences options dark mode light mode theme offline proxy language cache free space",
    "go_export": "export gguf ollama hugging face upload push to hub quantize serve openai api llama-server lm studio",
    "go_merging": "merge fuse",
    "go_training": "train start training fine-tune finetune memory vram flash attention loss",
    "larger": "larger text zoom in font size",
    "smaller": "smaller text zoom out font size",
    "settings.theme": "dark mode light mode appearance color scheme theme",
    "settings.text_size": "text font size zoom",
    "settings.language": "language translation locale deutsch english german",
    "settings.engine": "engine pytorch torch cuda install update python",
    "settings.network": "network privacy telemetry contacted hosts offline mode proxy",
    "settings.trusted_code": "trusted code remote code consent",
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


#: Similarity of two names, 0 to 1, from which one may be a misspelling of the other.
_ALIKE = 0.75
#: Number of settings that are suggested at once.
_MOST_SUGGESTED = 3


def suggest_settings(typed: str, settings: Iterable[str]) -> list[str]:
    """Return the settings, as `step.field`, that an unknown name may mean, best first; it may lack the step.

    Those are settings of other steps with this name, else those that it is a synonym of, else those with a similar
    name or synonym.
    """
    step, _, field = to_american(typed.lower()).strip().replace("-", "_").rpartition(".")
    rated = []
    for setting in settings:
        own_step, _, own_field = setting.partition(".")
        terms = SYNONYMS.get(setting, "")
        if own_field == field:
            rating = (0, 0.0)
        elif field in terms.split():
            rating = (1, 0.0)
        elif "_" in field and field.replace("_", " ") in terms.replace("_", " "):
            rating = (2, 0.0)
        else:
            name = SequenceMatcher(None, field, own_field).ratio()
            term = max((SequenceMatcher(None, field, t).ratio() for t in terms.split()), default=0)
            if max(name, term) < _ALIKE:
                continue
            rating = (3, -name) if name >= _ALIKE else (4, -term)
        rated.append((rating, own_step != step, setting))
    rated.sort()
    return [each[2] for each in rated if each[0][0] == rated[0][0][0]][:_MOST_SUGGESTED]
