"""How all tasks are trained, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lora_studio.core.problems import ProblemError
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.training.recipe_checks import no_answers_error
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks.classification import ClassificationTraining
from lora_studio.engine.tasks.embedding import EmbeddingTraining
from lora_studio.engine.tasks.grpo import RewardTraining
from lora_studio.engine.tasks.preference import LabeledAnswerTraining, PreferenceTraining
from lora_studio.engine.tasks.supervised import SupervisedTraining
from lora_studio.engine.tasks.task import Objective, TaskTraining

TRAINED_TASKS: Mapping[TaskName, TaskTraining] = {
    "sft": SupervisedTraining(),
    "text": SupervisedTraining(),
    "preference": PreferenceTraining(),
    "kto": LabeledAnswerTraining(),
    "grpo": RewardTraining(),
    "embedding": EmbeddingTraining(),
    "classification": ClassificationTraining(),
}


def create_objective(
    spec: TrainingSpec,
    task: TaskName,
    logprob_model: LogprobModel,
    ranks: ProcessGroup | None = None,
    label_counts: Sequence[int] = (),
) -> Objective:
    """Return the objective of a recipe and task; raises ProblemError for a recipe that the task can't train.

    `label_counts` are the training rows of each label, in the order of a classifier's outputs.
    """
    if not spec.trains_generative_model(task) and spec.best_by != "loss":
        raise ProblemError(no_answers_error())
    return TRAINED_TASKS[task].create_objective(
        spec, logprob_model, ranks or ProcessGroup(), label_counts
    )
