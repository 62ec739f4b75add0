"""Take the documentation's screenshots of a trained and exported project.

`python packaging/pictures.py PROJECT OUT` opens the window on it with the real worker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PIL import Image
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from lora_studio.gui import language, theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window

#: Number of the most frequent colors, which are exact; as many again approximate the edges of text.
_EXACT_COLORS = 128

#: Longest wait for the worker's answers, in seconds.
_PATIENCE = 300


def main(project: Path, out: Path) -> None:
    """Write `dataset.png`, `training.png`, and `export.png` to `out`."""
    app = QApplication(sys.argv[:1])
    language.install(app, "en")
    theme.apply(app, "light")
    window = make_window(Preferences())
    window.resize(1280, 800)
    window.show()
    if not window.open_project(project):
        sys.exit(f"{project} can't be opened.")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("dataset", "training", "export"):
        window.show_page(name)
        _wait_for_answers(window)
        if name == "dataset":
            page: Any = window.pages[name]
            page.rows.detail.setCurrentIndex(1)  # tokens with their loss mask
            _wait_for_answers(window)
        window.toasts.clear()
        QTest.qWait(200)
        _save(window, out / f"{name}.png")
    window.close()


def _wait_for_answers(window: Window) -> None:
    """Wait until the worker has answered everything the page asks when it is shown."""
    QTest.qWait(2000)
    for _ in range(_PATIENCE):
        if not window.inspector.pending:
            break
        QTest.qWait(1000)


def _save(window: Window, file: Path) -> None:
    """Write a picture with a palette, which reduces it to a third of its size."""
    window.grab().save(str(file))
    picture = Image.open(file).convert("RGB")
    counts: Any = picture.getcolors(1 << 24)
    exact = [color for _, color in sorted(counts, reverse=True)[:_EXACT_COLORS]]
    rest = picture.quantize(_EXACT_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colors = [part for color in exact for part in color]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colors + (rest.getpalette() or [])[: 3 * (256 - len(exact))])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
