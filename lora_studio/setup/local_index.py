"""An index of wheels on this machine that tells their checksums: uv unpacks them in full to find these."""

from __future__ import annotations

import hashlib
import html
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from lora_studio.core.protocol.events import Progress
from lora_studio.setup.plan import normal
from lora_studio.setup.tools import StopFlag

#: Bytes read between two looks at whether to stop.
_CHUNK = 4_000_000
#: Seconds between two words about progress.
_INTERVAL = 0.25


def checksums(wheels: Sequence[Path], stop: StopFlag) -> Generator[Progress, None, dict[Path, str]]:
    """The SHA-256 of each in hexadecimal digits; raises CancelledError and OSError."""
    total = sum(wheel.stat().st_size for wheel in wheels)
    found: dict[Path, str] = {}
    done, said = 0, time.monotonic()
    for wheel in wheels:
        digest = hashlib.sha256()
        with wheel.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                stop.check()
                digest.update(chunk)
                done += len(chunk)
                if (now := time.monotonic()) - said >= _INTERVAL:
                    said = now
                    yield Progress(stage="Planning", done=done, total=total, unit="B")
        found[wheel] = digest.hexdigest()
    return found


def write(wheels: Mapping[Path, str], into: Path) -> str:
    """The address of an index in the folder, which holds these wheels with their checksums."""
    pages: dict[str, list[str]] = defaultdict(list)
    for wheel, digest in wheels.items():
        address = html.escape(f"{wheel.resolve().as_uri()}#sha256={digest}")
        line = f'<a href="{address}">{html.escape(wheel.name)}</a>'
        pages[normal(wheel.name.partition("-")[0])].append(line)
    for name, lines in pages.items():
        page = into / name / "index.html"
        page.parent.mkdir(parents=True)
        body = "\n".join(lines)
        page.write_text(f"<!DOCTYPE html><html><body>\n{body}\n</body></html>\n", "utf-8")
    return into.resolve().as_uri()
