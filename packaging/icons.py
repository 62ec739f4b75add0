"""Convert the SVG icons to the formats of each system: `python packaging/icons.py SVG OUT`.

OUT is a folder for PNGs in the sizes of the hicolor theme, or ends in .ico (Windows) or .icns (macOS).
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QBuffer, QIODevice
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

HICOLOR = (16, 22, 24, 32, 48, 64, 128, 256, 512)
ICO = (16, 24, 32, 48, 64, 256)
#: Size in pixels -> type of the entry with a PNG of this size (Apple's icns format).
ICNS = {
    16: b"icp4",
    32: b"icp5",
    64: b"icp6",
    128: b"ic07",
    256: b"ic08",
    512: b"ic09",
    1024: b"ic10",
}


def png(drawing: Path, size: int) -> bytes:
    """Return the drawing as a PNG of size x size pixels; raises ValueError if it isn't an SVG."""
    renderer = QSvgRenderer(str(drawing))
    if not renderer.isValid():
        raise ValueError(f"{drawing} isn't an SVG.")
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # the stubs know bytes, Qt takes str
    return bytes(buffer.data().data())


def ico(pictures: dict[int, bytes]) -> bytes:
    """Return a Windows icon: a header, a 16-byte entry per picture, then the pictures as PNGs."""
    header = struct.pack("<HHH", 0, 1, len(pictures))
    offset = len(header) + 16 * len(pictures)
    entries = b""
    for size, data in pictures.items():
        side = size % 256  # 256 is written as 0
        entries += struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(data), offset)
        offset += len(data)
    return header + entries + b"".join(pictures.values())


def icns(pictures: dict[int, bytes]) -> bytes:
    """Return a macOS icon: a header with the total length, then type, length and PNG of each picture."""
    body = b"".join(
        ICNS[size] + struct.pack(">I", len(data) + 8) + data for size, data in pictures.items()
    )
    return b"icns" + struct.pack(">I", len(body) + 8) + body


def write(drawing: Path, out: Path) -> None:
    """Write the format that the name of `out` specifies."""
    if out.suffix == ".ico":
        out.write_bytes(ico({size: png(drawing, size) for size in ICO}))
    elif out.suffix == ".icns":
        out.write_bytes(icns({size: png(drawing, size) for size in ICNS}))
    else:
        for size in HICOLOR:
            size_folder = out / f"{size}x{size}"
            size_folder.mkdir(parents=True, exist_ok=True)
            (size_folder / f"{drawing.stem}.png").write_bytes(png(drawing, size))


if __name__ == "__main__":
    application = QGuiApplication.instance() or QGuiApplication([])
    write(Path(sys.argv[1]), Path(sys.argv[2]))
