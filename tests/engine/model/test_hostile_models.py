"""Models made to use up time or memory, or to run code from elsewhere, are refused with the reason."""

from __future__ import annotations

import json
import shutil
import struct
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from lora_studio.core import limits
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.engine.generation import turn_boundaries
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import CancelledError
from lora_studio.engine.runtime.failures import NotFiniteError, to_problem
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import make_job


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("hostile") / "base")


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1e+09"),
        ({"num_hidden_layers": 10**1000}, "num_hidden_layers is 1000000000…"),
        ({"n_layer": 1e300}, "n_layer is 1e+300"),
        ({"text_config": {"num_layers": 5000}}, "num_layers is 5000"),
        ({"depths": [2, 10**7]}, "depths is 1e+07"),
        ({"num_local_experts": 10**6}, "num_local_experts is 1e+06"),
        ({"num_labels": 2**40}, "num_labels is 1.09951e+12"),
        ({"vocab_size": 2**40}, "vocab_size is 1.09951e+12"),
        ({"text_config": {"hidden_size": 10**8}}, "hidden_size is 1e+08"),
        ({"model_type": "gpt_neo", "max_position_embeddings": 10**5}, "embeddings is 100000"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, but"),
        ({"num_attention_heads": -1}, "num_attention_heads is -1"),
        ({"text_config": {"num_labels": 10**7}}, "num_labels is 1e+07"),
        ({"attn_implementation": "kernels-community/x"}, "custom code from kernels-community/x"),
        ({"_attn_implementation_internal": {"": "a/b"}}, "custom code from a/b"),
        ({"vision_config": {"_experts_implementation": "a/b:c"}}, "custom code from a/b:c"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_config_that_asks_for_too_much_is_refused(
    model: Path, config: dict[str, Any], reason: str
) -> None:
    change(model, "config.json", **config)
    with pytest.raises(ProblemError) as caught:
        model_folder.check_folder(model)
    assert caught.value.problems[0].code == "model.unreadable"
    assert reason in str(caught.value.problems[0].what)


_LAYERS = [f"model.layers.{number}.self_attn.{name}.weight" for number in (0, 1) for name in "qkv"]


@pytest.mark.parametrize(
    ("unexpected", "is_refused"),
    [
        pytest.param(
            [f"model.layers.2.self_attn.{name}.weight" for name in "qkv"], True, id="plain"
        ),
        pytest.param([], False, id="none"),
        pytest.param(["model.layers.1.self_attn.k_norm.weight"], False, id="part of a layer"),
        pytest.param(
            [
                *(f"model.layers.2.self_attn.{name}.weight" for name in "qkv"),
                "model.layers.2.eh_proj.weight",
            ],
            False,
            id="prediction of further tokens",
        ),
        pytest.param(
            [f"mtp.layers.2.self_attn.{name}.weight" for name in "qkv"], False, id="elsewhere"
        ),
    ],
)
def test_only_layers_built_as_all_others_must_be_used(
    tmp_path: Path, unexpected: list[str], is_refused: bool
) -> None:
    info = {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": unexpected}
    refusal = pytest.raises(ProblemError, match="states fewer layers")
    with refusal if is_refused else nullcontext():
        model_folder.require_all_weights(tmp_path, info, _LAYERS)


def test_tokenizer_with_too_many_labels_is_refused(model: Path) -> None:
    change(model, "config.json", num_labels=200_000)
    with pytest.raises(ProblemError, match="num_labels is 200000"):
        load_tokenizer(model)


def test_choices_of_real_models_are_accepted(model: Path) -> None:
    implementation = {"": "sdpa", "text": "paged|flash_attention_2"}
    change(
        model, "config.json", _attn_implementation=implementation, num_experts=512, max_window_layers=70
    )  # fmt: skip
    assert model_folder.check_folder(model) == model


def write_weights(file: Path, header: str) -> None:
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[' + "9223372036854775807," * 60_000 + '0],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}',
        '{"a":[' + "0," * 1_500_000 + "0]}",
        "{}".ljust(limits.WEIGHTS_HEADER + 1),
    ],
    ids=["dimensions", "length", "values", "bytes"],
)  # fmt: skip
def test_header_that_would_take_minutes_is_refused(header: str, tmp_path: Path) -> None:
    write_weights(tmp_path / "model.safetensors", header)
    start = time.process_time()
    with pytest.raises(ProblemError) as caught:
        safetensors_files.read_index(tmp_path)
    assert caught.value.problems[0].code == "model.unreadable"
    assert time.process_time() - start < 2


def test_cancel_is_heeded_between_two_headers(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    write_weights(
        tmp_path / names[0], "{}"
    )  # the second is missing, so reading it would be a problem
    index = {"weight_map": {name: name for name in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    checks = iter([None, CancelledError()])

    def check() -> None:
        if (error := next(checks)) is not None:
            raise error

    with pytest.raises(CancelledError):
        safetensors_files.read_index(tmp_path, check)


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_stated_quantization_without_such_weights_is_refused(model: Path, bits: str) -> None:
    stated = {"quant_method": "bitsandbytes", f"load_in_{bits}": True}
    change(model, "config.json", quantization_config=stated)
    with pytest.raises(ProblemError) as caught:
        loading.load(ModelSpec(source=str(model), device="cpu"), make_job())
    assert "aren't quantized" in str(caught.value.problems[0].what)


def _replace(letter: str, count: int) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": letter}, "content": letter * count}


_COPY = {"Sequence": {"id": "A", "type_id": 0}}
_PAIR = [_COPY, {"Sequence": {"id": "B", "type_id": 0}}]


@pytest.mark.parametrize(
    "part",
    [
        {"normalizer": {"type": "Sequence", "normalizers": [_replace("a", 1000)] * 4}},
        {"normalizer": {"type": "Prepend", "prepend": "x" * 50_000}},
        {"decoder": {"type": "Sequence", "decoders": [_replace("a", 1000)] * 4}},
        {"post_processor": {"type": "TemplateProcessing", "single": [_COPY] * 11_000, "pair": _PAIR, "special_tokens": {}}},
    ],
    ids=["replacements", "prefix", "decoder", "copies"],
)  # fmt: skip
def test_tokenizer_that_makes_texts_endless_is_refused(model: Path, part: dict[str, Any]) -> None:
    change(model, "tokenizer.json", **part)
    with pytest.raises(ProblemError) as caught:
        loading.load_tokenizer(model)
    assert caught.value.problems[0].code == "model.unreadable"
    assert "makes short texts too long" in str(caught.value.problems[0].what)


class PanicException(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (PanicException("Onig: Regex search error: retry-limit-in-match over"), "model.tokenizer_pattern"),
        (NotFiniteError(), "model.not_finite"),
    ],
    ids=["pattern", "not finite"],
)  # fmt: skip
def test_model_that_fails_in_use_is_named(exception: BaseException, code: str) -> None:
    assert to_problem(exception, "Generating answers").code == code


def test_end_tokens_that_are_no_numbers_are_ignored(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = turn_boundaries.create_turn_end_criteria(tokenizer, [3])
    assert 3 in plain.ids
    odd = turn_boundaries.create_turn_end_criteria(tokenizer, [3, "x", {"b": 1}, None])
    assert odd == plain
