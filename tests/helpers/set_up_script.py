"""A scripted engine setup, for the window around it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lora_studio.core.problems import Problem
from lora_studio.setup.detect import Accelerator
from lora_studio.setup.events import (
    Cancelled,
    Done,
    EngineReady,
    Event,
    Failed,
    MachineFound,
    Progress,
    SetupPlanned,
)
from lora_studio.setup.operations import SetupRequest
from lora_studio.setup.tools import StopFlag

GPU = Accelerator(
    variant="cuda", title="NVIDIA RTX 4090", memory=24 << 30, driver="570.86", cuda=(12, 8),
    capabilities=((8, 9),), torch="cu128",
)  # fmt: skip
PLAN = SetupPlanned(
    variant="cuda", folder="/data/engine", python="3.12.4", torch="cu128", packages=81, reused=3,
    download=3_200_000_000, total=3_300_000_000, needed=9_000_000_000, free=80_000_000_000,
)  # fmt: skip
READY = EngineReady(name="cuda-1", folder="/data/engine", python="p", bytes=1, seconds=60)
NO_NETWORK = Problem(
    code="engine.download",
    what="torch couldn't be downloaded: the server doesn't respond.",
    remedy="Check the network, then start the setup again.",
)


class Script:
    """A setup that reports given events; `hold` keeps it running until it is canceled."""

    def __init__(self, *sequence: Event, hold: bool = False, plan: Event | None = None) -> None:
        self.sequence, self.hold, self.plan = sequence, hold, plan or PLAN
        self.requests: list[SetupRequest] = []
        self.stop = StopFlag()

    def __call__(self, request: SetupRequest, stop: StopFlag) -> Script:
        self.requests.append(request)
        self.stop = stop
        return self

    def prepare(self) -> Iterator[Event]:
        yield Progress(stage="Planning")
        if isinstance(self.plan, Failed):
            yield self.plan
            return
        yield MachineFound(accelerator=GPU)
        yield self.plan
        yield Done()

    def carry_out(self) -> Iterator[Event]:
        yield from self.sequence
        while self.hold and not self.stop.asked:
            time.sleep(0.01)
        if not any(isinstance(event, Failed) for event in self.sequence):
            yield Cancelled() if self.hold else Done()
