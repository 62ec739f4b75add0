"""Start the program that guards a training without a window (`client/oom_supervisor.py`).

A worker starts it when its window is gone, for whatever reason. Since the worker may run in a
different environment, the window passes the command line in an environment variable.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import open_own
from lora_studio.core.system.programs import get_empty_folder

#: Environment variable in which the window passes the guard to a worker.
VARIABLE = "LORA_STUDIO_GUARD"


@dataclass(frozen=True)
class Guard:
    """A command line, to which the run's folder is appended, and changes to a worker's environment.

    None unsets a variable.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str | None]

    def to_text(self) -> str:
        """Return the text that `from_environment` parses."""
        return json.dumps({"command": self.command, "environment": dict(self.environment)})

    def start(self, run: RunFolder) -> None:
        """Start the guard of a run in a session of its own, so that it outlives its parent. Raises
        OSError."""
        environment = {**os.environ}
        for name, value in self.environment.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        with open_own(run.log_file, "ab") as log:
            process = subprocess.Popen(
                [*self.command, str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=get_empty_folder(),
                env=environment,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        # Reap the process when it ends while this one lives.
        threading.Thread(target=process.wait, name="guard", daemon=True).start()


def from_environment() -> Guard | None:
    """Return the guard from this worker's environment, None if there is none."""
    try:
        content: dict[str, Any] = json.loads(os.environ.get(VARIABLE, ""))
        return Guard(tuple(content["command"]), content["environment"])
    except (ValueError, KeyError, TypeError):
        return None
