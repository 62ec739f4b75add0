"""A base model that does not fit on one GPU: each rank holds a part of every block's weights.

A block's weights are gathered just before it computes, forward and backward, and let go after it
(FSDP; Zhao et al. 2023). Only the frozen weights are divided: the adapter, about a hundredth of them,
stays whole on every rank, so gradients, optimizer state and checkpoints are those of any training, and
a run may go on with another number of ranks, divided or not. Embeddings and the output layer stay
whole too, because the output layer is used apart from the model (`logprobs.py`).

PyTorch's `fully_shard` is called here directly: accelerate's wrapping divides what trains as well, and
only gathers for calls of the outermost module.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from lora_studio.core.memory import weights as memory_weights
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext

_HERE = Where(step="model", field="sharding")


def settle(spec: ModelSpec, names: Sequence[str], count: int, job: JobContext) -> ModelSpec:
    """The spec with `sharding` decided: "shard" or "replicate", the same on every rank of a machine.

    `names` are the devices of all of the `count` ranks, where they are known, `spec` has this one's.
    Raises ProblemError when what was asked for is impossible with this model.
    """
    is_sharded = (
        count > 1
        and spec.sharding != "replicate"
        and _is_wanted(spec, names if len(names) == count else (), job)
    )
    return spec.model_copy(update={"sharding": "shard" if is_sharded else "replicate"})


def _is_wanted(spec: ModelSpec, names: Sequence[str], job: JobContext) -> bool:
    folder = loading.resolve(spec, job)
    stored = loading.prequantized(loading.read_config(folder, spec))
    if stored is not None and spec.sharding == "shard":
        raise fail(
            "model.sharding_quantised",
            "The weights of this model are quantised and cannot be divided among devices.",
            "Let every device hold all of them, or choose the model's 16-bit original.",
            where=_HERE,
        )
    if spec.sharding == "shard":
        return True
    device = devices.choose(spec.device)
    if stored is not None or spec.precision in ("4bit", "8bit") or device.type != "cuda":
        return False
    dtype = devices.dtype_for(spec.precision, device)
    weights = loading.weight_bytes(loading.on_meta(folder, spec), dtype)
    name = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]
    taking_part = [devices.choose(each).index for each in names]
    smallest = min(
        torch.cuda.get_device_properties(index).total_memory
        for index in taking_part or range(torch.cuda.device_count())
    )
    return weights[name] > memory_weights.DIVIDED_ABOVE * smallest


def divide(tuned: AdaptedModel) -> None:
    """Divides the frozen weights, loaded in main memory, among the ranks, and moves the rest.

    Raises ProblemError where the model has no blocks to divide.
    """
    from torch.distributed.fsdp import fully_shard

    base, device = tuned.model.get_base_model(), tuned.base.device
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    blocks = getattr(decoder, "layers", None)
    if not isinstance(decoder, torch.nn.Module) or not isinstance(blocks, torch.nn.ModuleList):
        raise fail(
            "model.sharding_unknown",
            f"{type(base).__name__} has no list of blocks that could be divided among devices.",
            "Let every device hold all of the model.",
            where=_HERE,
        )
    if tuned.initial_adapter is not None:  # the adapter was taken out of the weights by each rank
        for value in base.parameters():
            dist.broadcast(value.data, src=0)
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    whole = {value for end in ends if end is not None for value in end.parameters()}
    whole |= {value for value in tuned.model.parameters() if value.requires_grad}
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    # WORKAROUND: by default the outermost module keeps what it gathered for a forward pass, and saving
    # (`state_dict`, on the first rank alone) lets go of it: the ranks would gather different things.
    fully_shard(decoder, mesh=mesh, ignored_params=whole, reshard_after_forward=True)
    for value in chain(whole, tuned.model.buffers()):
        value.data = value.data.to(device)
