"""What can be done with engines, each as a stream of events that ends in Done, Failed or Cancelled."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lora_studio.core.events import Cancelled, Done, Failed
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.setup import download, engines, folders, install, selfcheck
from lora_studio.setup.detect import Accelerator, Variant, detect, processor
from lora_studio.setup.engines import Engine
from lora_studio.setup.environment import uv_environment
from lora_studio.setup.events import Event, MachineFound, Planned, Progress
from lora_studio.setup.folders import Root, not_writable
from lora_studio.setup.own import own_wheel
from lora_studio.setup.plan import Plan, kept_from, resolve, torch_source
from lora_studio.setup.pythons import Python, find, standalone
from lora_studio.setup.tools import CancelledError, Log, Stop, without_secrets


@dataclass(frozen=True)
class Request:
    """What the user wants; None is as detected.

    `update` takes over what the engine in use has already; `repair` as well, but for what is damaged.
    """

    variant: Variant | None = None
    torch: str | None = None
    python: str | None = None
    wheelhouse: Path | None = None
    mode: Literal["install", "update", "repair"] = "install"


class SetUp:
    """One set-up from its plan to its end; whoever asks for it may look at the plan first."""

    def __init__(self, request: Request, stop: Stop) -> None:
        """Nothing is done yet."""
        self.request = request
        self.stop = stop
        self.plan: Plan | None = None

    def prepare(self) -> Iterator[Event]:
        """Finds out what is needed, down to `Planned`; ends in Done, Failed or Cancelled."""
        return told(self._prepare, self.stop)

    def carry_out(self) -> Iterator[Event]:
        """Does what the plan says, making one first where there is none."""
        return told(self._carry_out, self.stop)

    def _prepare(self, log: Log) -> Iterator[Event]:
        with folders.root().locked():
            yield from self._planned(folders.root(), log)

    def _carry_out(self, log: Log) -> Iterator[Event]:
        root = folders.root()
        with root.locked():
            if self.plan is None:
                yield from self._planned(root, log)
            assert self.plan is not None
            yield from install.carry_out(self.plan, self.stop, log)

    def _planned(self, root: Root, log: Log) -> Iterator[Event]:
        request = self.request
        yield Progress(stage="Planning")
        base = engines.current(root) if request.mode != "install" else None
        accelerator = self._accelerator(base)
        yield MachineFound(accelerator=accelerator)
        wanted = request.python
        python = find(wanted, root, self.stop, log)
        if python is None:
            yield from standalone(root, self.stop, log)
            python = find(None, root, self.stop, log)
            assert python is not None
        own = own_wheel(root.downloads, self.stop, log)
        torch = torch_source(accelerator, request.torch, uv_environment(), python.tag)
        wheels = None
        for found in resolve(
            (accelerator.variant, torch), python, own, root, self.stop, log,
            wheelhouse=request.wheelhouse,
        ):  # fmt: skip
            if isinstance(found, tuple):
                torch, wheels = found
            else:
                yield found
        assert wheels is not None
        plan = Plan(root, accelerator.variant, torch, python, own, wheels)
        if base is not None and base.own_python and base.variant == plan.variant:
            kept = self._kept(base, plan)
            plan = replace(plan, base=base, kept=kept)
        self.plan = plan
        yield summary(plan)

    def _accelerator(self, base: Engine | None) -> Accelerator:
        variant = self.request.variant or (base.variant if base else None)
        found = detect()
        if variant in (None, found.variant):
            return found
        if variant == "cpu":
            return processor()
        return Accelerator(variant=variant, title="", torch=DEFAULT_BUILDS[variant])

    def _kept(self, base: Engine, plan: Plan) -> tuple[str, ...]:
        kept = kept_from(base, plan.wheels, plan.python)
        if self.request.mode == "repair":
            damaged = set(engines.damaged(base, self.stop.check))
            kept = tuple(name for name in kept if name not in damaged)
        return kept


#: Builds of PyTorch for a GPU that is not in this machine.
DEFAULT_BUILDS: dict[Variant, str] = {"cuda": "cu128", "rocm": "rocm6.4", "mps": "", "cpu": "cpu"}


def summary(plan: Plan) -> Planned:
    """A plan as the user sees it."""
    return Planned(
        variant=plan.variant, folder=str(plan.root.path), python=f"{plan.python.version}",
        torch=without_secrets(plan.torch), packages=len(plan.wheels), kept=len(plan.kept),
        download=plan.missing, total=plan.total, needed=plan.needed, free=plan.free,
    )  # fmt: skip


def told(work: Callable[[Log], Iterator[Event]], stop: Stop) -> Iterator[Event]:
    """The events of a piece of work and its ending: whatever goes wrong becomes a Problem."""
    log = Log(folders.root().log)
    try:
        yield from work(log)
        yield Done()
    except CancelledError:
        log.write("cancelled")
        yield Cancelled()
    except ProblemError as error:
        log.write(str(error))
        yield Failed(problem=error.problems[0])
    except OSError as error:
        log.write(traceback.format_exc())
        yield Failed(problem=_of_the_system(error))
    except Exception as error:
        log.write(traceback.format_exc())
        yield Failed(problem=_unexpected(error, log))
    finally:
        log.close()


def check(stop: Stop, name: str = "", steps: int = 1) -> Iterator[Event]:
    """Tries an engine, the one in use by default."""

    def work(log: Log) -> Iterator[Event]:
        yield from selfcheck.check(_chosen(name), stop, log, steps)

    return told(work, stop)


def _chosen(name: str) -> Engine:
    engine = engines.named(name) if name else engines.current()
    if engine is None:
        raise ProblemError(engines.none_there())
    return engine


def _of_the_system(error: OSError) -> Problem:
    root = folders.root().path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return download.disk_full(root).problems[0]
    made = not_writable(Path(str(error.filename or root)), error)
    assert isinstance(made, ProblemError)
    return made.problems[0]


def _unexpected(error: Exception, log: Log) -> Problem:
    return Problem(
        code="engine.unexpected",
        what=f"The set-up failed in a way that was not foreseen: {type(error).__name__}.",
        remedy="The engine in use is as it was. Start the set-up again; the details are in the log.",
        where=Where(file=str(log.file)),
    )


__all__ = ["Python", "Request", "SetUp", "check", "summary", "told"]
