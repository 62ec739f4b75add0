"""Measure what every quantization costs a real model, compared with the self-test's limit.

    python -m tests.benchmarks.quantizations [--types Q4_K_M,IQ1_S] [--both] [--folder DIR]

The model is the built-in SmolLM2-135M-Instruct: small models lose most to few bits. It is changed in
two ways, neither of which affects its output by more than a 4-bit quantization does:

- It is stored in 4 bits (Q4_1), and values on such a grid would survive another 4-bit type unharmed.
  Each is moved at random by up to half a step of the grid.
- Its rows have 576 values, which types with blocks of 256 don't support: the quantizer would replace
  the type. Zeros widen them to 768, and heads of zeros make 12 of 9; the norms are scaled so that the
  padded model computes the same as the plain one.

Compared are the predictions of torch in float32 on the padded model with those of llama.cpp on the
quantized file, at the positions of answers in the sample data, like in the self-test; importance
matrices come from the other half of that data. A type is quantized with one if it needs one, with `--both`
also if it doesn't.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.model.spec import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system import paths
from lora_studio.engine.export.gguf import converter, imatrix, quantizer
from lora_studio.engine.model import safetensors_files, sources
from lora_studio.engine.model.safetensors_files import PlannedFile
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.selftest import limits, reading
from lora_studio.engine.selftest.reading import SelfTestCase
from tests.helpers.runs.jobs import recorded_job

#: Shape of the built-in model, and of its padded form.
HIDDEN, HEADS, KEYS, HEAD = 576, 9, 3, 64
WIDE, WIDE_HEADS, WIDE_KEYS = 768, 12, 4
PARAMETERS = 135e6
_BLOCK = 32


def dithered(weight: torch.Tensor, dice: torch.Generator) -> torch.Tensor:
    """Return the weight with every value moved by up to half a step of its block's 4-bit grid."""
    blocks = weight.float().reshape(-1, _BLOCK)
    on_grid = torch.tensor(
        [len(block.unique()) <= 16 for block in blocks[:: len(blocks) // 64 + 1]]
    )
    if not bool(on_grid.all()):  # stored in more bits, so on a finer grid
        return weight.float()
    step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / 15
    moved = blocks + (torch.rand(blocks.shape, generator=dice) - 0.5) * step
    return moved.reshape(weight.shape)


def padded(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the model with the shape that it has in the wide one."""
    if weight.ndim == 1:  # RMS over 576 values of 768: the others are zeros
        return torch.nn.functional.pad(weight * math.sqrt(HIDDEN / WIDE), (0, WIDE - HIDDEN))
    rows, columns = weight.shape
    if ".q_proj." in name:
        rows = WIDE_HEADS * HEAD
    elif ".k_proj." in name or ".v_proj." in name:
        rows = WIDE_KEYS * HEAD
    elif ".o_proj." in name or ".down_proj." in name:
        rows = WIDE
    if ".down_proj." not in name:
        columns = WIDE
    wide = torch.zeros(rows, columns)
    wide[: weight.shape[0], : weight.shape[1]] = weight
    return wide


def write_model(folder: Path) -> None:
    """Write the built-in model, dithered and padded, in float16."""
    job, _ = recorded_job()
    source = sources.resolve(ModelSpec(source=BUILTIN_PREFIX + DEFAULT_BUILTIN), job)
    folder.mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix in (".json", ".jinja"):
            shutil.copyfile(file, folder / file.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {
        "hidden_size": WIDE,
        "num_attention_heads": WIDE_HEADS,
        "num_key_value_heads": WIDE_KEYS,
        "head_dim": HEAD,
        "rms_norm_eps": config["rms_norm_eps"] * HIDDEN / WIDE,
        "dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    dice = torch.Generator().manual_seed(7)
    weights: dict[str, torch.Tensor] = {}
    for name, stored in safetensors_files.read_index(source).items():
        weight = stored.read()
        plain = dithered(weight, dice) if weight.ndim == 2 else weight.float()
        weights[name] = padded(name, plain).half()
    entries = [(PlannedFile(name, "F16", tuple(value.shape)), lambda v=value: v) for name, value in weights.items()]  # fmt: skip
    safetensors_files.save(folder / safetensors_files.SINGLE, entries)


def conversations(
    work: Path, tokenizer: Any, model: Path
) -> tuple[list[SelfTestCase], list[list[int]]]:
    """Return the compared conversations, and the token ids of the others for the matrix."""
    rows = (
        (paths.get_resources_folder() / "sample" / "assistant.jsonl")
        .read_text("utf-8")
        .splitlines()
    )
    project = Project(
        name="quantizations",
        model=ModelSpec(source=str(model), device="cpu"),
        dataset=DatasetSpec(sources=(DataSource(path=str(work / "rows.jsonl")),)),
    )
    run = run_folder.create_run(work / "runs", project, work)
    parts: list[list[SelfTestCase]] = []
    for part in (rows[::2], rows[1::2]):
        run.heldout_file.write_text("\n".join(part) + "\n", "utf-8")
        parts.append(reading.read_cases(run, project, tokenizer))
    return parts[0], [case.ids for case in parts[1]]


def reference(model: Path, cases: list[SelfTestCase]) -> np.ndarray:
    """Return log-probabilities [positions, vocabulary] of torch in float32."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    log_probabilities = [reading.log_softmax(reading.read_in_torch(network, c)) for c in cases]
    return np.concatenate(log_probabilities)


def measure(file: Path, cases: list[SelfTestCase], expected: np.ndarray) -> tuple[float, float]:
    """Return top-1 agreement and mean divergence of a file."""
    same, divergence, done = 0, 0.0, 0
    with Llama(file, context=max(len(case.ids) for case in cases) + 8) as llama:
        for case in cases:
            rows = expected[done : done + len(case.positions)]
            one, kl = reading.compare_logits(rows, llama.compute_logits(case.ids, case.positions))
            same, divergence, done = same + one, divergence + kl, done + len(case.positions)
    return same / done, divergence / done


def measured(
    work: Path, quantizations: list[Quantization], *, both: bool
) -> Iterator[dict[str, Any]]:
    """Yield one row per quantization, or two: with an importance matrix and without."""
    from transformers import AutoTokenizer

    job, _ = recorded_job()
    model = work / "model"
    write_model(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    cases, rest = conversations(work, tokenizer, model)
    expected = reference(model, cases)
    sixteen = work / "converted.gguf"
    converter.convert(model, sixteen, "SmolLM2", "", job)
    matrix = work / "imatrix.gguf"
    imatrix.write(imatrix.measure(sixteen, rest, job), matrix, "sample")
    for name in quantizations:
        facts = QUANTIZATIONS[name]
        for helped in (True,) if facts.needs_imatrix else (False, True) if both else (False,):
            if helped and facts.bits >= 8:  # ignores the matrix
                continue
            file = work / f"{name}.gguf"
            row: dict[str, Any] = {"name": name, "imatrix": helped, "positions": len(expected)}
            try:
                quantizer.quantize(sixteen, file, name, "", job, imatrix=matrix if helped else None)
                row["top1"], row["kl"] = measure(file, cases, expected)
                row["bytes"] = file.stat().st_size
            except ProblemError as error:
                row["refused"] = str(error.problems[0].what)
            file.unlink(missing_ok=True)
            yield row


def limit_of(row: dict[str, Any]) -> limits.Limit:
    """Return the limit of the self-test for the file."""
    return limits.get_limit(row["name"], "float32", row["positions"], PARAMETERS)


def in_words(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    name, limit = row["name"], limit_of(row)
    start = f"{name:10} {QUANTIZATIONS[name].bits:5.2f} {'yes' if row['imatrix'] else '':6} "
    if "refused" in row:
        return start + row["refused"]
    start += f"{row['top1']:7.1%} {row['kl']:9.4f} "
    if limit.unjudged:
        return f"{start} not judged: {limit.unjudged}"
    held = "✓" if limit.is_met(row["top1"], row["kl"]) else "✗ BEYOND"
    return f"{start} {limit.top1:6.1%} {limit.kl:9.4f} {held}  {limit.source}"


def main() -> int:
    """Print the table; return 1 if a sound file exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", default=",".join(get_args(Quantization)))
    parser.add_argument("--both", action="store_true")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    known: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    quantizations = [known[name] for name in arguments.types.split(",")]
    work = Path(tempfile.mkdtemp(prefix="quantizations-", dir=arguments.folder))
    rows: list[dict[str, Any]] = []
    print(f"{'type':10} {'bits':>5} {'matrix':6} {'top-1':>7} {'KL, nats':>9}  limits")
    try:
        for row in measured(work, quantizations, both=arguments.both):
            rows.append(row)
            print(in_words(row), flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    beyond = [r["name"] for r in rows if "kl" in r and not limit_of(r).is_met(r["top1"], r["kl"])]
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
