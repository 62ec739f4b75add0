"""Answers that the model writes while it trains, or to try rewards, and what their rewards say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import PreviewAnswer, ShownAnswer
from lora_studio.core.rewards.spec import RatedAnswer, describe_reward
from lora_studio.core.system.locks import DeviceIdentity, LockHolder
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.recipe_checks import no_rewards_error
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.devices.lock import hold_model_devices
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.generation import group_sampling
from lora_studio.engine.generation.group_sampling import GroupSampling, SampledText
from lora_studio.engine.model import loading
from lora_studio.engine.rewards.registry import ScoredAnswers, open_rewards
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tasks.grpo import (
    Grpo,
    SampledAnswer,
    compute_advantages,
    measure_spread,
    require_shared_cache,
)
from lora_studio.engine.tasks.task import Divisors
from lora_studio.engine.tokens.encoder import Encoded, EncodedPrompt
from lora_studio.engine.training.evaluation import ValidationLoss
from lora_studio.engine.training.step_batches import TrainingData
from lora_studio.engine.training.trainer_state import MemoryLevel


@dataclass(frozen=True)
class StepRollout:
    """The micro-batches of a step, the longest answers first, and its metrics by name.

    `divisors` also count answers without an effect on the loss.
    """

    batches: list[list[SampledAnswer]]
    divisors: Divisors
    metrics: dict[str, float]


@dataclass(frozen=True)
class _Sampled:
    """The answers to the prompts of a step, in the order of the prompts, and their ratings."""

    rated: list[RatedAnswer]
    scored: ScoredAnswers
    sequences: list[Encoded]


class Rollouts:
    """Writes and rates the answers of a step, and those to validation prompts.

    Each rank writes the answers to its share of the prompts, and rank 0 rates all of them, so that a reward
    function runs once and a judge is asked once.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        tuned: AdaptedModel,
        data: TrainingData,
        objective: Grpo,
        job: JobContext,
        ranks: ProcessGroup,
        training_context: Callable[[], AbstractContextManager[object]],
        inference_context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Take the data, whose rewards are None except in rank 0, and the contexts of a training pass and of the
        saved weights.
        """
        self._spec, self._tuned, self._objective = spec, tuned, objective
        self._rewards, self._validation = data.rewards, data.validation
        self._job, self._ranks = job, ranks
        self._training_context, self._inference_context = training_context, inference_context
        self._report = RolloutReport(spec, job)
        self._last: tuple[int, _Sampled] | None = None

    def forget(self) -> None:
        """Write new answers for the next step, even if it has some: the weights have changed."""
        self._last = None

    def roll_out(
        self, step: int, batches: Sequence[Sequence[Any]], level: MemoryLevel
    ) -> StepRollout:
        """Return the answers to the prompts of a step, counted from 0, ready to train on.

        They depend on the weights, the seed, and the step, so a repeated step has the same. Raises
        CancelledError and PausedError: writing answers changes nothing.
        """
        prompts = [prompt for batch in batches for prompt in batch]
        if self._last is None or self._last[0] != step:
            sampling = self._create_sampling(level, f"{self._spec.seed} {step}")
            self._job.pausable = True
            try:
                with self._training_context():
                    self._last = step, self._sample(prompts, sampling)
            finally:
                self._job.pausable = False
        sampled = self._last[1]
        answers, equal = self._compare(sampled, len(prompts))
        metrics = self._report.summarize(step + 1, sampled.rated, sampled.scored, equal)
        divisors = self._objective.count_divisors(answers)
        active = [row for row in answers if row.advantage or self._objective.kl_beta]
        split = batch_by_prompt if self._objective.logprob_model.shared else batch_by_tokens
        parts = split(active, level.micro_batch, self._ranks.world_size)
        return StepRollout(parts, divisors, metrics)

    def evaluate(self, level: MemoryLevel) -> ValidationLoss:
        """Return the mean reward of greedy answers to the first validation prompts, and other metrics.

        The loss is its negative, which training lowers.
        """
        count = min(len(self._validation), self._spec.scored_rows)
        prompts: list[Any] = [self._validation[row] for row in range(count)]
        sampling = self._create_sampling(level, "")
        greedy = GroupSampling(1, sampling.max_tokens, sampling.rows, temperature=0.0)
        with self._inference_context():
            sampled = self._sample(prompts, greedy)
        metrics = summarize(sampled.rated, sampled.scored)
        return ValidationLoss(-metrics.get("reward", math.nan), metrics)

    def make_longest(self, prompts: Sequence[Any]) -> list[SampledAnswer]:
        """Return prompts with answers of the maximum length, which take the most memory."""
        rows = []
        for prompt in prompts:
            answer = np.full(self._spec.rollout_tokens, prompt.ids[-1], np.int32)
            rows.append(SampledAnswer(_join(prompt, answer), 1.0))
        return rows

    def _create_sampling(self, level: MemoryLevel, seed: str) -> GroupSampling:
        spec = self._spec
        return GroupSampling(
            answers=spec.group_size,
            max_tokens=spec.rollout_tokens,
            rows=spec.count_answers_at_once(level.micro_batch),
            temperature=spec.rollout_temperature,
            top_p=spec.rollout_top_p,
            seed=seed,
        )

    def _sample(self, prompts: Sequence[EncodedPrompt], sampling: GroupSampling) -> _Sampled:
        groups = self._write_answers(prompts, sampling)
        pairs = [(prompt, answer) for prompt, group in zip(prompts, groups, strict=True) for answer in group]  # fmt: skip
        rated = [to_rated(prompt, answer) for prompt, answer in pairs]
        self._job.report_progress(text("rating completions"), 0, None)
        scored = self._ranks.broadcast(self._rewards.score(rated) if self._rewards else None)
        assert scored is not None
        sequences = [_join(prompt, np.array(answer.ids, np.int32)) for prompt, answer in pairs]
        return _Sampled(rated, scored, sequences)

    def _write_answers(
        self, prompts: Sequence[EncodedPrompt], sampling: GroupSampling
    ) -> list[list[SampledText]]:
        """Return the answers to all prompts; with sharded weights, all ranks write the same ones together."""
        ranks, stage = self._ranks, text("generating completions")
        writers = 1 if ranks.is_sharded else ranks.world_size
        share = range(ranks.rank % writers, len(prompts), writers)
        total = len(share) * sampling.answers
        with self._enter_evaluation_mode(), fail_together(ranks):
            groups = group_sampling.sample_groups(
                self._tuned.model,
                self._tuned.base.tokenizer,
                [prompts[position].ids.tolist() for position in share],
                sampling,
                lambda done: self._job.report_progress(stage, done, total, "completions"),
                share,
                directly=self._objective.logprob_model.writes_directly and not ranks.is_sharded,
                # GPUs round differently. With other tokens, a rank would need another number of passes.
                sync_tokens=ranks.broadcast if ranks.is_sharded else list,
            )
        parts = ranks.all_gather(groups)
        return [parts[position % writers][position // writers] for position in range(len(prompts))]

    def _compare(self, sampled: _Sampled, prompts: int) -> tuple[list[SampledAnswer], int]:
        """Return the answers that train, and the number of prompts whose rewards are all equal."""
        size, variant = self._spec.group_size, self._objective.variant
        rows, equal = [], 0
        for begin in range(0, prompts * size, size):
            group = range(begin, begin + size)
            totals = [sampled.scored.totals[index] for index in group]
            advantages = compute_advantages(totals, variant)
            known = [value for value in advantages if value is not None]
            equal += len(known) > 1 and not any(known)
            for index, advantage in zip(group, advantages, strict=True):
                is_left_out = variant == "dapo" and not sampled.rated[index].ended
                if advantage is not None and not is_left_out:
                    rows.append(SampledAnswer(sampled.sequences[index], advantage))
        return rows, equal

    @contextmanager
    def _enter_evaluation_mode(self) -> Iterator[None]:
        model = self._tuned.model
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def _join(prompt: EncodedPrompt, answer: np.ndarray) -> Encoded:
    """Return a prompt with an answer, of which the answer trains."""
    ids = np.concatenate([prompt.ids, answer]).astype(np.int32)
    return Encoded(ids, np.arange(len(ids)) >= len(prompt.ids))


def to_rated(prompt: EncodedPrompt, answer: SampledText) -> RatedAnswer:
    """Return what rewards rate: an answer with the row whose prompt it answers."""
    return RatedAnswer(
        prompt=prompt.messages,
        answer=answer.text,
        reference=prompt.reference,
        columns=prompt.columns,
        ended=answer.ended,
        tokens=len(answer.ids),
    )


def batch_by_tokens(
    rows: Sequence[SampledAnswer], size: int, ranks: int = 1
) -> list[list[SampledAnswer]]:
    """Return rows in micro-batches of `size` or, so that each of several ranks gets one, fewer; the longest first."""
    size = min(size, max(1, math.ceil(len(rows) / ranks)))
    ordered = sorted(rows, key=lambda row: -row.tokens)
    return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]


@dataclass
class _SharedBatch:
    """Answers with each of their prompts once, and how many tokens that is."""

    rows: list[SampledAnswer] = field(default_factory=list)
    prompts: set[bytes] = field(default_factory=set)
    tokens: int = 0

    def count_tokens_with(self, prompt: bytes, row: SampledAnswer) -> int:
        """Return the tokens that there would be with another row."""
        answer = int(row.sequence.trained.sum())
        return self.tokens + (answer if prompt in self.prompts else row.tokens)

    def add(self, prompt: bytes, row: SampledAnswer) -> None:
        """Add a row."""
        self.tokens = self.count_tokens_with(prompt, row)
        self.prompts.add(prompt)
        self.rows.append(row)


def batch_by_prompt(
    rows: Sequence[SampledAnswer], size: int, ranks: int = 1
) -> list[list[SampledAnswer]]:
    """Return rows in micro-batches where answers share their prompt, those with the most tokens first.

    A micro-batch has up to as many tokens as `size` times the longest row, so it takes no more memory than
    `size` rows that share nothing. It has at most twice as many rows: attention keeps the keys and values of
    the prompt for each. With several ranks, it has few enough for each rank to get a micro-batch.
    """
    most_rows = min(2 * size, max(1, math.ceil(len(rows) / ranks)))
    room = size * max((row.tokens for row in rows), default=0)
    groups: dict[bytes, list[SampledAnswer]] = {}
    for row in rows:
        groups.setdefault(_get_prompt(row), []).append(row)
    batches: list[_SharedBatch] = []
    for prompt, group in groups.items():
        for row in sorted(group, key=lambda row: -row.tokens):
            fitting = [
                each
                for each in batches
                if len(each.rows) < most_rows and each.count_tokens_with(prompt, row) <= room
            ]
            sharing = [each for each in fitting if prompt in each.prompts]
            if not fitting:
                batches.append(_SharedBatch())
            (sharing or fitting or batches[-1:])[0].add(prompt, row)
    return [each.rows for each in sorted(batches, key=lambda each: -each.tokens)]


def _get_prompt(row: SampledAnswer) -> bytes:
    return row.sequence.ids[: int(row.sequence.trained.argmax())].tobytes()


#: Consecutive steps without any difference between rewards before a warning.
_EQUAL_STEPS = 5
#: Maximum number of characters of a prompt or an answer that is shown.
_SHOWN_LETTERS = 4000


def summarize(rated: Sequence[RatedAnswer], scored: ScoredAnswers) -> dict[str, float]:
    """Return mean and spread of the rewards, in total and of each, and the answers' length, by name."""
    known = [value for value in scored.totals if value is not None]
    metrics = {"answer_tokens": sum(answer.tokens for answer in rated) / max(1, len(rated))}
    metrics["cut_share"] = sum(not answer.ended for answer in rated) / max(1, len(rated))
    metrics["failed_share"] = 1 - len(known) / max(1, len(rated))
    if known:
        metrics["reward"], metrics["reward_spread"] = measure_spread(known)
    for name, values in scored.values.items():
        if valid := [value for value in values if value is not None]:
            mean_and_spread = measure_spread(valid)
            metrics[f"reward/{name}"], metrics[f"reward_spread/{name}"] = mean_and_spread
    return metrics


class RolloutReport:
    """Reports the answers of each step, and warns once about what keeps training from learning."""

    def __init__(self, spec: TrainingSpec, job: JobContext) -> None:
        self._spec, self._job = spec, job
        self._equal_steps = 0
        self._warned: set[str] = set()

    def summarize(
        self, step: int, rated: Sequence[RatedAnswer], scored: ScoredAnswers, equal: int
    ) -> dict[str, float]:
        """Return the metrics of a step, counted from 1, and emit its best and its worst answer.

        `equal` is the number of prompts with several rated answers that all have the same reward.
        """
        prompts = max(1, len(rated) // self._spec.group_size)
        metrics = summarize(rated, scored) | {"equal_share": equal / prompts}
        self._emit_answers(step, rated, scored)
        is_equal = equal == prompts and metrics["failed_share"] < 1
        self._equal_steps = self._equal_steps + 1 if is_equal else 0
        self._warn(metrics, scored)
        return metrics

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

    def _warn(self, metrics: dict[str, float], scored: ScoredAnswers) -> None:
        self._warn_of_failures(metrics, scored)
        if metrics["cut_share"] == 1:
            self._warn_once(
                "cut",
                "training.answers_cut",
                text(
                    "All completions of a step were truncated at {tokens} tokens.",
                    tokens=self._spec.rollout_tokens,
                ),
                text(
                    "DAPO learns nothing from such completions. Increase “Max. completion length”."
                )
                if self._spec.grpo_variant == "dapo"
                else text(
                    "If completions should end by themselves, increase “Max. completion length”."
                ),
                "rollout_tokens",
            )
        if self._equal_steps == _EQUAL_STEPS:
            self._warn_once(
                "equal",
                "training.rewards_equal",
                text(
                    "In the last {steps} steps, all completions to a prompt got the same reward, so the model "
                    "learns nothing.",
                    steps=_EQUAL_STEPS,
                ),
                text(
                    "Add a reward that tells the completions apart, such as one for the format, or use prompts "
                    "that the model sometimes completes well."
                ),
                "rewards",
            )

    def _warn_of_failures(self, metrics: dict[str, float], scored: ScoredAnswers) -> None:
        for failure in scored.failures:
            self._warn_once(
                f"failure {failure.reward}",
                "training.reward_failed",
                text(
                    "The reward {name} has no value for some completions: {reason}",
                    name=describe_reward(failure.reward),
                    reason=failure.reason,
                ),
                text("They are left out. Their share is among the curves."),
            )
        if metrics["failed_share"] == 1:
            self._warn_once(
                "all failed",
                "training.rewards_missing",
                text(
                    "No completion of a step has a reward, so the model learns nothing from the step."
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
        **_shorten(answer),
        reference=answer.reference[:_SHOWN_LETTERS] if answer.reference else None,
        reward=total,
        values={name: value for name, value in values.items() if value is not None},
    )


def _shorten(answer: RatedAnswer) -> dict[str, Any]:
    """Return what is shown of an answer, with its prompt."""
    prompt = answer.prompt[-1].content[-_SHOWN_LETTERS:] if answer.prompt else ""
    return {"prompt": prompt, "text": answer.answer[:_SHOWN_LETTERS], "ended": answer.ended}


# --- before training --------------------------------------------------------------------------


def preview_rewards(command: commands.PreviewRewards, job: JobContext) -> None:
    """Emit the base model's answers to the first rows with their rewards; raises ProblemError and CancelledError.

    Answers are sampled as training samples them, one to each prompt.
    """
    if not command.training.rewards:
        raise ProblemError(no_rewards_error())
    with ExitStack() as stack:
        rewards = stack.enter_context(open_rewards(command.training.rewards, job))
        holder = LockHolder("", "rewards")
        stack.enter_context(hold_model_devices(command.model, holder, _refuse))
        loaded = loading.load(command.model, job, command.dataset)
        require_shared_cache(loaded.model)
        prepared = prepare(command.dataset, loaded.tokenizer, command.training.seed, job)
        if not TASKS[prepared.rows.task].writes_rollouts:
            raise fail(
                "training.no_prompts",
                "Your data has no prompts for rewards.",
                "Choose the format “Prompts for rewards” on the Dataset page.",
                where=Where(step="dataset", field="sources"),
            )
        rows = EncodedRows(prepared.training)
        prompts: list[EncodedPrompt] = [rows[row] for row in range(min(command.rows, len(rows)))]
        rated = _write_answers(loaded, prompts, command, job)
        job.report_progress(text("rating completions"), 0, None)
        scored = rewards.score(rated)
    answers = tuple(
        PreviewAnswer(
            **_shorten(answer),
            values={name: values[index] for name, values in scored.values.items()},
            reward=scored.totals[index],
        )
        for index, answer in enumerate(rated)
    )
    problems = tuple(find_problems(rated, scored, command.training.rollout_tokens))
    job.emit(events.RewardsPreviewed(answers=answers, problems=problems))


def _write_answers(
    loaded: loading.LoadedModel,
    prompts: Sequence[EncodedPrompt],
    command: commands.PreviewRewards,
    job: JobContext,
) -> list[RatedAnswer]:
    """Return one answer to each prompt."""
    training = command.training
    sampling = GroupSampling(
        answers=1,
        max_tokens=training.rollout_tokens,
        rows=len(prompts),
        temperature=training.rollout_temperature,
        top_p=training.rollout_top_p,
        seed=str(training.seed),
    )
    stage, total = text("generating completions"), len(prompts)
    loaded.model.eval()
    groups = group_sampling.sample_groups(
        loaded.model,
        loaded.tokenizer,
        [prompt.ids.tolist() for prompt in prompts],
        sampling,
        lambda done: job.report_progress(stage, done, total, "completions"),
    )
    return [to_rated(prompt, group[0]) for prompt, group in zip(prompts, groups, strict=True)]


def find_problems(
    rated: Sequence[RatedAnswer], scored: ScoredAnswers, max_tokens: int
) -> list[Problem]:
    """Return a warning for each reward that fails or is the same for all answers, and for cut answers."""
    problems = [
        problem
        for name, values in scored.values.items()
        for problem in _find_problems_of(name, values, scored)
    ]
    if rated and not any(answer.ended for answer in rated):
        problems.append(
            warning(
                "training.answers_cut",
                "All completions were truncated at {tokens} tokens.",
                "If completions should end by themselves, increase “Max. completion length”.",
                where=Where(step="training", field="rollout_tokens"),
                tokens=max_tokens,
            )
        )
    return problems


def _find_problems_of(
    name: str, values: Sequence[float | None], scored: ScoredAnswers
) -> Iterator[Problem]:
    where = Where(step="training", field="rewards")
    reasons = [failure.reason for failure in scored.failures if failure.reward == name]
    known = [value for value in values if value is not None]
    if reasons:
        yield warning(
            "training.reward_fails",
            "The reward {name} has no value for {failed} of {total} completions: {reason}",
            "Training leaves such completions out. Correct the reward if that isn't intended.",
            where=where,
            name=describe_reward(name),
            failed=len(reasons),
            total=len(values),
            reason=reasons[0],
        )
    if len(known) > 1 and all(math.isclose(value, known[0]) for value in known):
        yield warning(
            "training.reward_constant",
            "The reward {name} is {value:small} for all completions, so there is nothing to learn from it.",
            "Change the reward, or use prompts that the model sometimes completes well.",
            where=where,
            name=describe_reward(name),
            value=known[0],
        )


def _refuse(device: DeviceIdentity, holder: LockHolder) -> None:
    """Raise the error for a GPU that another job holds."""
    raise fail(
        "training.trial_device_busy",
        "{device} is in use by the run {run}."
        if holder.run
        else "{device} is in use by another job.",
        "Wait until the job finishes, then try the rewards again.",
        device=device.title,
        run=Path(holder.run).name,
    )
