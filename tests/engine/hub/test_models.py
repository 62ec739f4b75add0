"""Base models on the Hub: search, inspection, download, resume, and a token that never leaks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lora_studio.client import worker as client_worker
from lora_studio.client.worker import iter_until_ended
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from tests.engine.conftest import TinyModel
from tests.helpers.servers.hub_server import COMMIT, TOKEN, Hub, hub_server

pytestmark = pytest.mark.slow

Ask = Callable[..., list[Any]]


@pytest.fixture
def hub(tiny: TinyModel, tmp_path: Path) -> Iterator[Hub]:
    model = Path(shutil.copytree(tiny("llama3"), tmp_path / "hub" / "llama"))
    pickled = Path(shutil.copytree(model, tmp_path / "hub" / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with hub_server({"tiny/llama": model, "tiny/gated": model, "tiny/pickled": pickled}) as running:
        running.gated.add("tiny/gated")
        running.about = {
            "org/Small-1B": _listed(1_000_000_000, 50, "license:apache-2.0"),
            "org/Large-70B": _listed(70_000_000_000, 900, "license:llama3"),
            "org/Encoder": _listed(100_000_000, 10, architecture="BertForMaskedLM"),
        }
        yield running


def _listed(
    parameters: int, downloads: int, *tags: str, architecture: str = "LlamaForCausalLM"
) -> dict[str, Any]:
    return {
        "tags": ["safetensors", *tags],
        "downloads": downloads,
        "likes": 1000 - downloads,
        "lastModified": "2026-03-01T10:00:00.000Z",
        "safetensors": {"parameters": {"BF16": parameters}, "total": parameters},
        "config": {"architectures": [architecture], "model_type": "llama"},
    }


@pytest.fixture
def ask(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Send a command to a real worker that uses the test's Hub; return all events."""
    for name, value in {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60", "LORA_STUDIO_LOGS": str(tmp_path / "logs"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    workers: list[client_worker.Worker] = []

    def run_command(
        command: Any, on_event: Callable[[Any, client_worker.Worker], None] | None = None
    ) -> list[Any]:
        worker = client_worker.Worker.start()
        workers.append(worker)
        worker.send(command)
        result = []
        for event in iter_until_ended(worker, command.id):
            result.append(event)
            if on_event:
                on_event(event, worker)
        return result

    yield run_command
    for worker in workers:
        worker.kill()
        worker.close()


def event_of(result: list[Any], kind: type) -> Any:
    """Return the first event of a kind, or the last event if there is none."""
    return next((event for event in result if isinstance(event, kind)), result[-1])


def test_search_reports_size_and_license_and_skips_encoders(hub: Hub, ask: Ask) -> None:
    result = event_of(ask(commands.SearchModels(text="org/")), events.ModelsFound).models
    assert [entry.source for entry in result] == ["org/Large-70B", "org/Small-1B"]
    small = result[1]
    assert (small.parameters, small.bytes) == (1_000_000_000, 2_000_000_000)
    assert (small.license, small.downloads, small.updated) == ("apache-2.0", 50, "2026-03-01")


def test_search_filters_are_sent_to_the_hub_and_applied(hub: Hub, ask: Ask) -> None:
    command = commands.SearchModels(
        text="org/", largest=8_000_000_000, license="apache-2.0", gated=False, sort="likes"
    )
    result = event_of(ask(command), events.ModelsFound).models
    assert [entry.source for entry in result] == ["org/Small-1B"]
    sent = json.loads(next(line for line in hub.requests if line.startswith("LIST"))[5:])
    assert sent["filter"] == ["safetensors", "license:apache-2.0"]
    assert (sent["gated"], sent["num_parameters"]) == (["false"], ["max:8000000000"])
    assert (sent["sort"], sent["pipeline_tag"]) == (["likes"], ["text-generation"])


@pytest.mark.parametrize(("status", "code"), [(429, "busy"), (401, "token"), (500, "hub_failed")])
def test_search_error_of_the_hub_is_reported(hub: Hub, ask: Ask, status: int, code: str) -> None:
    hub.status = status
    failed = ask(commands.SearchModels(text="x"))[-1]
    assert failed.problem.code == f"model.{code}"
    assert str(failed.problem.remedy)


def test_unreachable_hub_is_reported(ask: Ask, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert ask(commands.SearchModels(text="x"))[-1].problem.code == "model.offline"


def test_inspecting_a_hub_model_does_not_fetch_its_weights(hub: Hub, ask: Ask) -> None:
    result = event_of(
        ask(commands.InspectModel(model=ModelSpec(source="tiny/llama"))), events.ModelInspected
    )
    assert result.layers == 2
    assert result.stored_dtype == "bf16"
    whole = (hub.models["tiny/llama"] / "model.safetensors").stat().st_size
    assert result.missing_bytes == whole
    assert result.disk_bytes > whole
    assert not any(line.startswith("GET") and "model.safetensors" in line and f"/{COMMIT}/" in line for line in hub.requests)  # fmt: skip
    assert any(line.startswith("RANGE 0-") for line in hub.requests)


def test_pickle_only_model_is_refused_before_download(hub: Hub, ask: Ask) -> None:
    for command in (
        commands.InspectModel(model=ModelSpec(source="tiny/pickled")),
        commands.DownloadModel(model=ModelSpec(source="tiny/pickled")),
    ):
        assert ask(command)[-1].problem.code == "model.pickle"
    assert not any("pytorch_model.bin" in line for line in hub.requests)


def test_download_reports_bytes_and_ends_in_the_shared_cache(
    hub: Hub, ask: Ask, tmp_path: Path
) -> None:
    result = ask(commands.DownloadModel(model=ModelSpec(source="tiny/llama")))
    done = event_of(result, events.ModelDownloaded)
    assert Path(done.folder) == tmp_path / "hf/hub/models--tiny--llama/snapshots" / COMMIT
    steps = [event for event in result if isinstance(event, events.Progress)]
    total = sum(
        file.stat().st_size
        for file in hub.models["tiny/llama"].iterdir()
        if file.suffix in (".json", ".safetensors", ".jinja", ".md")
    )
    assert {step.total for step in steps} == {total}
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == total


def test_canceled_download_resumes(hub: Hub, ask: Ask) -> None:
    _enlarge(hub.models["tiny/llama"], 60_000_000)  # one megabyte takes two seconds
    hub.held = 1_000_000
    command = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))

    def cancel(event: Any, worker: client_worker.Worker) -> None:
        if isinstance(event, events.Progress) and event.done > 2_000_000:
            worker.cancel(command.id)

    assert isinstance(ask(command, cancel)[-1], events.Cancelled)
    listed = ask(commands.ListModels(location="cache"))
    entry = event_of(listed, events.ModelsFound).models[0]
    assert (entry.source, entry.missing) == ("tiny/llama", 1)
    hub.freed.set()
    hub.requests.clear()
    second_try = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert isinstance(ask(second_try)[-1], events.Done)
    resumed = [line for line in hub.requests if line.startswith("RANGE")]
    assert resumed
    assert int(resumed[0].split()[1].split("-")[0]) > 0
    entry = event_of(ask(commands.ListModels(location="cache")), events.ModelsFound).models[0]
    assert (entry.missing, str(entry.refusal)) == (0, "")


def test_damaged_partial_download_is_discarded(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    weights = hub.models["tiny/llama"] / "model.safetensors"
    blobs = tmp_path / "hf/hub/models--tiny--llama/blobs"
    blobs.mkdir(parents=True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (blobs / f"{digest}.lora-studio.incomplete").write_bytes(bytes(1000))
    command = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert ask(command)[-1].problem.code == "model.interrupted"
    second_try = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert isinstance(ask(second_try)[-1], events.Done)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param({"etag": "../../../../../../escaped"}, id="checksum that is a path"),
        pytest.param({"etag": "."}, id="checksum that is a folder"),
        pytest.param({"commit": "../" * 6 + "escaped"}, id="commit that is a path"),
        pytest.param({"more_files": ("../../../../../escaped.safetensors",)}, id="file outside"),
        pytest.param({"more_files": ("/tmp/escaped.safetensors",)}, id="absolute file"),
    ],
)
def test_server_cannot_name_files_outside_of_the_cache(
    hub: Hub, ask: Ask, tmp_path: Path, attack: dict[str, Any]
) -> None:
    for name, value in attack.items():
        setattr(hub, name, value)
    command = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert ask(command)[-1].problem.code == "hub.invalid_answer"
    assert not list(tmp_path.rglob("escaped*"))
    assert not Path("/tmp/escaped.safetensors").exists()


def test_weights_that_differ_from_their_checksum_are_discarded(
    hub: Hub, ask: Ask, tmp_path: Path
) -> None:
    hub.is_swapped = True
    command = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert ask(command)[-1].problem.code == "model.interrupted"
    assert not list((tmp_path / "hf").rglob("model.safetensors"))


def test_weights_without_an_end_are_cut_off(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    hub.is_endless = True
    command = commands.DownloadModel(model=ModelSpec(source="tiny/llama"))
    assert ask(command)[-1].problem.code == "model.interrupted"
    largest = max(file.stat().st_size for file in (tmp_path / "hf").rglob("*") if file.is_file())
    assert largest < 10_000_000


def _enlarge(folder: Path, size: int) -> None:
    """Add a padding tensor of `size` bytes to the weights."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file) | {"padding": torch.rand(size // 4)}
    save_file(tensors, file, metadata={"format": "pt"})


def test_dropped_connection_is_resumed(hub: Hub, ask: Ask) -> None:
    _enlarge(hub.models["tiny/llama"], 2_000_000)
    hub.break_after = 500_000
    result = ask(commands.DownloadModel(model=ModelSpec(source="tiny/llama")))
    if isinstance(result[-1], events.Failed):  # the library gave up; the part is kept
        assert result[-1].problem.code == "model.interrupted"
        result = ask(commands.DownloadModel(model=ModelSpec(source="tiny/llama")))
    folder = Path(event_of(result, events.ModelDownloaded).folder)
    whole = (hub.models["tiny/llama"] / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == whole


def test_full_disk_is_reported_before_the_download(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    with (hub.models["tiny/llama"] / "model-2.safetensors").open("wb") as file:
        file.truncate(1 << 43)  # a sparse file of eight terabytes
    problem = ask(commands.DownloadModel(model=ModelSpec(source="tiny/llama")))[-1].problem
    assert problem.code == "disk.full"
    assert "free" in str(problem.what)
    assert "HF_HOME" in str(problem.remedy)


def test_gated_model_needs_sign_in(hub: Hub, ask: Ask) -> None:
    command = commands.DownloadModel(model=ModelSpec(source="tiny/gated"))
    problem = ask(command)[-1].problem
    assert problem.code == "model.gated"
    assert "tiny/gated" in str(problem.remedy)
    account = event_of(ask(commands.SignIn(token=SecretStr(TOKEN))), events.AccountFound)
    assert (account.name, account.has_token) == ("pim", True)
    second_try = commands.DownloadModel(model=ModelSpec(source="tiny/gated"))
    assert isinstance(ask(second_try)[-1], events.Done)
    signed_out = event_of(ask(commands.SignOut()), events.AccountFound)
    assert not signed_out.has_token


def test_invalid_token_is_not_stored(ask: Ask, tmp_path: Path) -> None:
    problem = ask(commands.SignIn(token=SecretStr("hf_wrong_one")))[-1].problem
    assert problem.code == "model.token"
    assert not (tmp_path / "hf" / "token").exists()


def test_token_is_stored_only_by_the_hub_library(
    hub: Hub, ask: Ask, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    visible_texts: list[str] = []

    def look(event: Any, worker: client_worker.Worker) -> None:
        process = Path(f"/proc/{worker.pid}")
        with suppress(OSError):  # it may have exited, and only Linux has /proc
            visible_texts.append(
                (process / "cmdline").read_text() + (process / "environ").read_text()
            )

    command = commands.SignIn(token=SecretStr(TOKEN))
    sent = ask(command, look)
    ask(commands.DownloadModel(model=ModelSpec(source="tiny/gated")), look)
    visible_texts += [event.model_dump_json() for event in sent]
    visible_texts += [events.to_line(command), repr(command), str(command), *capfd.readouterr()]
    assert not any(TOKEN in text for text in visible_texts)
    assert TOKEN.encode() in commands.to_pipe(command)
    holding = {
        file.relative_to(tmp_path).as_posix()
        for file in tmp_path.rglob("*")
        if file.is_file() and TOKEN.encode() in file.read_bytes()
    }
    assert holding <= {"hf/token", "hf/stored_tokens"}
    assert os.stat(tmp_path / "hf" / "token").st_size > 0  # noqa: PTH116 - the store is a file


def test_invalid_command_is_logged_without_its_token(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = client_worker.Worker.start()
    line = json.dumps({"kind": "sign_in", "token": TOKEN, "more": TOKEN}).encode() + b"\n"
    monkeypatch.setattr(commands, "to_pipe", lambda _: line)
    worker.send(commands.SignOut())
    worker.close()
    list(worker.iter_events())
    log = (tmp_path / "logs" / "worker.log").read_text()
    assert "Invalid command" in log
    assert TOKEN not in log
