"""The quantities of a training run that can be plotted: names, units and formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.rewards.spec import describe_reward
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize

_GIB = float(2**30)
#: Prefixes of the mean and the standard deviation of one reward.
_ONE_REWARD, _ONE_SPREAD = "reward/", "reward_spread/"
#: All rewards of a recipe in one chart.
EACH_REWARD = "rewards"


@dataclass(frozen=True)
class PlottedMetric:
    """A quantity that a training run records at each step.

    `title` is the name at the start of a line, `inline` within a line, and `label` for an axis with a unit of
    1 / `scale` of the recorded one. A `jagged` quantity varies between batches and is smoothed.
    """

    name: str
    title: str
    inline: str
    label: str
    format: Callable[[float], str]
    scale: float = 1.0
    jagged: bool = False


def _format_rate(value: float) -> str:
    return formatting.format_rate(value, tr("tokens"))


def _format_percent(value: float) -> str:
    return f"{value:.0f} %"


def _format_celsius(value: float) -> str:
    return f"{value:.0f} °C"


_METRICS = (
    PlottedMetric("loss", mark("Loss"), mark("loss"), mark("loss (nats per token)"), formatting.format_loss, jagged=True),
    PlottedMetric("learning_rate", mark("Learning rate"), mark("learning rate"), mark("learning rate"), formatting.format_setting),
    PlottedMetric("grad_norm", mark("Gradient norm"), mark("gradient norm"), mark("gradient norm"), formatting.format_loss, jagged=True),
    PlottedMetric("tokens_per_s", mark("Tokens per second"), mark("tokens per second"), mark("tokens/s"), _format_rate),
    PlottedMetric("memory_bytes", mark("Memory"), mark("memory"), mark("memory (GiB)"), formatting.format_memory, 1 / _GIB),
    PlottedMetric("gpu_percent", mark("GPU utilization"), mark("GPU utilization"), mark("GPU utilization (%)"), _format_percent),
    PlottedMetric("gpu_celsius", mark("GPU temperature"), mark("GPU temperature"), mark("GPU (°C)"), _format_celsius),
    PlottedMetric("cpu_percent", mark("CPU utilization"), mark("CPU utilization"), mark("CPU utilization (%)"), _format_percent),
    PlottedMetric("accuracy", mark("Reward accuracy"), mark("reward accuracy"), mark("reward accuracy (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("margin", mark("Reward margin"), mark("reward margin"), mark("margin"), formatting.format_loss, jagged=True),
    PlottedMetric("answer_score", mark("Answer score"), mark("answer score"), mark("answer score (%)"), formatting.format_percent, 100.0),
    PlottedMetric("reward", mark("Mean reward"), mark("mean reward"), mark("mean reward"), formatting.format_reward, jagged=True),
    PlottedMetric(EACH_REWARD, mark("Each reward"), mark("each reward"), mark("each reward"), formatting.format_reward, jagged=True),
    PlottedMetric("reward_spread", mark("Reward spread"), mark("reward spread"), mark("reward spread"), formatting.format_reward, jagged=True),
    PlottedMetric("kl", mark("KL to the reference"), mark("KL to the reference"), mark("KL (nats per token)"), formatting.format_loss, jagged=True),
    PlottedMetric("clip_share", mark("Clip fraction"), mark("clip fraction"), mark("clip fraction (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("clip_share_low", mark("Clip fraction below"), mark("clip fraction below"), mark("clip fraction below (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("clip_share_high", mark("Clip fraction above"), mark("clip fraction above"), mark("clip fraction above (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("answer_tokens", mark("Completion length"), mark("completion length"), mark("tokens per completion"), formatting.format_setting, jagged=True),
    PlottedMetric("cut_share", mark("Truncated completions"), mark("truncated completions"), mark("truncated completions (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("equal_share", mark("Prompts with equal rewards"), mark("prompts with equal rewards"), mark("equal rewards (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("failed_share", mark("Completions without a reward"), mark("completions without a reward"), mark("without a reward (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("cross_entropy", mark("Cross-entropy"), mark("cross-entropy"), mark("cross-entropy (nats per token)"), formatting.format_loss, jagged=True),
    PlottedMetric("teacher_kl", mark("KL to the teacher"), mark("KL to the teacher"), mark("KL to the teacher (nats per token)"), formatting.format_loss, jagged=True),
    PlottedMetric("label_accuracy", mark("Accuracy"), mark("accuracy"), mark("accuracy (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("macro_f1", mark("Macro F1"), mark("macro F1"), mark("macro F1 (%)"), formatting.format_percent, 100.0),
    PlottedMetric("in_batch_accuracy", mark("In-batch accuracy"), mark("in-batch accuracy"), mark("in-batch accuracy (%)"), formatting.format_percent, 100.0, jagged=True),
    PlottedMetric("recall_at_1", mark("Recall@1"), mark("recall@1"), mark("recall@1 (%)"), formatting.format_percent, 100.0),
    PlottedMetric("recall_at_5", mark("Recall@5"), mark("recall@5"), mark("recall@5 (%)"), formatting.format_percent, 100.0),
    PlottedMetric("recall_at_10", mark("Recall@10"), mark("recall@10"), mark("recall@10 (%)"), formatting.format_percent, 100.0),
    PlottedMetric("mrr", mark("MRR"), mark("MRR"), mark("MRR"), formatting.format_setting),
    PlottedMetric("nll", mark("Answer loss"), mark("answer loss"), mark("answer loss (nats per token)"), formatting.format_loss, jagged=True),
)  # fmt: skip
_BY_NAME = {metric.name: metric for metric in _METRICS}


def get_metric(name: str) -> PlottedMetric:
    """Return a quantity by name; an unknown one, from a custom objective, keeps its name."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith(_ONE_REWARD):
        title = format_reward_name(name.removeprefix(_ONE_REWARD))
        return PlottedMetric(name, title, title, title, formatting.format_reward, jagged=True)
    inline = name.replace("_", " ")
    title = inline[:1].upper() + inline[1:]
    return PlottedMetric(name, title, inline, inline, formatting.format_setting, jagged=True)


def get_axis_label(name: str, recorded: Iterable[str]) -> str:
    """Return the label of a quantity's axis in a run that has `recorded` other ones.

    The loss of preferences, labels, and search isn't one per token; each comes with its accuracy.
    """
    if name == "loss" and {"accuracy", "label_accuracy", "in_batch_accuracy"} & {*recorded}:
        return get_metric(name).inline
    return get_metric(name).label


def format_reward_name(name: str) -> str:
    """Return the title of a reward of a recipe by its name, such as `exact_2`, in the language of the window."""
    return localize(describe_reward(name))


def get_spread_name(name: str) -> str:
    """Return the quantity with the standard deviation of a mean reward; "" for another quantity."""
    if name == events.REWARD:
        return "reward_spread"
    is_reward = name.startswith(_ONE_REWARD)
    return f"{_ONE_SPREAD}{name.removeprefix(_ONE_REWARD)}" if is_reward else ""


def list_rewards(names: Iterable[str]) -> list[str]:
    """Return the quantities that are the mean of one reward of a recipe."""
    return [name for name in names if name.startswith(_ONE_REWARD)]


def sort_names(names: Iterable[str]) -> list[str]:
    """Return names in the order in which the window offers them, without those that belong to others."""
    order = list(_BY_NAME)

    def rank(name: str) -> int:
        if name.startswith(_ONE_REWARD):
            return order.index("reward_spread")  # after the total
        return order.index(name) if name in order else len(order)

    return sorted((name for name in names if not name.startswith(_ONE_SPREAD)), key=rank)
