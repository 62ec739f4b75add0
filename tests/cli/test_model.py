"""`lora-studio model` with a real worker and a local Hub server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli import model
from lora_studio.cli.model import describe_verdict, parse_parameter_count
from lora_studio.core.memory import model_fit
from lora_studio.core.model import folders
from lora_studio.core.model.catalog import ModelEntry, ModelOutline
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.base import BaseCommand
from lora_studio.core.protocol.events import Device, ModelsFound
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.servers.hub_server import TOKEN, hub_server

GIB = 1 << 30


def entry(parameters: int, **changes: object) -> ModelEntry:
    about = {"source": "org/m", "title": "org/m", "location": "hub", "parameters": parameters}
    return ModelEntry.model_validate(about | changes)


def device(gib: float) -> Device:
    return Device(name="cuda:0", title="GPU", total_bytes=24 * GIB, free_bytes=int(gib * GIB))


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("500M", 500_000_000), ("1.5b", 1_500_000_000)]
)
def test_parameter_counts_are_parsed(text: str, number: int) -> None:
    assert parse_parameter_count(text) == number


@pytest.mark.parametrize("text", ["large", "-1B", "8GB"])
def test_invalid_parameter_counts_are_refused(text: str) -> None:
    with pytest.raises(ProblemError, match="Invalid number of parameters"):
        parse_parameter_count(text)


def test_larger_models_need_fewer_bits_until_none_fits() -> None:
    settings = model_fit.build_default_settings(device(20))
    fits = [model_fit.estimate_fit(entry(size * 10**9), settings) for size in (1, 8, 14, 24, 70)]
    assert all(fits)
    assert [(fit.precision, fit.fits) for fit in fits if fit] == [
        ("auto", True), ("auto", True), ("8bit", True), ("4bit", True), ("4bit", False),
    ]  # fmt: skip
    assert [model_fit.get_fit_sort_key(fit) for fit in (*fits, None)] == [0, 0, 0, 0, 1, 2]


def test_known_configuration_overrides_the_size_based_guess() -> None:
    settings = model_fit.build_default_settings(device(20))
    wide = ModelOutline(layers=16, hidden_size=2048, intermediate_size=8192, heads=32, kv_heads=8, vocabulary=256_000)  # fmt: skip
    deep = wide.model_copy(update={"layers": 48})
    fits = [
        model_fit.estimate_fit(entry(1_240_000_000, outline=outline), settings)
        for outline in (wide, deep)
    ]
    assert all(fits)
    assert fits[0] != fits[1]


def test_size_based_estimate_is_close_to_the_exact_one() -> None:
    settings = model_fit.build_default_settings(device(40))
    llama = ModelOutline(layers=32, hidden_size=4096, intermediate_size=14336, heads=32, kv_heads=8, vocabulary=128_256)  # fmt: skip
    known = model_fit.estimate_fit(entry(8_030_000_000, outline=llama), settings)
    guessed = model_fit.estimate_fit(entry(8_030_000_000), settings)
    assert known is not None
    assert guessed is not None
    assert guessed.needed == pytest.approx(known.needed, rel=0.1)
    assert describe_verdict(known).startswith("yes, in 16-bit with the smallest micro-batch: ")


def test_stacked_experts_are_not_counted_as_4_bit() -> None:
    """Like Qwen3-30B-A3B: its experts, 95 % of the weights, stay in 16-bit."""
    settings = model_fit.build_default_settings(device(24))
    mixture = entry(30_532_122_624, architecture="Qwen3MoeForCausalLM")
    fit = model_fit.estimate_fit(mixture, settings)
    dense = model_fit.estimate_fit(entry(30_532_122_624), settings)
    assert fit is not None
    assert dense is not None
    assert fit.precision == "4bit"
    assert not fit.fits
    assert 56e9 < fit.needed < 66e9
    assert dense.needed < 24 * GIB


@pytest.mark.parametrize(
    ("names", "is_mixture"),
    [
        ("Qwen3MoeForCausalLM Qwen3NextForCausalLM MixtralForCausalLM GptOssForCausalLM DeepseekV3ForCausalLM "
         "OlmoeForCausalLM Llama4ForConditionalGeneration GraniteMoeForCausalLM PhimoeForCausalLM", True),
        ("LlamaForCausalLM Qwen3ForCausalLM Gemma2ForCausalLM SmolLM3ForCausalLM", False),
    ],
    ids=["mixtures", "dense"],
)  # fmt: skip
def test_mixtures_of_experts_are_known_by_architecture(names: str, is_mixture: bool) -> None:
    for name in names.split():
        inspected = model_fit.resolve_outline(entry(30_532_122_624, architecture=name))
        assert inspected is not None
        assert inspected.shape is not None
        assert bool(inspected.shape.expert_parameters) == is_mixture, name


@pytest.mark.slow
@pytest.mark.thorough
def test_model_is_searched_downloaded_listed_and_inspected(tmp_path: Path) -> None:
    model = tiny_model("llama3", tmp_path / "tiny")
    shutil.copytree(model, tmp_path / "mine" / "pickled")
    weights = tmp_path / "mine" / "pickled" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with hub_server({"tiny/llama": model}) as hub:
        hub.gated.add("tiny/llama")
        hub.about["tiny/llama"] = {"config": {"architectures": ["LlamaForCausalLM"]}}
        environment = os.environ | {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path),
            "LORA_STUDIO_LOGS": str(tmp_path / "logs"), "OLLAMA_MODELS": str(tmp_path / "none"),
        }  # fmt: skip

        def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "lora_studio", "model", *arguments],
                env=environment, input=stdin, capture_output=True, text=True, timeout=600,
            )  # fmt: skip

        matches = json.loads(run("search", "llama", "--json").stdout)
        assert [item["source"] for item in matches] == ["tiny/llama"]
        refused = run("download", "tiny/llama")
        assert refused.returncode == 1
        assert "accept its terms" in refused.stdout + refused.stderr
        assert "pim" in run("login", stdin=f"{TOKEN}\n").stdout
        done = run("download", "tiny/llama")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Downloaded tiny/llama: " in done.stdout
        listed = json.loads(run("list", "--folder", str(tmp_path / "mine"), "--json").stdout)
        assert [(x["title"], x["location"], bool(x["refusal"]["text"])) for x in listed] == [
            ("tiny/llama", "cache", False), ("pickled", "folder", True),
        ]  # fmt: skip
        assert listed[0]["fit"]["fits"] is True
        facts = run("inspect", "tiny/llama").stdout
        assert "LlamaForCausalLM" in facts
        assert "To download" not in facts


def test_command_line_uses_model_folders_of_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path))
    assert folders.list_added_folders() == ()
    (tmp_path / "window.json").write_text('{"theme": "dark", "model_folders": ["/models", "/b"]}')
    assert folders.list_added_folders() == ("/models", "/b")
    (tmp_path / "window.json").write_text("{half")
    assert folders.list_added_folders() == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        pytest.param(["search", "--licence", "mit"], "license", "mit", id="licence"),
        pytest.param(["search", "--license", "mit"], "license", "mit", id="license"),
        pytest.param(["list", "--place", "ollama"], "location", "ollama", id="place"),
        pytest.param(["list", "--location", "ollama"], "location", "ollama", id="location"),
    ],
)
def test_old_option_spellings_are_still_accepted(
    arguments: list[str], field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[BaseCommand] = []
    nothing = ModelsFound(location="hub", models=())
    monkeypatch.setattr(model, "ask", lambda command, *_: sent.append(command) or nothing)
    monkeypatch.setattr(model, "ask_all", lambda questions, _: sent.extend(questions) or [])
    result = CliRunner().invoke(model.app, arguments)
    assert result.exit_code == 0, result.output
    assert [getattr(command, field) for command in sent] == [value]
