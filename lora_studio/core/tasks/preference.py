"""Preference training: the method, the loss of DPO, and their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from lora_studio.core.messages import Template, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.model_card import ModelCard, format_peft_usage
from lora_studio.core.tasks.samples import Sample, TaskName
from lora_studio.core.tasks.task import PairFault, Task, Turns, UsualRate

PreferenceMethod = Literal["dpo", "orpo", "simpo", "reward"]
DpoLoss = Literal["sigmoid", "hinge", "ipo", "robust"]


#: DPO, KTO, and ORPO: TRL's example commands with LoRA. SimPO: ten times the 6e-7 that its authors use
#: to train all weights of Llama 3 (github.com/princeton-nlp/SimPO, README), as TRL's examples of DPO
#: use ten times the rate of full training. Reward models: the default of TRL's RewardConfig.
_USUAL_RATES: Mapping[str, UsualRate] = {
    "dpo": UsualRate(text("DPO"), 5e-6, 5e-5),
    "kto": UsualRate(text("KTO"), 5e-6, 5e-5),
    "orpo": UsualRate(text("ORPO"), 8e-5, 5e-4),
    "simpo": UsualRate(text("SimPO"), 6e-6, 5e-5),
    "reward": UsualRate(text("a reward model"), 1e-4, 1e-3),
}


class PreferenceSettings(Spec):
    """How to learn from pairs of a chosen and a rejected answer, or from labeled answers."""

    preference: PreferenceMethod = setting(
        "dpo",
        "Preference method",
        "How to learn from pairs of a chosen and a rejected response. Only used with preference pairs.",
        choices={"dpo": "DPO", "orpo": "ORPO", "simpo": "SimPO", "reward": "Reward model"},
        choice_details={
            "dpo": "Prefers the chosen response, and stays close to the base model. The usual choice (Rafailov et al. "
            "2023).",
            "orpo": "Also learns to write the chosen response, and needs no reference model (Hong et al. 2024). "
            "TRL's ORPO trainer reports other losses, because it also counts the prompt.",
            "simpo": "Makes the chosen response more likely per token, whatever its length, and needs no "
            "reference model (Meng et al. 2024).",
            "reward": "Trains a model that scores responses instead of writing them (Ouyang et al. 2022).",
        },
        advanced=True,
        help_topic="preference-losses",
    )
    dpo_loss: DpoLoss = setting(
        "sigmoid",
        "DPO loss",
        "How DPO turns the margin between both responses into a loss.",
        choices={"sigmoid": "Sigmoid", "hinge": "Hinge", "ipo": "IPO", "robust": "Robust"},
        choice_details={
            "sigmoid": "The loss of the DPO paper. Suits most data (Rafailov et al. 2023).",
            "hinge": "Ignores pairs once their margin is large enough (Liu et al. 2024).",
            "ipo": "Aims at a fixed margin per token, which reduces overfitting to clear pairs (Azar et al. 2024).",
            "robust": "Corrects for pairs whose responses were swapped by mistake (Ray Chowdhury et al. 2024).",
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
        "Share of pairs whose responses you expect to be swapped. Only used by DPO's robust loss.",
        ge=0.0,
        le=0.49,
        step=0.05,
        advanced=True,
        help_topic="preference-losses",
    )
    simpo_beta: float = setting(
        2.0,
        "SimPO beta",
        "Scale of the difference between both responses in SimPO. 2 to 10 is common.",
        gt=0.0,
        le=100.0,
        step=0.5,
        advanced=True,
        help_topic="preference-losses",
    )
    simpo_gamma: float = setting(
        1.0,
        "Target margin",
        "Margin (gamma) by which SimPO wants the chosen response to win. Half of SimPO beta is common.",
        ge=0.0,
        le=100.0,
        step=0.1,
        advanced=True,
        help_topic="preference-losses",
    )


class PairTask(Task):
    """Learn from rows with a better and a worse text, `chosen` and `rejected`."""

    def get_answers(self, sample: Sample) -> list[Turns]:
        """Return both sides."""
        return [sample.chosen, sample.rejected]

    def split_last_answer(self, sample: Sample) -> tuple[Turns, Turns]:
        """Return the shared turns and the better side."""
        return sample.messages, sample.chosen

    def find_pair_faults(self, sample: Sample) -> set[PairFault]:
        """Return whether both sides are the same."""
        chosen, rejected = (
            [(turn.role, " ".join(turn.content.split()), turn.tool_calls) for turn in turns]
            for turns in (sample.chosen, sample.rejected)
        )
        return {"same_pair"} if chosen == rejected else set()


class PreferenceTask(PairTask):
    """Learn from pairs of a chosen and a rejected answer."""

    name: ClassVar[TaskName] = "preference"
    title: ClassVar[str] = "preference pairs"
    contents: ClassVar[Template] = "{file} has preference pairs"
    headings: ClassVar[tuple[Template, Template]] = ("Prompt", "Chosen")
    settings: ClassVar[tuple[str, ...]] = tuple(PreferenceSettings.model_fields)
    unused_settings: ClassVar[Template] = (
        "Not used: your data has no pairs of chosen and rejected responses."
    )
    sequences: ClassVar[int] = 2

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield the conversations with the chosen and with the rejected answer."""
        yield sample.messages + sample.chosen
        yield sample.messages + sample.rejected

    def get_good_turns(self, sample: Sample) -> Turns:
        """Return the chosen answer."""
        return sample.chosen

    def list_settings(self, method: str, loss: str) -> tuple[str, ...]:
        """Return the fields of `PreferenceSettings` that a method uses."""
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

    def find_usual_rate(self, method: str) -> UsualRate | None:
        """Return the usual rate of the method."""
        return _USUAL_RATES[method]

    def is_reward_model(self, method: str) -> bool:
        """Return whether the method trains a model that scores answers."""
        return method == "reward"

    def writes_text(self, method: str) -> bool:
        """Return whether the method trains a model that writes answers."""
        return method != "reward"

    def check_recipe(self, method: str, batch: int) -> list[Problem]:
        """Return what a reward model can't be used for."""
        if not self.is_reward_model(method):
            return []
        return [
            warning(
                "training.reward_only_scores",
                "A reward model scores responses and can't write them, so it can't be merged, exported as GGUF, "
                "run in Ollama, or used in a chat.",
                "Use its adapter with PEFT as a sequence classification model with one label. To train a model "
                "that answers, choose another preference method.",
                where=Where(step="training", field="preference"),
            )
        ]

    def get_card(self, method: str) -> ModelCard:
        """Return the card of a reward model, or that of a model that writes answers."""
        if not self.is_reward_model(method):
            return super().get_card(method)
        return ModelCard(
            purpose="that scores responses (a reward model)",
            pipeline="text-classification",
            adapter=format_peft_usage("SequenceClassification", ", num_labels=1"),
        )


class LabeledAnswerTask(Task):
    """Learn from answers that are labeled good or bad (KTO)."""

    name: ClassVar[TaskName] = "kto"
    title: ClassVar[str] = "responses labeled good or bad"
    contents: ClassVar[Template] = "{file} has labeled responses"
    settings: ClassVar[tuple[str, ...]] = ("beta",)
    unused_settings: ClassVar[Template] = (
        "Not used: your data has neither response pairs nor labeled responses."
    )

    def find_usual_rate(self, method: str) -> UsualRate | None:
        """Return the usual rate of KTO."""
        return _USUAL_RATES["kto"]
