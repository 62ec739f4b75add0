"""The processes of one training run: what each rank computes and what all ranks exchange.

Every rank has the same plan of steps, the same base model and the same adapter. It computes its share
of a step's micro-batches; at the end of the step the adapter's gradients are summed over all ranks,
once. `DistributedDataParallel` isn't used: its hooks expect the same number of backward passes on
every rank, which a short last step doesn't have, and every parameter to be used in each pass, which
neither preference training (a second pass without the adapter) nor experts guarantee. Only gradients
of the adapter travel, about one percent of the model, so there is little for hooks to overlap with
computation; and the sum covers the whole step, weighted as a single process would weight it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.runtime.channel import Flags, JobContext

T = TypeVar("T")

#: Whether ranks hold a part of the base weights or all of them.
Sharding = Literal["shard", "replicate"]


class DuplicateBatch(list[T]):
    """A micro-batch that another rank computes and counts as well; its gradients are multiplied by 0."""


@dataclass
class GradientBucket:
    """Gradients of parameters of one dtype and device, flattened into one tensor.

    The last `len(parameters)` elements of `values` are 1 for each parameter that has a gradient.
    """

    parameters: Sequence[torch.nn.Parameter]
    values: torch.Tensor

    @classmethod
    def pack(cls, parameters: Sequence[torch.nn.Parameter]) -> GradientBucket:
        """Copy the gradients of `parameters`; a missing one counts as zero."""
        first = parameters[0]
        has_gradient = [float(value.grad is not None) for value in parameters]
        parts = [
            value.grad.flatten() if value.grad is not None else torch.zeros_like(value).flatten()
            for value in parameters
        ]
        mask = copy_to_device(torch.tensor(has_gradient, dtype=first.dtype), first.device)
        return cls(parameters, torch.cat([*parts, mask]))

    def unpack(self) -> None:
        """Set the parameters' gradients from `values`; None where no rank had one."""
        *sums, mask = self.values.split(
            [*(value.numel() for value in self.parameters), len(self.parameters)]
        )
        for value, total, ranks in zip(self.parameters, sums, mask.tolist(), strict=True):
            value.grad = total.view_as(value) if ranks else None


@dataclass
class ProcessGroup:
    """This process as one of `world_size` ranks; a single rank exchanges nothing.

    `connect` joins the other ranks; call it after everything slow (downloads, tokenization) and before
    any exchange; it takes rank 0's decision about `sharding`, "shard" or "replicate". The other ranks know it
    before they load the model, "" in rank 0. `device` is where this rank computes; empty means the project's
    device. With `is_sharded` weights all ranks have to run the same number of forward passes.
    """

    rank: int = 0
    world_size: int = 1
    connect: Callable[[Sharding], None] = lambda _: None
    device: str = ""
    sharding: Sharding | Literal[""] = ""
    is_sharded: bool = False
    _requested: Flags = field(default_factory=Flags)
    _agreed: Flags = field(default_factory=Flags)

    @property
    def is_first(self) -> bool:
        """Return whether this is rank 0: the process that reports, saves and receives commands."""
        return self.rank == 0

    # --- work ---------------------------------------------------------------------------------

    def synchronize_job(self, job: JobContext) -> JobContext:
        """Return the job with flags that change on all ranks at the same step.

        Pause, stop and checkpoint requests reach rank 0 and take effect in `all_reduce_sum`. A cancel
        takes effect at once: rank 0 terminates the others when it ends.
        """
        if self.world_size == 1:
            return job
        self._requested = job.flags
        self._agreed = Flags(cancel=job.flags.cancel)
        return dataclasses.replace(job, flags=self._agreed)

    def get_local_batches(self, micro_batches: Sequence[Sequence[T]]) -> list[Sequence[T]]:
        """Return the micro-batches of a step that this rank computes.

        The longest come first and are dealt in turns, which balances the load. With sharded weights a
        rank that has one less computes a `DuplicateBatch`.
        """
        local_batches = list(micro_batches[self.rank :: self.world_size])
        max_batches = -(-len(micro_batches) // self.world_size)
        if self.is_sharded and len(local_batches) < max_batches:
            local_batches.append(DuplicateBatch(micro_batches[-1]))
        return local_batches

    # --- small values -------------------------------------------------------------------------

    def barrier(self) -> None:
        """Block until every rank has reached this call."""
        self.all_gather(None)

    def all_gather(self, value: T) -> list[T]:
        """Return every rank's value, ordered by rank. Keep it small: it is copied to all ranks."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return gathered

    def broadcast(self, value: T) -> T:
        """Return rank 0's value; it may be large."""
        if self.world_size == 1:
            return value
        box = [value if self.is_first else None]
        dist.broadcast_object_list(box, src=0)
        received: Any = box[0]
        return received

    def all_reduce_sum(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the sum over all ranks by name; a name may be missing on some of them.

        Requests to rank 0 (pause, stop, checkpoint) travel with the metrics, so that a step needs a
        single exchange; they take effect on all ranks when this returns.
        """
        if self.world_size == 1:
            return metrics
        total: defaultdict[str, float] = defaultdict(float)
        gathered = self.all_gather(
            (metrics, _pop_requests(self._requested) if self.is_first else [])
        )
        for other_metrics, _ in gathered:
            for name, value in other_metrics.items():
                total[name] += value
        for name in gathered[0][1]:
            getattr(self._agreed, name).set()
        return dict(total)

    def synchronize_requests(self) -> None:
        """Pass on pause, stop and checkpoint requests where no metrics are exchanged."""
        self.all_reduce_sum({})

    def is_true_on_any(self, condition: bool) -> bool:
        """Return whether a condition holds on at least one rank."""
        return any(self.all_gather(condition))

    def reduce_peak_memory(self, peak: int, device: torch.device) -> int:
        """Return peak memory in bytes: of the fullest GPU, or summed where processes share memory."""
        peaks = self.all_gather(peak)
        return max(peaks) if device.type == "cuda" else sum(peaks)

    # --- tensors ------------------------------------------------------------------------------

    @torch.no_grad()
    def pack_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> list[GradientBucket]:
        """Return the gradients for `all_reduce_gradients`, one bucket for each dtype and device.

        Allocates without sending anything, so memory may run out here while no other rank waits.
        """
        if self.world_size == 1:
            return []
        groups: defaultdict[tuple[torch.dtype, torch.device], list[torch.nn.Parameter]]
        groups = defaultdict(list)
        for parameter in parameters:
            if parameter.requires_grad:
                groups[parameter.dtype, parameter.device].append(parameter)
        return [GradientBucket.pack(members) for members in groups.values()]

    @torch.no_grad()
    def all_reduce_gradients(self, buckets: Iterable[GradientBucket]) -> None:
        """Replace each gradient by its sum over all ranks.

        A parameter without a gradient on this rank counts as zero; without one on any rank it keeps
        none, and the optimizer skips it.
        """
        for bucket in buckets:
            _exchange(bucket.values, dist.all_reduce)
            bucket.unpack()

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors with rank 0's, so that random initial values agree to the bit."""
        if self.world_size > 1:
            for tensor in tensors:
                _exchange(tensor.data, partial(dist.broadcast, src=0))


def _exchange(tensor: torch.Tensor, collective: Callable[[torch.Tensor], object]) -> None:
    """Apply a collective to a tensor in place.

    Without NCCL, as on Windows, a GPU's tensor goes through main memory: not every build of gloo takes it.
    """
    if tensor.device.type == "cpu" or "nccl" in str(dist.get_backend_config()).lower():
        collective(tensor)
        return
    copy = tensor.cpu()
    collective(copy)
    tensor.copy_(copy)


def _pop_requests(flags: Flags) -> list[str]:
    """Return the names of the flags that are set, except cancel, and clear them."""
    names = [
        item.name
        for item in dataclasses.fields(flags)
        if item.name != "cancel" and getattr(flags, item.name).is_set()
    ]
    for name in names:
        getattr(flags, name).clear()
    return names


#: "cpu", "cuda" (a list with one state for each GPU), "own" (index of this rank's GPU) and, on a Mac,
#: "mps". The keys are those of checkpoints on disk.
RandomState = dict[str, Any]


def get_random_state() -> RandomState:
    """Return the state of torch's generators on every device that is in use."""
    state: RandomState = {"cpu": torch.get_rng_state(), "cuda": [], "own": 0}
    if torch.cuda.is_initialized():  # training on the CPU leaves GPUs alone
        state |= {"cuda": torch.cuda.get_rng_state_all(), "own": torch.cuda.current_device()}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(states: Sequence[RandomState] | RandomState, rank: int = 0) -> None:
    """Restore the generators from the states of all ranks.

    A rank without a saved state keeps its current one. If the rank now uses another GPU, that GPU's
    generator continues from the saved state. Version 0.1 saved a single state instead of a list.
    """
    saved = [states] if isinstance(states, dict) else states
    if rank >= len(saved):
        return
    state = saved[rank]
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_initialized():
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        torch.cuda.set_rng_state(state["cuda"][state.get("own", 0)], torch.cuda.current_device())
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the generators when the block ends, so that it doesn't affect later random numbers."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
