"""Rate answers of the base model with the rewards of a recipe, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import PreviewAnswer
from lora_studio.core.rewards.spec import RatedAnswer, describe_reward
from lora_studio.core.system.locks import DeviceIdentity, LockHolder
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.recipe_checks import no_rewards_error
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.devices.lock import hold_model_devices
from lora_studio.engine.generation import group_sampling
from lora_studio.engine.generation.group_sampling import GroupSampling
from lora_studio.engine.model import loading
from lora_studio.engine.rewards.registry import ScoredAnswers, open_rewards
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tasks.grpo import require_shared_cache
from lora_studio.engine.tokens.encoder import EncodedPrompt
from lora_studio.engine.training.rewarding.rollouts import to_rated

#: Maximum number of characters of a prompt or an answer that is shown.
_SHOWN_LETTERS = 4000


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
        job.report_progress(text("rating answers"), 0, None)
        scored = rewards.score(rated)
    answers = tuple(_show(rated, scored, index) for index in range(len(rated)))
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
    stage, total = text("writing answers"), len(prompts)
    loaded.model.eval()
    groups = group_sampling.sample_groups(
        loaded.model,
        loaded.tokenizer,
        [prompt.ids.tolist() for prompt in prompts],
        sampling,
        lambda done: job.report_progress(stage, done, total, "answers"),
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
                "All answers were cut at {tokens} tokens.",
                "If answers should end by themselves, increase “Max. answer length”.",
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
            "The reward {name} has no value for {failed} of {total} answers: {reason}",
            "Training leaves such answers out. Correct the reward if that isn't intended.",
            where=where,
            name=describe_reward(name),
            failed=len(reasons),
            total=len(values),
            reason=reasons[0],
        )
    if len(known) > 1 and all(math.isclose(value, known[0]) for value in known):
        yield warning(
            "training.reward_constant",
            "The reward {name} is {value:small} for all answers, so there is nothing to learn from it.",
            "Change the reward, or use prompts that the model sometimes answers well.",
            where=where,
            name=describe_reward(name),
            value=known[0],
        )


def _show(rated: Sequence[RatedAnswer], scored: ScoredAnswers, index: int) -> PreviewAnswer:
    answer = rated[index]
    return PreviewAnswer(
        prompt=answer.prompt[-1].content[-_SHOWN_LETTERS:] if answer.prompt else "",
        text=answer.answer[:_SHOWN_LETTERS],
        values={name: values[index] for name, values in scored.values.items()},
        reward=scored.totals[index],
        ended=answer.ended,
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
