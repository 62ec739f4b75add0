"""Tokenizers that would end or stall the process that loads them are refused by a problem."""

from __future__ import annotations

import base64
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core import limits
from lora_studio.core.problems import ProblemError
from lora_studio.engine.model import tokenizer as tokenizer_module
from lora_studio.engine.model import tokenizer_files
from lora_studio.engine.model.tokenizer import load_tokenizer

#: Longer than a token may be.
LONG = "x" * 10_001


def _write(folder: Path, **parts: Any) -> None:
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | parts))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def _precompiled(content: bytes) -> dict[str, str]:
    return {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(content).decode(),
    }


def _added(index: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": 2 + index, "content": f"<{index}>"} | flags


def _refusal(folder: Path) -> str:
    with pytest.raises(ProblemError) as caught:
        load_tokenizer(folder)
    assert caught.value.problems[0].code == "model.unreadable"
    return str(caught.value.problems[0].what)


def test_tokenizer_that_aborts_its_process_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, normalizer=_precompiled(struct.pack("<I", 0xFFFFFFFF) + b"abcd"))
    assert "ends the process that loads it" in _refusal(tmp_path)


def test_tokenizer_with_too_many_added_tokens_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADDED_TOKENS", 5)
    _write(tmp_path, added_tokens=[_added(index) for index in range(6)])
    assert "adds more than 5 tokens" in _refusal(tmp_path)
    _write(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({f"<{i}>": 2 + i for i in range(6)}))
    assert "adds more than 5 tokens" in _refusal(tmp_path)


def test_tokenizer_with_too_many_pieces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VOCABULARY", 5)
    lines = [base64.b64encode(bytes([byte])) + b" %d" % byte for byte in range(6)]
    (tmp_path / "tokenizer.tiktoken").write_bytes(b"\n".join(lines))
    _write(tmp_path)
    assert "has more than 5 tokens" in _refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "content"),
    [
        ("special_tokens_map.json", "bos_token", LONG),
        ("special_tokens_map.json", "additional_special_tokens", [{"content": LONG}]),
        ("added_tokens.json", LONG, 7),
        ("tokenizer_config.json", "added_tokens_decoder", {"7": {"content": LONG}}),
        ("tokenizer_config.json", "prompt_token", LONG),
    ],
    ids=["special token", "in a list", "added token", "in the settings", "token of a prompt"],
)
def test_tokenizer_with_a_very_long_token_is_refused(
    name: str, key: str, content: Any, tmp_path: Path
) -> None:
    _write(tmp_path)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} if "config" in name else {}
    (tmp_path / name).write_text(json.dumps(settings | {key: content}))
    assert f"{key[:40]} in its {name} has more than 10,000 characters" in _refusal(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"chat_template": LONG}, id="text"),
        pytest.param({"chat_template": [{"name": "default", "template": LONG}]}, id="list"),
        pytest.param(
            {"chat_template": LONG, "old_template": LONG, "prompt": {"en": LONG}}, id="others"
        ),
    ],
)
def test_templates_and_prompts_may_be_longer_than_a_token(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    _write(tmp_path, added_tokens=[_added(0)])
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).chat_template == LONG


def test_config_of_the_model_may_have_long_texts(tmp_path: Path) -> None:
    _write(tmp_path)
    config = {"model_type": "llama", "quantization_config": {"ignore": [LONG]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    load_tokenizer(tmp_path)


def test_tokenizer_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKENIZER_SECONDS", 0.01)
    monkeypatch.setattr(tokenizer_files, "_LOADABLE", set())
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    _write(tmp_path)
    assert "takes longer than" in _refusal(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
def test_memory_of_the_process_that_loads_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    monkeypatch.setattr(limits, "TOKENIZER_MEMORY", own - 1)
    monkeypatch.setattr(tokenizer_files, "_LOADABLE", set())
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    _write(tmp_path)
    tokenizer_files.require_loadable(tmp_path)


def test_loadable_tokenizer_is_tried_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    _write(model)
    # Another test may have loaded the same tokenizer in this process.
    monkeypatch.setattr(tokenizer_files, "_LOADABLE", set())
    tokenizer_files.require_loadable(model)
    monkeypatch.setattr(tokenizer_files, "_LOADABLE", set())
    monkeypatch.setattr(limits, "TOKENIZER_SECONDS", 0.0)  # a second process would be refused
    tokenizer_files.require_loadable(model)


@pytest.mark.parametrize("place", ["unit", "position", "inside a letter"])
def test_character_map_that_leads_outside_is_refused(place: str) -> None:
    units = [0] * 256
    units[0] = 1 << 8 | 1 << 10  # has a leaf, in the block of unit 1
    units[1] = 1 << 31 | {"unit": 0, "position": 99, "inside a letter": 1}[place]
    if place == "unit":
        units[5] = 4000 << 10
    content = struct.pack("<257I", 1024, *units) + "é\0".encode()

    class Backend:
        model = decoder = post_processor = None

        class normalizer:  # noqa: N801
            @staticmethod
            def __getstate__() -> str:
                return json.dumps({"type": "Sequence", "normalizers": [_precompiled(content)]})

    with pytest.raises(ValueError, match="character map"):
        tokenizer_module.require_bounded(Backend)
