"""All checks of the GPU tier: `python -m tests.gpu.checks NAME DEVICE FOLDER` runs one of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.gpu import (  # noqa: F401 - they register their checks
    correctness,
    distributed,
    gradients,
    recovery,
    resources,
    speed,
    worker,
)
from tests.gpu.registry import CHECKS, CheckContext, UnavailableCheckError


def main() -> None:
    """Run one check and write what it reports, also if it fails."""
    name, device, folder = sys.argv[1:]
    context = CheckContext(device, Path(folder) / "work")
    context.folder.mkdir()
    unavailable = ""
    try:
        CHECKS[name].run(context)
    except UnavailableCheckError as error:
        unavailable = str(error)
    finally:
        report = {"figures": context.figures, "failures": context.failures}
        content = json.dumps(report | {"unavailable": unavailable}, default=str)
        (Path(folder) / "report.json").write_text(content, "utf-8")


if __name__ == "__main__":
    main()
