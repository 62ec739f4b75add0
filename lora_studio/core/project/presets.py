"""Named recipes: one table, shared by the window and the command line.

Every preset sets the fields of `RESET`, those that it doesn't name to their defaults, so that nothing of a
previous preset remains. Another field changes only with a preset that names it, such as the model's precision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.problems import Step, fail
from lora_studio.core.project.project import SPECS, Draft
from lora_studio.core.spec import FieldFacts, get_facts

#: Settings that keep their ratio to another one, by that other one.
RATIOS: dict[SettingPath, SettingPath] = {("lora", "rank"): ("lora", "alpha")}


def get_ratio(get: Callable[[Step, str], Any], setting: SettingPath) -> float | None:
    """Return how many times `setting` the setting that follows it is; None if that is unknown."""
    value, following = get(*setting), get(*RATIOS[setting])
    is_known = isinstance(value, int) and isinstance(following, int) and value > 0
    return following / value if is_known else None


def scale_alpha(alpha: int, rank: int, new_rank: int) -> int:
    """Return the alpha that keeps alpha / rank for another rank, within its bounds."""
    limit = int(get_facts(LoraSpec, "alpha").maximum or alpha)
    return min(max(1, round(alpha / rank * new_rank)), limit)


def list_following_changes(
    get: Callable[[Step, str], Any], step: Step, field: str, value: Any
) -> list[tuple[Step, str, Any]]:
    """Return the changes of settings that follow `step.field` when it becomes `value`.

    `get` returns the values before the change. Nothing follows an invalid value.
    """
    if (step, field) not in RATIOS or get_ratio(get, (step, field)) is None:
        return []
    new_rank = _parse_rank(value)
    if new_rank is None:
        return []
    return [("lora", "alpha", scale_alpha(get("lora", "alpha"), get("lora", "rank"), new_rank))]


def _parse_rank(value: Any) -> int | None:
    """Return a rank as typed on the command line or in a field; None if it isn't valid."""
    try:
        return LoraSpec.model_validate({"rank": value}).rank
    except ValueError:
        return None


def list_linked_changes(
    get: Callable[[Step, str], Any], settings: Collection[tuple[Step, str, Any]]
) -> list[tuple[Step, str, Any]]:
    """Return changes of several settings, with those that follow them and aren't among them."""
    explicit = {(step, field) for step, field, _ in settings}
    following = [
        change
        for setting in settings
        for change in list_following_changes(get, *setting)
        if change[:2] not in explicit
    ]
    return [*settings, *following]


SettingPath = tuple[Step, str]


@dataclass(frozen=True)
class Preset:
    """A recipe: `name` on the command line, `title` and one phrase on what it is for.

    `evidence` says what was measured with these values, by whom, and against what.
    """

    name: str
    title: str
    text: str
    values: Mapping[SettingPath, Any]
    evidence: str = ""


PRESETS: tuple[Preset, ...] = (
    Preset(
        "quick",
        "Quick test",
        "60 steps to see whether training works",
        MappingProxyType(
            {
                ("training", "epochs"): 1.0,
                ("training", "max_steps"): 60,
                ("lora", "rank"): 8,
                ("lora", "alpha"): 16,
            }
        ),
    ),
    Preset("balanced", "Balanced", "A good default: start here", MappingProxyType({})),
    Preset(
        "best",
        "Best quality",
        "Longer, higher rank, with early stopping",
        MappingProxyType(
            {
                ("training", "epochs"): 6.0,
                ("training", "learning_rate"): 1e-4,
                ("training", "cadence"): "epochs",
                ("training", "eval_every"): 0.5,
                ("training", "save_every"): 0.5,
                ("training", "early_stopping"): 3,
                ("lora", "rank"): 64,
                ("lora", "alpha"): 128,
                ("lora", "dropout"): 0.05,
            }
        ),
    ),
    Preset(
        "memory",
        "Low memory",
        "4-bit, micro-batch of 1: slower, much less memory",
        MappingProxyType(
            {
                ("model", "precision"): "4bit",
                ("training", "micro_batch"): 1,
                ("training", "gradient_accumulation"): 16,
                ("training", "gradient_checkpointing"): "on",
                ("training", "optimizer"): "paged_adamw_8bit",
                ("lora", "rank"): 8,
                ("lora", "alpha"): 16,
            }
        ),
    ),
    # The figures of both: huggingface/peft, method_comparison/MetaMathQA/results, runs of 2026-07-15;
    # memory is `accelerator_memory_max`.
    Preset(
        "rslora",
        "rsLoRA, rank 64",
        "Learns more: rank 64 on q and v, with a stabilized scale",
        MappingProxyType(
            {
                ("training", "learning_rate"): 1e-4,
                ("lora", "rank"): 64,
                ("lora", "alpha"): 64,
                ("lora", "targets"): "attention_qv",
                ("lora", "use_rslora"): True,
                ("lora", "use_dora"): False,
                ("lora", "adapter_type"): "lora",
                ("lora", "init"): "default",
            }
        ),
        "In PEFT's method comparison (Llama-3.2-3B, MetaMathQA), 51.3 % of the answers were correct, "
        "compared with 47.8 % for LoRA with rank 32, and training used 21.0 GiB instead of 20.8 GiB. "
        "It also forgot more: the loss on Wikipedia articles rose by 0.11 instead of 0.05.",
    ),
    Preset(
        "mlp",
        "MLP only",
        "Forgets less: rank 10 on the MLP layers",
        MappingProxyType(
            {
                ("training", "learning_rate"): 1e-4,
                ("lora", "rank"): 10,
                ("lora", "alpha"): 20,
                ("lora", "targets"): "mlp",
                ("lora", "use_rslora"): False,
                ("lora", "use_dora"): False,
                ("lora", "adapter_type"): "lora",
                ("lora", "init"): "default",
            }
        ),
        "In PEFT's method comparison (Llama-3.2-3B, MetaMathQA), the loss on Wikipedia articles rose by "
        "only 0.03, compared with 0.05 for LoRA with rank 32 on q and v. 49.4 % of the answers were "
        "correct instead of 47.8 %, and training used 23.0 GiB instead of 20.8 GiB.",
    ),
)

#: Fields that a preset resets if it doesn't name them.
RESET: dict[Step, tuple[str, ...]] = {
    "lora": ("adapter_type", "rank", "alpha", "dropout", "targets", "use_rslora", "use_dora", "init"),
    "training": (
        "epochs", "max_steps", "micro_batch", "gradient_accumulation", "learning_rate", "optimizer",
        "gradient_checkpointing", "cadence", "eval_every", "save_every", "early_stopping",
    ),
}  # fmt: skip

#: The fields that presets set, in the order of the steps and of their declaration.
FIELDS: tuple[SettingPath, ...] = tuple(
    (step, name)
    for step, spec in SPECS.items()
    for name in spec.model_fields
    if name in RESET.get(step, ()) or any((step, name) in preset.values for preset in PRESETS)
)


@dataclass(frozen=True)
class SettingDifference:
    """What a preset would change in a project: one field, from one value to another."""

    step: Step
    field: str
    before: Any
    after: Any

    @property
    def text(self) -> Text:
        """Title and both values, such as "Rank 16 → 8"."""
        about = get_facts(SPECS[self.step], self.field)
        return Text(
            template="{setting} {before} → {after}",
            values={
                "setting": Text(template=about.title),
                "before": _format_value(about, self.before),
                "after": _format_value(about, self.after),
            },
        )


def find_preset(name: str) -> Preset:
    """Return the preset with a name; otherwise raises ProblemError, which lists the available ones."""
    match = next((preset for preset in PRESETS if preset.name == name), None)
    if match is None:
        names = listed([preset.name for preset in PRESETS])
        raise fail(
            "project.unknown_preset",
            "There is no preset named {name}.",
            "Available presets: {known}.",
            name=name,
            known=names,
        )
    return match


def get_values(preset: Preset) -> dict[SettingPath, Any]:
    """Return every field that a preset sets, and its value."""
    return {
        (step, name): preset.values.get((step, name), get_facts(SPECS[step], name).default)
        for step, name in FIELDS
        if name in RESET.get(step, ()) or (step, name) in preset.values
    }


def list_differences(get: Callable[[Step, str], Any], preset: Preset) -> list[SettingDifference]:
    """Return what a preset would change; `get` returns the current value of a field."""
    return [
        SettingDifference(step, name, get(step, name), after)
        for (step, name), after in get_values(preset).items()
        if get(step, name) != after
    ]


def find_current(get: Callable[[Step, str], Any]) -> Preset | None:
    """Return the preset that a project matches in every field that presets set."""
    return next((preset for preset in PRESETS if not list_differences(get, preset)), None)


def apply_preset(draft: Draft, preset: Preset) -> list[SettingDifference]:
    """Apply a preset to a draft and return the changes."""
    changes = list_differences(draft.get, preset)
    for change in changes:
        draft.set(change.step, change.field, change.after)
    return changes


def _format_value(about: FieldFacts, value: Any) -> Text:
    if about.kind == "choice":
        return Text(template=about.choices.get(str(value), str(value)))
    if isinstance(value, bool):
        return text("on") if value else text("off")
    if isinstance(value, int | float):
        return text("{value:small}", value=value)
    return Text(template=str(value))
