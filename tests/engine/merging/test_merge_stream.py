"""The streamed merge: bounded memory, prompt cancellation, and resuming after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from lora_studio.core.merging import MergingSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge as merging_merge
from lora_studio.engine.merging import model_files
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs.jobs import Recorder, recorded_job

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

SHARDS = MergingSpec(shard_size_gb=60e3 / 1e9)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("llama3"))


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(llama, tmp_path_factory.mktemp("adapter"))


def merge(base: Path, adapter: Path, target: Path, spec: MergingSpec = SHARDS) -> Recorder:
    job, recorder = recorded_job()
    merging_merge.merge_folders(base, [adapter_files.read(adapter)], target, spec, job)
    return recorder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    result: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        result |= load_file(file)
    return result


def interrupted(base: Path, adapter: Path, target: Path, after: int) -> None:
    """Run a merge that dies after writing `after` shards."""

    class GoneError(BaseException):
        pass

    job, recorder = recorded_job()

    def on_event(event: object) -> None:
        if isinstance(event, events.ShardWritten) and event.number == after:
            raise GoneError

    recorder.on_event = on_event
    with pytest.raises(GoneError):
        merging_merge.merge_folders(base, [adapter_files.read(adapter)], target, SHARDS, job)


# --- resumed ----------------------------------------------------------------------------------


def test_finished_shards_are_kept_after_an_interruption(
    llama: Path, adapter: Path, tmp_path: Path
) -> None:
    merge(llama, adapter, tmp_path / "whole")
    interrupted(llama, adapter, tmp_path / "target", after=2)
    finished = sorted((tmp_path / "target").glob("*.safetensors"))
    before = [file.stat().st_mtime_ns for file in finished]
    assert len(finished) == 2
    recorder = merge(llama, adapter, tmp_path / "target")
    written = recorder.of(events.ShardWritten)
    assert [shard.reused for shard in written][:3] == [True, True, False]
    assert [file.stat().st_mtime_ns for file in finished] == before
    one, two = tensors(tmp_path / "whole"), tensors(tmp_path / "target")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {file.name for file in (tmp_path / "target").iterdir()} == {
        file.name for file in (tmp_path / "whole").iterdir()
    }


@pytest.mark.parametrize("offset", [8 + 700, -9], ids=["near the start", "at the end"])
def test_damaged_finished_shard_is_rewritten(
    offset: int, llama: Path, adapter: Path, tmp_path: Path
) -> None:
    merge(llama, adapter, tmp_path / "whole")
    interrupted(llama, adapter, tmp_path / "target", after=2)
    for file in (tmp_path / "target").glob("*.safetensors"):
        raw = bytearray(file.read_bytes())
        raw[offset] ^= 0x40
        file.write_bytes(raw)
    recorder = merge(llama, adapter, tmp_path / "target")
    assert not any(shard.reused for shard in recorder.of(events.ShardWritten))
    one, two = tensors(tmp_path / "whole"), tensors(tmp_path / "target")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_merge_of_another_adapter_does_not_reuse_shards(
    llama: Path, adapter: Path, tmp_path: Path
) -> None:
    interrupted(llama, adapter, tmp_path / "target", after=2)
    other = random_adapter(llama, tmp_path / "other", seed=9)
    recorder = merge(llama, other, tmp_path / "target")
    assert not any(shard.reused for shard in recorder.of(events.ShardWritten))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_merge_resumes(llama: Path, adapter: Path, tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from typing import Any
from lora_studio.core.protocol import events
from lora_studio.core.merging import MergingSpec
from lora_studio.engine.lora import adapter_files as adapters
from lora_studio.engine.merging import merge as merging
from tests.helpers.runs.jobs import recorded_job
job, recorder = recorded_job()
recorder.on_event = lambda event: (
    os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(event, events.ShardWritten) and event.number == 2 else None
)
merging.merge_into(Path({str(tmp_path / "merged")!r}), Path({str(llama)!r}),
    [adapters.read(Path({str(adapter)!r}))], MergingSpec(shard_size_gb={SHARDS.shard_size_gb}), job)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, stderr=subprocess.PIPE)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (tmp_path / "merged").exists()
    job, recorder = recorded_job()
    merging_merge.merge_into(tmp_path / "merged", llama, [adapter_files.read(adapter)], SHARDS, job)
    assert [shard.reused for shard in recorder.of(events.ShardWritten)][:3] == [True, True, False]
    assert [entry.name for entry in tmp_path.iterdir()] == ["merged"]


# --- cancelled --------------------------------------------------------------------------------


class SetAfter(threading.Event):
    """An event that reports being set after it has been checked `looks` times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.limit = 0, looks

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > self.limit


@pytest.mark.parametrize("changed", [True, False], ids=["computed", "copied"])
def test_cancel_stops_within_a_tensor(changed: bool, tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    shape = (4096, 8192)
    stored = {"big.weight": torch.zeros(shape, dtype=torch.bfloat16), "small.weight": torch.ones(4, 8192)}  # fmt: skip
    save_file(stored, base / safetensors_files.SINGLE)
    name = "big" if changed else "small"
    a, b = torch.zeros(1, 8192), torch.zeros(stored[f"{name}.weight"].shape[0], 1)
    key = f"base_model.model.{name}.lora_{{}}.weight"
    save_file({key.format("A"): a, key.format("B"): b}, adapter / adapter_files.WEIGHTS)
    (adapter / adapter_files.CONFIG).write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 1}')
    job, recorder = recorded_job()
    job.flags.cancel = SetAfter(4)
    with pytest.raises(CancelledError):
        merging_merge.merge_into(
            tmp_path / "m", base, [adapter_files.read(adapter)], MergingSpec(), job
        )
    assert all(progress.done == 0 for progress in recorder.of(events.Progress))
    assert {entry.name for entry in tmp_path.iterdir()} == {"base", "adapter"}


# --- equal to the trained model ---------------------------------------------------------------


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_adapting_one_side_of_a_tied_pair_matches_training(
    target: str, llama: Path, tmp_path: Path
) -> None:
    """PEFT's own merge writes the update into both sides, which changes the model's answers."""
    adapter = random_adapter(llama, tmp_path / "a", target_modules=["q_proj", target])
    merge(llama, adapter, tmp_path / "m", MergingSpec(dtype="fp32"))
    base = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, adapter)
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto")
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        torch.testing.assert_close(result(ids).logits, trained(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("bare", [False, True], ids=["whole", "without prefix"])
@pytest.mark.parametrize("how", ["adapted", "saved whole"])
@pytest.mark.parametrize(
    ("family", "embedding", "settings"),
    [
        ("gpt2", "wte", {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}),
        ("falcon", "word_embeddings", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}),
        ("opt", "embed_tokens", {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 32,
                                 "num_hidden_layers": 1, "num_attention_heads": 2,
                                 "max_position_embeddings": 64}),
    ],
)  # fmt: skip
def test_embedding_with_another_name_is_untied_from_the_head(
    family: str, embedding: str, settings: dict[str, Any], how: str, bare: bool, tmp_path: Path
) -> None:
    config = AutoConfig.for_model(family, vocab_size=64, bos_token_id=1, eos_token_id=2, **settings)
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for value in model.parameters():
        torch.nn.init.normal_(value.data, std=0.2)
    (model.base_model if bare else model).save_pretrained(tmp_path / "base")
    chosen = {"target_modules": [embedding]} if how == "adapted" else {
        "target_modules": "all-linear", "modules_to_save": [embedding]
    }  # fmt: skip
    trained = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **chosen))
    for value in trained.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value.data, std=0.3)
    trained.save_pretrained(tmp_path / "a")
    merge(tmp_path / "base", tmp_path / "a", tmp_path / "m", MergingSpec(dtype="fp32"))
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto")
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        expected = trained.eval()(ids).logits
        torch.testing.assert_close(result.eval()(ids).logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["llama3", "mistral"], ids=["tied", "apart"])
def test_grown_vocabulary_is_merged(family: str, tmp_path: Path) -> None:
    base = tiny_model(family, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    rows = model.config.vocab_size + 32
    model.resize_token_embeddings(rows, mean_resizing=False)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))  # fmt: skip
    for name, value in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data, std=0.1)
    wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    recorder = merge(base, tmp_path / "adapter", tmp_path / "m", MergingSpec())
    assert not recorder.of(events.LogLine)
    expected = wrapped.merge_and_unload().state_dict()
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto")
    assert result.config.vocab_size == rows
    for name, value in result.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    "packing",
    [
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
        {"load_in_8bit": True},
    ],
    ids=["nf4", "fp4 twice", "8 bit"],
)
def test_quantized_base_is_dequantized_like_bitsandbytes(
    packing: dict[str, object], llama: Path, adapter: Path, tmp_path: Path
) -> None:
    settings = BitsAndBytesConfig(**packing)
    packed = AutoModelForCausalLM.from_pretrained(
        llama, quantization_config=settings, dtype=torch.bfloat16
    )
    packed.save_pretrained(tmp_path / "packed")
    recorder = merge(tmp_path / "packed", adapter, tmp_path / "m", MergingSpec(dtype="bf16"))
    assert not recorder.of(events.LogLine)
    assert recorder.of(events.Warned)[0].problem.code == "merging.dequantized_base"
    assert "quantization_config" not in (tmp_path / "m" / "config.json").read_text("utf-8")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "packed").dequantize()
    plain = plain.to(torch.bfloat16)
    expected = PeftModel.from_pretrained(plain, adapter).merge_and_unload().state_dict()
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype="auto").state_dict()
    for name, value in result.items():
        assert torch.equal(value, expected[name]), name


def add_to_hub_cache(model: Path, name: str, cache: Path) -> None:
    """Copy a model to the download cache of huggingface_hub."""
    folder = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc", "utf-8")


@pytest.mark.parametrize("is_cached", [True, False])
def test_quantized_base_is_replaced_by_its_cached_original(
    is_cached: bool, llama: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    packed = AutoModelForCausalLM.from_pretrained(llama, quantization_config=settings)
    packed.save_pretrained(tmp_path / "packed")
    if is_cached:
        add_to_hub_cache(llama, "harbour/tiny", tmp_path / "hub")
    job, recorder = recorded_job()
    trained_on = ModelSpec(source="harbour/tiny-bnb-4bit")
    base = model_files.find_original(tmp_path / "packed", trained_on, job)
    merge(base, adapter, tmp_path / "m", MergingSpec())
    if not is_cached:
        assert base == tmp_path / "packed"
        return
    assert "16-bit original" in str(recorder.of(events.LogLine)[0].text)
    merge(llama, adapter, tmp_path / "expected", MergingSpec())
    one, two = tensors(tmp_path / "m"), tensors(tmp_path / "expected")
    assert all(torch.equal(one[name], two[name]) for name in two)


# --- memory -----------------------------------------------------------------------------------

_UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from typing import Any
from tests.benchmarks.merging import WAYS
import torch, transformers, peft
from lora_studio.engine.merging import merge as merging
from tests.helpers.runs.jobs import recorded_job
way, work, above = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
torch.randn(500, 500) @ torch.randn(500, 500)  # allocate the threads and buffers of an idle worker
status = Path("/proc/self/status").read_text()
idle = 1024 * int(status.split("VmData:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (idle + above, idle + above))
WAYS[way](work / "base", work / "adapter", work / way)
"""


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
def test_merge_needs_at_most_three_times_its_largest_tensor(tmp_path: Path) -> None:
    from tests.benchmarks import merging as benchmark

    benchmark.write_model(tmp_path / "base", 0.7e9)
    benchmark.write_adapter(tmp_path / "adapter", benchmark.layers_of(tmp_path / "base"))
    largest = 2 * benchmark.VOCABULARY * benchmark.HIDDEN

    def run(way: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _UNDER_A_LIMIT, way, str(tmp_path), str(3 * largest)]
        environment = os.environ | {"OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    ours = run("ours")
    assert ours.returncode == 0, ours.stderr
    assert (
        safetensors_files.read_index(tmp_path / "ours").keys()
        == safetensors_files.read_index(tmp_path / "base").keys()
    )
    theirs = run("peft")
    assert theirs.returncode != 0, "the limit is too wide to prove anything"
    assert "memory" in theirs.stderr.lower() or theirs.returncode < 0, theirs.stderr


def test_one_number_is_viewed_as_bytes_with_any_stride() -> None:
    """Apertus has such parameters; a slice of one row of a file has stride 0."""
    number = torch.tensor([1.5, 2.5], dtype=torch.bfloat16).as_strided((1,), (0,))
    assert safetensors_files.view_bytes(number).tobytes() == bytes.fromhex("c03f")
