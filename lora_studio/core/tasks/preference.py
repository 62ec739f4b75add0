"""Settings of preference training: the method, the loss of DPO, and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.messages import Text, text
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.classification import ClassificationSettings
from lora_studio.core.tasks.embedding import EmbeddingSettings
from lora_studio.core.tasks.grpo import GrpoSettings
from lora_studio.core.tasks.samples import TaskName

PreferenceMethod = Literal["dpo", "orpo", "simpo", "reward"]
DpoLoss = Literal["sigmoid", "hinge", "ipo", "robust"]


@dataclass(frozen=True)
class UsualRate:
    """The usual learning rate of a method with LoRA and AdamW, and the highest that rarely fails."""

    method: Text
    usual: float
    highest: float


#: DPO, KTO, and ORPO: TRL's example commands with LoRA. SimPO: ten times the 6e-7 that its authors use
#: to train all weights of Llama 3 (github.com/princeton-nlp/SimPO, README), as TRL's examples of DPO
#: use ten times the rate of full training. Reward models: the default of TRL's RewardConfig. GRPO: ten
#: times the default of TRL's GRPOConfig, 1e-6, which is for training all weights.
USUAL_RATES: Mapping[PreferenceMethod | Literal["kto", "grpo"], UsualRate] = {
    "dpo": UsualRate(text("DPO"), 5e-6, 5e-5),
    "kto": UsualRate(text("KTO"), 5e-6, 5e-5),
    "orpo": UsualRate(text("ORPO"), 8e-5, 5e-4),
    "simpo": UsualRate(text("SimPO"), 6e-6, 5e-5),
    "reward": UsualRate(text("a reward model"), 1e-4, 1e-3),
    "grpo": UsualRate(text("reward training"), 1e-5, 1e-4),
}


class PreferenceSettings(Spec):
    """How to learn from pairs of a chosen and a rejected answer, or from labeled answers."""

    preference: PreferenceMethod = setting(
        "dpo",
        "Preference method",
        "How to learn from pairs of a chosen and a rejected answer. Only used with preference pairs.",
        choices={"dpo": "DPO", "orpo": "ORPO", "simpo": "SimPO", "reward": "Reward model"},
        choice_details={
            "dpo": "Prefers the chosen answer, and stays close to the base model. The usual choice (Rafailov et al. "
            "2023).",
            "orpo": "Also learns to write the chosen answer, and needs no reference model (Hong et al. 2024). "
            "TRL's ORPO trainer reports other losses, because it also counts the prompt.",
            "simpo": "Makes the chosen answer more likely per token, whatever its length, and needs no "
            "reference model (Meng et al. 2024).",
            "reward": "Trains a model that scores answers instead of writing them (Ouyang et al. 2022).",
        },
        advanced=True,
        help_topic="preference-losses",
    )
    dpo_loss: DpoLoss = setting(
        "sigmoid",
        "DPO loss",
        "How DPO turns the margin between both answers into a loss.",
        choices={"sigmoid": "Sigmoid", "hinge": "Hinge", "ipo": "IPO", "robust": "Robust"},
        choice_details={
            "sigmoid": "The loss of the DPO paper. Suits most data (Rafailov et al. 2023).",
            "hinge": "Ignores pairs once their margin is large enough (Liu et al. 2024).",
            "ipo": "Aims at a fixed margin per token, which reduces overfitting to clear pairs (Azar et al. 2024).",
            "robust": "Corrects for pairs whose answers were swapped by mistake (Ray Chowdhury et al. 2024).",
        },
        advanced=True,
        help_topic="preference-losses",
    )
    beta: float = setting(
        0.1,
        "Beta",
        "For preference training: how strongly DPO and KTO (Ethayarajh et al. 2024) keep the model close to "
        "the reference model, and the weight of the preference term in ORPO. 0.1 is common.",
        gt=0.0,
        le=100.0,
        step=0.05,
        advanced=True,
        help_topic="preference-losses",
    )
    label_smoothing: float = setting(
        0.1,
        "Label smoothing",
        "Share of pairs whose answers you expect to be swapped. Only used by DPO's robust loss.",
        ge=0.0,
        le=0.49,
        step=0.05,
        advanced=True,
        help_topic="preference-losses",
    )
    simpo_beta: float = setting(
        2.0,
        "SimPO beta",
        "Scale of the difference between both answers in SimPO. 2 to 10 is common.",
        gt=0.0,
        le=100.0,
        step=0.5,
        advanced=True,
        help_topic="preference-losses",
    )
    simpo_gamma: float = setting(
        1.0,
        "Target margin",
        "Margin (gamma) by which SimPO wants the chosen answer to win. Half of SimPO beta is common.",
        ge=0.0,
        le=100.0,
        step=0.1,
        advanced=True,
        help_topic="preference-losses",
    )

    def trains_reward_model(self, task: str | None) -> bool:
        """Return whether the training yields a model that scores answers, with data of a task."""
        return task == "preference" and self.preference == "reward"

    def trains_generative_model(self, task: str | None) -> bool:
        """Return whether the training yields a model that writes text, with data of a task."""
        return task not in ("embedding", "classification") and not self.trains_reward_model(task)

    def count_head_outputs(self, task: str | None, labels: int) -> int:
        """Return the outputs of the head that trains with the adapter: a reward, or one per label; else 0."""
        if task == "classification":
            return labels
        return int(self.trains_reward_model(task))


def list_used_settings(task: TaskName | None, method: str, loss: str) -> tuple[str, ...]:
    """Return the fields of `PreferenceSettings` that a method uses, or those of the settings of
    another task.

    `method` and `loss` are the values of `preference` and `dpo_loss`, which may be invalid.
    """
    if task == "kto":
        return ("beta",)
    if task == "grpo":
        return tuple(GrpoSettings.model_fields)
    if task == "embedding":
        return tuple(EmbeddingSettings.model_fields)
    if task == "classification":
        return tuple(ClassificationSettings.model_fields)
    match method:
        case "simpo":
            return ("preference", "simpo_beta", "simpo_gamma")
        case "reward":
            return ("preference",)
        case "dpo" if loss == "robust":
            return ("preference", "dpo_loss", "beta", "label_smoothing")
        case "dpo":
            return ("preference", "dpo_loss", "beta")
    return ("preference", "beta")
