"""Loading the base model: precisions, devices, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig
from transformers.integrations.bitsandbytes import Bnb4bitQuantize

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model import remote_code
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.system import consent
from lora_studio.engine.devices import devices
from lora_studio.engine.export.gguf import converter_program
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading
from lora_studio.engine.model.tokenizer import get_template
from lora_studio.engine.runtime import fast_imports
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import write_config
from tests.helpers.runs.jobs import RecordingChannel, make_job

#: The data type this CPU computes in by default, and whether it is 32-bit.
NATIVE = devices.get_dtype("auto", torch.device("cpu"))
IS_WIDE = torch.float32 == NATIVE


@pytest.fixture
def copy(tiny: TinyModel, tmp_path: Path) -> Path:
    """A tiny Llama that a test may damage."""
    return Path(shutil.copytree(tiny("llama3"), tmp_path / "model"))


def problem_of(folder: Path, **settings: object) -> Problem:
    with pytest.raises(ProblemError) as caught:
        loading.load(ModelSpec(source=str(folder), **settings), make_job())
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("precision", "held", "dtype", "size"),
    [
        ("bf16", "bf16", torch.bfloat16, 2 * 104768),
        ("fp16", "fp16", torch.float16, 2 * 104768),
        ("fp32", "fp32", torch.float32, 4 * 104768),
        ("8bit", "8bit", NATIVE, 139904 + IS_WIDE * 2 * 31040),
        ("4bit", "4bit", NATIVE, 100112 + IS_WIDE * 2 * 31040),
    ],
)
def test_memory_of_each_precision_matches_the_estimate(
    tiny: TinyModel, precision: str, held: str, dtype: torch.dtype, size: int
) -> None:
    channel = RecordingChannel()
    spec = ModelSpec(source=str(tiny("llama3")), precision=precision, device="cpu")
    loaded = loading.load(spec, make_job(channel))
    assert (loaded.precision, loaded.dtype) == (held, dtype)
    loaded_event = channel.last(events.ModelLoaded)
    assert (loaded_event.precision, loaded_event.parameters) == (held, 104768)
    estimated = attach.inspect_model(spec, LoraSpec(), make_job()).weight_bytes
    assert estimated[held] == size
    assert loaded_event.memory_bytes == pytest.approx(size, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, ("nf4", True)), ({"quant_type": "fp4", "double_quant": False}, ("fp4", False))],
    ids=["default", "chosen"],
)
def test_4bit_format_is_the_chosen_one(
    tiny: TinyModel, settings: dict[str, Any], expected: tuple[str, bool]
) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision="4bit", device="cpu", **settings)
    layer = loading.load(spec, make_job()).model.model.layers[0].self_attn.q_proj
    assert (layer.weight.quant_state.quant_type, layer.weight.quant_state.nested) == expected
    assert layer.compute_dtype == NATIVE


@pytest.mark.parametrize("native", [True, False])
def test_cpu_computes_in_bfloat16_only_with_native_support(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16_instructions", lambda: native)
    chosen = devices.get_dtype("auto", torch.device("cpu"))
    assert chosen == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_bitsandbytes_checkpoint_loads_as_stored(
    tiny: TinyModel, tmp_path: Path, precision: str
) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision=precision, device="cpu")
    loaded = loading.load(spec, make_job())
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    reloaded = loading.load(ModelSpec(source=str(tmp_path), device="cpu"), make_job())
    assert reloaded.precision == precision
    ids = torch.arange(1, 9)[None]
    torch.testing.assert_close(reloaded.model(ids).logits, loaded.model(ids).logits)
    inspected = attach.inspect_model(ModelSpec(source=str(tmp_path)), LoraSpec(), make_job())
    assert inspected.prequantized == precision


def test_lack_of_memory_for_quantizing_is_not_a_damaged_model(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model falls back to the CPU then, or the problem says that memory ran out."""

    def run_out(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Bnb4bitQuantize, "convert", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        loading.load(
            ModelSpec(source=str(tiny("llama3")), precision="4bit", device="cpu"), make_job()
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_stored_4bit_layers_compute_in_the_dtype_of_the_device(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """GPUs before Ampere emulate bfloat16, which the quantized model may have been stored with."""
    monkeypatch.setattr(devices, "get_dtype", lambda *_: torch.bfloat16)
    spec = ModelSpec(source=str(tiny("llama3")), precision="4bit", device="cpu")
    loaded = loading.load(spec, make_job())
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(devices, "get_dtype", lambda *_: dtype)
    model = loading.load(ModelSpec(source=str(tmp_path), device="cpu"), make_job()).model
    layers = [module for module in model.modules() if hasattr(module, "compute_dtype")]
    assert layers
    assert {layer.compute_dtype for layer in layers} == {dtype}


def test_8bit_layers_do_not_warn_in_every_pass(
    tiny: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision="8bit", device="cpu")
    model = loading.load(spec, make_job()).model
    caplog.clear()
    with torch.no_grad():
        model(torch.arange(1, 9)[None])
    assert "will be cast" not in caplog.text


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4}, "GPTQ"),
        ({"quant_method": "awq", "bits": 4}, "AWQ"),
        ({"quant_method": "fp8"}, "FP8"),
    ],
    ids=["GPTQ", "AWQ", "FP8"],
)
def test_other_quantization_methods_are_refused_by_name(
    copy: Path, method: dict[str, object], expected: str
) -> None:
    write_config(copy, quantization_config=method)
    problem = problem_of(copy)
    assert problem.code == "model.prequantized"
    assert expected in str(problem.what)
    assert "4-bit" in str(problem.remedy)
    with pytest.raises(ProblemError) as caught:  # before a model of the Hub is downloaded
        attach.inspect_model(ModelSpec(source=str(copy)), LoraSpec(), make_job())
    assert caught.value.problems == [problem]


def test_pickled_checkpoint_is_never_opened(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n")
    problem = problem_of(copy)
    assert problem.code == "model.pickle"
    assert "run any code" in str(problem.what)


def test_truncated_weight_file_is_unreadable(copy: Path) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert problem_of(copy).code == "model.unreadable"
    with pytest.raises(ProblemError, match="the file is truncated"):
        attach.inspect_model(ModelSpec(source=str(copy)), LoraSpec(), make_job())


def test_missing_tensor_is_reported_not_initialized(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    problem = problem_of(copy)
    assert problem.code == "model.unreadable"
    assert "model.layers.1.mlp.up_proj.weight" in str(problem.what)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vocab_size": 1000}, "model.embed_tokens.weight has the shape"),
        ({"num_hidden_layers": 1}, "contain model.layers.1, but config.json states fewer layers"),
        ({"hidden_act": "swoosh"}, "“swoosh” wasn't found"),
        ({"vocab_size": "all"}, "expected int, got str (value: 'all')"),
    ],
)
def test_configuration_that_contradicts_the_weights_is_named(
    copy: Path, changes: dict[str, Any], reason: str
) -> None:
    write_config(copy, **changes)
    problem = problem_of(copy)
    assert problem.code == "model.unreadable"
    assert reason in str(problem.what)


def test_settings_of_generation_come_from_the_caller_alone(copy: Path) -> None:
    """Qwen2.5 states a repetition penalty, which Ollama and llama.cpp don't apply to greedy answers."""
    prompt = torch.arange(10, 20)[None]

    def answer() -> list[int]:
        model: Any = loading.load(ModelSpec(source=str(copy), precision="fp32"), make_job()).model
        settings = GenerationConfig(max_new_tokens=12, do_sample=False)
        written: list[int] = model.generate(prompt, generation_config=settings)[0].tolist()
        return written

    plain = answer()
    settings = {"repetition_penalty": 5.0, "suppress_tokens": plain[10:12], "num_beams": 4}
    (copy / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    assert answer() == plain


def test_missing_shard_is_unreadable(tiny: TinyModel, tmp_path: Path) -> None:
    whole = loading.load(ModelSpec(source=str(tiny("llama3")), device="cpu"), make_job())
    whole.model.save_pretrained(tmp_path, max_shard_size="50KB")
    whole.tokenizer.save_pretrained(tmp_path)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 2
    parts[1].unlink()
    assert problem_of(tmp_path).code == "model.unreadable"


@pytest.mark.parametrize(
    ("content", "code"),
    [("{broken", "model.unreadable"), ("[]", "model.unreadable"), (None, "model.not_a_model")],
)
def test_broken_configuration_is_a_problem(copy: Path, content: str | None, code: str) -> None:
    (copy / "config.json").unlink()
    if content is not None:
        (copy / "config.json").write_text(content)
    assert problem_of(copy).code == code


def test_unknown_architecture_is_named(copy: Path) -> None:
    write_config(copy, model_type="llama9", architectures=["Llama9ForCausalLM"])
    problem = problem_of(copy)
    assert problem.code == "model.unknown_architecture"
    assert "Llama9ForCausalLM (model_type: llama9)" in str(problem.what)


def test_non_generative_model_is_named(copy: Path) -> None:
    write_config(copy, model_type="vit", architectures=["ViTModel"])
    problem = problem_of(copy)
    assert problem.code == "model.not_generative"
    assert "ViTModel" in str(problem.what)


def test_remote_code_does_not_run_without_consent(copy: Path) -> None:
    (copy / "configuration_own.py").write_text("raise SystemExit('it ran')")
    write_config(copy, model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig"})
    assert problem_of(copy).code == "model.remote_code"


@pytest.fixture
def own_code(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Llama with a configuration class of its own, which leaves a file when it is imported."""
    (copy / "configuration_own.py").write_text(
        "import pathlib\n"
        "from transformers import LlamaConfig\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n"
        "    model_type = 'own'\n"
    )
    (copy / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\n"
        "from .configuration_own import OwnConfig\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n"
        "    config_class = OwnConfig\n"
    )
    write_config(
        copy,
        model_type="own",
        auto_map={
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
        },
    )
    return copy


def test_setting_of_the_project_does_not_run_code(own_code: Path, tmp_path: Path) -> None:
    assert problem_of(own_code, trust_remote_code=True).code == "model.code_not_trusted"
    assert not (tmp_path / "ran").exists()


def test_code_that_the_user_allowed_runs(own_code: Path, tmp_path: Path) -> None:
    code = remote_code.find_code(own_code)
    assert code is not None
    consent.trust(code)
    spec = ModelSpec(source=str(own_code), trust_remote_code=True, device="cpu")
    assert type(loading.load(spec, make_job()).model).__name__ == "OwnForCausalLM"
    assert (tmp_path / "ran").exists()
    (own_code / "modeling_own.py").write_text("raise SystemExit('changed')")
    assert problem_of(own_code, trust_remote_code=True).code == "model.code_not_trusted"


def test_code_that_the_user_allowed_imports_any_package(
    own_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_imports, "_RARELY_USED", ("wave",))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    fast_imports.hide_rarely_used_packages()
    modeling = own_code / "modeling_own.py"
    modeling.write_text(f"import wave\n{modeling.read_text()}")
    code = remote_code.find_code(own_code)
    assert code is not None
    consent.trust(code)
    spec = ModelSpec(source=str(own_code), trust_remote_code=True, device="cpu")
    assert type(loading.load(spec, make_job()).model).__name__ == "OwnForCausalLM"


@pytest.mark.slow
@pytest.mark.parametrize("is_allowed", [False, True], ids=["without consent", "with consent"])
def test_converter_runs_code_of_the_model_only_with_consent(
    own_code: Path, tmp_path: Path, is_allowed: bool
) -> None:
    script = tmp_path / "convert.py"
    script.write_text(
        "import sys\n"
        "from transformers import AutoConfig\n"
        "AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
    )
    if is_allowed:
        code = remote_code.find_code(own_code)
        assert code is not None
        consent.trust(code)
    command = [sys.executable, "-m", converter_program.__name__, str(script), str(own_code)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (tmp_path / "ran").exists() is is_allowed
    assert ("isn't allowed to run" in ended.stderr) is not is_allowed, ended.stderr


def test_missing_device_is_refused_with_available_devices(tiny: TinyModel) -> None:
    if torch.cuda.device_count() > 7:
        pytest.skip("this computer has that many GPUs")
    problem = problem_of(tiny("llama3"), device="cuda:7")
    assert problem.code == "model.device_missing"
    assert "cpu" in str(problem.remedy)


def test_cpu_is_always_the_last_listed_device() -> None:
    listed = devices.list_devices().devices
    assert listed[-1].name == "cpu"
    assert 0 < listed[-1].free_bytes <= listed[-1].total_bytes
    assert devices.choose_device("auto").type == listed[0].name.partition(":")[0]


def test_base_model_without_chat_template_gets_chatml(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    tokenizer = loading.load_tokenizer(copy)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)  # fmt: skip
    # The vocabulary has no <|im_end|>, so the end-of-sequence token, at which every server stops, ends a
    # turn. The first token is the BOS that this tokenizer adds to every text.
    assert text == "<|begin_of_text|><|im_start|>user\nHi<|eot_id|>\n<|im_start|>assistant\n"


def test_chosen_chatml_replaces_the_template(tiny: TinyModel) -> None:
    own = loading.load_tokenizer(tiny("llama3"), DatasetSpec())
    chosen = loading.load_tokenizer(tiny("llama3"), DatasetSpec(chat_template="chatml"))
    assert own.chat_template != chosen.chat_template == get_template("chatml", own)
    assert len(own) == len(chosen)


def test_identity_distinguishes_models_by_their_weights(tiny: TinyModel, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    from lora_studio.engine.model.folder import get_identity

    first = get_identity(tiny("llama3"))
    assert get_identity(copy)["hash"] == first["hash"]
    weights = load_file(copy / "model.safetensors")
    changed = {name: value * 1.01 for name, value in weights.items()}
    save_file(changed, copy / "model.safetensors", metadata={"format": "pt"})
    assert get_identity(copy)["hash"] != first["hash"]
    assert json.loads(json.dumps(first)) == first


def test_broken_header_is_unreadable(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\xff" * 100)
    assert problem_of(copy).code == "model.unreadable"


def test_broken_tokenizer_is_a_problem(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    problem = problem_of(copy)
    assert problem.code == "model.unreadable"
    assert "tokenizer" in str(problem.what)


def test_license_is_read_from_the_model_card(copy: Path) -> None:
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert attach.inspect_model(ModelSpec(source=str(copy)), LoraSpec(), make_job()).license == "apache-2.0"  # fmt: skip
