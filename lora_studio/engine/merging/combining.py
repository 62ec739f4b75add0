"""Combine adapters into one, module by module from file to file, like PEFT's
`add_weighted_adapter`.

PEFT's own functions compute the values (peft/utils/merge_utils.py), without a model in memory. Two
differences improve the result: the new adapter never uses rsLoRA's scale, which would apply a
second time, and the singular value decomposition is of the small factors rather than of their large
product.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.lora.adapters import require_mergeable
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import CombineAdapters
from lora_studio.core.system.files import create_folder, create_folder_atomic, write_file
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.merging.model_files import copy_tokenizer
from lora_studio.engine.merging.plan import is_equal
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import PlannedFile, StoredTensor
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

#: A and B of one module in 32 bits, and the scale of their product.
Factors = tuple[torch.Tensor, torch.Tensor, float]


def combine(command: CombineAdapters, job: JobContext) -> events.AdapterCombined:
    """Write the combined adapter to the folder `out`; raises ProblemError."""
    merged = [
        adapter_files.read_intact(Path(adapter.folder), adapter.weight)
        for adapter in command.adapters
    ]
    for adapter in merged:
        require_mergeable(adapter.config)
    out = Path(command.out)
    if out.exists() and any(out.iterdir()):
        raise fail(
            "adapters.not_empty",
            "The folder {folder} is not empty.",
            "Choose a new folder for the combined adapter.",
            where=Where(file=str(out)),
            folder=str(out),
        )
    modules = _group_by_module(merged)
    _check(merged, command, modules)
    rank = _get_rank(command, modules)
    size = sum(
        4 * rank * (layers[0].a.shape[1] + layers[0].b.shape[0]) for layers in modules.values()
    )
    create_folder(out.parent)
    disk.require_free_space(out.parent, size, "The combined adapter")
    with create_folder_atomic(out) as folder:
        _write(folder, command, modules, rank, _get_untrained_tensors(merged), job)
        config = json.dumps(_create_config(merged, modules, rank), indent=2)
        write_file(folder / adapter_files.CONFIG, config + "\n")
        copy_tokenizer(merged[0].folder, folder)
    file = out / adapter_files.WEIGHTS
    return events.AdapterCombined(
        folder=str(out),
        method=command.method,
        rank=rank,
        layers=len(modules),
        bytes=file.stat().st_size,
    )


def _group_by_module(merged: Sequence[Adapter]) -> dict[str, list[Layer]]:
    """Return the layers of all adapters by module, in the order in which they first occur."""
    layers_by_module: dict[str, list[Layer]] = {}
    for adapter in merged:
        for layer in adapter.layers:
            layers_by_module.setdefault(layer.module, []).append(layer)
    return layers_by_module


def _check(
    merged: Sequence[Adapter], command: CombineAdapters, modules: dict[str, list[Layer]]
) -> None:
    for adapter in merged:
        reason: Text | None = adapter.complication
        if any(layer.magnitude is not None for layer in adapter.layers):
            reason = text("it is a DoRA adapter, and magnitudes can't be added")
        elif any(layer.bias is not None for layer in adapter.layers):
            reason = text("it trained biases")
        elif any(layer.of == "parameter" for layer in adapter.layers):
            reason = text("it adapts parameters directly, such as stacked experts")
        elif adapter.rows:
            reason = text("it has new tokens")
        elif adapter.trained_whole:
            reason = text("it trained {tensor} in full", tensor=min(adapter.trained_whole))
        if reason:
            raise _refused_adapter_error(adapter, reason)
    for module, layers in modules.items():
        shapes = {(layer.a.shape[1], layer.b.shape[0]) for layer in layers}
        if len(shapes) > 1:
            raise _refused_adapter_error(
                merged[-1],
                text("{module} has a different shape than in the first adapter", module=module),
            )
        ranks = {layer.rank for layer in layers}
        if len(ranks) > 1 and command.method not in ("cat", "svd"):
            raise fail(
                "adapters.ranks_differ",
                "The adapters have different ranks at {module} ({ranks}), and the method {method} "
                "needs equal ranks.",
                "Choose cat, which is exact, or svd, which reduces the sum to the rank you want.",
                where=Where(file=merged[0].folder.as_posix()),
                module=module,
                ranks=", ".join(map(str, sorted(ranks))),
                method=command.method,
            )


def _get_untrained_tensors(merged: Sequence[Adapter]) -> dict[str, StoredTensor]:
    """Return tensors that were saved but not trained, such as the embedding of an enlarged
    vocabulary.

    Raises ProblemError when two adapters have different ones.
    """
    tensors: dict[str, StoredTensor] = {}
    for adapter in merged:
        for name, stored in adapter.replacements.items():
            if name in tensors and not is_equal(tensors[name], stored):
                raise _refused_adapter_error(
                    adapter, text("its {tensor} differs from the first adapter's", tensor=name)
                )
            tensors.setdefault(name, stored)
    return tensors


def _get_rank(command: CombineAdapters, modules: dict[str, list[Layer]]) -> int:
    """Return the rank of the new adapter: the largest sum of ranks for cat, the chosen one for svd."""
    if command.method == "cat":
        return max(sum(layer.rank for layer in layers) for layers in modules.values())
    widest = max(layer.rank for layers in modules.values() for layer in layers)
    return command.rank or widest if command.method == "svd" else widest


def _write(
    folder: Path,
    command: CombineAdapters,
    modules: dict[str, list[Layer]],
    rank: int,
    along: dict[str, StoredTensor],
    job: JobContext,
) -> None:
    """Write the weights of the adapter with one module in memory at a time."""
    combiner = _Combiner(command, modules, rank, job)
    tensors: list[tuple[PlannedFile, Callable[[], torch.Tensor]]] = []
    for module, layers in modules.items():
        is_embedding = layers[0].of == "embedding"
        name_a, name_b = ("lora_embedding_A", "lora_embedding_B") if is_embedding else ("lora_A.weight", "lora_B.weight")  # fmt: skip
        prefix, inputs, outputs = f"base_model.model.{module}", layers[0].a.shape[1], layers[0].b.shape[0]  # fmt: skip
        planned_a = PlannedFile(f"{prefix}.{name_a}", "F32", (rank, inputs))
        planned_b = PlannedFile(f"{prefix}.{name_b}", "F32", (outputs, rank))
        tensors.append((planned_a, partial(combiner.compute_a, module)))
        tensors.append((planned_b, partial(combiner.compute_b, module)))
    for stored in along.values():
        tensors.append((PlannedFile(stored.name, stored.dtype, stored.shape), stored.read))
    safetensors_files.save(folder / adapter_files.WEIGHTS, tensors)
    job.report_progress(text("combining adapters"), len(modules), len(modules), "layers")


class _Combiner:
    """Computes A and B of one module together when A is read, and keeps B until it is read."""

    def __init__(
        self, command: CombineAdapters, modules: dict[str, list[Layer]], rank: int, job: JobContext
    ) -> None:
        self._command, self._modules, self._rank, self._job = command, modules, rank, job
        self._numbers = {module: number for number, module in enumerate(modules)}
        self._b = torch.empty(0)

    def compute_a(self, module: str) -> torch.Tensor:
        """Return A [rank, in] of a module; raises ProblemError if it isn't finite."""
        done, total = self._numbers[module], len(self._modules)
        self._job.report_progress(text("combining adapters"), done, total, "layers")
        a, self._b = _combine_module(self._command, module, self._modules[module], self._rank)
        return _check_finite(a, module)

    def compute_b(self, module: str) -> torch.Tensor:
        """Return B [out, rank] of the module whose A was computed last."""
        b, self._b = self._b, torch.empty(0)  # free before the next module is computed
        return _check_finite(b, module)


def _check_finite(factor: torch.Tensor, module: str) -> torch.Tensor:
    if not bool(torch.isfinite(factor).all()):
        raise fail(
            "adapters.not_finite",
            "The combined update of {module} contains NaN or infinite values.",
            "One of the adapters is damaged. Inspect each with `{command}`.",
            module=module,
            command="lora-studio adapters show",
        )
    return factor


def _combine_module(
    command: CombineAdapters, module: str, layers: list[Layer], rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [rank, in] and B [out, rank] of one module; unused ranks are zero."""
    # A layer's scale already includes the adapter's weight.
    factors = [(layer.a.read().float(), layer.b.read().float(), layer.scale) for layer in layers]
    if command.method == "cat":
        a, b = _concatenate(factors)
    elif command.method == "svd":
        a, b = _decompose(factors, rank)
    else:
        if command.method.startswith("dare"):
            # A seed for each module, so that the order of the modules doesn't matter.
            digest = hashlib.sha256(f"{command.seed} {module}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        a, b = combine_factors(factors, command.method, command.density)
    padded_a, padded_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
    padded_a[: len(a)], padded_b[:, : b.shape[1]] = a, b
    return padded_a, padded_b


def _concatenate(factors: Sequence[Factors]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Σ s·B·A = [B₁ B₂ …] · [s₁A₁; s₂A₂; …], which is exact."""
    return (
        torch.cat([a * scale for a, _, scale in factors]),
        torch.cat([b for _, b, _ in factors], dim=1),
    )


def _decompose(factors: Sequence[Factors], rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest product of this rank to Σ s·B·A (Eckart-Young): A = Vᵀ, B = U·S.

    With B = Q_B·R_B and Aᵀ = Q_A·R_A the decomposition is that of the small R_B·R_Aᵀ.
    """
    a, b = _concatenate(factors)
    q_b, r_b = torch.linalg.qr(b.double())
    q_a, r_a = torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return (vh[:rank] @ q_a.T).float(), (q_b @ (u[:, :rank] * s[:rank])).float()


def combine_factors(
    factors: Sequence[Factors], method: str, density: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A and B combined separately, weighted by the root of the scale, its sign on A."""
    from peft.utils import merge_utils

    signed = torch.tensor([math.copysign(math.sqrt(abs(s)), s) for _, _, s in factors])
    for_a_and_b = (([a for a, _, _ in factors], signed), ([b for _, b, _ in factors], signed.abs()))
    result = []
    for tensors, scales in for_a_and_b:
        match method:
            case "linear":
                value = merge_utils.task_arithmetic(tensors, scales)
            case "ties":
                value = merge_utils.ties(tensors, scales, density)
            case "dare_linear":
                value = merge_utils.dare_linear(tensors, scales, density)
            case "dare_ties":
                value = merge_utils.dare_ties(tensors, scales, density)
            case _:
                value = merge_utils.magnitude_prune(tensors, scales, density)
        result.append(value.float())
    return result[0], result[1]


def _create_config(
    merged: Sequence[Adapter], modules: dict[str, list[Layer]], rank: int
) -> dict[str, Any]:
    """Return the settings of the first adapter, with a scale alpha / rank of 1."""
    names = sorted({module.rpartition(".")[2] for module in modules})
    return merged[0].config | {
        "r": rank,
        "lora_alpha": rank,
        "target_modules": names if _is_same_selection(names, merged) else sorted(modules),
        "layers_to_transform": None,
        "layers_pattern": None,
        "exclude_modules": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _is_same_selection(names: Sequence[str], merged: Sequence[Adapter]) -> bool:
    """Return whether the last parts of the names select no more modules than the adapters have."""
    chosen = [adapter.config.get("target_modules") for adapter in merged]
    return all(
        isinstance(targets, list) and all("." not in name for name in targets) for targets in chosen
    ) and all(
        not adapter.config.get("layers_to_transform") and not adapter.config.get("exclude_modules")
        for adapter in merged
    )


def _refused_adapter_error(adapter: Adapter, reason: Template | Text) -> ProblemError:
    return fail(
        "adapters.not_combined",
        "{name} can't be combined with other adapters: {reason}.",
        "Merge it into the base model instead, alone or after others.",
        where=Where(file=str(adapter.folder)),
        name=adapter.folder.name,
        reason=reason,
    )
