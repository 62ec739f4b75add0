"""The files that a source consists of: one file, a folder or archive, or a dataset on the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.dataset.split_names import detect_split
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.system.foreign_files import is_unicode, leads_outside, make_unicode
from lora_studio.engine.dataset.files import archives
from lora_studio.engine.dataset.files.byte_streams import FAULTS
from lora_studio.engine.dataset.files.json_kinds import JsonShape
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    file_error,
    recognize_file,
    refuse_documents,
    unreadable_error,
)
from lora_studio.engine.hub import datasets
from lora_studio.engine.runtime.channel import JobContext

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
_OTHER = re.compile(
    r"\.(py|ipynb|sh|bat|ya?ml|toml|cfg|ini|html?|css|js|ts|lock|log|pdf|docx?|xlsx?|pptx?|png|jpe?g|"
    r"gif|webp|svg|mp[34]|wav|flac|avi|mov|safetensors|gguf|bin|pt|pth|ckpt|pkl|pickle|npy|npz|h5|so|"
    r"dll|exe|pyc|idx|md5|sha256|crc)\Z",
    re.IGNORECASE,
)


#: Files of Slack's export beside that of the people, and those of a day.
_SLACK_LISTS = ("channels.json", "groups.json", "dms.json", "mpims.json")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json")
#: The notes in a package of Anki, the newest layout last.
_COLLECTIONS = ("collection.anki2", "collection.anki21", "collection.anki21b")


@dataclass(frozen=True)
class FileCandidate:
    """A file that may have rows; `member` is its name in an archive, `name` is for messages."""

    file: Path
    name: str
    member: str = ""


@dataclass
class SourceFiles:
    """The files that a source consists of, in order, and those left out with the reason.

    `channels` are the files that Slack has exported, by channel, each after the one that names the people.
    """

    source: DataSource
    candidates: list[FileCandidate] = field(default_factory=list)
    channels: dict[str, list[FileCandidate]] = field(default_factory=dict)
    left_out: list[tuple[str, Text]] = field(default_factory=list)

    def iter_containers(self, job: JobContext) -> Iterator[Container]:
        """Yield the files that have rows, recognized one by one; the others go to `left_out`.

        Raises ProblemError when there is none.
        """
        has_rows = bool(self.channels)
        for channel, (people, *days) in self.channels.items():
            parts = tuple((one.file, one.member) for one in (people, *days))
            first = days[0]
            shape = JsonShape("json list")
            yield Container(
                first.file,
                shape.kind,
                member=first.member,
                shape=shape,
                export="slack",
                parts=parts,
                chat=channel,
            )
        grouped = {one for files in self.channels.values() for one in files}
        for number, candidate in enumerate(self.candidates):
            if candidate in grouped:
                continue
            job.report_progress("looking at files", number, len(self.candidates), "files")
            job.open_file(candidate.file)
            try:
                container = recognize_file(
                    candidate.file, candidate.member, self.source.split, job.check
                )
            except ProblemError as error:
                if len(self.candidates) == 1:
                    raise
                self.left_out.append((candidate.name, error.problems[0].what))
                continue
            has_rows = True
            yield container
        if not has_rows:
            raise self._no_rows_error()

    def get_problems(self) -> list[Problem]:
        """Return warnings that name the files left out, one for each reason."""
        reasons = dict.fromkeys(reason for _, reason in self.left_out)
        return [
            _excluded_files_problem(
                [name for name, why in self.left_out if why == reason], reason, self.source
            )
            for reason in reasons
        ]

    def _no_rows_error(self) -> ProblemError:
        path = Path(self.source.path)
        what = "{folder} contains no data files."
        if self.left_out:
            what = "{folder} contains no data files. Skipped: {files}"
        return file_error(
            path,
            "dataset.no_rows",
            what,
            "Choose a folder with JSON, CSV, Parquet, Arrow, or text files.",
            folder=path.name,
            files=tuple(
                text("{file} ({reason})", file=name, reason=reason)
                for name, reason in self.left_out[:_NAMED]
            ),
        )


def find_files(source: DataSource, job: JobContext) -> SourceFiles:
    """Return every file that may have rows; raises ProblemError when the source can't be found."""
    result = SourceFiles(source)
    files = _get_local_files(source, result, job)
    members: list[FileCandidate] = []
    for file, name in files:
        job.open_file(file)
        try:
            members += _iter_members(file, name, job)
        except ProblemError as error:
            if len(files) == 1:
                raise
            result.left_out.append((name, error.problems[0].what))
    if len(members) == 1 and not result.left_out and is_unicode(Path(members[0].name)):
        result.candidates = members
        return result
    members = _choose_collections(members, result)
    result.channels = _find_channels(members)
    if result.channels:
        result.candidates = [one for files in result.channels.values() for one in files]
        result.candidates = list(dict.fromkeys(result.candidates))
        rest = [one for one in members if one not in set(result.candidates)]
        result.left_out += [(one.name, text("no messages of a channel")) for one in rest]
        return result
    for candidate in _iter_split(members, source.split, result):
        if reason := get_exclusion_reason(candidate.name):
            result.left_out.append((make_unicode(Path(candidate.name)), reason))
        else:
            result.candidates.append(candidate)
    return result


def _get_local_files(
    source: DataSource, result: SourceFiles, job: JobContext
) -> list[tuple[Path, str]]:
    """Return the files on disk and their names in the source, downloaded from the Hub if needed."""
    path = Path(source.path)
    if source.is_hub and not path.exists():
        return datasets.download_dataset(source, job)
    if path.is_dir():
        return _walk_folder(path, result, job)
    if path.is_file():
        return [(path, path.name)]
    if path.exists():
        raise file_error(
            path,
            "dataset.not_text",
            "{name} is a pipe or a device, which can't be read twice.",
            "Write the rows to a file and choose that file.",
            name=path.name,
        )
    raise file_error(
        path,
        "dataset.unreadable",
        "{name} can't be read: the file or folder doesn't exist.",
        "Choose the file again.",
        name=path.name,
    )


def _walk_folder(folder: Path, result: SourceFiles, job: JobContext) -> list[tuple[Path, str]]:
    """Return the files of a folder and its subfolders, except those that can't be opened."""
    if error := _get_access_error(folder):
        raise unreadable_error(folder, error)
    files: list[tuple[Path, str]] = []
    for path in _list_folder(folder, job):
        if leads_outside(path, folder):
            name = make_unicode(path.relative_to(folder))
            result.left_out.append((name, text("a link that leads out of the folder")))
        elif path.is_file():
            files.append((path, path.relative_to(folder).as_posix()))
            if len(files) > limits.FOLDER_FILES:
                raise file_error(
                    folder,
                    "dataset.too_many_files",
                    "{folder} has more than {most} files.",
                    "Choose the folder that contains only the data.",
                    folder=folder.name,
                    most=limits.FOLDER_FILES,
                )
        elif path.is_dir() and _get_access_error(path):
            name = path.relative_to(folder).as_posix()
            result.left_out.append((name, text("no permission to open the folder")))
    return files


def _list_folder(folder: Path, job: JobContext) -> list[Path]:
    """Return all that is in a folder and its subfolders, in order; no more than is refused anyway."""
    paths: list[Path] = []
    for path in folder.rglob("*"):
        if len(paths) % 256 == 0:
            job.check()
        paths.append(path)
        if len(paths) > 2 * limits.FOLDER_FILES:
            break
    return sorted(paths)


def _get_access_error(folder: Path) -> OSError | None:
    """Return why a folder can't be listed: a walk through folders skips those silently."""
    try:
        with os.scandir(folder):
            return None
    except OSError as error:
        return error


def _iter_members(file: Path, name: str, job: JobContext) -> Iterator[FileCandidate]:
    """Yield the file itself, or the members of a ZIP or tar archive."""
    try:
        entries = archives.list_entries(file, job.check)
    except FAULTS as error:
        raise unreadable_error(file, error) from error
    if entries is None:
        yield FileCandidate(file, name)
        return
    refuse_documents(file, entries)
    if not entries:
        raise file_error(
            file, "dataset.empty", "{name} is empty.", "Choose a file with rows.", name=file.name
        )
    yield from (FileCandidate(file, f"{name}/{entry}", entry) for entry in sorted(entries))


def get_exclusion_reason(name: str) -> Text | None:
    """Return why a file of a folder is not data, None where it may be."""
    parts = PurePosixPath(name).parts
    last = parts[-1]
    if not is_unicode(Path(name)):
        return text("its path isn't valid UTF-8; rename it")
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return text("hidden file")
    if _DESCRIPTION.fullmatch(last):
        return text("describes the data")
    if _ABOUT_DATA.fullmatch(last):
        return text("settings, not rows")
    return text("not a data file") if _OTHER.search(last) else None


def _iter_split(
    candidates: list[FileCandidate], split: str, result: SourceFiles
) -> Iterator[FileCandidate]:
    """Yield the files of a split if their names distinguish it from others, else all files."""
    meant = detect_split(split) or split
    splits = {
        one.name: detect_split(one.name) for one in candidates if not get_exclusion_reason(one.name)
    }
    is_divided = meant in splits.values() and len({*splits.values()} - {""}) > 1
    for candidate in candidates:
        other = splits.get(candidate.name, "")
        if is_divided and other not in ("", meant):
            reason = text("belongs to the split “{split}”", split=other)
            result.left_out.append((candidate.name, reason))
        else:
            yield candidate


def _find_channels(members: list[FileCandidate]) -> dict[str, list[FileCandidate]]:
    """Return the files of an export of Slack by channel: a folder for each, with a file for each day."""
    by_name = {one.name: one for one in members}
    people = next((one for one in members if PurePosixPath(one.name).name == "users.json"), None)
    if people is None:
        return {}
    folder = PurePosixPath(people.name).parent
    if not any(str(folder / name) in by_name for name in _SLACK_LISTS):
        return {}
    channels: dict[str, list[FileCandidate]] = {}
    for one in members:
        path = PurePosixPath(one.name)
        if path.parent.parent == folder and _DAY.fullmatch(path.name):
            channels.setdefault(path.parent.name, [people]).append(one)
    return channels


def _choose_collections(members: list[FileCandidate], result: SourceFiles) -> list[FileCandidate]:
    """Return the files without what belongs to a package of Anki, except its newest collection."""
    packages: dict[Path, str] = {}
    for name in _COLLECTIONS:
        packages |= {one.file: name for one in members if one.member == name}
    kept = []
    for one in members:
        if one.file in packages and one.member != packages[one.file]:
            is_copy = one.member in _COLLECTIONS
            reason = (
                text("older copy of the notes")
                if is_copy
                else text("media and settings of the cards")
            )
            result.left_out.append((one.name, reason))
        else:
            kept.append(one)
    return kept


def _excluded_files_problem(names: list[str], reason: Text, source: DataSource) -> Problem:
    what = "Files left out ({reason}): {names}."
    if len(names) > _NAMED:
        what = "Files left out ({reason}): {names} and {more} more."
    return warning(
        "dataset.files_left_out",
        what,
        "If they contain data, add them as sources of their own.",
        where=Where(step="dataset", field="sources", file=source.path),
        reason=reason,
        names=", ".join(names[:_NAMED]),
        more=len(names) - _NAMED,
    )
