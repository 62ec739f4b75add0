"""Whole-project validation: every problem at once, before anything starts."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.export import ExportSpec
from lora_studio.core.lora import starting_adapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.problems import STEPS, Fix, Problem, Step, Where
from lora_studio.core.project.project import Draft
from lora_studio.core.spec import Spec
from lora_studio.core.training import combinations, recipe_checks
from lora_studio.core.training.spec import TrainingSpec


def check(draft: Draft) -> list[Problem]:
    """Every problem of a project that can be seen without a model in memory."""
    found = draft.problems()
    for step in STEPS:
        spec = draft.spec(step)
        if spec is not None:
            found += _check_spec(spec)
    model, lora, training = draft.spec("model"), draft.spec("lora"), draft.spec("training")
    if isinstance(model, ModelSpec) and isinstance(training, TrainingSpec):
        found += recipe_checks.check_on(model, training)
        if isinstance(lora, LoraSpec):
            found += combinations.check(model, lora, training)
    data = draft.spec("dataset")
    if isinstance(data, DatasetSpec) and isinstance(training, TrainingSpec):
        found += recipe_checks.check_with(data, training)
    return found


def of_step(problems: list[Problem], step: Step) -> list[Problem]:
    """The problems that belong to one step."""
    return [problem for problem in problems if problem.where.step == step]


def errors(problems: list[Problem]) -> list[Problem]:
    """The problems that keep a job from starting."""
    return [problem for problem in problems if problem.severity == "error"]


def _check_spec(spec: Spec) -> list[Problem]:
    match spec:
        case ModelSpec():
            return _check_model(spec)
        case LoraSpec():
            return _check_lora(spec)
        case DatasetSpec():
            return _check_dataset(spec)
        case TrainingSpec():
            return recipe_checks.check(spec)
        case ExportSpec():
            return _check_export(spec)
    return []


def _check_model(spec: ModelSpec) -> list[Problem]:
    return _check_source(spec) + _check_devices(spec)


def _check_devices(spec: ModelSpec) -> list[Problem]:
    names = list(dict.fromkeys(spec.devices))
    if names[0] == "cpu" or len(names) == len(spec.devices):
        return []
    return [
        Problem(
            code="model.device_twice",
            what=f"The devices {spec.device} name one of them twice.",
            remedy="Name every device once.",
            where=Where(step="model", field="device"),
            fix=Fix(
                label=f"Use {','.join(names)}", step="model", field="device", value=",".join(names)
            ),
        )
    ]


def _check_source(spec: ModelSpec) -> list[Problem]:
    where = Where(step="model", field="source")
    path = Path(spec.source)
    match spec.kind:
        case "none":
            return [
                Problem(
                    code="model.none",
                    what="No model is chosen.",
                    remedy="Choose a folder, a GGUF file or a hub id.",
                    where=where,
                    fix=Fix(
                        label=f"Use {DEFAULT_BUILTIN}",
                        step="model",
                        field="source",
                        value=BUILTIN_PREFIX + DEFAULT_BUILTIN,
                    ),
                )
            ]
        case "gguf" if not path.is_file():
            return [_missing("model.not_found", f"There is no file {path}.", where)]
        case "folder" if path.is_file():
            return [
                Problem(
                    code="model.not_a_model",
                    what=f"{path} is a file that holds no model.",
                    remedy="Choose a .gguf file, or the folder that directly holds config.json and "
                    ".safetensors.",
                    where=where,
                )
            ]
        case "folder" if not path.is_dir():
            return [_missing("model.not_found", f"There is no folder {path}.", where)]
        case "folder" if not (path / "config.json").is_file():
            return [
                Problem(
                    code="model.not_a_model",
                    what=f"{path} holds no config.json, so it is no Hugging Face model.",
                    remedy="Choose the folder that directly holds config.json and .safetensors.",
                    where=where,
                )
            ]
        case "builtin" if spec.source != BUILTIN_PREFIX + DEFAULT_BUILTIN:
            return [
                Problem(
                    code="model.unknown_builtin",
                    what=f"No model called {spec.source.removeprefix(BUILTIN_PREFIX)} comes along.",
                    remedy=f"The one that does is {DEFAULT_BUILTIN}.",
                    where=where,
                )
            ]
    return []


def _check_lora(spec: LoraSpec) -> list[Problem]:
    if spec.start_from:
        return starting_adapter.check(spec)
    if spec.targets == "names" and not spec.target_names:
        return [
            Problem(
                code="lora.no_targets",
                what="No target module is named, so nothing would train.",
                remedy="Name at least one linear layer, or choose another preset.",
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
            Problem(
                code="dataset.none",
                what="No dataset is chosen.",
                remedy="Choose a file, a folder or a hub dataset.",
                where=where,
            )
        ]
    found: list[Problem] = []
    for source in spec.sources:
        path = Path(source.path)
        if path.is_file() and path.stat().st_size == 0:
            found.append(
                Problem(
                    code="dataset.empty",
                    what=f"{path.name} is empty.",
                    remedy="Choose a file with rows.",
                    where=where,
                )
            )
        elif not path.exists() and not source.is_hub:
            found.append(
                _missing("dataset.not_found", f"There is no file or folder {path}.", where)
            )
    if spec.validation_file and not Path(spec.validation_file).exists():
        found.append(
            _missing(
                "dataset.not_found",
                f"There is no file {spec.validation_file}.",
                Where(step="dataset", field="validation_file"),
            )
        )
    return found


def _check_export(spec: ExportSpec) -> list[Problem]:
    if spec.llama_cpp and not Path(spec.llama_cpp).is_dir():
        return [
            _missing(
                "export.llama_cpp_not_found",
                f"There is no folder {spec.llama_cpp}.",
                Where(step="export", field="llama_cpp"),
            )
        ]
    return []


def _missing(code: str, what: str, where: Where) -> Problem:
    remedy = "Check the spelling, or choose it again if it was moved."
    return Problem(code=code, what=what, remedy=remedy, where=where)
