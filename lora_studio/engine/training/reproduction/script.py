"""Write train.py: a script that repeats a training with transformers and PEFT alone.

The script is written for one run: its template (resources/reproduction) leaves out whatever the run
doesn't use. It computes logits plainly and has none of our kernels, so it also verifies them. Reward
training uses TRL's GRPOTrainer there, and has its rewards in a module of their own.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import json
import platform
import re
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import jinja2
import numpy as np
import torch
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.files import (
    create_folder_atomic,
    describe_os_error,
    write_atomic,
    write_file,
)
from lora_studio.core.system.foreign_files import NamingFile, raise_unless_damaged, read_text
from lora_studio.core.system.programs import resolve_closure
from lora_studio.core.tasks.classification import weigh_classes
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.lora import attach, initialization
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tasks import classification
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.problems import (
    script_changed_warning,
    script_not_written_warning,
)
from lora_studio.engine.training.recipe import schedules
from lora_studio.engine.training.reproduction import reward_scripts, statements
from lora_studio.engine.training.reproduction.reward_scripts import write_prompts
from lora_studio.engine.training.reproduction.statements import (
    ReproductionFacts,
    format_call,
    format_literal,
)

#: Maximum lines of the adapter's settings in a script; longer ones are in a file beside its rows.
_MAX_SETTINGS_LINES = 40


def write_reproduction(run: RunFolder, facts: ReproductionFacts, job: JobContext) -> None:
    """Write `train.py`, its rows and its requirements into the run folder.

    Files that the user has edited stay, with a warning. A failure emits Warned and doesn't end the
    training.
    """
    try:
        with create_folder_atomic(run.data) as folder:
            write_rows(facts, folder, job)
            source = render_script(run, facts, folder)
            rewards = None
            if facts.objective.uses_trl:
                rewards = render_rewards(facts.project.training.rewards, folder)
        checksums.record_checksums(run, run.data)
        needed = list_locked_requirements(*_list_packages(facts))
        sources = {run.lock_list: needed, run.rewards_script: rewards, run.train_script: source}
        for file in write_files(run, sources):
            job.emit(events.Warned(problem=script_changed_warning(file)))
    except ProblemError as error:
        _warn(run, error.problems[0].what, job)
    except (OSError, ValueError, TypeError, KeyError, jinja2.TemplateError) as error:
        if not isinstance(error, OSError):
            traceback.print_exc()
        named = getattr(error, "filename2", None) or getattr(error, "filename", None)
        reason = describe_os_error(error)
        if named:
            reason = text("{file}: {reason}", file=Path(named).name, reason=reason)
        _warn(run, reason, job)


def _warn(run: RunFolder, reason: Text | str, job: JobContext) -> None:
    job.emit(events.Warned(problem=script_not_written_warning(run.train_script, reason)))


def _list_packages(facts: ReproductionFacts) -> tuple[set[str], dict[str, str]]:
    """Return the import names of further packages of the script, and versions of what isn't installed."""
    modules = {type(facts.optimizer).__module__.partition(".")[0]}
    if facts.tuned.base.precision in ("4bit", "8bit"):
        modules.add("bitsandbytes")
    if not facts.objective.uses_trl:
        return modules, {}
    modules |= {"datasets", *reward_scripts.list_packages(facts.project.training.rewards)}
    return modules, {"trl": reward_scripts.TRL_VERSION}


def render_script(run: RunFolder, facts: ReproductionFacts, folder: Path) -> str:
    """Return the source of train.py; adapter settings that are too long for it are written into `folder`."""
    values = _get_values(run, facts, folder)
    settings = statements.get_lora_settings(facts.tuned)
    written = [f"{name}={format_literal(value, indent=4)}" for name, value in settings.items()]
    lora = format_call(f"config = peft.{values['config_class']}", written)
    if lora.count("\n") >= _MAX_SETTINGS_LINES:
        write_file(folder / "lora_config.json", json.dumps(settings, indent=2))
        lora = ""
    template = _get_environment().get_template(f"{facts.objective.template}.py.jinja")
    return template.render(values, lora=lora)


def render_rewards(specs: Iterable[RewardSpec], folder: Path) -> str:
    """Return the source of rewards.py; schemas and the user's functions are copied into `folder`."""
    template = _get_environment().get_template("rewards.py.jinja")
    source = template.render(reward_scripts.build_reward_values(specs, folder))
    source = re.sub("\n{4,}", "\n\n\n", source)  # where parts are left out
    # Formatters leave one line between imports and what isn't a function.
    return re.sub(r"(?m)^((?:from|import) .*\n)\n\n(?=[A-Z#])", r"\1\n", source)


@functools.cache  # compiling a template takes longer than rendering it
def _get_environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.get_resources_folder() / "reproduction"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _get_values(run: RunFolder, facts: ReproductionFacts, folder: Path) -> dict[str, Any]:
    """Return the variables of the templates."""
    project, tuned = facts.project, facts.tuned
    return (
        statements.build_optimizer(facts.optimizer)
        | statements.build_base_model(run, facts)
        | _get_model_values(run, facts, folder)
        | _get_training_values(facts)
        | statements.build_teacher(run, facts)
        | (reward_scripts.build_trl_values(facts) if facts.objective.uses_trl else {})
        | {
            "name": project.name.replace("\\", "/").replace('"', "'"),
            "objective": facts.objective.summary,
            "notes": list_differences(
                facts, (run.read_manifest().get("backend") or {}).get("name", "")
            ),
            "device": format_literal(str(tuned.base.device)),
            "dtype": str(tuned.base.dtype),
        }
    )


def _get_model_values(run: RunFolder, facts: ReproductionFacts, folder: Path) -> dict[str, Any]:
    tuned, spec, objective = facts.tuned, facts.project.training, facts.objective
    dtype = tuned.base.dtype
    return {
        "prepares": attach.is_prepared(tuned.base.model),
        "gradient_checkpointing": spec.gradient_checkpointing != "off",
        "start": statements.build_start_adapter(run, facts, folder),
        "reference": statements.get_reference_adapter(facts) if objective.compares else None,
        "has_other_adapter": objective.compares or objective.uses_trl,
        "has_reference_dropout": statements.has_reference_dropout(tuned),
        "converts": statements.can_convert_adapter(facts),
        "head_deviation": classification.HEAD_DEVIATION,
        "widens": statements.should_widen_to_32_bit(tuned),
        "changes_base": facts.project.lora.changes_base,
        "new_tokens": format_literal(tuned.base.new_tokens) if tuned.base.new_tokens else None,
        "config_class": type(tuned.model.peft_config["default"]).__name__,
        "is_16_bit": dtype != torch.float32,
        "tf32": facts.uses_tf32,
        "scaled": dtype == torch.float16 and tuned.base.device.type == "cuda",
        "packed": facts.is_packed,
        "filled": facts.is_filled and bool(facts.project.lora.dropout or spec.neftune_alpha),
        "neftune": None if objective.uses_trl else spec.neftune_alpha or None,  # an option of TRL's
    }


def _get_training_values(facts: ReproductionFacts) -> dict[str, Any]:
    spec, objective = facts.project.training, facts.objective
    groups = facts.optimizer.param_groups
    return {name: getattr(spec, name) for name in objective.settings} | {
        "unit": objective.unit,
        "pools": objective.pools,
        "mask": "pooled" if objective.pools else "trained",
        "names_labels": bool(facts.label_counts),
        "random": "torch.cuda" if facts.tuned.base.device.type == "cuda" else "torch",
        "beta": getattr(spec, objective.beta) if objective.beta else None,
        "seed": spec.seed,
        "steps": facts.steps,
        "learning_rate": spec.learning_rate,
        "lora_plus": spec.lora_plus_ratio if spec.lora_plus_ratio != 1 else None,
        "exempts": bool(spec.weight_decay) and not all(group["weight_decay"] for group in groups),
        "warmup": spec.count_warmup_steps(facts.steps),
        "schedule_free": spec.schedule_free,
        "scheduler": statements.build_scheduler(spec, facts.steps),
        "plateau": schedules.get_scheduler_name(spec) == "reduce_on_plateau",
        "max_grad_norm": spec.max_grad_norm or None,
    }


def list_differences(facts: ReproductionFacts, backend: str) -> list[str]:
    """Return how the script differs from the run, in whole sentences."""
    spec, sentences = facts.project.training, []
    if facts.objective.uses_trl:
        sentences += reward_scripts.list_reward_differences(facts)
    elif facts.project.lora.dropout or spec.neftune_alpha:
        sentences.append(
            "Random numbers are drawn in the run's order: on the same device they are equal."
            if facts.world_size == 1
            else "The run drew random numbers in several processes: losses agree on average only."
        )
    if facts.has_validation and spec.keep_best:
        sentences.append("The run keeps the adapter of its best evaluation, this script the last.")
    if facts.has_validation and spec.early_stopping:
        sentences.append("The run may have stopped early; this script doesn't.")
    if backend == "unsloth":
        sentences.append("The run used Unsloth: losses agree within its rounding.")
    if facts.project.lora.changes_base and not statements.can_convert_adapter(facts):
        sentences.append(
            "reproduced/adapter fits the base model minus reproduced/initial: PEFT can't convert "
            "such an adapter to the original base model."
        )
    if initialization.is_miss(facts.tuned.model):
        sentences.append(
            "The run saves its adapter as LoRA; reproduced/adapter is the same update as PEFT's MiSS."
        )
    return [textwrap.fill(sentence, 84) for sentence in sentences]


#: Packages that every generated script imports, directly or through transformers.
_ALWAYS = ("accelerate", "numpy", "peft", "safetensors", "torch", "transformers")


def list_locked_requirements(
    modules: Iterable[str] = (), versions: Mapping[str, str] | None = None
) -> str:
    """Return a requirements file of exact versions; `modules` are additional import names.

    `versions` are those of packages that may not be installed here, by name. Local version labels such as
    +cu128 are left out: they name a build, not different code.
    """
    pinned = [f"{name}=={version}" for name, version in (versions or {}).items()]
    lines = [
        f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        *sorted({*_list_versions(frozenset(modules)), *pinned}),
    ]
    return "\n".join(lines) + "\n"


@functools.cache  # reads the metadata of a hundred packages, which don't change within a process
def _list_versions(modules: frozenset[str]) -> tuple[str, ...]:
    owners = _get_owners()
    roots = {*_ALWAYS, *(owner for module in modules for owner in owners.get(module, ()))}
    packages = sorted(resolve_closure(roots, _get_dependencies).items())
    return tuple(f"{name}=={Version(package.version).public}" for name, package in packages)


@functools.cache  # takes half a second, and doesn't change within a process
def _get_owners() -> Mapping[str, list[str]]:
    """Return the packages that provide each import name."""
    return metadata.packages_distributions()


def _get_dependencies(package: metadata.Distribution) -> Iterable[str]:
    for line in package.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def write_rows(facts: ReproductionFacts, folder: Path, job: JobContext) -> None:
    """Write token ids and loss masks of all rows end to end, their lengths and their order.

    The chosen answer of pair n is row 2 n, the rejected one row 2 n + 1. The texts of a row of search pairs
    are rows 3 n to 3 n + 2; without a text not to find, the last one is empty. The files are `ids.npy`
    [tokens] int32, `trained.npy` [tokens] bool, `lengths.npy` [rows] int32, `order.npy`, and with KTO
    `labels.npy` [rows] uint8. For vectors and labels, `pooled.npy` marks what is pooled in place of
    `trained.npy`; a classifier has its labels in `labels.npy` [rows] int64 and `labels.json`. Prompts are
    written by `write_prompts`.
    """
    if facts.objective.uses_trl:
        write_prompts(facts, folder)
        _write_order(facts, folder)
        return
    pools = facts.objective.pools
    lengths = np.fromiter(_iter_lengths(facts), np.int32)
    _save(folder / "lengths.npy", lengths)
    total = int(lengths.sum(dtype=np.int64))
    # Not mapped: writing to a mapped page for which the disk has no room ends the process.
    with (
        _open_array(folder / "ids.npy", np.int32, total) as ids,
        _open_array(folder / f"{'pooled' if pools else 'trained'}.npy", np.bool_, total) as masks,
    ):
        for number in range(len(facts.rows)):
            job.report_progress(text("writing rows for train.py"), number, len(facts.rows), "rows")
            for part in _get_sequences(facts, number):
                mask = np.array(part.trained, np.bool_)
                mask[:1] &= pools  # nothing predicts the first token
                ids.write(np.asarray(part.ids, np.int32).tobytes())
                masks.write(mask.tobytes())
    job.report_progress(text("writing train.py"), 0, None)
    if (label_type := facts.objective.label_type) is not None:
        labels = (int(facts.rows[number].label) for number in range(len(facts.rows)))  # type: ignore[union-attr]
        _save(folder / "labels.npy", np.fromiter(labels, label_type))
    if facts.label_counts:
        _write_label_names(facts, folder)
    _write_order(facts, folder)


def _write_label_names(facts: ReproductionFacts, folder: Path) -> None:
    """Write the names of a classifier's labels and their weights in the loss."""
    weights = weigh_classes([*facts.label_counts.values()], facts.project.training.class_weights)
    named = dict(zip(facts.label_counts, weights, strict=True))
    write_file(folder / "labels.json", json.dumps(named, ensure_ascii=False, indent=2))


def _save(file: Path, values: np.ndarray) -> None:
    """Write an array; np.save itself reports no cause when it writes to a full disk."""
    content = io.BytesIO()
    np.save(content, values)
    write_file(file, content.getvalue())


@contextlib.contextmanager
def _open_array(file: Path, kind: type[np.generic], length: int) -> Iterator[IO[bytes]]:
    """Yield a NumPy file of `length` values to write them into, one after another."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
        "fortran_order": False,
        "shape": (length,),
    }
    with io.BufferedWriter(NamingFile(file, "wb")) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


def _iter_lengths(facts: ReproductionFacts) -> Iterator[int]:
    if TASKS[facts.task].sequences == 1:
        yield from facts.rows.lengths
        return
    for number in range(len(facts.rows)):
        yield from (len(part.ids) for part in _get_sequences(facts, number))


def _get_sequences(facts: ReproductionFacts, number: int) -> tuple[Encoded, ...]:
    return facts.objective.get_sequences(facts.rows[number], facts.project.training)


def _write_order(facts: ReproductionFacts, folder: Path) -> None:
    """Write the rows of each micro-batch, [steps, micro-batches, rows]; -1 where there is none."""
    steps = range(facts.steps)
    shapes = [(len(part), max(map(len, part))) for part in map(facts.plan.get_step, steps)]
    order = np.full((facts.steps, *np.max(shapes, axis=0)), -1, np.int32)
    for step in steps:
        for index, rows in enumerate(facts.plan.get_step(step)):
            order[step, index, : len(rows)] = rows
    _save(folder / "order.npy", order)


def is_complete(run: RunFolder) -> bool:
    """Return whether a run folder has the script, its rows and its requirements, all as they were written.

    Raises OSError if a file can't be read at the moment.
    """
    scripts = [run.train_script, *([run.rewards_script] if run.rewards_script.exists() else ())]
    if not all(_read_whole(file) for file in (*scripts, run.lock_list)):
        return False
    names = [file.name for file in (run.train_script, run.rewards_script, run.lock_list)]
    is_intact = checksums.find_damage(run, run.path, names=names) is None
    is_intact = is_intact and checksums.find_damage(run, run.data) is None
    return is_intact and (run.data / "order.npy").is_file()


def write_files(run: RunFolder, sources: Mapping[Path, str | None]) -> list[Path]:
    """Write the files of a run, and delete those that are None; return those that the user has edited.

    These stay as they are, and so does a file that the run didn't write and doesn't need. Raises OSError.
    """
    edited = [file for file, source in sources.items() if _is_edited(run, file, source or "")]
    ours = checksums.read_recorded(run).get(".", {})
    replaced = {file: source for file, source in sources.items() if file not in edited}
    if not replaced:
        return edited
    checksums.forget_checksums(run, run.path, [file.name for file in replaced])
    for file, source in replaced.items():
        if source is not None:
            write_atomic(file, source)
        elif file.name in ours:
            file.unlink(missing_ok=True)
    written = [file.name for file, source in replaced.items() if source is not None]
    if written:
        checksums.record_checksums(run, run.path, written)
    return edited


def _is_edited(run: RunFolder, file: Path, source: str) -> bool:
    """Return whether a file has been changed since the run wrote it, and isn't only cut off or unreadable."""
    if checksums.find_damage(run, run.path, names=[file.name]) is None:
        return False
    content = _read_whole(file)
    return bool(content) and not source.startswith(content)


def _read_whole(file: Path) -> str:
    """Return the content of a script or of a list of requirements, "" if it is missing or damaged."""
    try:
        content = read_text(file)
        if file.suffix == ".py":
            return content if ast.parse(content).body else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise_unless_damaged(error)
        return ""
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ""
    return content if content.endswith("\n") else ""
