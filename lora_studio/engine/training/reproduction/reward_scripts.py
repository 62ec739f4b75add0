"""The parts of the script that repeats a reward training: its settings for TRL, and its rewards."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lora_studio.core import limits
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import LANGUAGES, RewardSpec, name_rewards
from lora_studio.core.system.files import write_file
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.generation.turn_boundaries import (
    TurnEndCriteria,
    create_turn_end_criteria,
)
from lora_studio.engine.rewards import judge
from lora_studio.engine.tokens.encoder import EncodedPrompt
from lora_studio.engine.training.reproduction.statements import (
    ReproductionFacts,
    format_call,
    format_literal,
)

#: The version of TRL whose GRPOTrainer the script uses; training itself doesn't need TRL.
TRL_VERSION = "1.15.0"

#: Import names of the packages that rewards need, by kind.
_PACKAGES = {
    "regex": ("regex",),
    "json_schema": ("jsonschema",),
    "language": ("py3langid",),
    "similarity": ("sacrebleu",),
}


def list_packages(specs: Iterable[RewardSpec]) -> set[str]:
    """Return the import names of the packages that the rewards of a script need."""
    return {package for spec in specs for package in _PACKAGES.get(spec.kind, ())}


def write_prompts(facts: ReproductionFacts, folder: Path) -> None:
    """Write `prompts.jsonl`, a row each with its tokens and what rewards need, and the tokenizer."""
    tokenizer = facts.tuned.base.tokenizer
    lines = [_format_prompt(tokenizer, facts.rows[number]) for number in range(len(facts.rows))]
    write_file(folder / "prompts.jsonl", "".join(lines))
    tokenizer.save_pretrained(str(folder / "tokenizer"))


def _format_prompt(tokenizer: Any, row: Any) -> str:
    assert isinstance(row, EncodedPrompt)
    values = {
        "prompt": tokenizer.decode(row.ids.tolist()),
        "ids": row.ids.tolist(),
        "messages": [{"role": turn.role, "content": turn.content} for turn in row.messages],
        "reference": row.reference,
        "columns": dict(row.columns),
    }
    return json.dumps(values, ensure_ascii=False) + "\n"


def find_answer_ends(facts: ReproductionFacts) -> TurnEndCriteria:
    """Return what ended the answers of the run."""
    base = facts.tuned.base
    return create_turn_end_criteria(base.tokenizer, base.model.generation_config.eos_token_id)


def build_trl_values(facts: ReproductionFacts) -> dict[str, Any]:
    """Return the statements of train.py that configure TRL's trainer."""
    spec = facts.project.training
    settings = {
        "max_steps": "STEPS * UPDATES" if spec.rollout_passes > 1 else "STEPS",
        "per_device_train_batch_size": spec.micro_batch,
        "gradient_accumulation_steps": facts.plan.per_step * spec.group_size // spec.micro_batch,
        "num_generations": spec.group_size,
        "num_iterations": spec.rollout_passes,
        "max_completion_length": spec.rollout_tokens,
        "temperature": spec.rollout_temperature,
        "top_p": spec.rollout_top_p,
        **_get_loss_settings(facts),
        "reward_weights": "[*rewards.WEIGHTS.values()]",
        "max_grad_norm": spec.max_grad_norm,
        **({"neftune_noise_alpha": spec.neftune_alpha} if spec.neftune_alpha else {}),
        "shuffle_dataset": False,
        "gradient_checkpointing": False,  # the model has it already
        "bf16": facts.tuned.base.dtype == torch.bfloat16,
        "fp16": facts.tuned.base.dtype == torch.float16,
        "use_cpu": facts.tuned.base.device.type == "cpu",
        "seed": "SEED",
        "logging_steps": 1,
        "save_strategy": '"no"',
        "report_to": '"none"',
    }
    config = format_call(
        "args = trl.GRPOConfig",
        ['output_dir=str(OUT / "trainer")', *(f"{name}={value}" for name, value in settings.items())],
    )  # fmt: skip
    return {
        "on_cpu": facts.tuned.base.device.type == "cpu",
        "updates": spec.rollout_passes,
        "eos_ids": format_literal(sorted(find_answer_ends(facts).ids)),
        "config": config,
    }


def _get_loss_settings(facts: ReproductionFacts) -> dict[str, Any]:
    """Return TRL's settings of a variant: see `Grpo` for the formulas."""
    spec = facts.project.training
    variant = spec.grpo_variant
    loss = variant if variant in ("dr_grpo", "dapo") else "grpo"
    return {
        "loss_type": format_literal(loss),
        "importance_sampling_level": '"sequence"' if variant == "gspo" else '"token"',
        "epsilon": spec.clip_range.low,
        "epsilon_high": spec.clip_range.high,
        "scale_rewards": '"none"' if variant == "dr_grpo" else '"group"',
        "mask_truncated_completions": variant == "dapo",
        "beta": spec.kl_beta,
        "use_bias_correction_kl": False,
    }


def list_reward_differences(facts: ReproductionFacts) -> list[str]:
    """Return how a reward training by the script differs from the run, in whole sentences."""
    sentences = [
        "TRL draws other random numbers for the completions: losses and rewards agree on average only.",
        "TRL counts a reward without a value as 0; the run leaves the completion out.",
    ]
    if find_answer_ends(facts).text:
        sentences.append(
            "The run also ends completions at a text that isn't one token, TRL doesn't."
        )
    if facts.tuned.base.precision in ("4bit", "8bit"):
        sentences.append("TRL trains this adapter in bfloat16, the run in 32-bit.")
    sizes = {sum(map(len, facts.plan.get_step(step))) for step in range(facts.steps)}
    if len(sizes) > 1:
        sentences.append("Every step has as many prompts; in the run, an epoch's last had fewer.")
    return sentences


def build_reward_values(specs: Iterable[RewardSpec], folder: Path) -> dict[str, Any]:
    """Return the values of the template of rewards.py; schemas and functions are copied into `folder`."""
    specs = list(specs)
    kinds = {spec.kind for spec in specs}
    similarities = {spec.similarity for spec in specs if spec.kind == "similarity"}
    counts_words = any(
        spec.kind == "length" and spec.length_unit == "words" for spec in specs
    )  # fmt: skip
    has_schema = any(spec.kind == "json_schema" and spec.schema_file for spec in specs)
    return {
        "kinds": kinds,
        "similarities": similarities,
        "compares": bool(kinds & {"exact", "number", "contains", "similarity"}),
        "has_tags": bool(kinds - {"length", "format", "judge", "python"}),
        "has_words": "contains" in kinds or counts_words or bool(similarities - {"chrf"}),
        "has_schema": has_schema,
        "has_files": has_schema or "python" in kinds,
        "has_key": any(spec.kind == "judge" and spec.key_variable for spec in specs),
        "pattern_seconds": limits.PATTERN_SECONDS,
        "language_codes": format_literal(" ".join([*LANGUAGES, "nn"])),
        "judge_prompt": judge.TEMPLATE,
        "judge_options": format_literal(_get_judge_options(), indent=4),
        "rewards": [
            _build_reward(spec, name, file, folder)
            for spec, name, file in zip(specs, name_rewards(specs), _name_files(specs), strict=True)
        ],
        "weights": format_literal(
            {name: spec.weight for spec, name in zip(specs, name_rewards(specs), strict=True)}
        ),
    }


def _get_judge_options() -> dict[str, Any]:
    names = ("max_tokens", "temperature", "top_p", "seed")
    return {name: getattr(judge.SAMPLING, name) for name in names}


def _name_files(specs: Sequence[RewardSpec]) -> list[str]:
    """Return a unique name for the file of each reward, whatever the user has named it."""
    return name_rewards([spec.model_copy(update={"name": ""}) for spec in specs])


def _build_reward(spec: RewardSpec, name: str, file: str, folder: Path) -> dict[str, Any]:
    function, settings = _get_call(spec, file, folder)
    key = format_literal(name)
    arguments = [function, *(f"{setting}={value}" for setting, value in settings.items())]
    return {
        "key": key,
        "call": format_call(f"    {key}: partial", arguments, indent=4, end=1),
        "scale": spec.scale,
        "lowest": _format_bound(spec.lowest, "-math.inf"),
        "highest": _format_bound(spec.highest, "math.inf"),
    }


def _format_bound(value: float | None, otherwise: str) -> str:
    return otherwise if value is None or not math.isfinite(value) else repr(value)


def _get_call(spec: RewardSpec, file: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the function of rewards.py for a reward, and its settings as Python source."""
    literal = format_literal
    compared = {"column": literal(spec.column), "tag": literal(spec.answer_tag)}
    tag = {"tag": literal(spec.answer_tag)}
    match spec.kind:
        case "exact":
            return "exact", {"verbatim": literal(spec.verbatim)} | compared
        case "number":
            is_relative = spec.tolerance_unit == "percent"
            tolerance = spec.tolerance / 100 if is_relative else spec.tolerance
            return "number", {"tolerance": literal(tolerance), "relative": literal(is_relative)} | compared  # fmt: skip
        case "contains":
            return "contains", {"text": literal(spec.text)} | compared
        case "regex":
            return "match", {"pattern": literal(spec.pattern)} | tag
        case "json_schema":
            return "json_schema", {"schema": _copy_schema(spec, file, folder)} | tag
        case "language":
            return "language", {"wanted": literal(spec.language)} | tag
        case "similarity":
            return spec.similarity, compared
    return _get_plain_call(spec, file, folder)


def _get_plain_call(spec: RewardSpec, file: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return function and settings of a reward that rates the answer as a whole."""
    literal = format_literal
    match spec.kind:
        case "length":
            return "length", {
                "shortest": literal(spec.min_length),
                "longest": literal(spec.max_length),
                "unit": literal(spec.length_unit),
                "margin": literal(spec.length_margin),
            }
        case "format":
            return "tags_in_order", {"tags": literal([*spec.tags]), "only": literal(spec.only_tags)}
        case "judge":
            criteria = spec.criteria.strip() or judge.DEFAULT_CRITERIA
            return "judge", {
                "address": literal(judge.get_address(spec)),
                "model": literal(spec.model),
                "key": literal(spec.key_variable),
                "criteria": literal(criteria),
                "seconds": literal(spec.seconds),
            }
    write_file(folder / f"{file}.py", spec_module.read_trusted_source(Path(spec.code_file)))
    function = f'load_function(DATA / "{file}.py", {literal(spec.function)})'
    return "python", {"function": function}


def _copy_schema(spec: RewardSpec, file: str, folder: Path) -> str:
    """Copy the schema of a reward, and return the expression that reads it."""
    if not spec.schema_file:
        return "None"
    write_file(folder / f"{file}.json", read_text(Path(spec.schema_file)))
    return f'read_schema(DATA / "{file}.json")'
