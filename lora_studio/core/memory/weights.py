"""The base weights in memory: their formats, and the shard of each device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lora_studio.core.memory.plan import BYTES, MemoryPlan, get_common_precision
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.protocol.model import Device, DeviceProgram, DevicesFound

#: Share of a GPU's memory that whole weights may use before they are sharded; training needs the
#: rest.
DIVIDED_ABOVE = 0.7

#: Blocks of sharded weights that a process gathers at a time: the current one and the next.
_WHOLE_BLOCKS = 2


def estimate_process_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of base weights in one process: all, or its shard and the gathered blocks.

    On the CPU, shards are copies of a memory-mapped file, which stays mapped as a whole for the
    weights that aren't sharded: there, sharding needs more memory, not less.
    """
    whole = estimate_weight_bytes(plan)
    if not is_sharded(plan):
        return whole
    blocks = _estimate_shardable_bytes(plan)
    at_work = min(1.0, _WHOLE_BLOCKS / max(1, plan.inspected.layers))
    undivided = whole if plan.kind == "cpu" else whole - blocks
    return undivided + round(blocks / plan.processes) + round(at_work * blocks)


def is_sharded(plan: MemoryPlan) -> bool:
    """Return whether weights are sharded, as `engine/training/distributed/sharding.py` decides."""
    sharding = plan.model.sharding
    if plan.processes == 1 or sharding == "replicate" or plan.precision not in BYTES:
        return False
    if plan.kind == "cuda" and not plan.device.can_shard:
        return False
    too_large = estimate_weight_bytes(plan) > DIVIDED_ABOVE * plan.device.free_bytes
    return sharding == "shard" or (plan.kind == "cuda" and too_large)


def spread_over_gpus(plan: MemoryPlan, devices: DevicesFound) -> MemoryPlan:
    """Return the plan with the memory of all GPUs where `auto` spreads a model that doesn't fit on one.

    The engine decides the same way (`engine/model/loading.py`), and computes in a format that all have.
    """
    gpus = [device for device in devices.devices if device.name.startswith("cuda")]
    if plan.model.device != "auto" or len(gpus) < 2:
        return plan
    plan = replace(plan, gpus=len(gpus))
    if estimate_weight_bytes(plan) <= DIVIDED_ABOVE * plan.device.free_bytes:
        return plan
    return replace(plan, device=combine_gpus(gpus), spread=True)


def describe_placement(plan: MemoryPlan) -> Text:
    """Return which of several GPUs hold which weights, and why; empty if there is no choice."""
    if plan.spread:
        return text(
            "The weights don't fit on one GPU, so each of {count} holds some of the layers. One computes at a time.",
            count=plan.gpus,
        )
    if plan.gpus > 1:
        return text(
            "The weights fit on one GPU, so training uses only one, currently {title} ({device}).",
            title=plan.device.title,
            device=plan.device.name,
        )
    if plan.kind != "cuda" or plan.processes == 1:
        return NO_TEXT
    if not is_sharded(plan):
        return text("Each GPU holds all weights and trains on a part of every batch.")
    return text(
        "Weights are sharded across the GPUs, as configured."
        if plan.model.sharding == "shard"
        else "The weights don't fit on one GPU, so each holds a part of them."
    )


def combine_gpus(gpus: Sequence[Device]) -> Device:
    """Return one device with the memory of several GPUs, and a format that all of them compute in."""
    together = {
        "title": counted(len(gpus), "{n} GPU", "{n} GPUs"),
        "total_bytes": sum(device.total_bytes for device in gpus),
        "free_bytes": sum(device.free_bytes for device in gpus),
        "precision": get_common_precision(gpus),
        "programs": _merge_programs(gpus),
    }
    return gpus[0].model_copy(update=together)


def _merge_programs(gpus: Sequence[Device]) -> tuple[DeviceProgram, ...]:
    """Return the programs that have memory of any GPU, with their bytes on all, the largest first."""
    totals: Counter[str] = Counter()
    for program in (program for gpu in gpus for program in gpu.programs):
        totals[program.name] += program.bytes
    return tuple(DeviceProgram(name=name, bytes=size) for name, size in totals.most_common())


def estimate_weight_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of the frozen base weights.

    Quantized: 4 or 8 bits for each weight of a linear layer, in blocks of 64 with a 32-bit scale, or
    an 8-bit one and 32 bits per 256 of those (Dettmers et al. 2023, section 3). Embeddings, norms
    and the output layer are not quantized; preparing a quantized model for training widens them to
    32-bit.
    """
    model, precision = plan.inspected, plan.precision
    if precision in BYTES:
        return BYTES[precision] * model.parameters
    if not plan.shape.linear and precision in model.weight_bytes:
        return model.weight_bytes[precision]
    quantized = sum(layer.parameters for layer in plan.shape.linear)
    exact = (4 if plan.has_fp32_weights else plan.bytes_each) * (model.parameters - quantized)
    if precision == "8bit":
        return exact + quantized + 4 * sum(x.outputs * x.count for x in plan.shape.linear)
    scales = quantized / 64 * (1 + 4 / 256 if plan.model.double_quant else 4)
    return exact + round(quantized / 2 + scales)


def _estimate_shardable_bytes(plan: MemoryPlan) -> int:
    """Return the bytes that can be sharded: all but embeddings and the output layer, which stay
    whole."""
    model, shape = plan.inspected, plan.shape
    counted = sum(layer.parameters for layer in shape.linear) + shape.expert_parameters
    ends = (1 if shape.tied else 2) * model.vocabulary * model.hidden_size
    return BYTES[plan.precision] * (counted or max(0, model.parameters - ends))


def estimate_dequantized_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of the largest layer's weights when dequantized or cast for the matrix
    product.
    """
    if plan.precision in BYTES:
        return 0
    layers = [layer.inputs * layer.outputs for layer in plan.shape.linear]
    head = plan.inspected.vocabulary * plan.inspected.hidden_size if plan.has_fp32_weights else 0
    return plan.bytes_each * max([*layers, head])
