"""Checks of several ranks: two on one device, and sharded weights on one."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.gpu.registry import CheckContext, check
from tests.gpu.trainings import (
    compare_losses,
    compare_norms,
    create_run,
    get_half_precision,
    train,
    train_run,
)

#: A sitecustomize for the other rank: NCCL refuses two ranks on one GPU.
_WITHOUT_NCCL = """
import sys
if "lora_studio.engine.worker_rank" in sys.orig_argv:
    import torch.distributed
    torch.distributed.is_nccl_available = lambda: False
"""


@check(
    "T17",
    "two ranks on one device, and one rank with sharded weights, train as one process",
    seconds=22,
)
def train_on_ranks(context: CheckContext) -> None:
    """Compare losses and gradients, and how the processes end."""
    precision = {"precision": "fp32" if context.is_cpu else get_half_precision(context)}
    settings: dict[str, Any] = {"max_steps": 4, "micro_batch": 1, "gradient_accumulation": 4}
    _, whole = train(context, model=precision, **settings)
    devices = "cpu:2" if context.is_cpu else f"{context.device},{context.device}"
    run = create_run(context, model={**precision, "device": devices}, **settings)
    with _use_gloo(context.folder):
        both = train_run(run)
    compare_with_one_process(context, "two ranks", both, whole)
    compare_with_one_process(
        context, "sharded", _train_sharded(context, precision, settings), whole
    )


def compare_with_one_process(context: CheckContext, name: str, actual: Any, expected: Any) -> None:
    """Expect the losses and the gradient norms of one process, up to rounding.

    Losses alone show little: in so few steps, even other gradients change them by a few percent at most.
    """
    tolerances = (1e-4, 1e-3) if context.is_cpu else (0.01, 0.05)
    differences = compare_losses(actual, expected), compare_norms(actual, expected)
    for what, difference, tolerance in zip(
        ("losses", "gradient norms"), differences, tolerances, strict=True
    ):
        context.figures[f"{name}: {what}"] = f"{difference:.4%}"
        context.expect(difference <= tolerance, f"{name}: {what} differ by {difference:.1%}")


@contextlib.contextmanager
def _use_gloo(folder: Path) -> Iterator[None]:
    """Let ranks exchange tensors through main memory."""
    import torch.distributed

    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(_WITHOUT_NCCL, "utf-8")
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
    with (
        mock.patch.dict(os.environ, PYTHONPATH=path),
        mock.patch.object(torch.distributed, "is_nccl_available", return_value=False),
    ):
        yield


def _train_sharded(
    context: CheckContext, precision: dict[str, str], settings: dict[str, Any]
) -> Any:
    """Return the channel of a training whose weights are sharded over the one rank of a group."""
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    from lora_studio.engine.devices.ranks import ProcessGroup
    from lora_studio.engine.training.distributed import launch
    from lora_studio.engine.training.train_run import train as train_rank
    from tests.helpers.runs.jobs import RecordingChannel, make_job

    run = create_run(context, model={**precision, "sharding": "shard"}, **settings)
    store = FileStore(str(context.folder / "rendezvous"), 1)
    launch._bind_to_loopback()
    transport = launch.choose_transport(context.device)
    dist.init_process_group(transport, store=store, rank=0, world_size=1)
    ranks = ProcessGroup(device=context.device, sharding="shard")
    channel = RecordingChannel()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train_rank(run, make_job(channel), ranks=ranks)
    texts = sorted({str(each.message) for each in warned if "FSDP2" in str(each.message)})
    context.expect(not texts, " ".join(texts))
    context.expect(not dist.is_initialized(), "the process group doesn't end with the training")
    return channel
