"""What a training takes: bytes of memory component by component, and seconds.

Sums over what the loop of `engine.training` keeps: which tensors the backward pass needs is read off
the layers' formulas, the few factors that no formula gives (`Constants`) are measured, by
`tests/benchmarks/memory.py --fit`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory.rows import STEPS_GROUPED, RowStatistics
from lora_studio.core.memory.weights import BYTES, are_divided, dequantised_bytes, held_bytes
from lora_studio.core.model.shape import LinearLayers, ModelShape
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.training.optimizers import OPTIMIZERS, Optimizer
from lora_studio.core.training.spec import TrainingSpec

if TYPE_CHECKING:
    from lora_studio.core.protocol.events import Device, ModelInspected

MIB = 1 << 20

Component = Literal[
    "weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead"
]
COMPONENTS: dict[Component, str] = {
    "weights": "Weights",
    "adapters": "Adapters",
    "gradients": "Gradients",
    "optimizer": "Optimizer",
    "activations": "Activations",
    "logits": "Logits",
    "overhead": "Overhead",
}

#: Logits that are in memory at a time, as they are computed in pieces: 32 million, 64 MB in 16 bits.
LOGITS_AT_ONCE = 1 << 25

#: Time of a training with gradient checkpointing over one without: a second forward pass, which is
#: a third of the work (Chen et al. 2016).
RECOMPUTING = 4 / 3


@dataclass(frozen=True)
class Constants:
    """What no formula gives.

    Fitted: `process`, bytes of a worker before it has loaded a model; `logit`, how often a piece of
    logits is in memory; `held`, what the processor's allocator holds besides what is in use, in bytes
    for each number of the inner result of one layer. Not fitted: `context`, bytes that a GPU's driver keeps;
    `reserved`, the share of activations that PyTorch's allocator for GPUs holds besides; `transient`,
    what the backward pass of one layer needs at a time, in inner results.
    """

    process: int = 644 * MIB
    logit: float = 1.0
    held: float = 81.0
    context: int = 520 * MIB
    reserved: float = 0.05
    transient: float = 3.0


CONSTANTS = Constants()


class MemoryEstimate(BaseModel):
    """Bytes at the peak of a training, by component; `tokens` are those of its largest micro-batch.

    On several GPUs of one of them, the fullest; of several processes on the processor of all together.
    `available` is what the device has free, None while that is unknown. `uncounted` is the part of
    the overhead that a device does not report as memory in use, `guessed` the part of all that rests
    on measured factors and that `Plan.correction` applies to. `seconds` is the time it takes, None
    before anything was trained on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int
    tokens: int
    uncounted: int = 0
    guessed: int = 0
    available: int | None = None
    device: str = ""
    seconds: float | None = None

    @property
    def parts(self) -> dict[Component, int]:
        """Bytes of each component, in the order they are shown."""
        return {name: getattr(self, name) for name in COMPONENTS}

    @property
    def total(self) -> int:
        """Bytes of all components."""
        return sum(self.parts.values())

    @property
    def reported(self) -> int:
        """The peak as the device itself reports it (`StepDone.memory_bytes`)."""
        return self.total - self.uncounted

    @property
    def fits(self) -> bool | None:
        """Whether all of it finds room; None while the room is unknown."""
        return None if self.available is None else self.total <= self.available


@dataclass(frozen=True)
class MemoryPlan:
    """All that an estimate follows from. `correction` is what earlier runs on this device showed,
    `ranks` how many processes train together where that is not as many as the project names devices.
    """

    inspected: ModelInspected
    model: ModelSpec
    lora: LoraSpec
    training: TrainingSpec
    rows: RowStatistics
    limit: int
    device: Device
    correction: float = 1.0
    tokens_per_s: float | None = None
    ranks: int = 0
    constants: Constants = field(default=CONSTANTS)

    @property
    def shape(self) -> ModelShape:
        """The model's; one of a plain decoder of that size where nothing is known of the layers."""
        if self.inspected.shape is not None:
            return self.inspected.shape
        size = self.inspected.hidden_size
        return ModelShape(
            intermediate_size=4 * size, heads=1, kv_heads=1, head_size=size, norm_width=2 * size
        )

    @property
    def kind(self) -> str:
        """cpu, mps or cuda."""
        return self.device.name.partition(":")[0]

    @property
    def precision(self) -> str:
        """How the base weights are held: bf16, fp16, fp32, 8bit or 4bit."""
        stored = self.inspected.prequantized
        if stored is not None:
            return "8bit" if "8" in stored else "4bit"
        chosen = self.model.precision
        return self.device.precision if chosen == "auto" else chosen

    @property
    def bytes_each(self) -> int:
        """Bytes of a number that is computed with."""
        return BYTES.get(self.precision, BYTES[self.device.precision])

    @property
    def widened(self) -> bool:
        """Whether all that is not quantised is in 32-bit though products are in 16: PEFT prepares quantised
        models so, which the engine leaves to it where they compute in other formats than bfloat16 and have
        no stacked experts."""
        is_quantised = self.precision not in BYTES
        return is_quantised and self.device.precision == "fp16" and not self.shape.expert_parameters

    @property
    def fused(self) -> bool:
        """Whether adapted layers are computed in few passes (engine/training/kernels/fused.py), which casts the
        adapters' weights on the way and keeps no copies of them."""
        plain = not (self.lora.dropout or self.lora.use_dora)
        return plain and self.precision in BYTES

    @property
    def checkpoints(self) -> bool:
        """Whether activations are computed a second time instead of being kept."""
        return self.training.gradient_checkpointing != "off"

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.ranks or len(self.model.devices)

    @property
    def divided(self) -> bool:
        """Whether each of several processes holds a part of the weights."""
        return are_divided(self)

    @property
    def micro_batch(self) -> int:
        """Rows that a process computes at once: each gets something to do in every step."""
        fair = math.ceil(self.training.effective_batch / self.processes)
        return min(self.training.micro_batch, fair)

    @property
    def tokens(self) -> int:
        """Of the largest micro-batch: as many as its rows have, or with padding as many as they would
        have if all were as long as the longest."""
        training = self.training
        if not training.packing:
            return self.rows.padded(self.micro_batch, self.limit)
        among = training.effective_batch * (STEPS_GROUPED if training.group_by_length else 1)
        return self.rows.in_micro_batch(self.micro_batch, among, self.limit)


def estimate(plan: MemoryPlan) -> MemoryEstimate:
    """The peak of a training, and the time it takes. Cheap: some microseconds per kind of layer."""
    trained = plan.inspected.adapter.trainable if plan.inspected.adapter else 0
    # Processes on the processor share one memory, each GPU has its own.
    times = plan.processes if plan.kind == "cpu" else 1
    casts = plan.bytes_each * trained if plan.bytes_each < 4 and not plan.fused else 0
    tokens = plan.tokens
    kept, working = _activations(plan, tokens)
    logits = _logits(plan, tokens)
    # While the logits are there, the backward pass of the layers has not begun.
    activations = round(plan.correction * (kept + max(0, working - logits)))
    logits = round(plan.correction * logits)
    on_cpu = plan.kind == "cpu"
    held = round(plan.correction * _held(plan, tokens, kept))
    fixed = plan.constants.process if on_cpu else plan.constants.context
    return MemoryEstimate(
        weights=times * held_bytes(plan),
        adapters=times * (4 * trained + casts),
        gradients=times * 4 * trained,
        optimizer=times * optimizer_bytes(plan.training.optimizer, trained),
        activations=times * activations,
        logits=times * logits,
        overhead=times * (fixed + held + dequantised_bytes(plan)),
        tokens=tokens,
        # A GPU reports what is in use, neither what its driver has nor what the allocator holds.
        uncounted=0 if on_cpu else fixed + held,
        guessed=times * (activations + logits + (held if on_cpu else 0)),
        available=plan.device.free_bytes,
        device=plan.device.title,
        seconds=seconds(plan),
    )


def optimizer_bytes(name: Optimizer, trained: int) -> int:
    """The state that an optimizer keeps for so many trained parameters.

    8-bit states have a 32-bit scale per 256 numbers.
    """
    scales = 1 + 4 / 256 if "8bit" in name else 1
    return round(OPTIMIZERS[name].state_bytes * scales * trained)


def _activations(plan: MemoryPlan, tokens: int) -> tuple[float, float]:
    """What is kept of all layers until the backward pass, and what that needs for one besides.

    With checkpointing the input of each layer alone is kept, by Unsloth's outside the GPU, and one
    layer at a time is computed again.
    """
    size, model, shape = plan.bytes_each, plan.inspected, plan.shape
    block, adapters = block_bytes(plan), adapter_bytes(plan)
    working = tokens * size * (plan.constants.transient * _widest(shape) + 2 * model.hidden_size)
    experts = adapted_experts(plan)
    if plan.checkpoints:
        inputs = tokens * (4 if plan.widened else size) * model.hidden_size * model.layers
        if plan.training.gradient_checkpointing == "unsloth" and plan.kind == "cuda":
            inputs = 0  # they wait in main memory
        return inputs + experts, tokens * (block + adapters) + working
    first, count = _adapted_blocks(plan)
    # The last norm's input makes up for that of the first one, which no gradient goes through.
    return tokens * (block * (model.layers - first) + adapters * count) + experts, working


def _widest(shape: ModelShape) -> int:
    """Numbers per token of the widest result inside a block."""
    return max(shape.intermediate_size, shape.expert_size * shape.experts_per_token)


def _held(plan: MemoryPlan, tokens: int, kept: float) -> float:
    """What the allocator holds without anybody using it. glibc leaves gaps between tensors that are
    kept, which the temporary ones of a layer need again and again in other sizes."""
    if plan.kind == "cpu":
        return plan.constants.held * tokens * _widest(plan.shape)
    return plan.constants.reserved * kept


def block_bytes(plan: MemoryPlan) -> float:
    """Bytes per token that one block of a decoder keeps for its backward pass, without adapters.

    A norm keeps its input, most in 32-bit as they compute in it. Attention (Dao 2023) keeps queries, keys,
    values and its result, and one 32-bit number per head. A gated MLP keeps both inner results and,
    where it is not of Llama's kind, the activation of one. A frozen linear layer needs no input.
    """
    size, shape = plan.bytes_each, plan.shape
    norms = (size if shape.plain_norms and not plan.widened else 4) * shape.norm_width
    attention = size * 2 * (shape.query_width + shape.key_width) + 4 * shape.heads
    if shape.fused_attention:  # values are a part of the layer's result, which stays for them
        attention += size * (shape.query_width + shape.key_width)
    inner = shape.intermediate_size if not shape.experts_per_token else 0
    # A 4-bit layer gives back 32-bit results where it got such inputs, an 8-bit one does not.
    given = 4 if plan.widened and plan.precision == "4bit" else size
    mlp = given * inner * (1 if not shape.gated else 2 if shape.plain_gates else 3)
    routed = shape.experts_per_token * (3 * shape.expert_size + plan.inspected.hidden_size)
    return norms + attention + mlp + size * routed


def adapter_bytes(plan: MemoryPlan) -> float:
    """Bytes per token that the adapters of one block keep.

    An A matrix needs its input, the B matrix what A gave. Layers that read the same tensor keep it
    once; dropout makes a copy for each, and keeps what it drops.
    """
    size, lora = plan.bytes_each, plan.lora
    mask = 1 if plan.kind == "cuda" else size
    # Where attention takes packed rows by a way of the engine's, its result is kept for it already.
    in_16_bits = size == 2 and (plan.kind == "cuda" or plan.device.precision == "bf16")
    keeps_result = in_16_bits and plan.training.packing
    ranks, shared, own = lora.rank_pattern(), {}, 0.0
    per_layer = max(1, plan.inspected.layers)
    for layer in adapted(plan):
        share = layer.count / per_layer
        own += size * share * ranks.get(layer.name, lora.rank)
        if plan.widened and not lora.dropout:
            own += size * share * layer.inputs  # each narrows the 32-bit input for itself
        elif lora.dropout:
            own += (size + mask) * share * layer.inputs
        elif not (keeps_result and layer.reads_attention):
            # Expert by expert a layer counts more than once a block, but each sees few tokens.
            shared[layer.reads] = size * min(share, 1.0) * layer.inputs
        if lora.use_dora:
            own += 2 * size * share * layer.outputs
    return own + sum(shared.values())


def adapted(plan: MemoryPlan) -> Sequence[LinearLayers]:
    """The linear layers that get an adapter."""
    found = plan.inspected.adapter
    names = {name.rpartition(".")[2] for name in found.targets} if found else set()
    return [layer for layer in plan.shape.linear if layer.name in names]


def adapted_experts(plan: MemoryPlan) -> int:
    """Bytes of adapted stacked experts: their weights with the update are computed and kept."""
    found = plan.inspected.adapter
    names = {layer.name for layer in plan.shape.linear}
    stacked = (
        any(name.rpartition(".")[2] not in names for name in found.targets) if found else False
    )
    return plan.bytes_each * plan.shape.expert_parameters if stacked else 0


def _adapted_blocks(plan: MemoryPlan) -> tuple[int, int]:
    """The first block that has adapters, before which nothing is kept, and how many have some."""
    chosen = plan.lora.block_numbers()
    if not chosen or plan.lora.modules_to_save:
        return 0, len(chosen) if chosen else plan.inspected.layers
    return chosen[0], len(chosen)


def _logits(plan: MemoryPlan, tokens: int) -> float:
    """Logits of one piece, their gradient in their place, and on a GPU their softmax in 32-bit; where
    the output layer trains, all logits, with softmax and gradient, twice in 32-bit each."""
    whole = plan.rows.trained * tokens * plan.inspected.vocabulary
    size = plan.bytes_each
    if any("head" in name for name in plan.lora.modules_to_save):
        return whole * (2 * size + 3 * 4)
    in_full = 0 if plan.kind == "cpu" else 4
    return (plan.constants.logit * size + in_full) * min(whole, LOGITS_AT_ONCE)


def seconds(plan: MemoryPlan) -> float | None:
    """The time of the whole training at the speed that earlier runs had, each on one device."""
    if not plan.tokens_per_s or not plan.rows.tokens or plan.processes > 1:
        return None
    tokens = plan.rows.tokens * plan.training.epochs
    if plan.training.max_steps:
        per_step = plan.rows.tokens / max(1, plan.rows.count) * plan.training.effective_batch
        tokens = min(tokens, plan.training.max_steps * per_step)
    return tokens / plan.tokens_per_s * (RECOMPUTING if plan.checkpoints else 1.0)
