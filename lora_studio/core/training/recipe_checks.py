"""Check a recipe for settings that can't work or rarely do; each problem names its field and a fix."""

from __future__ import annotations

from dataclasses import replace

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, Where, error, warning
from lora_studio.core.rewards.spec import (
    describe_reward,
    find_equal_title,
    find_fault,
    name_rewards,
)
from lora_studio.core.system.programs import BuildTool
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.tasks.task import UsualRate
from lora_studio.core.training import optimizers
from lora_studio.core.training.spec import TrainingSpec

#: Steps at the highest rate that rarely fails after which a model still answers.
_SAFE_STEPS = 150


def check(spec: TrainingSpec) -> list[Problem]:
    """Return the problems that can be seen from the recipe alone."""
    return [*_check_rate(spec), *_check_cadence(spec)]


def check_for(task: TaskName, spec: TrainingSpec) -> list[Problem]:
    """Return problems of a recipe with data of a task: a learning rate for plain fine-tuning with preferences,
    what a reward model, an embedding model, or a classifier can't do, or prompts without a reward.
    """
    problems = TASKS[task].check_recipe(spec.preference, spec.effective_batch)
    if not spec.trains_generative_model(task) and spec.best_by != "loss":
        problems.append(no_answers_error())
    if TASKS[task].writes_rollouts:
        problems += _check_rewards(spec)
    if spec.teacher.strip() and not spec.distills(task):
        problems.append(_unused_teacher_warning())
    rate = find_usual_rate(task, spec)
    if rate is None or not _is_high(spec, rate):
        return problems
    return [
        *problems,
        warning(
            "training.learning_rate_high",
            "A learning rate of {rate} is high for {method}: the model forgets how to answer.",
            "A common value is {usual}.",
            where=Where(step="training", field="learning_rate"),
            fix=Fix(
                label=text("Use {value}", value=rate.usual),
                step="training",
                field="learning_rate",
                value=rate.usual,
            ),
            rate=spec.learning_rate,
            method=rate.method,
            usual=rate.usual,
        ),
    ]


def no_answers_error() -> Problem:
    """Return the error for a model that writes no answers and whose best adapter is decided by answers."""
    return error(
        "training.no_answers",
        "A reward model, classifier, or embedding model doesn't write answers, so they can't decide on the best "
        "adapter.",
        "Decide by eval loss.",
        where=Where(step="training", field="best_by"),
        fix=Fix(label="Decide by eval loss", step="training", field="best_by", value="loss"),
    )


def changed_base_error() -> Problem:
    """Return the error for a model without its output layer whose initialization changes the base weights."""
    return error(
        "training.changed_base",
        "Reward models, classifiers, and embedding models can't be trained with an initialization that changes "
        "the base weights.",
        "Use the default initialization.",
        where=Where(step="lora", field="init"),
    )


def unused_tokens_error() -> Problem:
    """Return the error for new tokens in a model without its output layer."""
    return error(
        "training.unused_tokens",
        "Reward models, classifiers, and embedding models can't be trained with new tokens.",
        "Remove the new tokens.",
        where=Where(step="lora", field="new_tokens"),
    )


def _unused_teacher_warning() -> Problem:
    return warning(
        "training.unused_teacher",
        "The teacher isn't used: only supervised training learns from a teacher.",
        "To learn from a teacher, train on conversations or plain text.",
        where=Where(step="training", field="teacher"),
        fix=Fix(label="Train without a teacher", step="training", field="teacher", value=""),
    )


def no_classifier_error(architecture: str) -> Problem:
    """Return the error for a base model that transformers has no fitting classifier for."""
    return error(
        "training.no_classifier",
        "{architecture} can't be trained as a classifier: transformers has no matching model with a "
        "classification head.",
        "Choose another model, or the format “Question and answer” for the data, to train a model that answers "
        "with the label.",
        where=Where(step="model", field="source"),
        architecture=architecture,
    )


def _check_rewards(spec: TrainingSpec) -> list[Problem]:
    """Return an error for each reward with incomplete settings, or for a recipe without rewards."""
    rewards = spec.rewards
    faults = zip(rewards, name_rewards(rewards), map(find_fault, rewards), strict=True)
    problems = [
        error(
            "training.reward_incomplete",
            "Reward “{reward}”: {fault}",
            "Complete its settings, or remove it.",
            where=Where(step="training", field="rewards"),
            reward=each.name.strip() or describe_reward(name),
            fault=fault,
        )
        for each, name, fault in faults
        if fault is not None
    ]
    if (title := find_equal_title(spec.rewards)) is not None:
        problems.append(
            error(
                "training.reward_names_equal",
                "Two rewards have the name {name}.",
                "Give one of them another name.",
                where=Where(step="training", field="rewards"),
                name=title,
            )
        )
    return problems if spec.rewards else [no_rewards_error()]


def no_rewards_error() -> Problem:
    """Return the error for prompts that nothing rates the answers to."""
    return error(
        "training.no_rewards",
        "Your data has prompts for rewards, but there are no rewards.",
        "Add a reward that rates the answers, or choose another format for the data.",
        where=Where(step="training", field="rewards"),
    )


def _is_high(spec: TrainingSpec, rate: UsualRate) -> bool:
    """Return whether a rate leads far from the base model: a step changes a weight by about the rate, so few
    steps may use a higher one.
    """
    if spec.max_steps and spec.max_steps * spec.learning_rate <= _SAFE_STEPS * rate.highest:
        return False
    return spec.learning_rate > rate.highest


def find_usual_rate(task: TaskName | None, spec: TrainingSpec) -> UsualRate | None:
    """Return the usual rate of preference or reward training with the recipe's optimizer; None for other tasks."""
    rate = TASKS[task].find_usual_rate(spec.preference) if task is not None else None
    if rate is None:
        return None
    scale = optimizers.OPTIMIZERS[spec.optimizer].usual / optimizers.OPTIMIZERS["adamw"].usual
    return replace(rate, usual=rate.usual * scale, highest=rate.highest * scale)


def check_with(data: DatasetSpec, spec: TrainingSpec) -> list[Problem]:
    """Return the problems of settings that need validation rows if there are none."""
    if data.validation_share or data.validation_count or data.validation_file:
        return []
    fix = Fix(
        label="Use 5 % of the rows for validation",
        step="dataset",
        field="validation_share",
        value=0.05,
    )
    needs: dict[str, tuple[Template, bool]] = {
        "early_stopping": (
            "Early stopping needs eval loss, but no rows are used for validation.",
            spec.early_stopping > 0,
        ),
        "best_by": (
            "Choosing the best adapter by its answers needs validation rows, but there are none.",
            spec.best_by != "loss",
        ),
        "schedule": (
            "Reducing the learning rate on a plateau needs eval loss, but no rows are used for validation.",
            spec.schedule == "reduce_on_plateau" and not spec.schedule_free,
        ),
    }
    return [
        Problem(
            code="training.needs_validation",
            what=what,
            remedy="Use some rows of the dataset for validation, or turn this off.",
            where=Where(step="training", field=field),
            fix=fix,
        )
        for field, (what, is_set) in needs.items()
        if is_set
    ]


def check_on(model: ModelSpec, spec: TrainingSpec) -> list[Problem]:
    """Return the problems of settings that the chosen device rules out."""
    reason = optimizers.explain_unavailable(spec.optimizer, model.device)
    return [optimizer_unavailable_error(reason)] if reason else []


def check_build_tools(missing: BuildTool | None, device: str, spec: TrainingSpec) -> list[Problem]:
    """Return a problem if the GPU's fastest kernels can't be built on this computer.

    `missing` is what Triton lacks, `device` the name of the device that trains.
    """
    is_wanted = spec.liger != "off" or spec.torch_compile != "off" or spec.backend == "unsloth"
    if missing is None or not device.startswith("cuda") or not is_wanted:
        return []
    what: Template = (
        "Triton needs a C compiler to build GPU kernels, but none is installed."
        if missing == "compiler"
        else "Triton needs Python's header files to build GPU kernels, but they aren't installed."
    )
    command = "gcc" if missing == "compiler" else "python3-dev gcc"
    return [
        warning(
            "training.no_build_tool",
            what,
            "Run `sudo apt install {packages}`, or the equivalent for your system. Without it, Liger kernels, "
            "torch.compile, and Unsloth can't be used: training is slower, with the same result.",
            where=Where(step="training", field="liger"),
            packages=command,
        )
    ]


def optimizer_unavailable_error(reason: Text) -> Problem:
    """Return the problem for an optimizer that isn't available here; `reason` is a sentence."""
    return Problem(
        code="training.optimizer_not_available",
        what=reason,
        remedy="Choose AdamW, which works on every device.",
        where=Where(step="training", field="optimizer"),
        fix=Fix(label="Use AdamW", step="training", field="optimizer", value="adamw"),
    )


def _check_cadence(spec: TrainingSpec) -> list[Problem]:
    """Check for intervals longer than the training, as after a change of unit from steps to epochs."""
    if spec.cadence == "steps":
        return []
    intervals: list[tuple[str, Template, float]] = [
        (
            "eval_every",
            "Evaluating every {every} epochs never happens in {epochs} epochs.",
            spec.eval_every,
        ),
        (
            "save_every",
            "Saving a checkpoint every {every} epochs never happens in {epochs} epochs.",
            spec.save_every,
        ),
    ]
    return [
        warning(
            "training.interval_too_long",
            what,
            "Enter fewer epochs, or use steps as the interval unit.",
            where=Where(step="training", field=field),
            fix=Fix(label=text("Every epoch"), step="training", field=field, value=1.0),
            every=every,
            epochs=spec.epochs,
        )
        for field, what, every in intervals
        if every > spec.epochs
    ]


def _check_rate(spec: TrainingSpec) -> list[Problem]:
    about = optimizers.OPTIMIZERS[spec.optimizer]
    rate = spec.learning_rate
    if about.lowest <= rate <= about.highest:
        return []
    if rate > about.highest:
        code = "training.learning_rate_high"
        what = "A learning rate of {rate} usually makes LoRA training with {optimizer} diverge."
    else:
        code = "training.learning_rate_low"
        what = "A learning rate of {rate} is too low to learn much with {optimizer}."
    return [
        warning(
            code,
            what,
            "A common value is {usual}.",
            where=Where(step="training", field="learning_rate"),
            fix=Fix(
                label=text("Use {value}", value=about.usual),
                step="training",
                field="learning_rate",
                value=about.usual,
            ),
            rate=rate,
            optimizer=about.title,
            usual=about.usual,
        )
    ]
