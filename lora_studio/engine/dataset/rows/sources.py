"""Which files a source consists of: one, those of a folder or archive, those of a hub dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.dataset.split_names import detect_split
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.engine.dataset.files import archives
from lora_studio.engine.dataset.files.byte_streams import FAULTS
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    problem,
    recognise,
    refuse_documents,
    unreadable,
)
from lora_studio.engine.hub import datasets
from lora_studio.engine.runtime.channel import JobContext

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


@dataclass(frozen=True)
class FileCandidate:
    """A file that may have rows; `member` is its name in an archive, `name` that for messages."""

    file: Path
    name: str
    member: str = ""


@dataclass
class SourceFiles:
    """The files a source consists of, in order, and those left out with the reason."""

    source: DataSource
    candidates: list[FileCandidate] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def containers(self, job: JobContext) -> Iterator[Container]:
        """The files that have rows, recognised one by one; the others go to `left_out`.

        Raises ProblemError when there is none.
        """
        found = False
        for number, candidate in enumerate(self.candidates):
            job.progress("looking at files", number, len(self.candidates), "files")
            try:
                container = recognise(candidate.file, candidate.member, self.source.split)
            except ProblemError as error:
                if len(self.candidates) == 1:
                    raise
                self.left_out.append((candidate.name, str(error.problems[0].what)))
                continue
            found = True
            yield container
        if not found:
            raise self._nothing()

    def problems(self) -> list[Problem]:
        """Warnings that name the files left out, one for each reason."""
        reasons = dict.fromkeys(reason for _, reason in self.left_out)
        return [
            _left_out([name for name, why in self.left_out if why == reason], reason, self.source)
            for reason in reasons
        ]

    def _nothing(self) -> ProblemError:
        path = Path(self.source.path)
        what = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in self.left_out[:_NAMED])
        return problem(
            path,
            "dataset.no_rows",
            f"There is no file with rows in {path.name}{f' ({what})' if what else ''}.",
            "Choose a folder with JSON, CSV, Parquet, Arrow or text files.",
        )


def files_of(source: DataSource, job: JobContext) -> SourceFiles:
    """Every file that a source may have rows in; raises ProblemError when it cannot be found."""
    path = Path(source.path)
    result = SourceFiles(source)
    if source.is_hub and not path.exists():
        files = datasets.download_dataset(source, job)
    elif path.is_dir():
        files = _in_folder(path, result)
    elif path.is_file():
        files = [(path, path.name)]
    elif path.exists():
        raise problem(
            path,
            "dataset.not_text",
            f"{path.name} is a pipe or a device, not a file that can be read twice.",
            "Write the rows to a file and choose that.",
        )
    else:
        raise problem(
            path,
            "dataset.unreadable",
            f"{path.name} could not be read: there is no such file or folder.",
            "Choose the file again.",
        )
    members: list[FileCandidate] = []
    for file, name in files:
        try:
            members += _members(file, name)
        except ProblemError as error:
            if len(files) == 1:
                raise
            result.left_out.append((name, str(error.problems[0].what)))
    if len(members) == 1 and not result.left_out:
        result.candidates = members
        return result
    for candidate in _of_split(members, source.split, result):
        if reason := no_data(candidate.name):
            result.left_out.append((candidate.name, reason))
        else:
            result.candidates.append(candidate)
    return result


def _in_folder(folder: Path, result: SourceFiles) -> list[tuple[Path, str]]:
    """The files of a folder and of those in it; the ones that may not be opened are left out."""
    if error := _locked(folder):
        raise unreadable(folder, error)
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
        elif path.is_dir() and _locked(path):
            name = path.relative_to(folder).as_posix()
            result.left_out.append((name, "a folder that may not be opened"))
    return found


def _locked(folder: Path) -> OSError | None:
    """Why a folder cannot be listed: where that is so, a walk through folders passes it over."""
    try:
        with os.scandir(folder):
            return None
    except OSError as error:
        return error


def _members(file: Path, name: str) -> Iterator[FileCandidate]:
    """The file itself, or what a ZIP or tar archive holds."""
    try:
        entries = archives.entries_of(file)
    except FAULTS as error:
        raise unreadable(file, error) from error
    if entries is None:
        yield FileCandidate(file, name)
        return
    refuse_documents(file, entries)
    if not entries:
        raise problem(file, "dataset.empty", f"{file.name} is empty.", "Choose a file with rows.")
    yield from (FileCandidate(file, f"{name}/{entry}", entry) for entry in sorted(entries))


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
    candidates: list[FileCandidate], split: str, result: SourceFiles
) -> Iterator[FileCandidate]:
    """Those of the split that is meant, where the names speak of it and of others too."""
    meant = detect_split(split) or split
    splits = {one.name: detect_split(one.name) for one in candidates if not no_data(one.name)}
    is_divided = meant in splits.values() and len({*splits.values()} - {""}) > 1
    for candidate in candidates:
        other = splits.get(candidate.name, "")
        if is_divided and other not in ("", meant):
            result.left_out.append((candidate.name, f"of the split {other}"))
        else:
            yield candidate


def _left_out(names: list[str], reason: str, source: DataSource) -> Problem:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return Problem(
        code="dataset.files_left_out",
        what=f"Left out ({reason.rstrip('.')}): {', '.join(names[:_NAMED])}{more}.",
        remedy="If these are data, choose them as sources of their own.",
        where=Where(step="dataset", field="sources", file=source.path),
        severity="warning",
    )
