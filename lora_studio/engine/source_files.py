"""Which files a source consists of: one, those of a folder or ZIP archive, those of a hub dataset."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lora_studio.core.dataset import Source
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.engine import hub_dataset
from lora_studio.engine.channel import Job
from lora_studio.engine.containers import (
    Container,
    problem,
    recognise,
    refuse_office,
    unreadable,
)
from lora_studio.engine.split_names import split_of

#: Files of a folder at most; a folder with more is hardly one that was meant.
_MOST_FILES = 100_000
_NAMED = 5

_DESCRIPTION = re.compile(
    r"(readme|licen[cs]e|licensing|copying|notice|authors|contributors|contributing|changelog|citation|"
    r"code_of_conduct|security)([._-].*)?",
    re.IGNORECASE,
)
_ABOUT_DATA = re.compile(
    r"(dataset_infos?|state|dataset_dict|metadata|config|croissant|_?schema|package|tokenizer.*)"
    r"\.(json|ya?ml)",
    re.IGNORECASE,
)
_NO_DATA = re.compile(
    r"\.(py|ipynb|sh|bat|ya?ml|toml|cfg|ini|html?|css|js|ts|lock|log|pdf|docx?|xlsx?|pptx?|png|jpe?g|"
    r"gif|webp|svg|mp[34]|wav|flac|avi|mov|safetensors|gguf|bin|pt|pth|ckpt|pkl|pickle|npy|npz|h5|so|"
    r"dll|exe|pyc|idx|md5|sha256|crc)\Z",
    re.IGNORECASE,
)


@dataclass
class SourceFiles:
    """The files of a source in order, each recognised, and those left out with the reason."""

    containers: list[Container] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def problems(self, source: Source) -> list[Problem]:
        """One warning that names the files left out."""
        reasons = list(dict.fromkeys(reason for _, reason in self.left_out))
        return [
            _left_out([name for name, why in self.left_out if why == reason], reason, source)
            for reason in reasons
        ]


def files_of(source: Source, job: Job) -> SourceFiles:
    """Every file of a source, recognised by its content; raises ProblemError when there is none."""
    path = Path(source.path)
    if source.is_hub and not path.exists():
        return _recognised(hub_dataset.fetch(source, job), path, source, job, is_one=False)
    if path.is_dir():
        return _recognised(_in_folder(path), path, source, job, is_one=False)
    if not path.exists():
        raise problem(
            path,
            "dataset.unreadable",
            f"{path.name} could not be read: there is no such file or folder.",
            "Choose the file again.",
        )
    return _recognised([(path, path.name)], path, source, job, is_one=True)


def _in_folder(folder: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.append((path, path.relative_to(folder).as_posix()))
            if len(found) > _MOST_FILES:
                raise problem(
                    folder,
                    "dataset.too_many_files",
                    f"{folder.name} holds more than {_MOST_FILES:,} files.",
                    "Choose the folder of the data itself.",
                )
    return found


def _recognised(
    files: list[tuple[Path, str]], path: Path, source: Source, job: Job, *, is_one: bool
) -> SourceFiles:
    result = SourceFiles()
    members = [member for file, name in files for member in _members(file, name)]
    wanted = members if is_one and len(members) == 1 else _of_split(members, source.split, result)
    for number, (file, name, member) in enumerate(wanted):
        job.progress("looking at files", number, len(wanted), "files")
        reason = "" if len(members) == 1 else no_data(name)
        if reason:
            result.left_out.append((name, reason))
            continue
        try:
            result.containers.append(recognise(file, member, source.split))
        except ProblemError as error:
            if len(wanted) == 1:
                raise
            result.left_out.append((name, error.problems[0].what))
    if not result.containers:
        what = "; ".join(f"{name}: {why}" for name, why in result.left_out[:_NAMED])
        raise problem(
            path,
            "dataset.no_rows",
            f"There is no file with rows in {path.name}{f' ({what})' if what else ''}.",
            "Choose a folder with JSON, CSV, Parquet, Arrow or text files.",
        )
    return result


def _members(file: Path, name: str) -> Iterator[tuple[Path, str, str]]:
    """The file itself, or what a ZIP archive holds: (file, name, member)."""
    try:
        with file.open("rb") as stream:
            is_archive = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        if not is_archive:
            yield file, name, ""
            return
        with zipfile.ZipFile(file) as archive:
            entries = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise unreadable(file, error) from error
    refuse_office(file, entries)
    if not entries:
        raise problem(file, "dataset.empty", f"{file.name} is empty.", "Choose a file with rows.")
    yield from ((file, f"{name}/{entry}", entry) for entry in sorted(entries))


def no_data(name: str) -> str:
    """Why a file beside others is no data, "" where it may be."""
    parts = PurePosixPath(name).parts
    last = parts[-1]
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return "hidden"
    if _DESCRIPTION.fullmatch(last):
        return "describes the data"
    if _ABOUT_DATA.fullmatch(last):
        return "settings, not rows"
    return "not a file of rows" if _NO_DATA.search(last) else ""


def _of_split(
    members: list[tuple[Path, str, str]], split: str, result: SourceFiles
) -> list[tuple[Path, str, str]]:
    """Those of the split that is meant, where the names speak of it and of others too."""
    meant = split_of(split) or split
    splits = {name: split_of(name) for _, name, _ in members if not no_data(name)}
    if meant not in splits.values() or len({*splits.values()} - {""}) < 2:
        return members
    kept = []
    for member in members:
        other = splits.get(member[1], "")
        if other and other != meant:
            result.left_out.append((member[1], f"of the split {other}"))
        else:
            kept.append(member)
    return kept


def _left_out(names: list[str], reason: str, source: Source) -> Problem:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return Problem(
        code="dataset.files_left_out",
        what=f"Left out ({reason.rstrip('.')}): {', '.join(names[:_NAMED])}{more}.",
        remedy="If these are data, choose them as sources of their own.",
        where=Where(step="dataset", field="sources", file=source.path),
        severity="warning",
    )
