"""Measure time and memory of a merge: ours, PEFT's load + merge + save, and copying the files.

    python -m tests.benchmarks.merging [--gb 3] [--rounds 2] [--folder DIR]

Writes a random Llama-shaped model of that size in bfloat16 and an adapter of rank 16 on all its
linear layers. Each way runs in its own process, in turns (A-B-A-B), so that neither the page cache
nor other programs favor one of them. The results are compared bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

GOALS = {"time / PEFT": 0.35, "memory / PEFT": 0.25, "time / copy": 4.0}

HIDDEN, INNER, KEYS, VOCABULARY, RANK = 2048, 5632, 512, 32000, 16
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


def write_model(folder: Path, size: float) -> None:
    """Write a model of `size` bytes in shards of 1 GB, tensor by tensor."""
    import torch

    from lora_studio.engine.model import safetensors_files
    from lora_studio.engine.model.safetensors_files import PlannedFile

    per_layer = 2 * (sum(a * b for a, b in SHAPES.values()) + 2 * HIDDEN)
    layers = max(round((size - 4 * VOCABULARY * HIDDEN) / per_layer), 1)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        for name, shape in SHAPES.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{name}.weight"] = (HIDDEN,)
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    groups: list[list[PlannedFile]] = [[]]
    for name, shape in shapes.items():
        planned = PlannedFile(name, "BF16", shape)
        if sum(item.bytes for item in groups[-1]) + planned.bytes > 1e9:
            groups.append([])
        groups[-1].append(planned)
    folder.mkdir(parents=True)
    placed = {}
    for file, group in zip(safetensors_files.make_shard_names(len(groups)), groups, strict=True):
        # A fortieth of each tensor is drawn and repeated: drawing all would take minutes.
        def values(planned: PlannedFile) -> torch.Tensor:
            count = 1
            for length in planned.shape:
                count *= length
            drawn = (torch.randn(count // 40 + 1) * 0.02).bfloat16()
            return drawn.repeat(41)[:count].view(planned.shape)

        safetensors_files.save(folder / file, [(p, lambda p=p: values(p)) for p in group])
        placed |= {planned.name: file for planned in group}
    if len(groups) > 1:
        (folder / safetensors_files.INDEX).write_text(
            json.dumps({"metadata": {}, "weight_map": placed})
        )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path, layers: int) -> None:
    """Write a random adapter for every linear layer."""
    import torch
    from safetensors.torch import save_file

    tensors = {}
    for layer in range(layers):
        for name, (outputs, inputs) in SHAPES.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(RANK, inputs) * 0.05
            tensors[f"{key}.lora_B.weight"] = torch.randn(outputs, RANK) * 0.01
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 3 * RANK // 2,
        "target_modules": [name.rpartition(".")[2] for name in SHAPES],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def layers_of(model: Path) -> int:
    """Return the number of layers of a model."""
    return int(json.loads((model / "config.json").read_text())["num_hidden_layers"])


def by_us(base: Path, adapter: Path, target: Path) -> dict[str, float]:
    """Run the streaming merge, timed without the imports."""
    from lora_studio.core.merging import MergingSpec
    from lora_studio.engine.lora import adapter_files
    from lora_studio.engine.merging import merge
    from tests.helpers.runs.jobs import recorded_job

    job, _ = recorded_job()
    idle = float(psutil.Process().memory_info().rss)
    began = time.perf_counter()
    merge.merge_into(target, base, [adapter_files.read(adapter)], MergingSpec(), job)
    return {"seconds": time.perf_counter() - began, "peak": _peak(), "idle": idle}


def by_peft(base: Path, adapter: Path, target: Path) -> dict[str, float]:
    """Run PEFT's load + merge + save, timed without the imports."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    idle = float(psutil.Process().memory_info().rss)
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
    return {"seconds": time.perf_counter() - began, "peak": _peak(), "idle": idle}


def by_copying(base: Path, _adapter: Path, target: Path) -> dict[str, float]:
    """Run `cp -r --reflink=never`."""
    began = time.perf_counter()
    subprocess.run(["cp", "-r", "--reflink=never", base, target], check=True)
    return {"seconds": time.perf_counter() - began, "peak": 0.0, "idle": 0.0}


WAYS = {"ours": by_us, "peft": by_peft, "copy": by_copying}


def _peak() -> float:
    """Return the peak resident memory of this process, in bytes."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure(way: str, work: Path) -> dict[str, float]:
    """Run one way in a fresh process, with the files cached and the disk idle."""
    target = work / way
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    subprocess.run("cat base/*.safetensors > /dev/null", shell=True, cwd=work, check=True)
    module = [sys.executable, "-m", "tests.benchmarks.merging"]
    command = [*module, "--way", way, "--folder", str(work)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def differing(one: Path, other: Path) -> list[str]:
    """Return names of tensors whose bytes differ between two models."""
    from lora_studio.engine.model import safetensors_files

    ours, theirs = safetensors_files.read_index(one), safetensors_files.read_index(other)
    names = sorted(ours.keys() ^ theirs.keys())
    for name in ours.keys() & theirs.keys():
        a, b = ours[name], theirs[name]
        if bytes(safetensors_files.view_bytes(a.read())) != bytes(
            safetensors_files.view_bytes(b.read())
        ):
            names.append(name)
    return names


def main() -> int:
    """Measure and compare with the goals; return 1 if one is missed or the results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        work = arguments.folder
        print(
            json.dumps(WAYS[arguments.way](work / "base", work / "adapter", work / arguments.way))
        )
        return 0
    work = Path(tempfile.mkdtemp(prefix="merging-", dir=arguments.folder))
    try:
        report = compare(work, arguments.gb * 1e9, arguments.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(report, indent=2))
    missed = [name for name, goal in GOALS.items() if report["ratios"][name] > goal]
    return 1 if missed or report["differing"] else 0


def compare(work: Path, size: float, rounds: int) -> dict[str, Any]:
    """Run all ways in turn on one model; return medians and ratios."""
    write_model(work / "base", size)
    write_adapter(work / "adapter", layers_of(work / "base"))
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs[way].append(measure(way, work))
    seconds = {
        way: statistics.median(run["seconds"] for run in measurements)
        for way, measurements in runs.items()
    }
    peak = {way: max(run["peak"] for run in measurements) for way, measurements in runs.items()}
    above = {
        way: max(run["peak"] - run["idle"] for run in measurements)
        for way, measurements in runs.items()
    }
    return {
        "gigabytes": sum(f.stat().st_size for f in (work / "base").glob("*.safetensors")) / 1e9,
        "runs": runs,
        "seconds": seconds,
        "peak_bytes": peak,
        "above_idle_bytes": above,
        "ratios": {
            "time / PEFT": seconds["ours"] / seconds["peft"],
            "memory / PEFT": peak["ours"] / peak["peft"],
            "time / copy": seconds["ours"] / seconds["copy"],
        },
        "differing": differing(work / "ours", work / "peft"),
    }


if __name__ == "__main__":
    raise SystemExit(main())
