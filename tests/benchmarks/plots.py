"""Measure how smooth curves of a million steps are: `python -m tests.benchmarks.plots [--steps N]`.

One run with two others, in a window of 1920 × 1080 pixels: milliseconds from a change to the painted
plot. The peers are pyqtgraph's own lines with the same points, plain and thinned by its "peak"
method, in the same process. Other programs affect wall time but not CPU time.

Then the freezes of a window: the longest pause of its event loop while a run of that many steps is
read for comparison, and while a running one is replayed from its beginning.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.gui import theme
from lora_studio.gui.app import freeze_imports
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.plots.run_curves import RunCurves, read_series
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.window.wiring import make_window

Times = dict[str, list[tuple[float, float]]]  # action -> (clock, processor) in milliseconds

#: What the curves have of a window of 1920 × 1080 pixels beside rail, figures and log.
SIZE = (1330, 550)

#: Longest time for one frame of sixty a second, in milliseconds.
FRAME = 16.0


def losses(steps: int, seed: int) -> np.ndarray:
    """Return a noisy falling curve."""
    noise = np.random.default_rng(seed).normal(0, 0.12, steps)
    return 1.1 + 0.2 * seed + 1.4 * np.exp(-3.5 * np.arange(steps) / steps) + noise


def curves(steps: int, seed: int) -> RunCurves:
    """Return a run of `steps` steps with ten evaluations and a checkpoint every thousandth part."""
    run = RunCurves(f"run {seed}")
    for step, loss in enumerate(losses(steps, seed), start=1):
        rate = 1e-4 * (1 + math.cos(math.pi * step / steps))
        run.series.steps.add(step, {"loss": loss, "learning_rate": rate, "grad_norm": 0.8})
    for step in range(steps // 10, steps + 1, steps // 10):
        run.series.evaluations.add(step, {"loss": 1.4 + 0.2 * seed})
    for step in range(0, steps, max(1, steps // 1000)):
        run.add_event(events.CheckpointSaved(step=step, folder=""))
    return run


class Ours:
    """The plot of the training page."""

    name = "LoRA Studio"
    repeats = 60

    def __init__(self, runs: list[RunCurves]) -> None:
        self.plot = LossPlot()
        self.plot.resize(*SIZE)
        self.plot.run = self.plot.drawing.run = runs[0]
        self.plot.set_others(runs[1:])
        self.steps = len(runs[0].steps)
        self.plot.show()

    def add(self, turn: int) -> None:
        self.plot.run.series.steps.add(self.steps + turn, {"loss": 1.2, "learning_rate": 1e-5})
        self.plot._new = True
        self.plot.redraw_now()

    def pan(self, turn: int) -> None:
        self.plot.chart.pan(0.02 if turn % 10 < 5 else -0.02)

    def zoom(self, turn: int) -> None:
        self.plot.chart.zoom(0.8 if turn % 20 < 10 else 1.25)

    def hover(self, turn: int) -> None:
        self.plot.read_at(self.steps * (0.1 + 0.8 * (turn % 60) / 60))

    def whole(self) -> None:
        self.plot.chart.show_all()


class Peer:
    """The same lines as plain pyqtgraph items: raw loss, smoothed ones, and the rates below."""

    repeats = 6

    def __init__(self, runs: list[RunCurves], name: str, *, thinned: bool) -> None:
        self.name = name
        self.widget = QWidget()
        layout = QVBoxLayout(self.widget)
        self.plots = [pg.PlotWidget(), pg.PlotWidget()]
        for plot, stretch in zip(self.plots, (3, 1), strict=True):
            layout.addWidget(plot, stretch)
            plot.setMouseEnabled(x=True, y=False)
        self.plots[1].setXLink(self.plots[0])
        self.data: list[tuple[Any, np.ndarray, np.ndarray]] = []
        for run in runs:
            loss, steps = run.steps.get_curve("loss"), run.steps.steps
            smooth = loss.compute_mean(np.arange(len(steps)), len(steps) // 25)
            self._line(0, steps, loss.values, thinned) if run is runs[0] else None
            self._line(0, steps, smooth, thinned)
            self._line(1, steps, run.steps.values("learning_rate"), thinned)
        self.cursor = pg.InfiniteLine()
        self.plots[0].addItem(self.cursor)
        self.steps = len(runs[0].steps)
        self.widget.resize(*SIZE)
        self.widget.show()

    def _line(self, index: int, x: np.ndarray, y: np.ndarray, thinned: bool) -> None:
        item = pg.PlotDataItem(x, y, pen=pg.mkPen("#2F5FE3"))
        self.plots[index].addItem(item)
        if thinned:
            item.setDownsampling(auto=True, method="peak")
            item.setClipToView(True)
        self.data.append((item, x, y))

    def add(self, turn: int) -> None:
        for number in (0, 1, 2):  # the three lines of the run in the foreground
            item, x, y = self.data[number]
            x, y = np.append(x, self.steps + turn), np.append(y, 1.2)
            self.data[number] = (item, x, y)
            item.setData(x, y)

    def pan(self, turn: int) -> None:
        low, high = self.plots[0].getViewBox().viewRange()[0]
        by = (0.02 if turn % 10 < 5 else -0.02) * (high - low)
        self.plots[0].setXRange(low + by, high + by, padding=0)

    def zoom(self, turn: int) -> None:
        low, high = self.plots[0].getViewBox().viewRange()[0]
        half, middle = (0.8 if turn % 20 < 10 else 1.25) * (high - low) / 2, (low + high) / 2
        self.plots[0].setXRange(middle - half, middle + half, padding=0)

    def hover(self, turn: int) -> None:
        self.cursor.setPos(self.steps * (0.1 + 0.8 * (turn % 60) / 60))

    def whole(self) -> None:
        self.plots[0].enableAutoRange()


def measured(side: Ours | Peer, app: QApplication) -> Times:
    """Repeat each action, painting included; leave the first time of each out."""
    times: Times = {}
    for action in ("add", "pan", "zoom", "hover"):
        side.whole()
        for _ in range(3):
            app.processEvents()
        times[action] = []
        for turn in range(side.repeats + 1):
            clock, processor = time.perf_counter(), time.process_time()
            getattr(side, action)(turn + 1)
            app.processEvents()  # paints changes like a window
            spent = (time.perf_counter() - clock, time.process_time() - processor)
            times[action].append((1e3 * spent[0], 1e3 * spent[1]))
        times[action].pop(0)
    return times


def report(name: str, times: Times, ours: Times | None) -> None:
    """Print one line per action."""
    for action, spent in times.items():
        clock, processor = (sorted(column) for column in zip(*spent, strict=True))
        line = f"{name:24} {action:6}"
        for column in (clock, processor):
            line += (
                f"  {statistics.median(column):9.1f} {column[int(0.95 * (len(column) - 1))]:9.1f}"
            )
        if ours is not None:
            own = statistics.median(entry[1] for entry in ours[action])
            line += f"  {statistics.median(processor) / own:8.1f} ×"
        print(line)


def longest_gap(app: QApplication, until: Callable[[], bool], limit: float) -> tuple[float, float]:
    """Return the longest time between two turns of the event loop, in ms, and the total in s."""
    gaps, last = [0.0], [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        gaps.append(1e3 * (now - last[0]))
        last[0] = now

    timer = QTimer(interval=4)
    timer.timeout.connect(tick)
    timer.start()
    begun = time.perf_counter()
    while not until() and time.perf_counter() - begun < limit:
        app.processEvents()
    timer.stop()
    return max(gaps), time.perf_counter() - begun


def write_run(path: Path, steps: int) -> RunFolder:
    """Write an unfinished run of `steps` steps."""
    run = RunFolder(path)
    run.path.mkdir(parents=True)
    with run.events_file.open("w") as file:
        file.write(events.to_line(events.Started(id="t", command="train")) + "\n")
        begun = events.TrainingStarted(
            id="t", steps=2 * steps, steps_per_epoch=steps, effective_batch=16
        )
        file.write(events.to_line(begun) + "\n")
        for step, loss in enumerate(losses(steps, 0), start=1):
            done = events.StepDone(
                id="t", step=step, steps=2 * steps, epoch=step / steps, loss=loss, grad_norm=0.8,
                learning_rate=1e-4, tokens=4096, tokens_per_s=2300.0, memory_bytes=9_200_000_000,
                gpu_percent=97.0, gpu_celsius=61.0, eta_s=60.0,
            )  # fmt: skip
            file.write(events.to_line(done) + "\n")
    return run


def freezes(app: QApplication, folder: Path, steps: int) -> None:
    """Measure reading a run for comparison, and showing a running one."""
    run = write_run(folder / "runs" / "20260101-000000-long", steps)
    results: list[object] = []
    thread = BackgroundReader(lambda thread: read_series(run, thread))
    thread.done.connect(results.append)
    thread.start()
    gap, taken = longest_gap(app, lambda: bool(results), 600)
    thread.wait()
    print(f"reading {steps:,} steps to compare: {taken:.1f} s, longest freeze {gap:.0f} ms")
    for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
        os.environ[f"LORA_STUDIO_{name}"] = str(folder / name.lower())
    window = make_window(Preferences(), lazy_pages.make_step_pages)
    window.resize(1920, 1080)
    window.show()
    lock = FileLock(run.lock_file)
    lock.acquire({"pid": os.getpid()})  # like a running worker
    page: Any = window.pages["training"]
    window.stack.setCurrentWidget(page)
    app.processEvents()
    window.jobs.attach(run)
    gap, taken = longest_gap(
        app, lambda: page.last_step is not None and page.last_step.step == steps, 600
    )
    print(f"showing a run at step {steps:,}: {taken:.1f} s, longest freeze {gap:.0f} ms")
    window.shut_down()
    lock.release()


def main() -> None:
    """Print a table; fail if a median of ours is longer than a frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--without-freezes", action="store_true")
    chosen = parser.parse_args()
    app = QApplication([])
    theme.apply(app, "light")
    runs = [curves(chosen.steps, seed) for seed in range(3)]
    print(f"{chosen.steps:,} steps, 3 runs, window of 1920 × 1080; milliseconds")
    print(f"{'':24} {'':6}  {'clock':>9} {'p95':>9}  {'processor':>9} {'p95':>9}")
    side = Ours(runs)
    ours = measured(side, app)
    report(side.name, ours, None)
    side.plot.hide()
    if not chosen.without_peers:
        for name, thinned in (("pyqtgraph, peak-thinned", True), ("pyqtgraph, plain", False)):
            peer = Peer(runs, name, thinned=thinned)
            report(name, measured(peer, app), ours)
            peer.widget.hide()
    if not chosen.without_freezes:
        with tempfile.TemporaryDirectory() as folder, freeze_imports():
            freezes(app, Path(folder), chosen.steps)
    slow = [a for a, t in ours.items() if statistics.median(entry[1] for entry in t) > FRAME]
    if slow:
        raise SystemExit(f"over {FRAME:.0f} ms of processor time: {', '.join(slow)}")


if __name__ == "__main__":
    main()
