"""Code of a model: what runs is a private copy of what the user allowed, wherever its files refer to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig, dynamic_module_utils
from transformers.generation.utils import GenerationMixin

from lora_studio.core.model import remote_code
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent
from lora_studio.engine.runtime import model_code

#: Python code that leaves a file, so that a test sees whether it ran.
_LEAVING = "import pathlib\npathlib.Path({mark!r}).touch()\nfrom transformers import LlamaConfig\nclass {name}(LlamaConfig):\n    model_type = 'own'\n"  # fmt: skip


def leaving(mark: Path, name: str = "Own") -> str:
    return _LEAVING.format(mark=str(mark), name=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with code of its own, which the user has allowed; code elsewhere would leave the file `ran`."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "own.py").write_text(leaving(tmp_path / "own ran"))
    refer(folder, "own.Own")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "ev.py").write_text(leaving(tmp_path / "ran"))
    (folder / "linked").symlink_to(outside)
    allow(folder)
    return folder


def refer(folder: Path, reference: str) -> None:
    config = {"model_type": "own", "auto_map": {"AutoConfig": reference}}
    (folder / "config.json").write_text(json.dumps(config))


def allow(folder: Path) -> None:
    code = remote_code.find_code(folder)
    assert code is not None
    consent.trust(code)


def cache_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the repository org/evil into a cache of the Hub."""
    repository = tmp_path / "hub" / "models--org--evil"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (repository / "snapshots" / ("0" * 40) / "ev.py").write_text(leaving(tmp_path / "ran"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


#: References to code outside of the folder, or in a linked one; `{outside}` is an absolute path.
ELSEWHERE = (
    "{outside}/ev.Own", "../outside/ev.Own", "../outside--ev.Own", "{outside}--ev.Own",
    "org/evil--ev.Own", "linked/ev.Own", "linked--ev.Own", "ev.Own",
)  # fmt: skip


@pytest.mark.parametrize("reference", ELSEWHERE)
def test_code_elsewhere_does_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(folder)
    cache_repository(tmp_path, monkeypatch)
    assert model_code.is_allowed(folder, requested=True)
    refer(folder, reference.format(outside=tmp_path / "outside"))
    # transformers reads the configuration after the check, which the file may pass or not
    with pytest.raises((OSError, ValueError)):
        AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reference", ELSEWHERE)
def test_reference_beside_an_allowed_one_is_refused(folder: Path, reference: str) -> None:
    reference = reference.format(outside=folder.parent / "outside")
    content = {"auto_map": {"AutoTokenizer": [reference, None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(ProblemError) as raised:
        model_code.is_allowed(folder, requested=True)
    assert raised.value.problems[0].code == "model.code_elsewhere"


def test_code_that_changes_after_the_check_does_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "own.py").write_text("from .other import Own\n")
    (folder / "other.py").write_text(leaving(tmp_path / "other ran"))
    allow(folder)
    assert model_code.is_allowed(folder, requested=True)
    for name in ("own.py", "other.py"):
        (folder / name).write_text(leaving(tmp_path / "ran"))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    assert type(config).__name__ == "Own"
    assert (tmp_path / "other ran").exists()
    assert not (tmp_path / "ran").exists()


def test_code_of_two_models_is_kept_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "own.py").write_text(leaving(tmp_path / "ran"))
    refer(other, "own.Own")
    assert model_code.is_allowed(folder, requested=True)
    with pytest.raises(OSError, match="isn't allowed to run"):
        AutoConfig.from_pretrained(other, trust_remote_code=True, local_files_only=True)
    assert not (tmp_path / "ran").exists()


def test_own_generation_code_runs_only_with_consent(folder: Path, tmp_path: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(leaving(tmp_path / "ran", "generate"))
    with pytest.raises(ProblemError):  # the file isn't among those that the user has allowed
        model_code.is_allowed(folder, requested=True)
    with pytest.raises(OSError, match="isn't allowed to run"):
        GenerationMixin().load_custom_generate(folder, trust_remote_code=True)
    assert not (tmp_path / "ran").exists()
    allow(folder)
    assert model_code.is_allowed(folder, requested=True)
    GenerationMixin().load_custom_generate(folder, trust_remote_code=True)
    assert (tmp_path / "ran").exists()


def test_bytecode_of_the_folder_does_not_run(folder: Path, tmp_path: Path) -> None:
    import py_compile

    evil = tmp_path / "outside" / "ev.py"
    for target in ("own.pyc", "helper.pyc", "__pycache__/own.cpython-311.pyc"):
        (folder / target).parent.mkdir(exist_ok=True)
        py_compile.compile(str(evil), str(folder / target))
    (folder / "own.py").write_text("from . import helper\n")
    allow(folder)
    assert model_code.is_allowed(folder, requested=True)
    with pytest.raises(ImportError):
        AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    assert not (tmp_path / "ran").exists()


def test_standard_input_is_never_asked(folder: Path) -> None:
    assert not model_code.is_allowed(folder, requested=False)
    with pytest.raises(ValueError, match="requires you to execute"):
        dynamic_module_utils.resolve_trust_remote_code(None, str(folder), False, True)


@pytest.mark.skipif(os.name == "nt", reason="uses descriptors of folders")
def test_folder_that_cannot_be_listed_is_refused(folder: Path) -> None:
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(20):  # a path that is too long for the system, which fails for every user
        os.mkdir("x" * 250, dir_fd=inner)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=inner)
    try:
        with pytest.raises(ProblemError) as raised:
            remote_code.find_code(folder)
    finally:
        shutil.rmtree(folder / ("x" * 250))
    assert raised.value.problems[0].code == "model.code_unreadable"
