"""Statements of the script that depend on a run's objects: base model, adapter, optimizer, schedule."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import TaskType

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.kernels.logprobs import is_dropping
from lora_studio.engine.lora import initialization
from lora_studio.engine.model import loading, text_model
from lora_studio.engine.model.capped_attention import has_capped_scores
from lora_studio.engine.tasks import classification
from lora_studio.engine.tokens.batches import BatchPlan
from lora_studio.engine.training.recipe import schedules
from lora_studio.engine.training.reproduction.objectives import ScriptObjective, find_objective
from lora_studio.engine.training.step_batches import TrainingRows

#: Entries of a LoraConfig that say where an adapter came from, not what it is.
_PROVENANCE = {
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision",
    "inference_mode", "runtime_config",
}  # fmt: skip

#: Entries that are written even where they are PEFT's defaults.
_ALWAYS_SHOWN = ("r", "lora_alpha", "lora_dropout", "miss_dropout")

#: The only attention of transformers that caps scores.
_CAPPING_ATTENTION = 'attn_implementation="eager"'

#: The labels of a classifier, before its base is loaded with them.
_LABELS = """# Each label and its weight in the loss.
LABELS = json.loads((DATA / "labels.json").read_text("utf-8"))
"""

#: Initial values that are computed from rows or rounding errors, not from the weights alone.
_COMPUTED = ("eva", "loftq")


def build_base_model(run: RunFolder, facts: ReproductionFacts) -> dict[str, Any]:
    """Return statements that load the base model: by hub id and commit, or from a folder."""
    source = run.read_manifest().get("base_model") or {}
    commit = source.get("commit")
    device_map = getattr(facts.tuned.base.model, "hf_device_map", {})
    arguments = ["BASE", "dtype=DTYPE"]
    if commit:
        arguments.append("revision=REVISION")
    is_spread = len({*device_map.values()}) > 1
    arguments.append('device_map="auto"' if is_spread else 'device_map={"": DEVICE}')
    if facts.project.model.trust_remote_code:
        arguments.append("trust_remote_code=True")
    if has_capped_scores(facts.tuned.base.model.config):
        arguments.append(_CAPPING_ATTENTION)
    if facts.label_counts:
        arguments += [
            "id2label=dict(enumerate(LABELS))",
            "label2id={label: number for number, label in enumerate(LABELS)}",
            f"pad_token_id={facts.tuned.base.tokenizer.pad_token_id}",
        ]
    quantization = _get_quantization(facts)
    if quantization:
        arguments.append("quantization_config=quantization")
    model_class = facts.objective.model_class
    if model_class == "AutoModelForCausalLM":
        model_class = text_model.name_auto_class(facts.tuned.base.model.config)
    return {
        "base": format_assignment(
            "BASE", source["source"] if commit else str(facts.tuned.base.folder)
        ),
        "revision": format_assignment("REVISION", commit) if commit else None,
        "quantization": quantization
        and format_call("quantization = transformers.BitsAndBytesConfig", quantization),
        "load": (_LABELS if facts.label_counts else "")
        + format_call(f"model = transformers.{model_class}.from_pretrained", arguments),
    }


def build_teacher(run: RunFolder, facts: ReproductionFacts) -> dict[str, Any]:
    """Return statements that load the teacher, and the settings of its loss; None without a teacher."""
    spec = facts.project.training
    if not spec.distills(facts.task):
        return {"teacher": None, "load_teacher": None, "distillation": None}
    source = run.read_manifest().get("teacher") or {}
    model = spec.make_teacher_spec(facts.project.model)
    is_hub = model.kind == "hub" and source.get("commit")
    arguments = ["TEACHER", f"dtype={devices.get_dtype(model.precision, facts.tuned.base.device)}"]
    if is_hub:
        arguments.append(f"revision={format_literal(source['commit'])}")
    arguments.append('device_map={"": DEVICE}')
    config = loading.read_config(Path(source["folder"]), model)
    if has_capped_scores(config):
        arguments.append(_CAPPING_ATTENTION)
    if model.precision in ("8bit", "4bit"):
        settings = _get_bits(model)
        arguments.append(
            f"quantization_config=transformers.BitsAndBytesConfig({', '.join(settings)})"
        )
    vocabulary = len(facts.tuned.base.tokenizer)
    return {
        "teacher": format_assignment(
            "TEACHER", model.source if is_hub else source.get("folder", "")
        ),
        "load_teacher": format_call(
            f"teacher = transformers.{text_model.name_auto_class(config)}.from_pretrained",
            arguments,
        ),
        "distillation": {
            "weight": spec.distillation_weight,
            "temperature": spec.distillation_temperature,
            "top_k": min(spec.distillation_top_k, vocabulary),
            "vocabulary": vocabulary,
        },
    }


def build_start_adapter(run: RunFolder, facts: ReproductionFacts, folder: Path) -> str | None:
    """Return the adapter that training starts from, relative to the run folder; None for PEFT's own.

    Initial values that were computed from rows or rounding errors are saved with the rows. Raises
    ValueError when training is past its first step.
    """
    if facts.tuned.start:
        return format_literal(run.start_adapter.name)
    if facts.project.lora.init not in _COMPUTED:
        return None
    if facts.step:
        raise InvalidContentError("the initial values of the adapter weren't saved")
    facts.tuned.model.save_pretrained(
        str(folder / "initial"), selected_adapters=["default"], save_embedding_layers=False
    )
    (folder / "initial" / "README.md").unlink(missing_ok=True)
    return format_literal(f"{run.data.name}/initial")


def get_reference_adapter(facts: ReproductionFacts) -> str | None:
    """Return the expression for the reference adapter; None where the reference is the base model."""
    if facts.project.lora.changes_base:
        return 'OUT / "initial"'
    return "START" if facts.tuned.start else None


def can_convert_adapter(facts: ReproductionFacts) -> bool:
    """Return whether PEFT can convert the saved adapter to one for the unchanged base weights."""
    spec = facts.project.lora
    has_more = spec.use_dora or spec.modules_to_save or (spec.use_rslora and spec.own_ranks)
    return spec.changes_base and not has_more


def has_reference_dropout(tuned: AdaptedModel) -> bool:
    """Return whether the reference model has dropout, in the base or in the start adapter.

    Without dropout, the script leaves the model in training mode: quantized layers round differently in
    evaluation mode.
    """
    # Off with the adapter itself.
    kinds = ("lora_dropout", "miss_dropout")
    adapter_dropout = (*kinds, *(f"{kind}.default" for kind in kinds))
    layers = tuned.model.named_modules()
    return any(is_dropping(layer) for name, layer in layers if not name.endswith(adapter_dropout))


def should_widen_to_32_bit(tuned: AdaptedModel) -> bool:
    """Return whether PEFT leaves any trained modules or biases unconverted to 32-bit."""
    config = tuned.model.peft_config["default"]
    return tuned.base.dtype != torch.float32 and bool(
        config.modules_to_save
        or config.bias != "none"
        or getattr(config, "trainable_token_indices", None)
    )


def _get_quantization(facts: ReproductionFacts) -> list[str] | None:
    """Return the arguments of BitsAndBytesConfig; None where the weights are loaded as stored."""
    quantizer = getattr(facts.tuned.base.model, "hf_quantizer", None)
    if quantizer is None or quantizer.pre_quantized:
        return None
    return _get_bits(facts.project.model)


def _get_bits(spec: ModelSpec) -> list[str]:
    """Return the arguments of BitsAndBytesConfig for 8-bit or 4-bit precision."""
    if spec.precision == "8bit":
        return ["load_in_8bit=True"]
    return [
        "load_in_4bit=True",
        f"bnb_4bit_quant_type={format_literal(spec.quant_type)}",
        f"bnb_4bit_use_double_quant={spec.double_quant}",
        "bnb_4bit_compute_dtype=DTYPE",
    ]


def get_lora_settings(tuned: AdaptedModel) -> dict[str, Any]:
    """Return the entries of PEFT's configuration that differ from its defaults."""
    config = tuned.model.peft_config["default"]
    if config.task_type == TaskType.SEQ_CLS:
        others = [
            name for name in config.modules_to_save or () if name != classification.SCORE_HEAD
        ]
        # PEFT adds the head of a classifier, the script adds that of a reward model.
        task = config.task_type if tuned.labels else "CAUSAL_LM"
        config = dataclasses.replace(config, task_type=task, modules_to_save=others or None)
    defaults = type(config)()
    names = [item.name for item in dataclasses.fields(config) if item.name not in _PROVENANCE]
    values = {name: getattr(config, name) for name in names}
    if initialization.is_feature_extraction(tuned.model):
        plain = {name: _to_plain(value) for name, value in values.items()}
        values |= initialization.shorten_names(plain, tuned.model)
    return {
        name: _to_plain(value)
        for name, value in values.items()
        if name in _ALWAYS_SHOWN or value != getattr(defaults, name)
    }


def _to_plain(value: Any) -> Any:
    """Return sets as sorted lists."""
    return sorted(value) if isinstance(value, set) else value


def build_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return statements that import and create the optimizer, with settings that aren't its defaults."""
    kind = type(optimizer)
    package = kind.__module__.partition(".")[0]
    module = f"{package}.optim" if package in ("torch", "bitsandbytes") else kind.__module__
    defaults, shown = inspect.signature(kind).parameters, ("weight_decay",)
    settings = [
        f"{name}={format_literal(value)}"
        for name, value in optimizer.defaults.items()
        if name in defaults and name != "lr" and (name in shown or value != defaults[name].default)
    ]
    name = f"torch.optim.{kind.__name__}" if package == "torch" else kind.__name__
    return {
        "optimizer_import": None if package == "torch" else f"from {module} import {kind.__name__}",
        "optimizer": format_call(
            f"optimizer = {name}", ["parameters", "lr=LEARNING_RATE", *settings]
        ),
    }


def build_scheduler(spec: TrainingSpec, steps: int) -> str:
    """Return the statement that creates the scheduler; a plateau's rates come from the run's events."""
    if schedules.get_scheduler_name(spec) == "reduce_on_plateau":
        return format_call(
            "scheduler = torch.optim.lr_scheduler.LambdaLR", ["optimizer", "rate_factor"]
        )
    arguments = [
        format_literal(schedules.get_scheduler_name(spec)),
        "optimizer",
        "WARMUP_STEPS",
        "STEPS",
    ]
    settings = schedules.scheduler_kwargs(spec, steps, spec.count_warmup_steps(steps))
    if settings:
        arguments.append(format_literal(settings, indent=4))
    return format_call("scheduler = transformers.get_scheduler", arguments)


@dataclass(frozen=True)
class ReproductionFacts:
    """A training as its live objects describe it, rather than as it was configured.

    `is_packed` says whether rows are packed end to end, `is_filled` whether packed rows are padded to a
    round number of tokens (`LogprobModel.fills`), `uses_tf32` whether products in 32-bit use TF32, and `step` how
    many steps are done already. `label_counts` are the training rows of each label of a classifier.
    """

    project: Project
    tuned: AdaptedModel
    task: TaskName
    rows: TrainingRows
    plan: BatchPlan
    steps: int
    optimizer: torch.optim.Optimizer
    is_packed: bool
    is_filled: bool
    uses_tf32: bool
    has_validation: bool
    world_size: int
    step: int
    label_counts: dict[str, int]

    @property
    def objective(self) -> ScriptObjective:
        """Return what the script says about what was trained."""
        return find_objective(self.task, self.project.training)


#: Maximum columns of a line, the default of formatters.
WIDTH = 88

#: Maximum columns of a list within a line; a longer one gets a line for each item.
_INLINE = 48


def format_literal(value: Any, indent: int = 0) -> str:
    """Return the Python literal of a value; items on lines of their own are indented from `indent`.

    Raises ValueError for values that have no literal.
    """
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return _format_text(value)
        case list() | tuple():
            ends = "[]" if isinstance(value, list) else "()"
            return _format_bracketed(
                ends, [format_literal(item, indent + 4) for item in value], indent
            )
        case dict():
            items = [
                f"{format_literal(k)}: {format_literal(v, indent + 4)}" for k, v in value.items()
            ]
            return _format_bracketed("{}", items, indent)
    raise ValueError(f"{type(value).__name__} has no Python literal")


def format_call(head: str, arguments: Iterable[str], indent: int = 0, end: int = 0) -> str:
    """Return a call on one line, with all arguments on the next, or with a line for each of them.

    `head` is everything before the opening parenthesis. Further lines are indented from `indent`; the
    first one has room for `end` columns after it.
    """
    items, pad = list(arguments), " " * indent
    joined = ", ".join(items)
    if "\n" not in joined:
        if len(inline := f"{head}({joined})") + end <= WIDTH:
            return inline
        if indent + 4 + len(joined) <= WIDTH:
            return f"{head}(\n{pad}    {joined}\n{pad})"
    return f"{head}(\n" + "".join(f"{pad}    {item},\n" for item in items) + f"{pad})"


def _format_text(value: str) -> str:
    """Return the literal of a text, in the quotes that need fewer backslashes."""
    quoted = json.dumps(value, ensure_ascii=False)
    if value.count('"') <= value.count("'"):
        return quoted
    inner = quoted[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"


def format_assignment(name: str, value: Any) -> str:
    """Return the right-hand side of `name = value`, in parentheses if it doesn't fit without them."""
    text = format_literal(value)
    if len(name) + 3 + len(text) > WIDTH >= 4 + len(text):
        return f"(\n    {text}\n)"
    return text


def _format_bracketed(ends: str, items: list[str], indent: int) -> str:
    inline = ", ".join(items)
    if len(items) == 1 and ends == "()":
        inline += ","
    if len(inline) <= _INLINE and "\n" not in inline:
        return f"{ends[0]}{inline}{ends[1]}"
    pad = " " * indent
    lines = "".join(f"{pad}    {item},\n" for item in items)
    return f"{ends[0]}\n{lines}{pad}{ends[1]}"
