"""Files of projects and runs in JSON: what each reader makes of damage.

The first line of an input names the file.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError
from tests.campaign.family import SimpleFamily
from tests.campaign.mutation import damage_bytes, damage_json

_SEEDS: dict[str, list[Any]] = {
    "queue.json": [{"entries": [{"run": "r", "resume": True}, {"run": "../r"}], "paused": True}],
    "about.json": [{"title": "t", "tags": ["a, b"], "notes": "@3 x", "grid": {"name": "g", "fields": ["lora.rank"]}}],
    "votes.json": [{"schema_version": 1, "votes": [{"time": 1.0, "prompt": "q", "names": ["a", "b"], "answers": ["x", "y"], "winner": 0}]}],
    "conversation-a.json": [
        {"id": "a", "chat_models": [{"kind": "adapters", "adapters": []}], "system": "s", "sampling": {"temperature": 1},
         "turns": [{"user": "q", "answers": [{"takes": [{"text": "x", "tokens": 3}], "shown": 0}]}] * 2}
    ],
    "machine.json": [{"learned": {"cpu · fp32": {"factor": 1.0, "runs": 2, "tokens_per_s": {"m": 3.0}}}}],
    "window.json": [{"recent": ["/a"], "model_folders": ["/m"], "theme": "dark", "language": "de", "text_size": 100}],
    "trusted_code.json": [{"ab12": {"kind": "model", "folder": "/m", "files": ["a.py"]}}],
    "run.lock": [{"pid": 3, "command": "x", "since": 1.0, "kills": {"/a": [1, 2]}}],
    "manifest.json": [
        {"model": {"source": "m", "hash": "ab", "bytes": 3}, "dataset": {"rows": 3, "sources": []}, "seed": 1,
         "versions": {"torch": "2"}, "results": {"loss": 1.0, "evaluations": [[1, 2.0]]},
         "taken_along": {"data/a.jsonl": "/x/a.jsonl"}}
    ],
    "heldout.jsonl": [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": [{}]}, {"text": "x"}],
    "index": [
        {"run": "r", "stamp": [1, 2], "told": None, "summary": {"folder": "r", "name": "r", "reason": {"template": "a"}, "state": "trained"}}
    ],
    "selftest.json": [{"stages": [{"name": "gguf", "verdict": "passed", "kl": 0.1, "top1": 0.9}], "answers": [{"prompt": "p"}]}],
}  # fmt: skip


def generate_record(rng: random.Random) -> bytes:
    """Return the name of a file and its damaged content."""
    name = rng.choice(list(_SEEDS))
    content = damage_json(rng, _SEEDS[name])
    if name in ("heldout.jsonl", "index"):
        content += b"\n" + (
            json.dumps(_SEEDS[name][0]).encode() + b"\n" if rng.random() < 0.5 else b""
        )
    return name.encode() + b"\n" + content


def _read_record(name: str, content: bytes, sandbox: Path) -> None:
    from lora_studio.core import playground
    from lora_studio.core.memory import calibration
    from lora_studio.core.model import folders
    from lora_studio.core.runs import chat_models, index, queue
    from lora_studio.core.runs.folder import RunFolder
    from lora_studio.core.system import consent, paths
    from lora_studio.gui.preferences import Preferences

    run = RunFolder(sandbox / "runs" / "r")
    if name in ("queue.json",):
        (run.path.parent / name).write_bytes(content)
        queue.load(run.path.parent)
    elif name in ("votes.json", "conversation-a.json"):
        store = playground.Playground(sandbox)
        store.folder.mkdir(exist_ok=True)
        (store.folder / name).write_bytes(content)
        for conversation in store.load_conversations():
            conversation.title.encode("utf-8", "replace")
            for number, turn in enumerate(conversation.turns):
                for column in range(3):
                    turn.get_answers(column).current  # noqa: B018 - as the window does
                    conversation.build_messages(column, number)
        playground.to_csv(store.load_votes())
        playground.count_votes(store.load_votes())
    elif name == "machine.json":
        calibration.get_path().write_bytes(content)
        calibration.load().get("cpu", "fp32")
    elif name == "window.json":
        paths.get_window_file().parent.mkdir(parents=True, exist_ok=True)
        paths.get_window_file().write_bytes(content)
        preferences = Preferences.load()
        preferences.list_recent_projects()
        preferences.get_new_project_parent()
        folders.list_added_folders()
    elif name == "trusted_code.json":
        paths.get_config_folder().mkdir(parents=True, exist_ok=True)
        (paths.get_config_folder() / "trusted_code.json").write_bytes(content)
        consent.read_trusted()
    elif name == "index":
        cache = run.path.parent / ".index.jsonl"
        cache.write_bytes(b"".join([index._FORMAT.encode(), b"\n", content]))
        index._read_cache(cache)
    else:
        (run.path / name).write_bytes(content)
        _read_run(run)
        chat_models.list_run_chat_models(run)


def _read_run(run: Any) -> None:
    """Read everything of a run that lists and pages show."""
    from lora_studio.core.runs import facts, index
    from lora_studio.core.runs.heldout import read_heldout

    run.read_about()
    run.read_manifest()
    run.worker_pid()
    run.has_run_out_of_memory()
    _allow_problem(lambda: read_heldout(run))
    _allow_problem(run.load_project)
    _allow_problem(lambda: facts.read_frozen_settings(run))
    for summary in index.read_summaries(run.path.parent):
        str(summary.reason).encode("utf-8", "replace")
        summary.searched.encode("utf-8", "replace")


def _allow_problem(read: Callable[[], object]) -> None:
    try:
        read()
    except ProblemError as error:
        str(error).encode("utf-8", "replace")


def run_record(content: bytes, sandbox: Path) -> str:
    """Write the file to its place and read it as the program does."""
    name, _, content = content.partition(b"\n")
    run = sandbox / "runs" / "r"
    if run.parent.exists():
        shutil.rmtree(run.parent)
    run.mkdir(parents=True)
    (run / "project.toml").write_text("schema_version = 3\n[model]\nsource = 'm'\n")
    try:
        _read_record(name.decode("ascii", "replace"), content, sandbox)
    except ProblemError as error:
        str(error)
        return "refused"
    return "read"


_PROJECT = b"""schema_version = 3
name = "p"

[model]
source = "m"

[lora]
rank = 8

[dataset]
sources = [{path = "a.jsonl"}, {path = "b.jsonl", split = "train"}]

[training]
learning_rate = 1e-4
"""
_EVENTS = b"".join(
    json.dumps({"id": "x", "time": 1.0, **event}).encode() + b"\n"
    for event in (
        {"kind": "started", "command": "train"},
        {"kind": "step_done", "step": 1, "steps": 3, "epoch": 0.1, "loss": 2.5, "learning_rate": 1e-4,
         "grad_norm": 1.0, "tokens": 9, "tokens_per_s": 8.0, "memory_bytes": 7},
        {"kind": "evaluated", "step": 1, "loss": 2.0, "metrics": {"accuracy": 0.5}},
        {"kind": "recovered", "step": 1, "micro_batch": 1, "gradient_accumulation": 2, "gradient_checkpointing": True,
         "why": {"template": "{a}", "values": {"a": 1}}},
        {"kind": "failed", "problem": {"code": "a.b", "what": {"template": "{n} x", "values": {"n": 1}}, "remedy": "r"}},
        {"kind": "done"},
    )
)  # fmt: skip


def generate_facts(rng: random.Random) -> bytes:
    """Return a run's settings and events, one of them damaged."""
    if rng.random() < 0.5:
        return b"project.toml\n" + damage_bytes(rng, _PROJECT)
    lines = _EVENTS.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = damage_json(rng, [json.loads(lines[at])]) + b"\n"
    content = b"".join(lines)
    return b"events.jsonl\n" + (damage_bytes(rng, content) if rng.random() < 0.3 else content)


def run_facts(content: bytes, sandbox: Path) -> str:
    """Read the run as a list of runs, a page, and an export of its metrics do."""
    from lora_studio.core.curves import metrics
    from lora_studio.core.runs.folder import RunFolder

    name, _, content = content.partition(b"\n")
    run = RunFolder(sandbox / "runs" / "r")
    if run.path.parent.exists():
        shutil.rmtree(run.path.parent)
    run.path.mkdir(parents=True)
    (run.path / "project.toml").write_bytes(_PROJECT)
    (run.path / "events.jsonl").write_bytes(_EVENTS)
    (run.path / name.decode("ascii", "replace")).write_bytes(content)
    _read_run(run)
    metrics.read_metrics(run).to_csv()
    return run.read_state()


FAMILIES = [
    SimpleFamily("records", generate_record, run_record, smoke=60),
    SimpleFamily("run-facts", generate_facts, run_facts, smoke=40),
]
