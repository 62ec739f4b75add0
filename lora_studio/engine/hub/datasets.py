"""Datasets of the Hugging Face hub: the files of one subset and split, each failure with its remedy."""

from __future__ import annotations

import fnmatch
import re
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.dataset.split_names import split_of
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.hub import models
from lora_studio.engine.runtime.channel import JobContext

_DATA = re.compile(
    r"\.(parquet|jsonl?|ndjson|csv|tsv|arrow|txt|md)(\.(gz|bz2|xz|zst|lz4))?\Z|\.zip\Z",
    re.IGNORECASE,
)
_NO_ROWS = re.compile(
    r"(^|/)(readme|licen[cs]e|dataset_infos?|state|dataset_dict)[^/]*\Z|(^|/)\.", re.IGNORECASE
)


#: Seconds after which the hub is asked again.
_STALE = 600.0
_fetched: dict[tuple[str, str, str, str], tuple[float, list[tuple[Path, str]]]] = {}


@dataclass(frozen=True)
class _Plan:
    """Files by subset and split. Where the author named none, the subset is ""."""

    files: dict[str, dict[str, list[str]]]
    default: str


def fetch(source: DataSource, job: JobContext) -> list[tuple[Path, str]]:
    """(file, name) of the subset and split of a hub dataset, from the hub's own cache where it is.

    A worker asks the hub about a dataset once in ten minutes: turning a page should not wait for it.
    """
    key = (source.path, source.subset, source.split, source.revision)
    asked, files = _fetched.get(key, (0.0, []))
    if not files or time.monotonic() - asked > _STALE or not all(p.exists() for p, _ in files):
        files = _fetch(source, job)
        _fetched[key] = time.monotonic(), files
    return files


def _fetch(source: DataSource, job: JobContext) -> list[tuple[Path, str]]:
    import huggingface_hub

    with models.reported(source.path, source.revision, "dataset"):
        names = _listing(source)
        card = None
        if "README.md" in names:
            card = Path(
                huggingface_hub.hf_hub_download(
                    source.path, "README.md", repo_type="dataset", revision=source.revision
                )
            )
        wanted = _chosen(_plan(card, names), names, source)
        folder = huggingface_hub.snapshot_download(
            source.path,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=[_escaped(name) for name in wanted],
            tqdm_class=models.bar_for(job, "fetching dataset"),
        )
    return [(Path(folder) / name, name) for name in wanted]


def _listing(source: DataSource) -> list[str]:
    """The files of a revision; those on this computer where the hub is not to be had."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().dataset_info(source.path, revision=source.revision)
        return sorted(entry.rfilename for entry in info.siblings or [])
    except errors.HfHubHTTPError:
        raise  # the hub was there and said no
    except models.unreachable():
        folder = Path(
            huggingface_hub.snapshot_download(
                source.path, repo_type="dataset", revision=source.revision, local_files_only=True
            )
        )
        return sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )


def _plan(card: Path | None, names: list[str]) -> _Plan:
    """What the dataset's card says of its files; by their names where it says nothing."""
    data = [name for name in names if _DATA.search(name) and not _NO_ROWS.search(name)]
    declared = _declared(card)
    if not declared:
        return _Plan({"": _by_split(data)}, "")
    files: dict[str, dict[str, list[str]]] = {}
    default = ""
    for entry in declared:
        subset = str(entry.get("config_name", "default"))
        default = subset if entry.get("default") or subset == "default" else default
        files[subset] = _of_entry(entry, data)
    return _Plan(files, default or (next(iter(files)) if len(files) == 1 else ""))


def _declared(card: Path | None) -> list[dict[str, Any]]:
    """The `configs` in the first lines of a dataset's card that say where their files are."""
    if card is None:
        return []
    found = re.match(r"---\s*\n(.*?)\n---", card.read_text("utf-8", "replace"), re.DOTALL)
    try:
        facts = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return []
    configs = facts.get("configs") if isinstance(facts, dict) else None
    entries = configs if isinstance(configs, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("data_files")]


def _of_entry(entry: dict[str, Any], data: list[str]) -> dict[str, list[str]]:
    """The files of one subset by split."""
    base, given = str(entry.get("data_dir", "")), entry["data_files"]
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        return _by_split(_matching(given, base, data))
    return {
        str(item.get("split", "train")): _matching(item.get("path", []), base, data)
        for item in given
    }


def _matching(patterns: Any, base: str, data: list[str]) -> list[str]:
    given = [str(item) for item in (patterns if isinstance(patterns, list) else [patterns])]
    full = [str(PurePosixPath(base) / pattern) for pattern in given]
    return [name for name in data if any(_fits(name, pattern) for pattern in full)]


def _fits(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern; `**` may stand for no folder at all."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(
        name, pattern.replace("**/", "")
    )


def _by_split(data: list[str]) -> dict[str, list[str]]:
    """Files by the split that their names or folders speak of; all are `train` where none does."""
    found: dict[str, list[str]] = {}
    for name in data:
        found.setdefault(split_of(name), []).append(name)
    if set(found) == {""}:
        return {"train": data}
    found.pop("", None)
    return found


def _chosen(plan: _Plan, names: list[str], source: DataSource) -> list[str]:
    """The files of the subset and split that are meant; raises ProblemError that lists what there is."""
    if not any(files for splits in plan.files.values() for files in splits.values()):
        script = any(name.endswith(".py") for name in names)
        raise _problem(
            "dataset.no_rows",
            f"{source.path} has no data files"
            f"{': it is made by a program, which is not run here' if script else ''}.",
            "Choose a dataset with Parquet, JSON, CSV or text files.",
        )
    subset = source.subset or plan.default
    splits = plan.files.get(subset)
    if splits is None and "" in plan.files and source.subset:
        # Without a card a subset is a folder.
        splits = {
            split: kept
            for split, files in plan.files[""].items()
            if (kept := [name for name in files if subset in PurePosixPath(name).parts[:-1]])
        }
    if not splits:
        known = sorted(plan.files) if "" not in plan.files else _folders(plan)
        raise _problem(
            "dataset.no_subset",
            f"{source.path} has {f'no subset {subset}' if subset else 'several subsets'}. There are: "
            f"{', '.join(known) or 'none'}.",
            "Choose one of them as the subset.",
        )
    if not splits.get(source.split):
        raise _problem(
            "dataset.no_split",
            f"{source.path} has no split {source.split}. There are: {', '.join(sorted(splits))}.",
            "Choose one of them as the split.",
        )
    return splits[source.split]


def _folders(plan: _Plan) -> list[str]:
    names = [name for files in plan.files[""].values() for name in files]
    return sorted({part for name in names for part in PurePosixPath(name).parts[:-1]})


def _escaped(name: str) -> str:
    """A file's name as a pattern that fits it alone."""
    return re.sub(r"([\[*?])", r"[\1]", name)


def _problem(code: str, what: str, remedy: str) -> ProblemError:
    return fail(code, what, remedy, where=Where(step="dataset", field="sources"))
