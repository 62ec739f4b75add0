"""Download the files of one subset and split of a dataset from the Hugging Face Hub."""

from __future__ import annotations

import fnmatch
import re
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource, detect_split
from lora_studio.core.messages import Template, text
from lora_studio.core.network.bounded_answers import UntrustedAnswerError
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.hub.client import (
    check_file_name,
    create_job_bar,
    download_snapshot,
    get_unreachable_errors,
    translate_hub_errors,
)
from lora_studio.engine.runtime.channel import JobContext

_DATA = re.compile(
    r"\.(parquet|jsonl?|ndjson|csv|tsv|arrow|txt|md)(\.(gz|bz2|xz|zst|lz4))?\Z|\.zip\Z",
    re.IGNORECASE,
)
_NO_ROWS = re.compile(
    r"(^|/)(readme|licen[cs]e|dataset_infos?|state|dataset_dict)[^/]*\Z|(^|/)\.", re.IGNORECASE
)


#: Seconds until the Hub is queried again.
_STALE = 600.0
_DOWNLOADED: dict[tuple[str, str, str, str], tuple[float, list[tuple[Path, str]]]] = {}


@dataclass(frozen=True)
class _FileLayout:
    """Files by subset and split; "" is the key where the author named no subset."""

    files: dict[str, dict[str, list[str]]]
    default: str


def download_dataset(source: DataSource, job: JobContext) -> list[tuple[Path, str]]:
    """Return (file, name) pairs of a subset and split, from the Hub's own cache where possible.

    A worker queries the Hub about a dataset once in ten minutes: turning a page must not wait for it.
    """
    key = (source.path, source.subset, source.split, source.revision)
    queried, files = _DOWNLOADED.get(key, (0.0, []))
    if not files or time.monotonic() - queried > _STALE or not all(p.exists() for p, _ in files):
        files = _download(source, job)
        _DOWNLOADED[key] = time.monotonic(), files
    return files


def _download(source: DataSource, job: JobContext) -> list[tuple[Path, str]]:
    import huggingface_hub

    with translate_hub_errors(source.path, source.revision, "dataset"):
        names = _list_files(source)
        card = None
        if "README.md" in names:
            card = Path(
                huggingface_hub.hf_hub_download(
                    source.path, "README.md", repo_type="dataset", revision=source.revision
                )
            )
        selected = _select_files(_choose_layout(card, names), names, source)
        folder = download_snapshot(
            source.path,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=[re.sub(r"([\[*?])", r"[\1]", name) for name in selected],
            tqdm_class=create_job_bar(job, text("downloading the dataset")),
        )
    return [(folder / name, name) for name in selected]


def _list_files(source: DataSource) -> list[str]:
    """Return the files of a revision, or those on this computer if the Hub can't be reached."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().dataset_info(source.path, revision=source.revision)
        return sorted(check_file_name(entry.rfilename) for entry in info.siblings or [])
    except (errors.HfHubHTTPError, UntrustedAnswerError):
        raise  # the Hub answered and refused, or its answer can't be read
    except get_unreachable_errors():
        folder = download_snapshot(
            source.path, repo_type="dataset", revision=source.revision, local_files_only=True
        )
        return sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )


def _choose_layout(card: Path | None, names: list[str]) -> _FileLayout:
    """Return the layout that the dataset card declares, else one by the names of the files."""
    data = [name for name in names if _DATA.search(name) and not _NO_ROWS.search(name)]
    declared = _get_declared(card)
    if not declared:
        return _FileLayout({"": _group_by_split(data)}, "")
    files: dict[str, dict[str, list[str]]] = {}
    default = ""
    for entry in declared:
        subset = str(entry.get("config_name", "default"))
        default = subset if entry.get("default") == "true" or subset == "default" else default
        files[subset] = _get_entry_files(entry, data)
    return _FileLayout(files, default or (next(iter(files)) if len(files) == 1 else ""))


def _get_declared(card: Path | None) -> list[dict[str, Any]]:
    """Return the `configs` in a dataset card's front matter that name their files."""
    if card is None:
        return []
    configs = read_front_matter(card).get("configs")
    entries = configs if isinstance(configs, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("data_files")]


def _get_entry_files(entry: dict[str, Any], data: list[str]) -> dict[str, list[str]]:
    """Return the files of one subset by split."""
    base, entries = str(entry.get("data_dir", "")), entry["data_files"]
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        return _group_by_split(_find_matching(entries, base, data))
    return {
        str(item.get("split", "train")): _find_matching(item.get("path", []), base, data)
        for item in entries
    }


def _find_matching(patterns: Any, base: str, data: list[str]) -> list[str]:
    relative_patterns = [
        str(item) for item in (patterns if isinstance(patterns, list) else [patterns])
    ]
    full_patterns = [str(PurePosixPath(base) / pattern) for pattern in relative_patterns]
    return [
        name
        for name in data
        if any(
            (
                fnmatch.fnmatchcase(name, pattern)
                or fnmatch.fnmatchcase(name, pattern.replace("**/", ""))
            )
            for pattern in full_patterns
        )
    ]


def _group_by_split(data: list[str]) -> dict[str, list[str]]:
    """Return files by the split that their names or folders mention; all are `train` if none does."""
    by_split: dict[str, list[str]] = {}
    for name in data:
        by_split.setdefault(detect_split(name), []).append(name)
    if set(by_split) == {""}:
        return {"train": data}
    by_split.pop("", None)
    return by_split


def _select_files(layout: _FileLayout, names: list[str], source: DataSource) -> list[str]:
    """Return the files of the chosen subset and split; raises ProblemError listing what there is."""
    if not any(files for splits in layout.files.values() for files in splits.values()):
        raise _dataset_error(
            "dataset.no_rows",
            "{dataset} has no data files. It needs a loading script, and scripts aren't run."
            if any(name.endswith(".py") for name in names)
            else "{dataset} has no data files.",
            "Choose a dataset with Parquet, JSON, CSV, or text files.",
            dataset=source.path,
        )
    subset = source.subset or layout.default
    splits = layout.files.get(subset)
    if splits is None and "" in layout.files and source.subset:
        # Without a card a subset is a folder.
        splits = {
            split: in_subset
            for split, files in layout.files[""].items()
            if (in_subset := [name for name in files if subset in PurePosixPath(name).parts[:-1]])
        }
    if not splits:
        subsets = sorted(layout.files) if "" not in layout.files else _get_folders(layout)
        raise _dataset_error(
            "dataset.no_subset",
            "{dataset} has no subset {subset}." if subset else "{dataset} has several subsets.",
            "Choose one of these subsets: {names}." if subsets else "Leave the subset empty.",
            dataset=source.path,
            subset=subset,
            names=", ".join(subsets),
        )
    if not splits.get(source.split):
        raise _dataset_error(
            "dataset.no_split",
            "{dataset} has no split {split}.",
            "Choose one of these splits: {names}.",
            dataset=source.path,
            split=source.split,
            names=", ".join(sorted(splits)),
        )
    return splits[source.split]


def _get_folders(layout: _FileLayout) -> list[str]:
    names = [name for files in layout.files[""].values() for name in files]
    return sorted({part for name in names for part in PurePosixPath(name).parts[:-1]})


def _dataset_error(code: str, what: Template, remedy: Template, **values: Any) -> ProblemError:
    return fail(code, what, remedy, where=Where(step="dataset", field="sources"), **values)


#: The lines between two lines of dashes.
_FRONT_MATTER = re.compile(r"\s*---[ \t\r]*\n(.*?)\n---", re.DOTALL)


class _PlainLoader(yaml.BaseLoader):
    """YAML whose scalars are texts, without aliases: a few bytes of them stand for gigabytes.

    So an impossible date or number, or a tag of another program, doesn't spoil the other fields.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases aren't supported")
        return super().compose_node(parent, index)


def read_front_matter(card: Path) -> dict[str, Any]:
    """Return the fields at the top of a card as texts, lists and dicts; {} if they can't be read."""
    try:
        front_matter = _FRONT_MATTER.match(read_text(card, errors="replace"))
        if front_matter is None or len(front_matter[1]) > limits.FRONT_MATTER:
            return {}
        fields = yaml.load(front_matter[1], _PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return fields if isinstance(fields, dict) else {}
