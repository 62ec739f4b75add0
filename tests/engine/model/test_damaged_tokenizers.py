"""Damaged tokenizers: each can be used or is refused by a problem that names the file."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.model.tokenizer import load_tokenizer
from tests.helpers.models import damaged_tokenizers
from tests.helpers.models.damaged_tokenizers import check_tokenizer, iter_damaged

#: Longest time to load or refuse one, in seconds, on a busy machine; a hang takes minutes.
PATIENCE = 20.0


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return damaged_tokenizers.create_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.mark.parametrize("layout", damaged_tokenizers.LAYOUTS)
def test_intact_tokenizer_can_be_used(intact: dict[str, Path], layout: str) -> None:
    assert check_tokenizer(intact[layout]) is None


@pytest.mark.parametrize(
    ("count", "seed"),
    [
        pytest.param(60, 1, id="sample"),
        pytest.param(1500, 2, id="all", marks=[pytest.mark.slow, pytest.mark.thorough]),
    ],
)
def test_damaged_tokenizer_is_usable_or_a_problem(
    intact: dict[str, Path], tmp_path: Path, count: int, seed: int
) -> None:
    refused = 0
    for folder, damage in iter_damaged(intact, tmp_path / "damaged", count, seed):
        began = time.monotonic()
        try:
            problem = check_tokenizer(folder)
        except BaseException as error:
            pytest.fail(f"{damage.description}: {type(error).__name__}: {error}")
        assert time.monotonic() - began < PATIENCE, damage.description
        if problem is not None:
            refused += 1
            assert problem.code == "model.unreadable", damage.description
            # A setting is named alone, and that a tokenizer exceeds a limit is found once all its files are loaded.
            setting = damage.description.rpartition(": ")[2].partition(" ")[0]
            named = [
                name in str(problem.what) for name in (damage.file, setting, "its tokenizer has")
            ]
            assert any(named), (damage.description, str(problem.what))
    assert refused > count // 4


@pytest.mark.parametrize(
    ("layout", "name", "content", "reason"),
    [
        pytest.param("llama3", "tokenizer.json", b"", "tokenizer.json is damaged", id="empty"),
        pytest.param("phi3", "tokenizer.json", b"[" * 9999, "tokenizer.json is damaged", id="deep"),
        pytest.param(
            "gemma3", "tokenizer_config.json", b"[]", "it isn't a JSON object", id="no object"
        ),
        pytest.param(
            "qwen3_legacy", "merges.txt", b"q z\nz q\n", "merges.txt or vocab.json", id="merges"
        ),
        pytest.param(
            "qwen3_legacy",
            "vocab.json",
            b'{"a": 4000000000}',
            "ID 4000000000 is too large",
            id="ID",
        ),
        pytest.param(
            "mistral_sentencepiece", "tokenizer.model", b"\x0a\xff", "tokenizer.model", id="pieces"
        ),
    ],
)
def test_refusal_names_the_damaged_file(
    intact: dict[str, Path], layout: str, name: str, content: bytes, reason: str
) -> None:
    file = intact[layout] / name
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        with pytest.raises(ProblemError) as caught:
            load_tokenizer(intact[layout])
    finally:
        file.write_bytes(before)
    assert reason in str(caught.value.problems[0].what)


def test_tokenizer_with_dropout_is_refused(intact: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "random"
    shutil.copytree(intact["llama3"], folder)
    settings = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    settings["model"]["dropout"] = 0.5
    (folder / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ProblemError, match="differently each time"):
        load_tokenizer(folder)
