"""The inputs of a memory estimate: model, settings, rows, device and measured constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory.rows import STEPS_GROUPED, RowStatistics
from lora_studio.core.model.catalog import ModelShape
from lora_studio.core.model.spec import ModelSpec, list_device_names
from lora_studio.core.protocol.model import Device, DevicesFound, ModelInspected
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec

MIB = 1 << 20

#: Bytes per number in each compute format.
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class Constants:
    """Measured factors that no formula gives.

    Fitted: `process`, bytes of a worker before it has loaded a model; `logit`, how many copies of a
    chunk of logits are in memory; `held`, the unused memory that the CPU allocator holds, in bytes
    per number in the widest intermediate result of one layer. Not fitted: `context`, bytes that a
    GPU's driver keeps; `reserved`, the unused memory that PyTorch's GPU allocator holds, as a share
    of the activations; `transient`, the memory that the backward pass of one layer needs at a time,
    in intermediate results.
    """

    process: int = 644 * MIB
    logit: float = 1.0
    held: float = 81.0
    context: int = 520 * MIB
    reserved: float = 0.05
    transient: float = 3.0


CONSTANTS = Constants()


@dataclass(frozen=True)
class FitSettings:
    """The inputs of an estimate that don't depend on the model: settings, rows, and device.

    Longer rows are truncated to `limit` tokens.
    """

    model: ModelSpec
    lora: LoraSpec
    training: TrainingSpec
    rows: RowStatistics
    limit: int
    device: Device


@dataclass(frozen=True)
class MemoryPlan(FitSettings):
    """All inputs of an estimate.

    `correction` is the calibration factor from earlier runs on this device. `ranks` is the number
    of processes that train together if it differs from the number of devices in the project. `gpus` is
    the number of GPUs that `auto` chose among, and `spread` says whether each holds some of the layers.
    Short rows fill micro-batches up to `least_tokens` tokens, even if the longest has fewer
    (`filling.py`). `teacher` is the teacher's model, None if there is none or it isn't known yet.
    """

    inspected: ModelInspected
    correction: float = 1.0
    tokens_per_s: float | None = None
    ranks: int = 0
    gpus: int = 1
    spread: bool = False
    least_tokens: int = 0
    teacher: ModelInspected | None = None
    constants: Constants = field(default=CONSTANTS)

    @property
    def shape(self) -> ModelShape:
        """The model's shape, or that of a plain decoder of its size if its layers are unknown."""
        if self.inspected.shape is not None:
            return self.inspected.shape
        size = self.inspected.hidden_size
        return ModelShape(
            intermediate_size=4 * size, heads=1, kv_heads=1, head_size=size, norm_width=2 * size
        )

    @property
    def kind(self) -> str:
        """The kind of device: cpu, mps or cuda."""
        return self.device.name.partition(":")[0]

    @property
    def fixed_bytes(self) -> int:
        """Bytes in use before a model is loaded: by the worker itself, or by the context on each GPU with layers."""
        if self.kind == "cpu":
            return self.constants.process
        return self.constants.context * (self.gpus if self.spread else 1)

    @property
    def precision(self) -> str:
        """Format of the base weights in memory: bf16, fp16, fp32, 8bit or 4bit."""
        stored = self.inspected.prequantized
        if stored is not None:
            return "8bit" if "8" in stored else "4bit"
        chosen = self.model.precision
        return self.device.precision if chosen == "auto" else chosen

    @property
    def bytes_each(self) -> int:
        """Bytes per number in the compute format."""
        return BYTES.get(self.precision, BYTES[self.device.precision])

    @property
    def has_fp32_weights(self) -> bool:
        """Whether all non-quantized weights are in 32-bit while products are computed in 16-bit.

        PEFT prepares quantized models this way. The engine relies on PEFT if the compute format
        isn't bfloat16 and the model has no stacked experts.
        """
        is_quantized = self.precision not in BYTES
        return is_quantized and self.device.precision == "fp16" and not self.shape.expert_parameters

    @property
    def has_flash_attention(self) -> bool:
        """Whether PyTorch has FlashAttention for this training: in 16-bit, on NVIDIA's GPUs since Ampere.

        These are the GPUs with bfloat16. AMD's count as well.
        """
        return self.kind == "cuda" and self.bytes_each == 2 and self.device.precision == "bf16"

    @property
    def checkpoints(self) -> bool:
        """Whether activations are recomputed instead of being kept."""
        return self.training.gradient_checkpointing != "off"

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.ranks or len(self.model.devices)

    @property
    def micro_batch(self) -> int:
        """Rows that a process computes at once; every process gets at least one row per step."""
        fair = math.ceil(self.training.effective_batch / self.processes)
        return min(self.training.micro_batch, fair)

    @property
    def tokens(self) -> int:
        """Tokens in the largest micro-batch: the sum of its rows or, with padding, the number of
        rows times the longest row.
        """
        return max(self.least_tokens, self._count_tokens(self.micro_batch))

    @property
    def step_tokens(self) -> int:
        """Tokens that a process computes in the largest step."""
        return self._count_tokens(math.ceil(self.training.effective_batch / self.processes))

    @property
    def written_tokens(self) -> int:
        """Tokens whose keys and values are kept while answers are written; 0 without reward training."""
        if not TASKS[self.rows.task].writes_rollouts:
            return 0
        return self._count_tokens(self.training.count_answers_at_once(self.training.micro_batch))

    def _count_tokens(self, micro_batch: int) -> int:
        training = self.training
        if TASKS[
            self.rows.task
        ].writes_rollouts:  # all answers of a micro-batch may belong to the longest prompt
            return micro_batch * (min(self.rows.longest, self.limit) + training.rollout_tokens)
        if not training.packing:
            return self.rows.count_padded_tokens(micro_batch, self.limit)
        among = training.effective_batch * (STEPS_GROUPED if training.group_by_length else 1)
        return self.rows.count_micro_batch_tokens(micro_batch, among, self.limit)


def pick_device(devices: DevicesFound, setting: str) -> Device | None:
    """Return the device that an estimate is about: the first one for `auto`, and of several devices
    the one with the least free memory, with the format that all of them compute in.

    Returns None if this computer lacks one of the devices in `setting`.
    """
    if setting == "auto":
        return next(iter(devices.devices), None)
    by_name = {device.name: device for device in devices.devices}
    names = ["cuda:0" if name == "cuda" else name for name in list_device_names(setting)]
    matches = [by_name.get(name) for name in names]
    present = [device for device in matches if device is not None]
    if len(present) < len(matches):
        return None
    fullest = min(present, key=lambda device: device.free_bytes)
    return fullest.model_copy(update={"precision": get_common_precision(present)})


def get_common_precision(devices: Sequence[Device]) -> Literal["bf16", "fp16", "fp32"]:
    """Return what "auto" means where several devices train together: bfloat16 only if all have it."""
    precisions = {device.precision for device in devices}
    return "bf16" if precisions == {"bf16"} else "fp32" if "fp32" in precisions else "fp16"


#: 32 million logits, 64 MB in 16-bit.
_CHUNK = 1 << 25

#: On large GPUs. With 152,000 ids, a chunk of 32 million has 220 positions, and an H100 would wait for the output
#: layer's weights: it computes 300 operations in the time of reading a byte.
_LARGE_CHUNK = 1 << 27

#: Memory of a GPU, in bytes, from which its chunks are large.
_LARGE_GPU = 40 * 10**9

#: Logits whose softmax a GPU computes at a time: 64 MB in 32-bit, large enough for launches not to matter.
SOFTMAX_ON_GPU = 1 << 24


def count_logits_at_once(kind: str, memory_bytes: int) -> int:
    """Return the number of logits in a chunk, for a kind of device and its memory."""
    return _LARGE_CHUNK if kind == "cuda" and memory_bytes >= _LARGE_GPU else _CHUNK
