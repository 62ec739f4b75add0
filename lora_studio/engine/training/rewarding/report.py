"""What is shown about the answers of a step: figures, the best and the worst answer, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import ShownAnswer
from lora_studio.core.rewards.base import RatedAnswer
from lora_studio.core.rewards.spec import describe_reward
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.rewards.registry import ScoredAnswers
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.recipe.grpo import measure_spread

#: Consecutive steps without any difference between rewards before a warning.
_EQUAL_STEPS = 5
#: Maximum number of characters of a prompt or an answer that is shown.
_SHOWN_LETTERS = 4000


def summarize(rated: Sequence[RatedAnswer], scored: ScoredAnswers) -> dict[str, float]:
    """Return mean and spread of the rewards, in total and of each, and the answers' length, by name."""
    known = [value for value in scored.totals if value is not None]
    figures = {"answer_tokens": sum(answer.tokens for answer in rated) / max(1, len(rated))}
    figures["cut_share"] = sum(not answer.ended for answer in rated) / max(1, len(rated))
    figures["failed_share"] = 1 - len(known) / max(1, len(rated))
    if known:
        figures["reward"], figures["reward_spread"] = measure_spread(known)
    for name, values in scored.values.items():
        if valid := [value for value in values if value is not None]:
            mean_and_spread = measure_spread(valid)
            figures[f"reward/{name}"], figures[f"reward_spread/{name}"] = mean_and_spread
    return figures


class RolloutReport:
    """Reports the answers of each step, and warns once about what keeps training from learning."""

    def __init__(self, spec: TrainingSpec, job: JobContext) -> None:
        self._spec, self._job = spec, job
        self._equal_steps = 0
        self._warned: set[str] = set()

    def summarize(
        self, step: int, rated: Sequence[RatedAnswer], scored: ScoredAnswers, equal: int
    ) -> dict[str, float]:
        """Return the figures of a step, counted from 1, and emit its best and its worst answer.

        `equal` is the number of prompts with several rated answers that all have the same reward.
        """
        prompts = max(1, len(rated) // self._spec.group_size)
        figures = summarize(rated, scored) | {"equal_share": equal / prompts}
        self._emit_answers(step, rated, scored)
        is_equal = equal == prompts and figures["failed_share"] < 1
        self._equal_steps = self._equal_steps + 1 if is_equal else 0
        self._warn(figures, scored)
        return figures

    def _emit_answers(self, step: int, rated: Sequence[RatedAnswer], scored: ScoredAnswers) -> None:
        known = [(value, -index) for index, value in enumerate(scored.totals) if value is not None]
        if not known:
            return
        best, worst = (-index for _, index in (max(known), min(known)))
        self._job.emit(
            events.AnswersRated(
                step=step, best=_show(rated, scored, best), worst=_show(rated, scored, worst)
            )
        )

    def _warn(self, figures: dict[str, float], scored: ScoredAnswers) -> None:
        self._warn_of_failures(figures, scored)
        if figures["cut_share"] == 1:
            self._warn_once(
                "cut",
                "training.answers_cut",
                text(
                    "All answers of a step were cut at {tokens} tokens.",
                    tokens=self._spec.rollout_tokens,
                ),
                text("DAPO learns nothing from such answers. Increase “Max. answer length”.")
                if self._spec.grpo_variant == "dapo"
                else text("If answers should end by themselves, increase “Max. answer length”."),
                "rollout_tokens",
            )
        if self._equal_steps == _EQUAL_STEPS:
            self._warn_once(
                "equal",
                "training.rewards_equal",
                text(
                    "In the last {steps} steps, all answers to a prompt got the same reward, so the model "
                    "learns nothing.",
                    steps=_EQUAL_STEPS,
                ),
                text(
                    "Add a reward that tells the answers apart, such as one for the format, or use prompts "
                    "that the model sometimes answers well."
                ),
                "rewards",
            )

    def _warn_of_failures(self, figures: dict[str, float], scored: ScoredAnswers) -> None:
        for failure in scored.failures:
            self._warn_once(
                f"failure {failure.reward}",
                "training.reward_failed",
                text(
                    "The reward {name} has no value for some answers: {reason}",
                    name=describe_reward(failure.reward),
                    reason=failure.reason,
                ),
                text("They are left out. Their share is among the curves."),
            )
        if figures["failed_share"] == 1:
            self._warn_once(
                "all failed",
                "training.rewards_missing",
                text(
                    "No answer of a step has a reward, so the model learns nothing from the step."
                ),
                text(
                    "If the judge is away, pause training, start it, and resume. Otherwise, stop, correct "
                    "the reward, and train again."
                ),
            )

    def _warn_once(
        self, key: str, code: str, what: Text, remedy: Text, field: str = "rewards"
    ) -> None:
        if key not in self._warned:
            self._warned.add(key)
            where = Where(step="training", field=field)
            self._job.emit(events.Warned(problem=warning(code, what, remedy, where=where)))


def _show(rated: Sequence[RatedAnswer], scored: ScoredAnswers, index: int) -> ShownAnswer:
    answer, total = rated[index], scored.totals[index]
    assert total is not None
    values = {name: column[index] for name, column in scored.values.items()}
    return ShownAnswer(
        prompt=answer.prompt[-1].content[-_SHOWN_LETTERS:] if answer.prompt else "",
        text=answer.answer[:_SHOWN_LETTERS],
        reference=answer.reference[:_SHOWN_LETTERS] if answer.reference else None,
        reward=total,
        values={name: value for name, value in values.items() if value is not None},
        ended=answer.ended,
    )
