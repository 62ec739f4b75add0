"""The whole path on a tiny model of each family: train, merge, GGUF, self-test, Ollama."""

from __future__ import annotations

import json
from pathlib import Path

import ollama
import pytest

from lora_studio.client.worker import Worker
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import FAMILIES, tiny_model
from tests.helpers.runs.tiny_run import heldout_rows
from tests.helpers.servers.real_ollama import Server

pytestmark = [pytest.mark.thorough, pytest.mark.end2end]


def _run_of(family: str, folder: Path, host: str) -> RunFolder:
    rows = folder / "rows.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in heldout_rows(60))
    rows.write_text("".join(lines), "utf-8")
    frozen = Project.model_validate(
        {
            "name": f"Tiny {family}",
            "model": {"source": str(tiny_model(family, folder / "base")), "device": "cpu"},
            "lora": {"rank": 4, "alpha": 8},
            "dataset": {"sources": [str(rows)], "max_length": 512, "validation_share": 0.5},
            "training": {"epochs": 2, "micro_batch": 4, "gradient_accumulation": 1,
                         "learning_rate": 5e-3},
            "export": {"quantizations": ["F16", "Q8_0"], "ollama_host": host,
                       "llama_cpp": str(llama_cpp_folder(folder / "llama.cpp"))},
        }
    )  # fmt: skip
    return run_folder.create_run(folder / "runs", frozen, folder)


def _carry_out(run: RunFolder) -> list[events.Event]:
    """Run all three jobs in one worker to start Python once; the program uses a worker for each."""
    path = str(run.path)
    jobs = (commands.Train(run=path), commands.Merge(run=path), commands.Export(run=path))
    worker = Worker.start(run)
    for job in jobs:
        worker.send(job)
    worker.close()
    return list(worker.iter_events())


@pytest.mark.parametrize("family", FAMILIES)
def test_pipeline_passes_self_test_and_reaches_ollama(
    family: str, tmp_path: Path, ollama_server: Server
) -> None:
    run = _run_of(family, tmp_path, ollama_server.host)
    sent = _carry_out(run)
    assert [event for event in sent if isinstance(event, events.Failed)] == []
    assert run.read_state() == "exported"

    losses = [event.loss for event in sent if isinstance(event, events.StepDone)]
    assert losses[-1] < losses[0]

    tested = {event.stage: event for event in sent if isinstance(event, events.SelfTested)}
    # "converted" is the file that the quantized ones are made from.
    assert set(tested) == {"merged", "converted", "F16", "Q8_0"}
    assert all(result.passed and result.tokens_equal for result in tested.values())
    assert all(result.conversations >= 30 for result in tested.values())

    (derived,) = [event for event in sent if isinstance(event, events.TemplateDerived)]
    assert derived.proven
    (created,) = [event for event in sent if isinstance(event, events.OllamaCreated)]
    with ollama.Client(host=ollama_server.host) as client:
        shown = client.show(created.name)
    assert shown.template
    assert "{{" in shown.template
    assert all(stop in (shown.parameters or "") for stop in derived.stops)

    for explained in (run.project_file, run.manifest_file, run.events_file, run.modelfile,
                      run.selftest_file, run.heldout_file):  # fmt: skip
        assert explained.is_file(), explained
    assert sorted(file.name for file in run.gguf.iterdir()) == [
        f"Tiny {family}-F16.gguf",
        f"Tiny {family}-Q8_0.gguf",
    ]
    assert not run.temporary.exists()
