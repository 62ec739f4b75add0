"""An existing Python of the user's as the engine: pointed to, never changed."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lora_studio import __version__
from lora_studio.setup import engines, install, pythons, removal, selfcheck
from lora_studio.setup.app_wheel import own_wheel
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import EngineReady, Event, Progress
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.tools import SetupLog, StopFlag


def adopt(path: Path, root: EngineRoot, stop: StopFlag, log: SetupLog) -> Iterator[Event]:
    """Makes an engine of an interpreter that has PyTorch and the rest; under the root's lock.

    Only this program's own package is put beside it. Raises ProblemError naming what it lacks.
    """
    began = time.monotonic()
    yield Progress(stage="Looking at Python")
    # Made absolute without following links: that of an environment leads to the Python outside it.
    python = pythons.examine(path.expanduser().absolute(), stop, log)
    yield from install.clear(root, log)
    own = own_wheel(root.downloads, stop, log)
    name = engines.new_name("own", root)
    engine = Engine(
        name=name, variant="cpu", app_version=__version__, python_version=python.version,
        created=datetime.now().astimezone().isoformat(), interpreter=str(python.path),
        folder=root.engines / name,
    )  # fmt: skip
    try:
        with zipfile.ZipFile(own.path) as archive:
            archive.extractall(engine.folder / "package")
        found = yield from selfcheck.check(engine, stop, log)
        engine = engine.model_copy(
            update={
                "variant": found["backend"],
                "torch": found["torch"],
                "bytes": removal.size_of(engine.folder),
            }
        )
        engines.write_manifest(engine)
    except BaseException:
        engines.delete(engine.folder)
        raise
    for old in engines.installed(root):
        # One that a job is at work in stays until the next time: the new one is used from now on.
        if old.interpreter == engine.interpreter and old.name != name and not engines.at_work(old):
            engines.remove(old, root)
    engines.switch(engine, root)
    yield EngineReady(
        name=name, folder=str(engine.folder), python=str(python.path), bytes=engine.bytes,
        seconds=time.monotonic() - began,
    )  # fmt: skip
