"""Models and adapters with odd settings, cards, and names: each is listed, or refused by a problem."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.lora import adapters as adapters_module
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.catalog import ModelLocation
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.engine.lora import attach
from lora_studio.engine.merging import library
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import loading, scan
from tests.engine.conftest import TinyModel
from tests.helpers.faults import odd_json
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import make_job

#: In the fast tier every so many of the combinations, in the slow tier all.
EVERY = pytest.mark.parametrize(
    "every",
    [
        pytest.param(37, id="sample"),
        pytest.param(1, id="all", marks=[pytest.mark.slow, pytest.mark.thorough]),
    ],
)


@pytest.fixture
def models(tiny: TinyModel, tmp_path: Path) -> Path:
    """A folder with an intact model and one to damage, `odd`."""
    for name in ("intact", "odd"):
        shutil.copytree(tiny("llama3"), tmp_path / name)
    return tmp_path


@pytest.fixture
def adapters(tiny: TinyModel, tmp_path: Path) -> Path:
    """A folder with an intact adapter and one to damage, `odd`."""
    for name in ("intact", "odd"):
        random_adapter(tiny("llama3"), tmp_path / name)
    return tmp_path


def write_odd(file: Path, every: int) -> Iterator[str]:
    """Write one odd version of a JSON file after another; yield what is odd."""
    content = json.loads(file.read_text("utf-8"))
    for name, document in itertools.islice(odd_json.iter_odd(content), 0, None, every):
        file.write_text(json.dumps(document), "utf-8")
        yield name


def list_models(folder: Path, location: ModelLocation = "folder") -> dict[str, str]:
    """Return title -> refusal of the models in a folder, as the event about them says."""
    entries = scan.scan_models(location, [folder], make_job())
    line = events.to_line(events.ModelsFound(location=location, models=tuple(entries)))
    found = events.parse(line.encode())
    assert isinstance(found, events.ModelsFound)
    return {entry.title: str(entry.refusal) for entry in found.models}


@EVERY
def test_odd_config_hides_no_model(models: Path, every: int) -> None:
    for name in write_odd(models / "odd" / "config.json", every):
        assert list_models(models).get("intact") == "", name


@EVERY
def test_odd_adapter_config_hides_no_adapter(adapters: Path, every: int) -> None:
    for name in write_odd(adapters / "odd" / "adapter_config.json", every):
        facts = library.find_adapters([adapters], make_job())
        events.to_line(events.AdaptersFound(adapters=tuple(facts))).encode()
        assert [fact.problem for fact in facts if fact.folder.endswith("intact")] == [None], name
        assert len(facts) == 2, name
        spec = LoraSpec(start_from=str(adapters / "odd"))
        adapters_module.resolve_lora(spec)
        adapters_module.check(spec)


INSPECTIONS: dict[str, Callable[[ModelSpec], Any]] = {
    "inspected": lambda spec: attach.inspect_model(spec, LoraSpec(), make_job()),
    "loaded": lambda spec: loading.load(spec, make_job()),
}


@EVERY
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("verb", INSPECTIONS)
def test_odd_setting_loads_or_is_a_problem(models: Path, verb: str, name: str, every: int) -> None:
    spec = ModelSpec(source=str(models / "odd"), device="cpu")
    for what in write_odd(models / "odd" / name, every):
        try:
            INSPECTIONS[verb](spec)
        except ProblemError:
            continue
        except BaseException as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("card", "license_name"),
    [
        pytest.param("license: mit\ndate: 2024-02-30", "mit", id="impossible date"),
        pytest.param("license: mit\nx: !!python/object:os.system {}", "mit", id="foreign tag"),
        pytest.param("license: mit\nx: !!timestamp soon", "mit", id="tag of a date"),
        pytest.param("license: mit\nx: !!int ''", "mit", id="tag of a number"),
        pytest.param("license: [mit, apache-2.0]", "", id="list"),
        pytest.param("license: {name: mit}", "", id="object"),
        pytest.param("license: null", "", id="null"),
        pytest.param("license: &a [*a]", "", id="alias"),
        pytest.param("? {a: b}\n: c", "", id="key that is an object"),
        pytest.param("license: '\\ud800'", "\\ud800", id="surrogate"),
        pytest.param("x: " + "[" * 2_000, "", id="deep"),
        pytest.param("\t- :\n  x", "", id="syntax"),
    ],
)
def test_odd_card_hides_no_model(models: Path, card: str, license_name: str) -> None:
    (models / "odd" / "README.md").write_text(f"---\n{card}\n---\n", "utf-8")
    assert list_models(models) == {"intact": "", "odd": ""}
    assert (model_folder.read_license(models / "odd") or "") == license_name


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"a": {"dtype": "F32", "shape": ["a"], "data_offsets": [0, 4]}}, id="shape"),
        pytest.param({"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, id="type"),
        pytest.param({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4]}}, id="offset"),
        pytest.param({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, id="negative"),
        pytest.param({"a": {"dtype": "F32", "shape": [2**70], "data_offsets": [0, 0]}}, id="huge"),
        pytest.param({"a": 3}, id="number"),
        pytest.param([], id="list"),
    ],
)
def test_odd_header_hides_no_model(models: Path, header: Any) -> None:
    raw = json.dumps(header).encode()
    content = len(raw).to_bytes(8, "little") + raw + bytes(4)
    (models / "odd" / "model.safetensors").write_bytes(content)
    listed = list_models(models)
    assert listed["intact"] == ""
    assert "model.safetensors" in listed["odd"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names and links")
def test_odd_names_and_links_hide_no_model(models: Path, tiny: TinyModel) -> None:
    shutil.copytree(tiny("llama3"), models / os.fsdecode(b"\xff\xfe"))
    shutil.copytree(tiny("llama3"), models / "two\nlines 🙂")
    (models / "loop").symlink_to(models)
    (models / "self").symlink_to("self")
    (models / "dangling.gguf").symlink_to("/nonexistent")
    os.mkfifo(models / "pipe.gguf")
    (models / "odd" / "dangling.safetensors").symlink_to("/nonexistent")
    listed = list_models(models)
    assert listed["intact"] == listed["two\nlines 🙂"] == ""
    assert "UTF-8" in listed["\ufffd\ufffd"]
    assert {"dangling.gguf", "pipe.gguf", "odd"} <= listed.keys()
    assert len(listed) == 6


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give up its permissions"
)
def test_folder_without_permission_hides_no_model(tiny: TinyModel) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        for each in ("intact", "odd"):
            shutil.copytree(tiny("llama3"), folder / each)
        folder.chmod(0o755)
        (folder / "intact" / "model.safetensors").chmod(0o644)
        (folder / "odd").chmod(0)
        os.seteuid(65534)
        try:
            listed = list_models(folder)
            adapters = library.find_adapters([folder], make_job())
        finally:
            os.seteuid(0)
    assert listed == {"intact": "", "odd": "It can't be read: Permission denied."}
    assert adapters == []


def test_odd_manifest_of_ollama_hides_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    library_folder = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "pim"
    library_folder.mkdir(parents=True)
    good = {
        "layers": [
            {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64}
        ]
    }
    (library_folder / "latest").write_text(json.dumps(good))
    (tmp_path / "manifests" / "stray").write_text(json.dumps(good))
    for number, (_, document) in enumerate(odd_json.iter_odd(good)):
        (library_folder / f"odd{number}").write_text(json.dumps(document))
    listed = list_models(tmp_path, "ollama")
    assert "No such file" in listed["pim:latest"]
    assert "manifest is damaged" in listed["pim:odd0"]
    assert not any("etc" in refusal for refusal in listed.values())
