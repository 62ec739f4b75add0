"""Small files and downloads whose process is killed at any moment: always the old or the new content.

Each input is a plan in JSON: the moment of the kill, and its seed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core.system import foreign_files
from tests.campaign.families.failing_saves import check_saved, create_project, read_all
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.saving_process import save_all

#: Kills of one plan, and the most seconds before each.
_KILLS, _SAVE_SECONDS = 5, 0.04


def generate_plan(rng: random.Random) -> bytes:
    """Return the seed of the moments."""
    return json.dumps({"seed": rng.randrange(1 << 32)}).encode()


def _read_plan(content: bytes) -> random.Random | None:
    try:
        return random.Random(int(json.loads(content)["seed"]))
    except (ValueError, TypeError, KeyError):
        return None


# --- saves ----------------------------------------------------------------------------------------


def _save_forever(folder: Path, number: int) -> None:
    """Save growing numbers in every file of the project."""
    while True:
        number += 1
        save_all(folder, number)


def _kill_child(work: Callable[[], None], seconds: float) -> None:
    """Run a function in a fork and kill it after some time."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
        os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise WrongResultError("saving failed before the kill")


def run_saves(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Kill a process that saves every file of a project; nothing is lost, nothing is left behind."""
    rng = _read_plan(content)
    if rng is None:
        return "noise"
    folder = sandbox / "saves"
    create_project(folder)
    before = dict.fromkeys(read_all(folder), 0)
    for _ in range(_KILLS):
        save = functools.partial(_save_forever, folder, max(before.values()))
        _kill_child(save, rng.random() * _SAVE_SECONDS)
        now = read_all(folder)
        if any(now[name] < number for name, number in before.items()):
            raise WrongResultError(f"saved {before}, then read {now}")
        if list(folder.rglob(f"*{foreign_files.SUFFIX}*")):
            raise WrongResultError("a file was set aside as damaged")
        before = now
    number = max(before.values()) + 1
    check_saved(folder, number, save_all(folder, number))
    return {"kills": _KILLS}


# --- downloads ------------------------------------------------------------------------------------


#: Files of the dataset, and rows in each.
_FILES, _ROWS = 6, 400


class _Setting(NamedTuple):
    """What all plans share; the server runs as long as its stack isn't closed."""

    engine: Any
    server: contextlib.ExitStack
    cache: Path
    digests: dict[str, dict[str, str]]


def generate_download(rng: random.Random) -> bytes:
    """Return what is downloaded, and the seed of the moments."""
    what = rng.choice(("model", "dataset"))
    return json.dumps({"what": what, "seed": rng.randrange(1 << 32)}).encode()


def _hash_files(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _create_dataset(folder: Path) -> Path:
    folder.mkdir()
    for number in range(_FILES):
        rows = (json.dumps({"prompt": f"{number} and {row}?", "completion": f"{number + row}, said Pim"}) for row in range(_ROWS))  # fmt: skip
        (folder / f"train-{number}.jsonl").write_text("\n".join(rows))
    return folder


@functools.cache
def _create_setting(folder: Path) -> _Setting:
    from tests.helpers.faults.killed_runs import ForkingEngine
    from tests.helpers.models.tiny_models import tiny_model
    from tests.helpers.servers.hub_server import hub_server

    folder.mkdir(exist_ok=True)
    model, dataset = tiny_model("llama3", folder / "model"), _create_dataset(folder / "dataset")
    server = contextlib.ExitStack()
    hub = server.enter_context(hub_server({"tiny/llama": model}))
    hub.datasets["tiny/rows"] = dataset
    cache = folder / "hf"
    engine = ForkingEngine(
        {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "",
        }
    )
    digests = {"model": _hash_files(model), "dataset": _hash_files(dataset)}
    return _Setting(engine, server, cache, digests)


def _iter_download(setting: _Setting, what: str) -> Iterator[Any]:
    from lora_studio.core.dataset.spec import DatasetSpec, DataSource
    from lora_studio.core.model.spec import ModelSpec
    from lora_studio.core.protocol import commands

    if what == "model":
        yield from setting.engine.begin(
            commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
        )
    else:
        dataset = DatasetSpec(sources=(DataSource(path="tiny/rows"),))
        yield from setting.engine.begin(commands.InspectDataset(dataset=dataset))


def _kill_download(setting: _Setting, what: str, after: int, seconds: float) -> bool:
    """Kill a download some time after an event; return False if it had ended."""
    from lora_studio.core.protocol import events

    pid = 0
    for event in _iter_download(setting, what):
        pid = event.pid if isinstance(event, events.Hello) else pid
        after -= 1
        if after < 0 or isinstance(event, events.Ending):
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
            return False
    return False


def run_downloads(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Kill downloads of a model or a dataset; the next one completes it, byte for byte, with nothing left over."""
    rng = _read_plan(content)
    if rng is None:
        return "noise"
    what = str(json.loads(content).get("what", "model"))
    setting = _create_setting(sandbox.parent / "hub")
    shutil.rmtree(setting.cache, ignore_errors=True)
    kills = sum(
        _kill_download(setting, what, rng.randrange(8), rng.random() * 0.05) for _ in range(_KILLS)
    )
    _check_download(setting, what, list(_iter_download(setting, what)))
    return {"kills": kills, f"of a {what}": kills}


def _check_download(setting: _Setting, what: str, seen: list[Any]) -> None:
    """Compare what a last download left with what the server has."""
    from lora_studio.core.protocol import events

    if not isinstance(seen[-1], events.Done):
        raise WrongResultError(f"the download can't be completed: {seen[-1]}")
    (snapshot,) = (setting.cache / "hub").glob(f"{what}s--*/snapshots/*")
    digests = setting.digests[what]
    if _hash_files(snapshot) != {k: v for k, v in digests.items() if (snapshot / k).exists()}:
        raise WrongResultError("a downloaded file differs")
    if what == "model" and not (snapshot / "model.safetensors").exists():
        raise WrongResultError("the weights are missing")
    if what == "dataset":
        counted = [event.rows_read for event in seen if isinstance(event, events.DatasetInspected)]
        if not counted or counted[-1] != _FILES * _ROWS:
            raise WrongResultError("rows are missing")
    if left := list(setting.cache.rglob("*.incomplete")):
        raise WrongResultError(f"{left[0].name} is left behind")


FAMILIES = [
    SimpleFamily("killed-saves", generate_plan, run_saves, seconds=20.0, weight=0.5, goal=("kills", 1000), smoke=3, starts_programs=True),
    SimpleFamily("killed-downloads", generate_download, run_downloads, seconds=60.0, weight=1.5, goal=("kills", 100), smoke=0, starts_programs=True),
]  # fmt: skip
