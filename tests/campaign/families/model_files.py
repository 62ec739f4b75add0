"""Settings of models and adapters from anybody: JSON, YAML, and regular expressions."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

from lora_studio.core.problems import InvalidContentError, ProblemError
from lora_studio.core.protocol.events import to_line
from tests.campaign.family import SimpleFamily
from tests.campaign.mutation import (
    damage_bytes,
    damage_json,
    draw_text,
    dump,
)

_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
    "max_position_embeddings": 128, "rope_parameters": {"rope_theta": 10000.0}, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "gptq", "bits": 4}, "text_config": {"hidden_size": 32},
    "auto_map": {"AutoConfig": "code.Config", "AutoModel": ["a--b.C", None]},
}  # fmt: skip
_TOKENIZER = {
    "chat_template": "{{ messages[0].content }}", "bos_token": "<s>", "eos_token": {"content": "</s>"},
    "add_bos_token": True, "tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["code.T", None]},
}  # fmt: skip
_TEMPLATES = {
    "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
}
_SEEDS: dict[str, list[Any]] = {
    "config.json": [_CONFIG],
    "tokenizer_config.json": [_TOKENIZER, _TEMPLATES],
    "special_tokens_map.json": [{"bos_token": "<s>", "pad_token": {"content": "<pad>"}}],
    "tokenizer.json": [{"post_processor": {"type": "TemplateProcessing"}, "added_tokens": [{"id": 1, "content": "<s>"}]}],
    "chat_template.json": [{"chat_template": "x"}],
    "generation_config.json": [{"eos_token_id": [1, 2], "max_length": 20}],
}  # fmt: skip

#: A safetensors file with one small tensor.
_HEADER = json.dumps(
    {"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}, separators=(",", ":")
).encode()
_WEIGHTS = struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(4)


def generate_config(rng: random.Random) -> bytes:
    """Return the name of a file of a model's folder, and its damaged content."""
    name = rng.choice(list(_SEEDS))
    return name.encode() + b"\n" + damage_json(rng, _SEEDS[name])


def run_config(content: bytes, sandbox: Path) -> str:
    """List the model, check it, and read its template and its code as pages do."""
    from lora_studio.core.model import remote_code
    from lora_studio.core.templates import chat_template
    from lora_studio.engine.model import folder as model_folder
    from lora_studio.engine.model import scan

    name, _, content = content.partition(b"\n")
    folder = _make_folder(sandbox / "model")
    (folder / "config.json").write_bytes(dump(_CONFIG))
    (folder / "model.safetensors").write_bytes(_WEIGHTS)
    (folder / "code.py").write_text("x = 1\n")
    file = folder / name.decode("ascii", "replace")
    file.write_bytes(content)
    entry = scan.read_folder_entry(folder, "folder")
    if entry is not None:
        to_line(entry)
    outcome = "listed" if entry else "not a model"
    for read in (
        lambda: model_folder.check_folder(folder),
        lambda: chat_template.read_source(folder),
        lambda: chat_template.read_source(file),
        lambda: remote_code.find_code(folder),
    ):
        try:
            read()
        except ProblemError as error:
            str(error)
            outcome = "refused"
    return outcome


def _make_folder(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


_ADAPTER = {
    "peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"], "bias": "none",
    "base_model_name_or_path": "m", "modules_to_save": ["lm_head"], "rank_pattern": {"q_proj": 1, "a.*b": 2},
    "alpha_pattern": {"q_proj": 4}, "use_rslora": True, "use_dora": False, "fan_in_fan_out": False,
    "init_lora_weights": True, "layers_to_transform": [0, 1], "layers_pattern": "layers", "target_parameters": ["e.w"],
    "exclude_modules": "x.*", "task_type": "CAUSAL_LM",
}  # fmt: skip


def _build_adapter_weights() -> bytes:
    prefix = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    entry = {"dtype": "F32", "shape": [1, 1]}
    header = {
        f"{prefix}A.weight": entry | {"data_offsets": [0, 4]},
        f"{prefix}B.weight": entry | {"data_offsets": [4, 8]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


_ADAPTER_WEIGHTS = _build_adapter_weights()


def generate_adapter(rng: random.Random) -> bytes:
    """Return damaged settings of an adapter."""
    return damage_json(rng, [_ADAPTER])


def run_adapter(content: bytes, sandbox: Path) -> str:
    """Read the adapter as a start of a training, for the library, and for merging."""
    from lora_studio.core.lora import adapters
    from lora_studio.core.lora.spec import LoraSpec
    from lora_studio.engine.merging import library
    from tests.helpers.runs.jobs import make_job

    folder = _make_folder(sandbox / "adapter")
    (folder / "adapter_config.json").write_bytes(content)
    (folder / "adapter_model.safetensors").write_bytes(_ADAPTER_WEIGHTS)
    spec = LoraSpec(start_from=str(folder))
    adapters.resolve_lora(spec)
    for problem in adapters.check(spec):
        str(problem)
    facts = library.describe(folder, make_job())
    to_line(facts)
    return "problem" if facts.problem else "read"


def generate_index(rng: random.Random) -> bytes:
    """Return a damaged index of weights."""
    seed = {
        "metadata": {"total_size": 8},
        "weight_map": {
            "a": "model-1.safetensors",
            "b": "model-2.safetensors",
            "c": "../x.safetensors",
        },
    }
    return damage_json(rng, [seed, {**seed, "weight_map": {"a": "x.bin", "b": draw_text(rng)}}])


def run_index(content: bytes, sandbox: Path) -> str:
    """Read the index of a model in several files."""
    from lora_studio.core.model import folders
    from lora_studio.engine.model import scan

    folder = _make_folder(sandbox / "model")
    (folder / "config.json").write_bytes(dump(_CONFIG))
    (folder / folders.INDEX).write_bytes(content)
    if entry := scan.read_folder_entry(folder, "folder"):
        to_line(entry)
    try:
        names = folders.list_weight_files(folder)
    except (OSError, InvalidContentError, ValueError):
        return "refused"
    for name in names:
        assert (folder / name).resolve().parent == folder.resolve(), name
    return "read"


_CARD = """---
license: mit
date: 2024-02-30
tags: [a, b]
configs:
- config_name: default
  data_files:
  - split: train
    path: "data/*.jsonl"
---
# Title
"""
_YAML = [
    b"&a [x]\n", b"*a", b"<<: *a", b"!!python/object/apply:os.system [id]", b"? a\n", b"!!binary x", b"2024-02-30",
    b"0x" + b"f" * 500, b"1:" * 300 + b"1", b"[" * 500, b"{" * 500, b"- " * 500, b"|\n", b">\n", b"'", b"\t", b"%YAML 9\n",
    b"---\n", b"...\n", b"!!set {a}", b"!!omap [a]", b"1e999", b".nan", b"=", b"!!float x", b"!!int x", b"!!timestamp x",
]  # fmt: skip


def generate_card(rng: random.Random) -> bytes:
    """Return a damaged card."""
    return damage_bytes(rng, _CARD.encode(), _YAML)


def run_card(content: bytes, sandbox: Path) -> str:
    """Read the front matter, the license, and the layout of a dataset."""
    from lora_studio.core.dataset.spec import DataSource
    from lora_studio.engine.hub import datasets
    from lora_studio.engine.hub.datasets import read_front_matter
    from lora_studio.engine.model import folder as model_folder

    card = sandbox / "README.md"
    card.write_bytes(content)
    model_folder.read_license(sandbox)
    names = ["data/a.jsonl", "data/train.jsonl", "README.md"]
    source = DataSource(path="a/b", subset="")
    try:
        datasets._select_files(datasets._choose_layout(card, names), names, source)
    except ProblemError as error:
        str(error)
    return "read" if read_front_matter(card) else "empty"


_PATTERNS = (
    "q_proj", r"model\.layers\.\d+\..*(q|v)_proj", "(a+)+$", ".*.*.*.*", "(?:a|b)*c", r"(a)\1", "a{1000}", "[a-z]+",
    "(?=a)b", "(?i)x", "a{,5000}", "(?P<n>a)(?P=n)", ".*?", "x*+", "(?>a+)b", "(?(1)a|b)", "(?a:x)", "((a{9}){9}){9}",
)  # fmt: skip
_PARTS = (
    "a",
    ".",
    "*",
    "+",
    "?",
    "{2,}",
    "{99}",
    "(",
    ")",
    "|",
    "[",
    "]",
    "^",
    "$",
    "\\d",
    "\\",
    "(?:",
    "(?=",
    "(?<!",
    "{,99}",
    "(.*)",
    "\\1",
)


def generate_pattern(rng: random.Random) -> bytes:
    """Return a regular expression."""
    pattern = rng.choice(_PATTERNS)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(pattern) + 1)
        pattern = (
            pattern[:at]
            + rng.choice(_PARTS) * rng.choice((1, 1, 3))
            + pattern[at + rng.randrange(2) :]
        )
    if rng.random() < 0.1:
        pattern = draw_text(rng)
    return pattern.encode("utf-8", "surrogatepass")


def run_pattern(content: bytes, sandbox: Path) -> str:
    """Check the expression; one that is accepted must match names quickly."""
    import re

    from lora_studio.core.lora.adapters import check_pattern

    pattern = content.decode("utf-8", "replace")
    try:
        check_pattern(pattern)
    except InvalidContentError:
        return "refused"
    for name in (
        "model.layers.11.self_attn.q_proj",
        "a" * 200,
        "a" * 199 + "!",
        "a.b" * 60,
        "ab" * 90 + "\n",
    ):
        re.fullmatch(pattern, name)
        re.match(rf"(.*\.)?({pattern})$", name)
    return "accepted"


FAMILIES = [
    SimpleFamily("model-configs", generate_config, run_config, smoke=80),
    SimpleFamily("adapters", generate_adapter, run_adapter, smoke=60),
    SimpleFamily("weight-indexes", generate_index, run_index, weight=0.5, smoke=80),
    SimpleFamily("cards", generate_card, run_card, weight=0.7, smoke=50),
    SimpleFamily("patterns", generate_pattern, run_pattern, weight=1),
]
