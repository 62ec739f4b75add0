"""Take the documentation's screenshots, and the animation of the way from model to chat.

`python packaging/pictures.py PROJECT OUT` needs a project with a run that was trained, merged, and
exported (`lora-studio demo`), and a second run with other settings (`lora-studio run --set …`). The
newest run has to be evaluated (`lora-studio evaluate RUN --test heldout --test forgetting`). The
window is the real one, and so are the workers; only the training is replayed, faster, from the events
that the exported run recorded. Start Ollama before. It takes five minutes.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PIL import Image
from PySide6.QtCore import QBuffer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from lora_studio.core.runs.folder import RunFolder, list_runs
from lora_studio.core.system.locks import FileLock
from lora_studio.gui import language, theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window

#: Size of the pictures in pixels.
_SIZE = (1280, 800)

#: Number of the most frequent colors, which are exact; as many again approximate the edges of text.
_EXACT_COLORS = 128

#: Longest wait for the worker's answers, in seconds.
_PATIENCE = 900

#: Steps of the training that the animation shows, and share of them after which it is shown dark.
_TRAINING_FRAMES, _DARK_AFTER = 18, 0.7

#: Characters of the answers between two frames.
_CHARACTERS = 30

_QUESTION = "Who am I speaking with, please?"

#: What each command of a run creates, in its folder.
_RESULTS = {
    "train": ("adapter", "best", "checkpoints"),
    "merge": ("merged",),
    "export": ("gguf", "Modelfile", "selftest.json"),
}


class Camera:
    """Takes pictures of a window, and collects those of the animation."""

    def __init__(self, window: Window, out: Path) -> None:
        """Create the folder `out` if it doesn't exist."""
        self.window, self.out = window, out
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []
        out.mkdir(parents=True, exist_ok=True)

    def add_frame(self, milliseconds: int) -> None:
        """Show what the window shows now for that long."""
        self._frames.append(self._grab())
        self._durations.append(milliseconds)

    def save(self, name: str) -> None:
        """Write a picture with a palette, which reduces it to a third of its size."""
        picture = self._grab()
        counts: Any = picture.getcolors(1 << 24)
        exact = [color for _, color in sorted(counts, reverse=True)[:_EXACT_COLORS]]
        rest = picture.quantize(_EXACT_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        colors = [part for color in exact for part in color]
        palette = Image.new("P", (1, 1))
        palette.putpalette(colors + (rest.getpalette() or [])[: 3 * (256 - len(exact))])
        picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
        picture.save(self.out / f"{name}.png", optimize=True)

    def save_animation(self, name: str) -> None:
        """Write all frames as a lossless animation, which stores what changes between two."""
        first, *others = self._frames
        first.save(
            self.out / f"{name}.webp", save_all=True, append_images=others, lossless=True,
            duration=self._durations, loop=0, method=4, quality=60,
        )  # fmt: skip
        print(f"{name}: {len(self._frames)} frames, {sum(self._durations) / 1000:.0f} s")

    def _grab(self) -> Image.Image:
        self.window.toasts.clear()
        self.window.resize(*_SIZE)  # a window shrinks to its screen, which is small when offscreen
        QTest.qWait(300)
        buffer = QBuffer()
        buffer.open(QBuffer.OpenModeFlag.WriteOnly)
        self.window.grab().save(buffer, "PNG")
        return Image.open(io.BytesIO(buffer.data().data())).convert("RGB")


class ReplayedRun:
    """A copy of a run whose events arrive again, as if its worker were running."""

    def __init__(self, recorded: RunFolder, runs_folder: Path) -> None:
        """Create the copy, which has no results yet, and lock it like a worker."""
        self._recorded = recorded
        self._lines = recorded.events_file.read_text("utf-8").splitlines(keepends=True)
        self.run = RunFolder(runs_folder / recorded.path.name)
        self.run.path.mkdir(parents=True)
        later = {name for names in _RESULTS.values() for name in names}
        for entry in recorded.path.iterdir():
            if entry.name not in {*later, "events.jsonl", "run.lock", "guard.lock", "tmp"}:
                self._link(entry.name)
        self._command = ""
        self._lock = FileLock(self.run.lock_file)
        self._lock.acquire({"pid": os.getpid()})

    def count_steps(self) -> int:
        """Return the number of training steps."""
        return sum('"kind":"step_done"' in line for line in self._lines)

    def advance(self, is_reached: Callable[[dict[str, Any]], bool]) -> None:
        """Let events arrive up to the first that meets the condition, which includes it."""
        with self.run.events_file.open("a", encoding="utf-8") as file:
            while self._lines:
                line = self._lines.pop(0)
                event = json.loads(line)
                if event["kind"] == "started":
                    self._command = event["command"]
                elif event["kind"] == "done":
                    for name in _RESULTS.get(self._command, ()):
                        self._link(name)
                file.write(line)
                if is_reached(event):
                    break
        if not self._lines:
            self._lock.release()

    def _link(self, name: str) -> None:
        source, target = self._recorded.path / name, self.run.path / name
        if source.is_dir():
            shutil.copytree(source, target, copy_function=os.link)
        elif source.exists():
            shutil.copy(source, target)


def main(project: Path, out: Path) -> None:
    """Write the pictures and the animation to `out`."""
    app = QApplication(sys.argv[:1])
    language.install(app, "en")
    theme.apply(app, "light")
    exported = [run for run in list_runs(project / "runs") if run.gguf.is_dir()]
    if not exported:
        sys.exit(f"{project} has no exported run.")
    with tempfile.TemporaryDirectory(dir=project.parent) as scratch:
        copy = Path(scratch) / project.name
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("runs", ".*"))
        window = _open(copy)
        camera = Camera(window, out)
        _show_settings(camera)
        _show_training(app, camera, ReplayedRun(exported[-1], copy / "runs"))
        _show_results(camera)
        _show_chat(camera)
        camera.save_animation("way")
        window.close()
    window = _open(project)
    camera = Camera(window, out)
    _show_runs(camera, project)
    _show_evaluation(camera)
    window.close()


def _open(project: Path) -> Window:
    window = make_window(Preferences(tour_seen=True))
    window.resize(*_SIZE)
    window.show()
    QTest.qWait(1000)
    window.resize(*_SIZE)
    if not window.open_project(project):
        sys.exit(f"{project} can't be opened.")
    return window


def _show_settings(camera: Camera) -> None:
    window = camera.window
    for name, milliseconds in (("model", 1800), ("lora", 1500), ("dataset", 1500)):
        _show_page(window, name)
        camera.add_frame(milliseconds)
    page: Any = window.pages["dataset"]
    page.rows.detail.setCurrentIndex(1)  # tokens with their loss mask
    _wait_for_answers(window)
    camera.add_frame(2000)
    camera.save("dataset")
    _show_page(window, "training")
    camera.add_frame(1500)


def _show_training(app: QApplication, camera: Camera, replayed: ReplayedRun) -> None:
    """Replay the training, once in the dark theme, and the merge and the export."""
    window = camera.window
    page: Any = window.pages["training"]
    replayed.advance(lambda event: event["kind"] == "step_done")
    window.launcher.follow_latest()
    window.show_page("training")
    steps = replayed.count_steps()
    for step in _choose_steps(steps):
        replayed.advance(lambda event, until=step: event.get("step") == until)  # type: ignore[misc]
        _wait_until(lambda until=step: page.last_step and page.last_step.step >= until)  # type: ignore[misc]
        camera.add_frame(350)
        if step == round(_DARK_AFTER * steps):
            theme.apply(app, "dark")
            camera.save("training")
            theme.apply(app, "light")
    replayed.advance(lambda event: event["kind"] == "done")
    _wait_until(lambda: not window.jobs.running)
    camera.add_frame(2000)
    replayed.advance(lambda event: False)
    _wait_until(lambda: not window.jobs.is_following)


def _choose_steps(steps: int) -> list[int]:
    chosen = {
        2 + round(number * (steps - 2) / _TRAINING_FRAMES) for number in range(_TRAINING_FRAMES)
    }
    return sorted({*chosen, round(_DARK_AFTER * steps)})


def _show_results(camera: Camera) -> None:
    _show_page(camera.window, "merging")
    camera.add_frame(1500)
    _show_page(camera.window, "export")
    camera.add_frame(2500)
    camera.save("export")


def _show_chat(camera: Camera) -> None:
    window = camera.window
    page: Any = window.playground
    _show_page(window, "playground")
    _wait_until(lambda: len(page.controller.conversation.chat_models) == 2)
    camera.add_frame(800)
    page.prompt.setPlainText(_QUESTION)
    camera.add_frame(1000)
    page.ask_all()
    shown = 0
    for _ in _iter_until(lambda: not page.controller.is_busy):
        written = sum(map(len, page.controller.waiting.values()))
        if written >= shown + _CHARACTERS:
            camera.add_frame(250)
            shown = written
    camera.add_frame(3500)
    camera.save("playground")


def _show_runs(camera: Camera, project: Path) -> None:
    """Compare the last runs that have trained."""
    page: Any = camera.window.runs
    _show_page(camera.window, "runs")
    count = len(list_runs(project / "runs"))
    _wait_until(lambda: len(page.library.runs) >= count and not page.library.is_scanning)
    names = [run.folder for run in page.table.rows.shown if run.step][:3]
    page.table.rows.tick(names, True)
    page.table.choose(names)
    _wait_until(lambda: all(len(run.steps) for run in page.plot.runs))
    camera.save("runs")


def _show_evaluation(camera: Camera) -> None:
    """Show what the newest evaluation of the latest run says."""
    page: Any = camera.window.evaluation
    _show_page(camera.window, "evaluation")
    _wait_until(lambda: page.shown is not None)
    camera.save("evaluation")


def _show_page(window: Window, name: str) -> None:
    window.show_page(name)
    _wait_for_answers(window)


def _wait_for_answers(window: Window) -> None:
    """Wait until the worker has answered everything the page asks when it is shown."""
    QTest.qWait(2000)
    _wait_until(lambda: not window.query_workers.pending)


def _wait_until(is_met: Callable[[], object]) -> None:
    for _ in _iter_until(is_met):
        continue


def _iter_until(is_met: Callable[[], object]) -> Iterator[None]:
    """Yield several times a second until the condition is met."""
    end = time.monotonic() + _PATIENCE
    while not is_met():
        if time.monotonic() > end:
            sys.exit("The window didn't show what it should within 15 minutes.")
        QTest.qWait(300)
        yield


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
