"""Whole-project validation: every problem at once, before anything starts."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.export import ExportSpec
from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Template, text
from lora_studio.core.model.spec import (
    BUILTIN_PREFIX,
    DEFAULT_BUILTIN,
    ModelSpec,
    classify_source,
)
from lora_studio.core.problems import STEPS, Fix, Problem, Step, Where, error
from lora_studio.core.project.project import Draft
from lora_studio.core.spec import Spec
from lora_studio.core.training import combinations, recipe_checks
from lora_studio.core.training.spec import TrainingSpec


def check(draft: Draft) -> list[Problem]:
    """Return every problem of a project that can be detected without loading a model."""
    problems = draft.list_problems()
    for step in STEPS:
        spec = draft.get_spec(step)
        if spec is not None:
            problems += _check_spec(spec)
    model, lora, training = (
        draft.get_spec("model"),
        draft.get_spec("lora"),
        draft.get_spec("training"),
    )
    if isinstance(model, ModelSpec) and isinstance(training, TrainingSpec):
        problems += recipe_checks.check_on(model, training)
        if isinstance(lora, LoraSpec):
            problems += combinations.check(model, lora, training)
    data = draft.get_spec("dataset")
    if isinstance(data, DatasetSpec) and isinstance(training, TrainingSpec):
        problems += recipe_checks.check_with(data, training)
    return problems


def filter_by_step(problems: list[Problem], step: Step) -> list[Problem]:
    """Return the problems that belong to one step."""
    return [problem for problem in problems if problem.where.step == step]


def filter_errors(problems: list[Problem]) -> list[Problem]:
    """Return the problems that prevent a job from starting."""
    return [problem for problem in problems if problem.severity == "error"]


def _check_spec(spec: Spec) -> list[Problem]:
    match spec:
        case ModelSpec():
            return _check_source(spec.source, Where(step="model", field="source")) + _check_devices(
                spec
            )
        case LoraSpec():
            return _check_lora(spec)
        case DatasetSpec():
            return _check_dataset(spec)
        case TrainingSpec():
            return recipe_checks.check(spec) + _check_teacher(spec)
        case ExportSpec():
            return _check_export(spec)
    return []


def _check_devices(spec: ModelSpec) -> list[Problem]:
    names = list(dict.fromkeys(spec.devices))
    if names[0] == "cpu" or len(names) == len(spec.devices):
        return []
    return [
        error(
            "model.device_twice",
            "{devices} lists a device twice.",
            "List each device only once.",
            where=Where(step="model", field="device"),
            devices=spec.device,
            fix=Fix(
                label=text("Use {value}", value=",".join(names)),
                step="model",
                field="device",
                value=",".join(names),
            ),
        )
    ]


def _no_model_error(where: Where) -> Problem:
    return error(
        "model.none",
        "No model selected.",
        "Choose a folder, a GGUF file, or a Hub ID.",
        where=where,
        fix=Fix(
            label=text("Use {value}", value=DEFAULT_BUILTIN),
            step="model",
            field="source",
            value=BUILTIN_PREFIX + DEFAULT_BUILTIN,
        ),
    )


def _check_teacher(spec: TrainingSpec) -> list[Problem]:
    source = spec.teacher.strip()
    return _check_source(source, Where(step="training", field="teacher")) if source else []


def _check_source(source: str, where: Where) -> list[Problem]:
    path = Path(source)
    match classify_source(source):
        case "none":
            return [_no_model_error(where)]
        case "gguf" if not path.is_file():
            return [
                _missing_path_error(
                    "model.not_found", "The file {path} doesn't exist.", path, where
                )
            ]
        case "folder":
            return _check_folder(path, where)
        case "builtin" if source != BUILTIN_PREFIX + DEFAULT_BUILTIN:
            return [
                error(
                    "model.unknown_builtin",
                    "There is no built-in model named {name}.",
                    "Use {model}.",
                    where=where,
                    name=source.removeprefix(BUILTIN_PREFIX),
                    model=DEFAULT_BUILTIN,
                )
            ]
    return []


def _check_folder(path: Path, where: Where) -> list[Problem]:
    if path.is_file():
        return [
            error(
                "model.not_a_model",
                "{path} isn't a model file.",
                "Choose a .gguf file, or the folder that contains config.json and .safetensors.",
                where=where,
                path=str(path),
            )
        ]
    if not path.is_dir():
        return [
            _missing_path_error("model.not_found", "The folder {path} doesn't exist.", path, where)
        ]
    if not (path / "config.json").is_file():
        return [
            error(
                "model.not_a_model",
                "{path} has no config.json, so it isn't a Hugging Face model.",
                "Choose the folder that contains config.json and .safetensors.",
                where=where,
                path=str(path),
            )
        ]
    return []


def _check_lora(spec: LoraSpec) -> list[Problem]:
    if spec.start_from:
        return adapters.check(spec)
    if spec.targets == "names" and not spec.target_names:
        return [
            error(
                "lora.no_targets",
                "No target modules are specified, so there is nothing to train.",
                "Specify at least one linear layer, or choose another option.",
                where=Where(step="lora", field="target_names"),
                fix=Fix(
                    label="Use all linear layers", step="lora", field="targets", value="all_linear"
                ),
            )
        ]
    return []


def _check_dataset(spec: DatasetSpec) -> list[Problem]:
    where = Where(step="dataset", field="sources")
    if not spec.sources:
        return [
            error(
                "dataset.none",
                "No dataset selected.",
                "Choose a file, a folder, or a Hub dataset.",
                where=where,
            )
        ]
    problems: list[Problem] = []
    for source in spec.sources:
        path = Path(source.path)
        if path.is_file() and path.stat().st_size == 0:
            problems.append(
                error(
                    "dataset.empty",
                    "{file} is empty.",
                    "Choose a file with rows.",
                    where=where,
                    file=path.name,
                )
            )
        elif not path.exists() and not source.is_hub:
            problems.append(
                _missing_path_error("dataset.not_found", "{path} doesn't exist.", path, where)
            )
    if spec.validation_file and not Path(spec.validation_file).exists():
        problems.append(
            _missing_path_error(
                "dataset.not_found",
                "The file {path} doesn't exist.",
                spec.validation_file,
                Where(step="dataset", field="validation_file"),
            )
        )
    return problems


def _check_export(spec: ExportSpec) -> list[Problem]:
    if spec.llama_cpp and not Path(spec.llama_cpp).is_dir():
        return [
            _missing_path_error(
                "export.llama_cpp_not_found",
                "The folder {path} doesn't exist.",
                spec.llama_cpp,
                Where(step="export", field="llama_cpp"),
            )
        ]
    return []


def _missing_path_error(code: str, what: Template, path: Path | str, where: Where) -> Problem:
    remedy = "Check the spelling, or choose it again if it was moved."
    return error(code, what, remedy, where=where, path=str(path))
