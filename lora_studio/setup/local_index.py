"""An index of wheels on this machine that tells their checksums: uv unpacks them in full to find these."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from pathlib import Path


def write(wheels: Sequence[Path], into: Path) -> str:
    """The address of an index in the folder, which holds these wheels of PyTorch."""
    lines = []
    for wheel in wheels:
        with wheel.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        address = html.escape(f"{wheel.resolve().as_uri()}#sha256={digest}")
        lines.append(f'<a href="{address}">{html.escape(wheel.name)}</a>')
    page = into / "torch" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        "<!DOCTYPE html><html><body>\n" + "\n".join(lines) + "\n</body></html>\n", "utf-8"
    )
    return into.resolve().as_uri()
