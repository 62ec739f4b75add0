"""Shard a base model that doesn't fit on one GPU: each rank holds a part of every block's weights.

A block's weights are gathered just before it computes, forward and backward, and freed after it (FSDP;
Zhao et al. 2023). Only frozen weights are sharded: the adapter, about one percent of the model, stays
whole on every rank. So gradients, optimizer state and checkpoints are those of any training, and a run
can resume with another number of ranks, sharded or not. Embeddings and the output layer stay whole,
because the output layer is used apart from the model (`logprobs.py`).

`fully_shard` is called directly: accelerate's wrapper shards trainable weights as well, and gathers
only for calls of the outermost module.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from lora_studio.core.memory import weights as memory_weights
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, ProblemError, Where, fail
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.ranks import ProcessGroup, Sharding
from lora_studio.engine.model import loading, sources
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="model", field="sharding")


def decide_sharding(
    spec: ModelSpec, names: Sequence[str], ranks: ProcessGroup, job: JobContext
) -> Sharding:
    """Return whether to shard the base weights: as rank 0 decides by the free memory of all GPUs.

    `names` are the devices of all ranks, if known; `spec` has this rank's device. Raises
    ProblemError when the requested sharding is impossible with this model or computer.
    """
    if ranks.sharding:
        return ranks.sharding
    is_sharded = (
        ranks.world_size > 1
        and spec.sharding != "replicate"
        and _should_shard(spec, names if len(names) == ranks.world_size else (), job)
    )
    return "shard" if is_sharded else "replicate"


def _should_shard(spec: ModelSpec, names: Sequence[str], job: JobContext) -> bool:
    folder = sources.resolve(spec, job)
    stored = loading.get_quantization_method(loading.read_config(folder, spec))
    if stored is not None and spec.sharding == "shard":
        raise fail(
            "model.sharding_quantized",
            "The weights of this model are quantized and can't be sharded across devices.",
            "Replicate them on every device, or choose the model's 16-bit original.",
            where=_WHERE,
        )
    device = devices.choose_device(spec.device)
    if spec.sharding != "shard":
        if stored is not None or spec.precision in ("4bit", "8bit") or device.type != "cuda":
            return False
        if not _is_too_large(folder, spec, device, names):
            return False
    if device.type == "cuda" and not dist.is_nccl_available():
        raise _no_nccl_error()
    return True


def _is_too_large(
    folder: Path, spec: ModelSpec, device: torch.device, names: Sequence[str]
) -> bool:
    """Return whether the fullest GPU has no room for whole weights."""
    dtype = devices.get_dtype(spec.precision, device)
    weights = loading.count_weight_bytes(loading.load_on_meta(folder, spec), dtype)
    name = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]
    indices = [devices.choose_device(device_name).index or 0 for device_name in names]
    free = min(map(devices.get_free_gpu_bytes, indices or devices.list_supported_gpus()))
    return weights[name] > memory_weights.DIVIDED_ABOVE * free


def _no_nccl_error() -> ProblemError:
    return fail(
        "model.sharding_no_nccl",
        "The model has to be sharded across the GPUs, but this build of PyTorch can't do that: it has no "
        "NCCL.",
        "Set the device to Automatic, which puts some layers on each GPU, or use 4-bit weights.",
        where=_WHERE,
        fix=Fix(label=text("Automatic device"), step="model", field="device", value="auto"),
    )


def shard_weights(tuned: AdaptedModel) -> None:
    """Shard the frozen weights, loaded in main memory, across the ranks, and move the rest to the GPU.

    Raises ProblemError where the model has no list of blocks.
    """
    from torch.distributed.fsdp import fully_shard

    base, device = tuned.model.get_base_model(), tuned.base.device
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    blocks = getattr(decoder, "layers", None)
    if not isinstance(decoder, torch.nn.Module) or not isinstance(blocks, torch.nn.ModuleList):
        raise fail(
            "model.sharding_unknown",
            "{architecture} has no list of blocks, so its weights can't be sharded across devices.",
            "Replicate the model on every device.",
            where=_WHERE,
            architecture=type(base).__name__,
        )
    if tuned.initial_adapter is not None:  # each rank has subtracted the initial adapter
        for value in base.parameters():
            dist.broadcast(value.data, src=0)
    # Kernels return views of what they computed; nothing changes these in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    unsharded = {value for end in ends if end is not None for value in end.parameters()}
    unsharded |= {value for value in tuned.model.parameters() if value.requires_grad}
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=unsharded)
    # WORKAROUND: by default the outermost module keeps the weights gathered for a forward pass, and saving
    # (`state_dict`, on rank 0 only) frees them, so that ranks would gather different weights.
    fully_shard(decoder, mesh=mesh, ignored_params=unsharded, reshard_after_forward=True)
    for value in chain(unsharded, tuned.model.buffers()):
        value.data = value.data.to(device)
