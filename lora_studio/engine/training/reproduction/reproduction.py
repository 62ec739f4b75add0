"""What repeats a training without this program: a script, the rows in tokens, exact versions.

The script is written for one run: its template (resources/reproduction) leaves out whatever the run
does not use. It computes logits plainly and knows neither pieces nor attention kernels of our own,
so that it is also a check of them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import peft
import torch

from lora_studio.core.dataset.spec import Task
from lora_studio.core.problems import Problem, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.files import folder_atomic, reason_of, write_atomic
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.batches import BatchPlan
from lora_studio.engine.lora import attach
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.kernels.logprobs import drops
from lora_studio.engine.training.recipe import schedules
from lora_studio.engine.training.reproduction import requirements
from lora_studio.engine.training.reproduction.python_source import WIDTH, assignment, call, literal

#: Entries of a LoraConfig that say where an adapter came from, not what it is.
_ABOUT = {
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision",
    "inference_mode", "runtime_config",
}  # fmt: skip

#: Entries that are worth a line even where they are PEFT's defaults.
_ALWAYS_SHOWN = ("r", "lora_alpha", "lora_dropout")

#: Initial values that are not drawn at random or told by the weights alone.
_COMPUTED = ("eva", "loftq")

#: Lines that the script may have before the adapter's settings move to a file, and then the model.
_MOST_LINES = 199


@dataclasses.dataclass(frozen=True)
class ReproductionFacts:
    """What a training is about to do, as its objects say rather than as was asked for.

    `rows` is a sequence of what the task's objective takes; `packed` says whether rows are computed
    end to end, `filled` whether up to a round number of tokens (`Scorer.fills`), `judged` whether there
    are validation rows, `ranks` how many processes share a step, `step` how many steps were made already.
    """

    project: Project
    tuned: AdaptedModel
    task: Task
    rows: Any
    plan: BatchPlan
    steps: int
    optimizer: torch.optim.Optimizer
    packed: bool
    filled: bool
    judged: bool
    ranks: int
    step: int


def write(run: RunFolder, recipe: ReproductionFacts, job: JobContext) -> None:
    """Writes `train.py`, its rows and its lock list into the run folder.

    A training never ends for the want of them: what is in the way is told as a warning.
    """
    try:
        with folder_atomic(run.data) as folder:
            _write_rows(recipe, folder, job)
            scripts = render(run, recipe, folder)
        modules = {type(recipe.optimizer).__module__.partition(".")[0]}
        if recipe.tuned.base.precision in ("4bit", "8bit"):
            modules.add("bitsandbytes")
        write_atomic(run.lock_list, requirements.lock_list(modules))
        if scripts.model is None:
            run.model_script.unlink(missing_ok=True)
        else:
            write_atomic(run.model_script, scripts.model)
        write_atomic(run.train_script, scripts.train)
    except OSError as error:
        job.emit(events.Warned(problem=_not_written(run, reason_of(error))))
    except (ValueError, TypeError, KeyError, jinja2.TemplateError) as error:
        traceback.print_exc()
        job.emit(events.Warned(problem=_not_written(run, str(error))))


def is_there(run: RunFolder) -> bool:
    """Whether a run has all of it."""
    files = (run.train_script, run.lock_list, run.data / "order.npy")
    return all(file.is_file() for file in files)


# --- the rows ---------------------------------------------------------------------------------


def _write_rows(recipe: ReproductionFacts, folder: Path, job: JobContext) -> None:
    """Rows end to end in files of numpy's, and the order that they are trained in.

    Of a pair the chosen answer is row 2 n and the rejected one row 2 n + 1.
    """
    lengths = np.fromiter(_lengths(recipe), np.int32)
    np.save(folder / "lengths.npy", lengths)
    total = (int(lengths.sum(dtype=np.int64)),)
    ids = np.lib.format.open_memmap(folder / "ids.npy", "w+", np.int32, total)
    trained = np.lib.format.open_memmap(folder / "trained.npy", "w+", np.bool_, total)
    begin = 0
    for number in range(len(recipe.rows)):
        job.progress("writing rows for train.py", number, len(recipe.rows), "rows")
        for part in _parts(recipe, number):
            end = begin + len(part.ids)
            ids[begin:end], trained[begin:end] = part.ids, part.trained
            trained[begin] = False  # nothing predicts the first token
            begin = end
    if recipe.task == "kto":
        labels = (row.label for row in recipe.rows)
        np.save(folder / "labels.npy", np.fromiter(labels, np.uint8))
    _write_order(recipe, folder)


def _lengths(recipe: ReproductionFacts) -> Iterator[int]:
    if recipe.task != "preference":
        yield from recipe.rows.lengths
        return
    for number in range(len(recipe.rows)):
        yield from (len(part.ids) for part in _parts(recipe, number))


def _parts(recipe: ReproductionFacts, number: int) -> tuple[Encoded, ...]:
    row = recipe.rows[number]
    match recipe.task:
        case "preference":
            return row.chosen, row.rejected
        case "kto":
            return (row.answer,)
        case _:
            return (row,)


def _write_order(recipe: ReproductionFacts, folder: Path) -> None:
    """The rows of each micro-batch, [steps, micro-batches, rows]; -1 where there is none."""
    steps = range(recipe.steps)
    shapes = [(len(part), max(map(len, part))) for part in map(recipe.plan.step, steps)]
    order = np.full((recipe.steps, *np.max(shapes, axis=0)), -1, np.int32)
    for step in steps:
        for place, rows in enumerate(recipe.plan.step(step)):
            order[step, place, : len(rows)] = rows
    np.save(folder / "order.npy", order)


# --- the script -------------------------------------------------------------------------------

_OBJECTIVES = {
    "sft": "It learns the trained tokens of each row (supervised fine-tuning).",
    "text": "It learns every token of its documents (continued pre-training).",
    "dpo": "It learns which of two answers is better, held near the base model (DPO).",
    "orpo": "It learns which of two answers is better, and the better one itself (ORPO).",
    "kto": "It learns which answers are good, held near the base model (KTO).",
}


@dataclasses.dataclass(frozen=True)
class Scripts:
    """What repeats a run; `model`, which `train` imports from, only where one would be too long."""

    train: str
    model: str | None = None


def render(run: RunFolder, recipe: ReproductionFacts, folder: Path) -> Scripts:
    """The script of a run; `folder` takes what is too long to be read in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.resources() / "reproduction"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    template, facts = environment.get_template("train.py.jinja"), _facts(run, recipe, folder)
    config = _adapter(recipe.tuned)
    written = [f"{name}={literal(value, indent=4)}" for name, value in config.items()]
    whole = template.render(facts, lora=call("config = peft.LoraConfig", written), apart=False)
    if whole.count("\n") <= _MOST_LINES:
        return Scripts(whole)
    (folder / "lora_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    whole = template.render(facts, lora=None, apart=False)
    if whole.count("\n") <= _MOST_LINES:
        return Scripts(whole)
    return Scripts(
        template.render(facts, lora=None, apart=True, taken=_taken(facts)),
        environment.get_template("model.py.jinja").render(facts, lora=None),
    )


def _taken(facts: dict[str, Any]) -> str:
    """The line that imports from the model's script what the other one uses of it, constants first."""
    wanted = {
        "DEVICE": True, "DTYPE": facts["is_16_bit"], "LEARNING_RATE": facts["plateau"], "SEED": True,
        "as_it_began": facts["reference"], "model": True, "optimizer": True,
        "row_lengths": facts["neftune"],
    }  # fmt: skip
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    line = f"from model import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "from model import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _facts(run: RunFolder, recipe: ReproductionFacts, folder: Path) -> dict[str, Any]:
    project, tuned = recipe.project, recipe.tuned
    spec, dtype = project.training, tuned.base.dtype
    task = spec.preference if recipe.task == "preference" else recipe.task
    return (
        _optimizer(recipe.optimizer)
        | _base(run, recipe)
        | {
            "name": project.name.replace("\\", "/").replace('"', "'"),
            "objective": _OBJECTIVES[task],
            "notes": notes(recipe, run.manifest().get("backend", {}).get("name", "")),
            "device": literal(str(tuned.base.device)),
            "dtype": str(dtype),
            "prepares": attach.is_prepared(tuned.base.model),
            "gradient_checkpointing": spec.gradient_checkpointing != "off",
            "start": _start(run, recipe, folder),
            "reference": _reference(recipe) if task in ("dpo", "kto") else None,
            "drops": _reference_drops(tuned),
            "subtracts": _subtracts(recipe),
            "widens": _widens(tuned),
            "changes_base": project.lora.changes_base,
            "is_16_bit": dtype != torch.float32,
            "scaled": dtype == torch.float16 and tuned.base.device.type == "cuda",
            "packed": recipe.packed,
            "filled": recipe.filled and bool(project.lora.dropout or spec.neftune_alpha),
            "task": "sft" if task == "text" else task,
            "means": {"preference": "pairs", "kto": "answers"}.get(recipe.task, "tokens"),
            "beta": spec.beta if task in ("dpo", "orpo", "kto") else None,
            "seed": spec.seed,
            "steps": recipe.steps,
            "learning_rate": spec.learning_rate,
            "lora_plus": spec.lora_plus_ratio if spec.lora_plus_ratio != 1 else None,
            "spares": bool(spec.weight_decay)
            and not all(group["weight_decay"] for group in recipe.optimizer.param_groups),
            "warmup": spec.warmup(recipe.steps),
            "schedule_free": spec.schedule_free,
            "scheduler": _schedule(spec, recipe.steps),
            "plateau": schedules.name(spec) == "reduce_on_plateau",
            "max_grad_norm": spec.max_grad_norm or None,
            "neftune": spec.neftune_alpha or None,
        }
    )


def _reference_drops(tuned: AdaptedModel) -> bool:
    """Whether what answers are compared with would drop anything while it trains: the base, or the adapter
    that was there before. If not, nothing is switched: quantised layers compute otherwise then."""
    trained = "lora_dropout", "lora_dropout.default"  # off with the adapter itself
    layers = tuned.model.named_modules()
    return any(drops(layer) for name, layer in layers if not name.endswith(trained))


def _widens(tuned: AdaptedModel) -> bool:
    """Whether more trains than PEFT itself puts into 32-bit: modules that train whole, or biases."""
    config = tuned.model.peft_config["default"]
    return tuned.base.dtype != torch.float32 and bool(
        config.modules_to_save or config.bias != "none"
    )


def notes(recipe: ReproductionFacts, backend: str) -> list[str]:
    """What is not as it was in the run, in whole sentences."""
    spec, found = recipe.project.training, []
    if recipe.project.lora.dropout or spec.neftune_alpha:
        found.append(
            "Random numbers are drawn in the run's order: on the same device they are the same."
            if recipe.ranks == 1
            else "The run drew random numbers in several processes: losses agree on average only."
        )
    if recipe.judged and spec.keep_best:
        found.append("The run keeps the adapter of its best evaluation, this script the last one.")
    if recipe.judged and spec.early_stopping:
        found.append("The run may have ended early by its evaluations; this script does not.")
    if backend == "unsloth":
        found.append("The run computed with Unsloth: losses agree within its rounding.")
    if recipe.project.lora.changes_base and not _subtracts(recipe):
        found.append(
            "reproduced/adapter fits the base less reproduced/initial: PEFT has no conversion of "
            "such an adapter to the base as it is stored."
        )
    return [textwrap.fill(note, 84) for note in found]


def _base(run: RunFolder, recipe: ReproductionFacts) -> dict[str, Any]:
    """The base model as it can be loaded again: hub id and commit, or a folder."""
    about = run.manifest()["base_model"]
    commit = about["commit"]
    placed = getattr(recipe.tuned.base.model, "hf_device_map", {})
    arguments = ["BASE", "dtype=DTYPE"]
    if commit:
        arguments.append("revision=REVISION")
    is_spread = len({*placed.values()}) > 1
    arguments.append('device_map="auto"' if is_spread else 'device_map={"": DEVICE}')
    if recipe.project.model.trust_remote_code:
        arguments.append("trust_remote_code=True")
    quantization = _quantization(recipe)
    if quantization:
        arguments.append("quantization_config=quantization")
    return {
        "base": assignment("BASE", about["source"] if commit else str(recipe.tuned.base.folder)),
        "revision": assignment("REVISION", commit) if commit else None,
        "quantization": quantization
        and call("quantization = transformers.BitsAndBytesConfig", quantization),
        "load": call("model = transformers.AutoModelForCausalLM.from_pretrained", arguments),
    }


def _start(run: RunFolder, recipe: ReproductionFacts, folder: Path) -> str | None:
    """The place of the adapter that training starts from, in the run folder; None for the values that
    PEFT draws. Those that were computed from the rows or from rounding are kept with the rows.

    Raises ValueError when training is past its start.
    """
    if recipe.tuned.start:
        return literal(run.start_adapter.name)
    if recipe.project.lora.init not in _COMPUTED:
        return None
    if recipe.step:
        raise ValueError("the initial values of the adapter were not kept")
    recipe.tuned.model.save_pretrained(
        str(folder / "initial"), selected_adapters=["default"], save_embedding_layers=False
    )
    (folder / "initial" / "README.md").unlink(missing_ok=True)
    return literal(f"{run.data.name}/initial")


def _reference(recipe: ReproductionFacts) -> str | None:
    """The adapter that answers are compared with, in the script's words; None for the base alone."""
    if recipe.project.lora.changes_base:
        return 'OUT / "initial"'
    return "START" if recipe.tuned.start else None


def _subtracts(recipe: ReproductionFacts) -> bool:
    """Whether PEFT can make the saved adapter fit the base as it is stored."""
    spec = recipe.project.lora
    has_more = spec.use_dora or spec.modules_to_save or (spec.use_rslora and spec.own_ranks)
    return spec.changes_base and not has_more


def _quantization(recipe: ReproductionFacts) -> list[str] | None:
    """Settings of the quantisation on loading, None where the weights are loaded as they are."""
    quantizer = getattr(recipe.tuned.base.model, "hf_quantizer", None)
    if quantizer is None or quantizer.pre_quantized:
        return None
    spec = recipe.project.model
    if spec.precision == "8bit":
        return ["load_in_8bit=True"]
    return [
        "load_in_4bit=True",
        f"bnb_4bit_quant_type={literal(spec.quant_type)}",
        f"bnb_4bit_use_double_quant={spec.double_quant}",
        "bnb_4bit_compute_dtype=DTYPE",
    ]


def _adapter(tuned: AdaptedModel) -> dict[str, Any]:
    """What the adapter's configuration has beyond PEFT's defaults."""
    config, usual = tuned.model.peft_config["default"], peft.LoraConfig()
    names = [item.name for item in dataclasses.fields(config) if item.name not in _ABOUT]
    values = {name: getattr(config, name) for name in names}
    return {
        name: _plain(value)
        for name, value in values.items()
        if name in _ALWAYS_SHOWN or value != getattr(usual, name)
    }


def _plain(value: Any) -> Any:
    """Sets as sorted lists."""
    return sorted(value) if isinstance(value, set) else value


def _optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer as it is made: class, and settings that are not its defaults."""
    kind = type(optimizer)
    package = kind.__module__.partition(".")[0]
    module = f"{package}.optim" if package in ("torch", "bitsandbytes") else kind.__module__
    usual, shown = inspect.signature(kind).parameters, ("weight_decay",)
    settings = [
        f"{name}={literal(value)}"
        for name, value in optimizer.defaults.items()
        if name in usual and name != "lr" and (name in shown or value != usual[name].default)
    ]
    name = f"torch.optim.{kind.__name__}" if package == "torch" else kind.__name__
    return {
        "optimizer_import": None if package == "torch" else f"from {module} import {kind.__name__}",
        "optimizer": call(f"optimizer = {name}", ["parameters", "lr=LEARNING_RATE", *settings]),
    }


def _schedule(spec: TrainingSpec, steps: int) -> str:
    """How the scheduler is made; the rates of a plateau are read from the run's own events."""
    if schedules.name(spec) == "reduce_on_plateau":
        return call("scheduler = torch.optim.lr_scheduler.LambdaLR", ["optimizer", "share_of_rate"])
    arguments = [literal(schedules.name(spec)), "optimizer", "WARMUP_STEPS", "STEPS"]
    found = schedules.details(spec, steps, spec.warmup(steps))
    if found:
        arguments.append(literal(found, indent=4))
    return call("scheduler = transformers.get_scheduler", arguments)


def _not_written(run: RunFolder, why: str) -> Problem:
    return Problem(
        code="training.not_reproducible",
        what=f"train.py, which repeats this training elsewhere, could not be written: {why}.",
        remedy="The training itself goes on and loses nothing by it.",
        where=Where(step="training", file=str(run.train_script)),
        severity="warning",
    )
