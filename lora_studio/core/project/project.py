"""A project: six specs in a TOML file, as an editable draft or a frozen value."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.export import ExportSpec
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.model.spec import ModelSpec, classify_source, is_local_source
from lora_studio.core.problems import STEPS, Fix, Problem, ProblemError, Step, Where, fail
from lora_studio.core.problems import error as problem_of
from lora_studio.core.project.search_terms import suggest_settings
from lora_studio.core.rewards.spec import resolve_reward
from lora_studio.core.spec import FieldFacts, Spec, get_facts
from lora_studio.core.system.files import (
    DiskNotMountedError,
    describe_os_error,
    sweep_temporary_files,
    write_atomic,
)
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.training.spec import TrainingSpec

#: Version of the format of project files.
FORMAT_VERSION = 3

SUFFIX = ".lorastudio"

SPECS: dict[Step, type[Spec]] = {
    "model": ModelSpec,
    "lora": LoraSpec,
    "dataset": DatasetSpec,
    "training": TrainingSpec,
    "merging": MergingSpec,
    "export": ExportSpec,
}

#: All settings as `step.field`.
SETTINGS = tuple(f"{step}.{name}" for step, spec in SPECS.items() for name in spec.model_fields)

#: Settings that name a model: a local path, or a Hub ID.
MODEL_FIELDS: dict[type[Spec], str] = {ModelSpec: "source", TrainingSpec: "teacher"}

#: Characters of a project's name that lists show.
_LONGEST_TITLE = 80

_BAD_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


class Project(BaseModel):
    """A validated project, as runs use it. Paths may be relative to the project's folder."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    model: ModelSpec = ModelSpec()
    lora: LoraSpec = LoraSpec()
    dataset: DatasetSpec = DatasetSpec()
    training: TrainingSpec = TrainingSpec()
    merging: MergingSpec = MergingSpec()
    export: ExportSpec = ExportSpec()

    def resolve(self, folder: Path) -> Project:
        """Return the project with every local path made absolute against `folder`."""
        return self.model_copy(
            update={step: resolve(self.get_spec(step), folder) for step in STEPS}
        )

    def get_spec(self, step: Step) -> Spec:
        """Return the spec of one step."""
        value = getattr(self, step)
        assert isinstance(value, Spec)
        return value

    def to_toml(self) -> str:
        """Return the project as a TOML document."""
        return _dump(
            self.name, {step: self.get_spec(step).model_dump(mode="json") for step in STEPS}
        )


@dataclass
class Draft:
    """A project being edited: plain values, which may be missing or invalid.

    `values` has a dict per step with the fields that were set. `path` is the project file, or None
    before the first save. `loaded_problems` are faults of the file as a whole; `extras` are unknown
    entries, which are written back unchanged. `read_only` says why the file at `path` must not be
    written.
    """

    name: str = "Untitled"
    values: dict[Step, dict[str, Any]] = field(default_factory=lambda: {step: {} for step in STEPS})
    path: Path | None = None
    loaded_problems: list[Problem] = field(default_factory=list)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    read_only: Problem | None = None

    @property
    def folder(self) -> Path | None:
        """The project's folder, None before the first save."""
        return self.path.parent if self.path else None

    def get(self, step: Step, name: str) -> Any:
        """Return the current value of a field, valid or not."""
        if name in self.values[step]:
            return self.values[step][name]
        return get_facts(SPECS[step], name).default

    def set(self, step: Step, name: str, value: Any) -> None:
        """Set one field; invalid values are stored as well."""
        self.values[step][name] = value
        self.lines.pop((step, name), None)  # the file has another value there

    def get_spec(self, step: Step) -> Spec | None:
        """Return the spec of one step with absolute paths, None if it is invalid."""
        try:
            spec = SPECS[step].model_validate(self.values[step])
        except ValidationError:
            return None
        return resolve(spec, self.folder) if self.folder else spec

    def list_problems(self) -> list[Problem]:
        """Return the problems of the values themselves, for all fields at once."""
        problems = list(self.loaded_problems)
        for step in STEPS:
            try:
                SPECS[step].model_validate(self.values[step])
            except ValidationError as error:
                problems += [self._problem(step, detail) for detail in error.errors()]
        return problems

    def freeze(self) -> Project:
        """Return the validated project; raises ProblemError with every problem."""
        problems = [problem for problem in self.list_problems() if problem.severity == "error"]
        if problems:
            raise ProblemError(problems)
        return Project.model_validate({"name": self.name, **self.values})

    def save(self, path: Path | None = None) -> Path:
        """Write the project file atomically; raises ProblemError if that fails."""
        target = path or self.path
        if target is None:
            raise fail("project.no_path", "The project has no file yet.", "Choose a folder for it.")
        if self.read_only is not None and target == self.path:
            raise ProblemError(self.read_only)
        if target == self.path and not target.parent.is_dir():
            raise fail(
                "project.gone",
                "The project folder {folder} no longer exists.",
                "Open the project at its new location, or save it under another name.",
                folder=str(target.parent),
                where=Where(file=str(target)),
            )
        try:
            write_atomic(target, _dump(self.name, self.values, self.extras))
            sweep_temporary_files(target.parent, target.name)  # of processes that were killed
        except DiskNotMountedError:
            raise
        except OSError as error:
            raise fail(
                "project.not_saved",
                "Couldn't save the project: {reason}.",
                "Check that the folder exists, is writable, and has free space.",
                reason=describe_os_error(error),
                where=Where(file=str(target)),
            ) from error
        self.path = target
        self.read_only = None
        return target

    def _problem(self, step: Step, detail: ErrorDetails) -> Problem:
        name = str(detail["loc"][0]) if detail["loc"] else None
        line = self.lines.get((step, name or ""))
        file = str(self.path) if self.path and line is not None else None
        where = Where(step=step, field=name, file=file, line=line)
        if name not in SPECS[step].model_fields:
            suggested = suggest_settings(f"{step}.{name}", SETTINGS)
            return problem_of(
                "project.unknown_field",
                "The section {step} has no setting named {name}.",
                "Rename or remove it. Did you mean {names}?"
                if suggested
                else "Remove it. Settings in {step}: {names}.",
                where=where,
                step=step,
                name=name,
                names=listed(suggested, "or")
                if suggested
                else listed(list(SPECS[step].model_fields)),
            )
        about = get_facts(SPECS[step], name)
        return Problem(
            code="project.invalid_value",
            what=describe_error(about, detail),
            remedy=describe_remedy(about, detail["input"]),
            where=where,
            fix=Fix(
                label=get_reset_label(about),
                step=step,
                field=name,
                value=list(about.default) if isinstance(about.default, tuple) else about.default,
            ),
        )


def load(path: Path) -> Draft:
    """Read a project file or folder; raises ProblemError if it isn't a TOML document.

    Values that don't fit are problems of the draft. A damaged file is refused as a whole: opened without
    its settings, it would look like a new project, and saving it would replace them.
    """
    file = find_file(path).absolute()  # workers run in another folder
    content = _read_content(file)
    draft = Draft(name=file.stem, path=file)
    try:
        document: dict[str, Any] = tomlkit.parse(content).unwrap()
    except (tomlkit.exceptions.TOMLKitError, RecursionError, ValueError) as error:
        raise fail(
            "project.syntax",
            "The project file {file} is damaged: it isn't valid TOML ({reason}).",
            "Fix this line in a text editor, or restore the file from a backup. Then open the project again.",
            where=Where(
                file=str(file),
                line=getattr(error, "line", None),
                column=getattr(error, "col", None),
            ),
            file=file.name,
            reason=_describe_syntax_error(error),
        ) from error
    draft.lines = _find_line_numbers(content)
    _fill(draft, document)
    return draft


def _read_content(file: Path) -> str:
    """Return the text of a project file; raises ProblemError if it can't be read or is empty."""
    try:
        content = read_bytes(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            describe_os_error(error) if isinstance(error, OSError) else text("it isn't UTF-8 text")
        )
        raise fail(
            "project.unreadable",
            "Couldn't read {file}: {reason}.",
            "Choose another project file, or restore this one from a backup.",
            file=file.name,
            reason=reason,
            where=Where(file=str(file)),
        ) from error
    if not content.strip():
        raise fail(
            "project.empty",
            "The project file {file} is empty.",
            "Restore it from a backup, or delete it and create a new project in this folder.",
            file=file.name,
            where=Where(file=str(file)),
        )
    return content


def _describe_syntax_error(error: Exception) -> Text | str:
    return text("it is nested too deeply") if isinstance(error, RecursionError) else str(error)


def find_file(path: Path) -> Path:
    """Return the project file of a file or folder; raises ProblemError."""
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        files = sorted(path.glob(f"*{SUFFIX}"))
        if len(files) == 1:
            return files[0]
        raise fail(
            "project.not_found" if not files else "project.several",
            "{path} contains several project files."
            if files
            else "{path} contains no project file.",
            "Choose a file that ends in {suffix}.",
            path=str(path),
            suffix=SUFFIX,
            where=Where(file=str(path)),
        )
    if not os.path.isfile(path):  # noqa: PTH113 - see above
        raise fail(
            "project.not_found",
            "No project was found at {path}.",
            "Choose a project folder or a file that ends in {suffix}.",
            path=str(path),
            suffix=SUFFIX,
            where=Where(file=str(path)),
        )
    return path


def read_title(file: Path) -> str:
    """Return the name in a project file on one line, that of the file if it can't be read or has none."""
    try:
        title = tomllib.loads(read_bytes(file).decode("utf-8-sig")).get("name", "")
    except (OSError, ValueError, RecursionError):
        return file.stem
    return (format_title(title) if isinstance(title, str) else "") or file.stem


def format_title(name: str) -> str:
    """Return a project's name on one line, cut to what a list shows."""
    return " ".join(name.split())[:_LONGEST_TITLE]


def create(folder: Path, name: str, values: dict[Step, dict[str, Any]] | None = None) -> Draft:
    """Create a project folder with its file; raises ProblemError if one exists already."""
    target = folder / f"{to_file_name(name)}{SUFFIX}"
    if folder.is_dir() and any(folder.glob(f"*{SUFFIX}")):
        raise fail(
            "project.exists",
            "{folder} already contains a project.",
            "Choose another folder, or open that project.",
            folder=str(folder),
            where=Where(file=str(folder)),
        )
    draft = Draft(name=name)
    for step, fields in (values or {}).items():
        draft.values[step].update(copy.deepcopy(fields))
    draft.save(target)
    return draft


def to_file_name(name: str) -> str:
    """Return a project name as a file name that is valid on every system."""
    return _BAD_NAME.sub("-", name).strip(" .") or "project"


def resolve(spec: Spec, folder: Path) -> Spec:
    """Return the spec with its local paths made absolute against `folder`."""
    changes: dict[str, Any] = {}
    if isinstance(spec, DatasetSpec):
        changes["sources"] = spec.resolve_sources(folder)
    if isinstance(spec, MergingSpec):
        changes["further"] = spec.resolve_further(folder)
    if isinstance(spec, TrainingSpec) and spec.rewards:
        changes["rewards"] = tuple(resolve_reward(reward, folder) for reward in spec.rewards)
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if not get_facts(type(spec), name).path or not value:
            continue
        if MODEL_FIELDS.get(type(spec)) == name and not _is_local(value, folder):
            continue
        changes[name] = str((folder / Path(value).expanduser()).resolve())
    return spec.model_copy(update=changes)


def _is_local(source: str, folder: Path) -> bool:
    """Return whether a model source is a path; `models/tiny` is one if such a folder exists."""
    is_hub = classify_source(source) == "hub"
    return is_local_source(source) or (is_hub and (folder / source).is_dir())


def _fill(draft: Draft, document: dict[str, Any]) -> None:
    """Fill the draft from a parsed document; each value that doesn't fit becomes a problem."""
    version = document.pop("schema_version", FORMAT_VERSION)
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        draft.read_only = problem_of(
            "project.newer",
            "The project was saved by a newer version of LoRA Studio (format {version}; this version "
            "reads up to {known}).",
            "Update LoRA Studio, or save the project under another name.",
            where=Where(file=str(draft.path)),
            version=str(version),
            known=FORMAT_VERSION,
        )
        draft.loaded_problems.append(draft.read_only)
    name = document.pop("name", draft.name)
    draft.name = name if isinstance(name, str) and name.strip() else draft.name
    for key, value in document.items():
        step = next((step for step in STEPS if step == key), None)
        if step is not None and isinstance(value, dict):
            draft.values[step].update(value)
            continue
        draft.extras[key] = value
        draft.loaded_problems.append(
            problem_of(
                "project.unknown_section",
                "The project file has an unknown entry “{key}”.",
                "Remove it. The sections are: {names}.",
                where=Where(file=str(draft.path), line=draft.lines.get((key, ""))),
                key=key,
                names=listed(STEPS),
            )
        )


def _find_line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Return (section, key) -> line, counted from 1; the section itself has the key ''."""
    numbers: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
            section = header[1].strip()
            numbers.setdefault((section, ""), number)
            outer, _, inner = section.partition(".")
            numbers.setdefault((outer, inner.partition(".")[0]), number)
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            numbers.setdefault((section, key[1]) if section else (key[1], ""), number)
    return numbers


def _dump(
    name: str, values: dict[Step, dict[str, Any]], extras: dict[str, Any] | None = None
) -> str:
    document = tomlkit.document()
    document["schema_version"] = FORMAT_VERSION
    document["name"] = name
    document.update(extras or {})
    for step in STEPS:
        table = tomlkit.table()
        for key, value in values[step].items():
            if value is not None:
                table[key] = list(value) if isinstance(value, tuple) else value
        document[step] = table
    return tomlkit.dumps(document)


#: Descriptions by the first word of pydantic's error type.
_FAULTS = {
    "float": "{title}: {value} isn't a number.",
    "int": "{title}: {value} isn't a number.",
    "finite": "{title}: {value} is too large.",
    "bool": "{title}: {value} is neither true nor false.",
    "greater": "{title}: {value} is too small.",
    "less": "{title}: {value} is too large.",
    "literal": "{title}: {value} isn't one of the choices.",
    "tuple": "{title}: {value} isn't a list.",
    "list": "{title}: {value} isn't a list.",
}

#: Descriptions of what can be typed for a number but isn't one, or has no size.
_NOT_FINITE = {
    "nan": "{title}: {value} isn't a number.",
    "inf": "{title} must be a finite number, not {value}.",
    "infinity": "{title} must be a finite number, not {value}.",
}

#: Characters of a value that a message shows.
_MAX_SHOWN = 200


def describe_error(about: FieldFacts, detail: ErrorDetails) -> Text:
    """Return what pydantic found wrong with a field's value, with passwords masked."""
    value, title, kind = detail["input"], text(about.title), detail["type"]
    if kind == "value_error":  # raised by `refused` in a spec
        fault = text(detail["msg"].removeprefix("Value error, "))
        return text(
            "{title}: “{value}” {fault}.", title=title, value=_mask_value(value), fault=fault
        )
    if kind.endswith("too_short"):
        template = (
            "{title}: at least one is needed." if about.kind == "list" else "{title} is empty."
        )
        return text(template, title=title)
    is_quoted = isinstance(value, str | list | tuple)
    quoted = text("“{name}”", name=_mask_value(value)) if is_quoted else _print_value(value)
    if kind == "int_from_float" or (kind.startswith("int") and about.kind == "integer"):
        template = "{title}: {value} isn't a whole number."
    elif kind == "string_type":
        template = "{title}: {value} isn't text."
    else:
        fault_name = kind.partition("_")[0]
        template = _FAULTS.get(fault_name, "{title}: {value} can't be used.")
        if fault_name in ("finite", "greater", "less"):
            template = _NOT_FINITE.get(str(value).strip().lower().lstrip("+-"), template)
    return text(template, title=title, value=quoted)


def describe_remedy(about: FieldFacts, value: object) -> Text:
    """Return what to enter instead of a value: the same with a decimal point, or what the field accepts."""
    if about.kind in ("integer", "number") and isinstance(value, str):
        point = value.strip().replace(",", ".")
        if re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", value.strip(), re.IGNORECASE):
            return text("Use a decimal point: {value}.", value=point)
    return describe_allowed(about)


def describe_allowed(about: FieldFacts) -> Text:
    """Return the values that a field accepts, in one sentence."""
    if about.choices:
        return text("Choose one of: {names}.", names=", ".join(about.choices))
    if about.minimum is not None and about.maximum is not None:
        template = (
            "Enter a value above {low} and up to {high}."
            if about.exclusive_minimum
            else "Enter a value from {low} to {high}."
        )
        high = text("{number} {unit}", number=float(about.maximum), unit=text(about.unit))
        return text(
            template,
            low=float(about.minimum),
            high=high if about.unit else float(about.maximum),
        )
    return text("Enter true or false.") if about.kind == "flag" else text(about.description)


def get_reset_label(about: FieldFacts) -> Text:
    """Return the label of the button that resets the field to its default."""
    default = _mask_value(about.default)
    return text("Use the default ({value})", value=default) if default else text("Leave it empty")


def _print_value(value: object) -> str:
    """Return a value as people type it: a fraction without the decimals of a whole number, as in -1."""
    return f"{value:.12g}" if isinstance(value, float) else repr(value)


def _mask_value(value: object) -> str:
    """Return a value that is safe to show: in an address, the part before the @ can be a password."""
    if isinstance(value, float):
        return formatting.format_setting(value)
    printed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    masked = re.sub(r"^(\w+://)?[^/@]*@", r"\1…@", printed[:_MAX_SHOWN])
    return masked if len(printed) <= _MAX_SHOWN else f"{masked}…"
