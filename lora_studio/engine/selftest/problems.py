"""Problems of self-tests that don't stop them."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.problems import Problem, Where, warning


def no_conversations_problem() -> Problem:
    """Return the warning for a run without held-out conversations."""
    return warning(
        "selftest.no_conversations",
        "No conversations were held out of training, so there is nothing to test on.",
        "Set a validation share on the Dataset page and train again.",
        where=Where(step="dataset", field="validation_share"),
    )


def missing_file_problem(file: Path, quantization: str) -> Problem:
    """Return the warning for an exported file that can't be tested because it is missing."""
    return warning(
        "selftest.file_missing",
        "{file} is missing, so it isn't tested.",
        "If you need it, export the run again with {quantization}.",
        where=Where(step="export", file=str(file)),
        file=file.name,
        quantization=quantization,
    )


def missing_model_problem(folder: Path) -> Problem:
    """Return the warning for a merged model that can't be tested because it is missing."""
    return warning(
        "selftest.merged_missing",
        "The merged model is missing, so it isn't tested.",
        "If you need it, merge the run again.",
        where=Where(step="merging", file=str(folder)),
    )
