"""The real CPU engine, installed from the configured package index, and a training run in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.client import worker as client_worker
from lora_studio.client.worker import iter_until_ended
from lora_studio.core.protocol import commands, events
from lora_studio.setup import engines, folders, operations
from lora_studio.setup.events import EngineReady, Failed, Progress, SetupPlanned
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import StopFlag

pytestmark = pytest.mark.slow


def test_cpu_engine_is_installed_and_trains_five_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "Zoë's engine"))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    monkeypatch.delenv("LORA_STUDIO_ENGINE", raising=False)
    sent = list(EngineSetup(SetupRequest(variant="cpu"), StopFlag()).carry_out())
    ending = sent[-1]
    if isinstance(ending, Failed) and ending.problem.code == "engine.network":
        pytest.skip(f"no package index: {ending.problem.what}")
    assert ending.kind == "done", ending
    ready = next(event for event in sent if isinstance(event, EngineReady))
    planned = next(event for event in sent if isinstance(event, SetupPlanned))
    assert ready.bytes < planned.needed
    loads = [
        event
        for event in sent
        if isinstance(event, Progress) and event.unit == "B" and str(event.stage) != "Planning"
    ]
    assert [event.done for event in loads] == sorted(event.done for event in loads)
    assert loads[-1].done == loads[-1].total

    checked = list(operations.check_engine(StopFlag(), steps=5))
    assert checked[-1].kind == "done", checked[-1]

    # From now on, the program starts its workers from this engine.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert client_worker.get_engine_command()[0] == ready.python
    worker = client_worker.Worker.start()
    question = commands.InspectDevices()
    worker.send(question)
    answers = list(iter_until_ended(worker, question.id))
    assert any(isinstance(event, events.DevicesFound) for event in answers), answers
    packages = json.loads((Path(ready.folder) / engines.MANIFEST).read_text())["packages"]
    assert not {"pyside6-essentials", "pyqtgraph"} & set(packages)
    assert Path(ready.folder).parent == folders.get_root().engines
