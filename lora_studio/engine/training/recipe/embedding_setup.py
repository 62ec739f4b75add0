"""Prepare a model for embedding training: its pooling, its end token, and the task of its adapter."""

from __future__ import annotations

from dataclasses import asdict

from peft import TaskType

from lora_studio.core.messages import Text, text
from lora_studio.core.model.catalog import get_architecture
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.embedding import Pooling, needs_two_rows_error
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel, EmbeddingOutput
from lora_studio.engine.kernels.chunked_logprobs import find_decoder
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.fast_imports import is_convertible
from lora_studio.engine.tokens.search_texts import append_end_token
from lora_studio.engine.training.recipe.pooling import resolve_pooling
from lora_studio.engine.training.recipe.score_head import require_plain_base


def prepare_embedding(project: Project, tuned: AdaptedModel, job: JobContext) -> Project:
    """Return the project with the pooling decided; emits Warned and LogLine.

    The tokenizer then adds the end token itself, and the adapter is saved for feature extraction. Raises
    ProblemError for a model, an adapter, or a recipe that can't train embeddings.
    """
    training = project.training
    _require_suitable(tuned, training)
    pooling = resolve_pooling(training.pooling, tuned.base.folder)
    append_end_token(tuned.base.tokenizer)
    width = tuned.base.model.config.get_text_config().hidden_size
    tuned.embedding = EmbeddingOutput(pooling, width, project.dataset.max_length)
    tuned.model.peft_config["default"].task_type = TaskType.FEATURE_EXTRACTION
    architecture = get_architecture(tuned.base.model.config.to_dict())
    if not is_convertible(architecture):
        job.emit(events.Warned(problem=_not_exportable_warning(architecture)))
    job.emit(events.LogLine(text=_describe_comparison(pooling, training.effective_batch - 1)))
    return project.model_copy(update={"training": training.model_copy(update={"pooling": pooling})})


def _not_exportable_warning(architecture: str) -> Problem:
    return warning(
        "training.embedding_not_exportable",
        "The trained model can't be exported as GGUF: llama.cpp's converter doesn't support the architecture "
        "{architecture}.",
        "Use its adapter with PEFT, or the merged model with sentence-transformers.",
        where=Where(step="model", field="source"),
        architecture=architecture,
    )


def _describe_comparison(pooling: Pooling, others: int) -> Text:
    """Return what a query is compared with, and what the vector of a text is."""
    if pooling == "last":
        return text(
            "The texts of the other {n} rows of its step are the negatives of a query, however many are computed "
            "at once. The vector of a text is read from its last token.",
            n=others,
        )
    return text(
        "The texts of the other {n} rows of its step are the negatives of a query, however many are computed at "
        "once. The vector of a text is the mean over its tokens.",
        n=others,
    )


def record_embedding(run: RunFolder, tuned: AdaptedModel) -> None:
    """Record how vectors are computed, which merging and export need."""
    assert tuned.embedding is not None
    run.update_manifest(embedding=asdict(tuned.embedding))


def _require_suitable(tuned: AdaptedModel, training: TrainingSpec) -> None:
    """Raise ProblemError for a model, an adapter, or a recipe that can't train embeddings."""
    if training.effective_batch < 2:
        raise ProblemError(needs_two_rows_error())
    require_plain_base(tuned)
    decoder = find_decoder(tuned.base.model)
    if decoder is None:
        raise fail(
            "training.embedding_unsupported",
            "{architecture} can't be trained for embeddings.",
            "Choose another model.",
            where=Where(step="model", field="source"),
            architecture=type(tuned.base.model).__name__,
        )
    inside = {id(parameter) for parameter in decoder.parameters()}
    if any(each.requires_grad and id(each) not in inside for each in tuned.model.parameters()):
        raise fail(
            "training.embedding_head",
            "The output layer isn't used for embeddings, so it can't be trained with them.",
            "Remove lm_head from the target modules and from the modules trained in full.",
            where=Where(step="lora", field="targets"),
        )
