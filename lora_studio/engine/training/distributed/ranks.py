"""Several processes at one training: what each computes, and what all of them agree on.

Every process (a rank) has the same plan of steps, the same base model and the same adapter. Of each
step it computes its share of the micro-batches, and at the end of the step the gradients of the
adapter are added up over all, once. That is done here and not by the hooks of
`DistributedDataParallel`: those want the same number of backward passes on every rank, which a short
last step does not have, and every parameter used in each, which preference training (a second pass
without the adapter) and experts do not promise. Only gradients of the adapter travel, about a
hundredth of the model's, so there is little for hooks to hide behind computation; and the sum is that
of the whole step, weighed as one process would have weighed it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from lora_studio.engine.runtime.channel import Flags, JobContext

T = TypeVar("T")


class DuplicateBatch(list[T]):
    """Rows of a micro-batch that another rank computes as well, and counts."""


@dataclass
class TensorBundle:
    """Gradients of parameters of a kind in one tensor, and behind them which of these have one."""

    members: Sequence[torch.nn.Parameter]
    values: torch.Tensor

    @classmethod
    def of(cls, members: Sequence[torch.nn.Parameter]) -> TensorBundle:
        """Takes a copy of what there is."""
        first = members[0]
        has = [float(value.grad is not None) for value in members]
        parts = [
            value.grad.flatten() if value.grad is not None else torch.zeros_like(value).flatten()
            for value in members
        ]
        known = torch.tensor(has, dtype=first.dtype, device=first.device)
        return cls(members, torch.cat([*parts, known]))

    def unpack(self) -> None:
        """Makes its values the gradients."""
        *sums, known = self.values.split(
            [*(value.numel() for value in self.members), len(self.members)]
        )
        for value, total, ranks in zip(self.members, sums, known.tolist(), strict=True):
            value.grad = total.view_as(value) if ranks else None


@dataclass
class ProcessGroup:
    """This process among `count` of them; where it is alone nothing is sent anywhere.

    `connect` joins the others, once everything slow is done; before it nothing may be exchanged.
    `device` is where this process computes, empty where the project's device is meant. Where the
    model's weights are divided (`is_sharded`), all ranks have to compute the same number of passes.
    """

    index: int = 0
    count: int = 1
    connect: Callable[[], None] = lambda: None
    device: str = ""
    is_sharded: bool = False
    _asked: Flags = field(default_factory=Flags)
    _agreed: Flags = field(default_factory=Flags)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reports, saves and hears the user."""
        return self.index == 0

    def job(self, job: JobContext) -> JobContext:
        """The job as a training on several ranks may look at it.

        Its wishes change only where all ranks agree on them (`add`), so that all act on a wish after
        the same step. A cancel is heeded at once: the first rank ends the others with itself.
        """
        if self.count == 1:
            return job
        self._asked = job.flags
        self._agreed = Flags(cancel=job.flags.cancel)
        return dataclasses.replace(job, flags=self._agreed)

    def share(self, items: Sequence[Sequence[T]]) -> list[Sequence[T]]:
        """What this rank computes of the micro-batches of a step: each goes to one rank.

        They come longest first and are dealt like cards, so that all have about as much to do. With
        divided weights a rank that is dealt one less computes another one `Again`.
        """
        own = list(items[self.index :: self.count])
        most = -(-len(items) // self.count)
        if self.is_sharded and len(own) < most:
            own.append(DuplicateBatch(items[-1]))
        return own

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, in the order of ranks; a small one, since it is copied to all."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def add(self, figures: dict[str, float]) -> dict[str, float]:
        """The sum over all ranks by name; a name may be missing on some of them.

        What the user has asked the first rank for goes along, so that a step needs one exchange: it
        takes effect on all ranks with the return of this.
        """
        if self.count == 1:
            return figures
        total: defaultdict[str, float] = defaultdict(float)
        found = self.gather((figures, _take(self._asked) if self.is_first else []))
        for theirs, _ in found:
            for name, value in theirs.items():
                total[name] += value
        for name in found[0][1]:
            getattr(self._agreed, name).set()
        return dict(total)

    def agree(self) -> None:
        """Passes on what the user has asked for, where figures are not exchanged anyway."""
        self.add({})

    def first(self, value: T) -> T:
        """What the first rank says; it may be large."""
        if self.count == 1:
            return value
        said = [value if self.is_first else None]
        dist.broadcast_object_list(said, src=0)
        found: Any = said[0]
        return found

    def any(self, is_so: bool) -> bool:
        """Whether it is so on any rank, such as that memory ran out."""
        return any(self.gather(is_so))

    @torch.no_grad()
    def bundle(self, parameters: Iterable[torch.nn.Parameter]) -> list[TensorBundle]:
        """What `add_gradients` sends: the gradients, end to end for each number format and device.

        Nothing is sent yet, so memory may run out here without any other rank waiting for this one.
        """
        if self.count == 1:
            return []
        kinds: defaultdict[tuple[torch.dtype, torch.device], list[torch.nn.Parameter]]
        kinds = defaultdict(list)
        for parameter in parameters:
            if parameter.requires_grad:
                kinds[parameter.dtype, parameter.device].append(parameter)
        return [TensorBundle.of(members) for members in kinds.values()]

    @torch.no_grad()
    def add_gradients(self, bundles: Iterable[TensorBundle]) -> None:
        """Puts the sum over all ranks in place of each gradient.

        A parameter without a gradient on this rank counts as zero; without one on any, it stays so,
        and the optimizer passes it over.
        """
        for bundle in bundles:
            dist.all_reduce(bundle.values)
            bundle.unpack()

    @torch.no_grad()
    def align(self, values: Iterable[torch.Tensor]) -> None:
        """Makes tensors those of the first rank: what was drawn at random is the same to the bit."""
        if self.count > 1:
            for value in values:
                dist.broadcast(value.data, src=0)

    def memory(self, peak: int, device: torch.device) -> int:
        """Peak memory in bytes: of the fullest GPU, or of all processes where they share it."""
        found = self.gather(peak)
        return max(found) if device.type == "cuda" else sum(found)


def _take(flags: Flags) -> list[str]:
    """Names of the wishes that were set; they are cleared, as they are passed on now."""
    found = [
        item.name
        for item in dataclasses.fields(flags)
        if item.name != "cancel" and getattr(flags, item.name).is_set()
    ]
    for name in found:
        getattr(flags, name).clear()
    return found
