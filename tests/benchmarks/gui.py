"""Measure speed and memory of the window: `python -m tests.benchmarks.gui [start latency open memory plots]`.

`start` opens the window and a bare PySide6 window with an empty pyqtgraph plot in turn, each in its
own process, and compares the time to the first painting and the memory at rest. `latency` shows a
training at its millionth step while a worker sends 500 events a second, and measures the delay of
the event loop, compared with an idle window. `open` opens a project with 2,000 runs; `memory` sends
100,000 events; `plots` redraws curves of a million steps of three runs, then reads such a run for comparison and
shows a running one. Other programs affect wall time but not CPU time, so both are printed. The exit
status is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import psutil
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from lora_studio.core.curves.metrics import STEP_VALUES, MetricTable
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.gui import app, theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.plots.run_curves import RunCurves, read_series
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.runs import many_runs
from tests.helpers.window import fake_engine

#: Most that ours may take of what the bare window takes.
PAINT_RATIO, MEMORY_RATIO = 1.4, 1.5
#: Longest turn of the event loop in 99 of 100 cases, and the longest opening, in milliseconds.
LATE, OPENING = 16.0, 300.0
#: Most bytes that an event may leave behind beyond the values that are plotted.
LEFT_BEHIND = 64

_BARE = """
from PySide6.QtWidgets import QApplication, QMainWindow
import pyqtgraph as pg
app = QApplication([])
window = QMainWindow()
window.resize(1280, 800)
window.setCentralWidget(pg.PlotWidget())
"""
_OURS = """
from lora_studio.gui.app import prepare
from PySide6.QtWidgets import QApplication
app = QApplication([])
window = prepare(app)
"""
_MEASURE = """
import gc, json, os, time, psutil
from PySide6.QtCore import QEvent, QObject, QTimer
me = psutil.Process()
found = {}
class Watch(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and not found:
            QTimer.singleShot(0, painted)
        return False
def painted():
    if found:
        return
    times = me.cpu_times()
    found.update(clock=time.time() - me.create_time(), processor=times.user + times.system)
    QTimer.singleShot(2500, rest)
def rest():
    gc.collect()
    found["memory"] = me.memory_full_info().uss
    print(json.dumps(found), flush=True)
    os._exit(0)
watch = Watch()
app.installEventFilter(watch)
window.show()
app.exec()
"""


def start(rounds: int) -> list[str]:
    """Compare the first painting and the memory at rest of our window and a bare one, in turn."""
    samples: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for _ in range(rounds + 1):
        for name, code in (("bare", _BARE), ("ours", _OURS)):
            with _own_folders():
                done = subprocess.run(
                    [sys.executable, "-c", code + _MEASURE],
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=120,
                )
            samples[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    for side in samples.values():
        side.pop(0)  # warms up the disk cache and the bytecode
    wrong = []
    for key, limit, unit, scale in (
        ("clock", PAINT_RATIO, "s", 1.0), ("processor", PAINT_RATIO, "s", 1.0),
        ("memory", MEMORY_RATIO, "MB", 1e-6),
    ):  # fmt: skip
        bare, ours = (
            scale * statistics.median(one[key] for one in samples[name])
            for name in ("bare", "ours")
        )
        words = {"clock": "first painting, clock", "processor": "first painting, processor"}
        name = words.get(key, "memory at rest (USS)")
        print(
            f"{name:28} bare {bare:7.2f} {unit}  ours {ours:7.2f} {unit}  {ours / bare:.2f} ×"
            f" (at most {limit} ×)"
        )
        if key != "clock" and ours > limit * bare:
            wrong.append(name)
    return wrong


def latency(seconds: float, points: int) -> list[str]:
    """Measure how late the event loop runs, at rest and with 500 events a second."""
    application = _application()
    steps = round(500 * seconds)
    scenario = {
        "train": [{"sleep": 3.0}, {"steps": steps, "seconds": 0.002, "after": points}],
        "inspect_devices": [],
    }
    with _window(scenario) as window:
        idle = _lateness(application, lambda: False, 5.0)
        window.show_page("training")
        window.launcher.request("train")
        page: Any = window.pages["training"]
        _until(application, lambda: page.record.phase == "running", 60)
        _fill(page.plot.run.series.steps, points)
        _until(application, lambda: page.last_step is not None, 60)
        first = page.last_step.step
        busy = _lateness(application, lambda: not window.jobs.running, seconds + 60)
        sent = page.last_step.step - first
        window.toasts.clear()
    print(f"{points:,} points shown, {sent / busy.seconds:.0f} events/s for {busy.seconds:.0f} s")
    for name, side in (("at rest", idle), ("while events come", busy)):
        print(f"turns of the loop, {name:18} {side.in_words()}")
    print(
        f"p99 at most {LATE:.0f} ms; what is late at rest, or without processor time, is the machine"
    )
    return ["event loop"] if np.percentile(busy.spent, 99) > LATE else []


def open_project(runs: int) -> list[str]:
    """Measure the milliseconds until a project with `runs` runs is open and painted."""
    application = _application()
    with _window({}) as window, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "support-bot"
        folder.mkdir()
        (folder / "support-bot.lorastudio").write_text('schema_version = 1\nname = "support-bot"\n')
        many_runs.make_runs(folder, runs)
        spent = []
        for _ in range(6):
            clock, processor = time.perf_counter(), time.process_time()
            window.open_project(folder)
            window.grab()
            clock, processor = time.perf_counter() - clock, time.process_time() - processor
            spent.append((1e3 * clock, 1e3 * processor))
            _until(application, lambda: False, 1.0)
            window.state.new()
    clock, processor = (statistics.median(column) for column in zip(*spent[1:], strict=True))
    print(
        f"opening a project with {runs:,} runs: clock {clock:.0f} ms, processor {processor:.0f} ms "
        f"(first time {spent[0][0]:.0f} ms; at most {OPENING:.0f} ms)"
    )
    return ["opening"] if processor > OPENING else []


def memory(count: int) -> list[str]:
    """Measure the bytes that events leave behind: plotted ones, and others."""
    application = _application()
    wrong = []
    with _window({}) as window:
        page: Any = window.pages["training"]
        window.stack.setCurrentWidget(page)
        window.on_job_event(events.Started(id="t", command="train"))
        for kind, make, curve_bytes in (
            ("steps", _step, 8 * 10),  # the number of a step, and nine values
            ("progress and log", _progress_event, 0),
        ):
            _send(application, window, make, 0, count // 5)
            before = _settled()
            _send(application, window, make, count // 5, count)
            grown = (_settled() - before) / count
            print(
                f"{count:,} events, {kind:18} {grown:6.1f} bytes each"
                + (
                    f", of which the curves keep about {1.1 * curve_bytes:.0f}"
                    if curve_bytes
                    else ""
                )
            )
            if grown > 2 * curve_bytes + LEFT_BEHIND:
                wrong.append(f"memory of {kind}")
    return wrong


def plots(steps: int) -> list[str]:
    """Measure changes of curves of that many steps, then the freezes while such runs are read."""
    application = _application()
    plot = LossPlot()
    plot.resize(1330, 550)  # beside rail, figures and log in a window of 1920 × 1080
    runs = [_curves(steps, seed) for seed in range(3)]
    plot.run = plot.drawing.run = runs[0]
    plot.set_others(runs[1:])
    plot.show()

    def add(turn: int) -> None:
        plot.run.series.steps.add(steps + turn, {"loss": 1.2, "learning_rate": 1e-5})
        plot._new = True
        plot.redraw_now()

    actions: dict[str, Callable[[int], object]] = {
        "add": add,
        "pan": lambda turn: plot.chart.pan(0.02 if turn % 10 < 5 else -0.02),
        "zoom": lambda turn: plot.chart.zoom(0.8 if turn % 20 < 10 else 1.25),
        "hover": lambda turn: plot.read_at(steps * (0.1 + 0.8 * (turn % 60) / 60)),
    }
    wrong = []
    for name, act in actions.items():
        plot.chart.show_all()
        _until(application, lambda: False, 0.1)
        spent = []
        for turn in range(61):
            processor = time.process_time()
            act(turn + 1)
            application.processEvents()  # paints changes like a window
            spent.append(1e3 * (time.process_time() - processor))
        middle = statistics.median(spent[1:])
        print(f"{steps:,} steps of 3 runs, {name:6} {middle:6.1f} ms (at most {LATE:.0f} ms)")
        if middle > LATE:
            wrong.append(f"plot: {name}")
    plot.hide()
    with _window({}) as window:
        run = _write_run(window.state.runs_folder / "20260101-000000-long", steps)
        results: list[object] = []
        thread = BackgroundReader(lambda thread: read_series(run, thread))
        thread.done.connect(results.append)
        thread.start()
        turns = _lateness(application, lambda: bool(results), 600)
        thread.wait()
        print(f"reading {steps:,} steps to compare: {turns.in_words()}")
        lock = FileLock(run.lock_file)
        lock.acquire({"pid": os.getpid()})  # like a running worker
        window.show_page("training")
        page: Any = window.pages["training"]
        window.jobs.attach(run)
        shown = lambda: page.last_step is not None and page.last_step.step == steps  # noqa: E731
        print(f"showing a run at step {steps:,}: {_lateness(application, shown, 600).in_words()}")
        lock.release()
    return wrong


# --- what is measured -----------------------------------------------------------------------------


class _Turns:
    """Delays of the event loop and the processor time between its turns, both in milliseconds."""

    def __init__(self, late: list[float], spent: list[float], seconds: float) -> None:
        self.late, self.spent, self.seconds = late, spent, seconds

    def in_words(self) -> str:
        parts = []
        for name, values in (("late", self.late), ("processor", self.spent)):
            middle, high, longest = np.percentile(values, (50, 99, 100))
            parts.append(
                f"{name}: median {middle:4.1f}, p99 {high:5.1f}, longest {longest:6.1f} ms"
            )
        return "  ".join(parts)


def _lateness(application: QApplication, until: Callable[[], bool], limit: float) -> _Turns:
    every = 4.0
    late: list[float] = []
    spent: list[float] = []
    last = [time.perf_counter(), time.thread_time()]

    def tick() -> None:
        now, used = time.perf_counter(), time.thread_time()
        late.append(max(0.0, 1e3 * (now - last[0]) - every))
        spent.append(1e3 * (used - last[1]))
        last[:] = now, used
        if until() or now - begun > limit:
            application.exit()

    timer = QTimer(interval=int(every), timerType=Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    begun = time.perf_counter()
    last[:] = begun, time.thread_time()
    timer.start()
    with app.freeze_imports():
        application.exec()
    timer.stop()
    return _Turns(late, spent, time.perf_counter() - begun)


def _losses(points: int, seed: int = 0) -> np.ndarray:
    """Return a noisy falling curve."""
    noise = np.random.default_rng(seed).normal(0, 0.12, points)
    return 1.1 + 0.2 * seed + 1.4 * np.exp(-3.5 * np.arange(points) / points) + noise


def _curves(steps: int, seed: int) -> RunCurves:
    """Return a run with ten evaluations and a checkpoint every thousandth part."""
    run = RunCurves(f"run {seed}")
    _fill(run.series.steps, steps, seed)
    for step in range(steps // 10, steps + 1, steps // 10):
        run.series.evaluations.add(step, {"loss": 1.4 + 0.2 * seed})
    for step in range(0, steps, max(1, steps // 1000)):
        run.series.on_event(events.CheckpointSaved(step=step, folder=""))
    return run


def _write_run(path: Path, steps: int) -> RunFolder:
    """Write an unfinished run."""
    run = RunFolder(path)
    run.path.mkdir(parents=True)
    started = (
        events.Started(id="t", command="train"),
        events.TrainingStarted(id="t", steps=2 * steps, steps_per_epoch=steps, effective_batch=16),
    )
    with run.events_file.open("w") as file:
        for event in (*started, *(_step(number) for number in range(steps))):
            file.write(events.to_line(event) + "\n")
    return run


def _fill(table: MetricTable, points: int, seed: int = 0) -> None:
    loss = _losses(points, seed)
    table.steps.extend(range(1, points + 1))
    for name in (*STEP_VALUES, "gpu_percent", "gpu_celsius"):
        table.columns[name] = array("d", loss.tobytes())


def _step(number: int) -> events.Event:
    return events.StepDone(
        id="t", step=number + 1, steps=10**7, epoch=0.1, loss=1.5, grad_norm=0.8, tokens=4096,
        learning_rate=1e-4, tokens_per_s=2300.0, memory_bytes=9_200_000_000, gpu_percent=97.0,
        gpu_celsius=61.0, eta_s=60.0,
    )  # fmt: skip


def _progress_event(number: int) -> events.Event:
    if number % 2:
        return events.LogLine(id="t", text="A line of the log, as workers write them.")
    return events.Progress(id="t", stage="training", done=number, total=10**7)


def _send(
    application: QApplication, window: Window, make: Callable[[int], events.Event], first: int, count: int
) -> None:  # fmt: skip
    for number in range(first, first + count):
        window.on_job_event(make(number))
        if number % 500 == 0:
            application.processEvents()


def _settled() -> int:
    gc.collect()
    return int(psutil.Process().memory_full_info().uss)


# --- a window to measure --------------------------------------------------------------------------


def _application() -> QApplication:
    running = QApplication.instance()
    application = running if isinstance(running, QApplication) else QApplication([])
    theme.apply(application, "light")
    sys.setswitchinterval(app.SWITCH_INTERVAL)
    return application


@contextmanager
def _window(scenario: dict[str, Any]) -> Iterator[Window]:
    """Yield the real window with a new project; workers play the scenario."""
    with _own_folders() as folder:
        file = folder / "scenario.json"
        file.write_text(json.dumps(scenario))
        os.environ["LORA_STUDIO_ENGINE"] = fake_engine.command_line(file)
        project = folder / "project"
        (project / "model").mkdir(parents=True)
        (project / "model" / "config.json").write_text("{}")
        (project / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
        (project / "p.lorastudio").write_text(
            'schema_version = 1\nname = "p"\n[model]\nsource = "./model"\n'
            '[dataset]\nsources = ["rows.jsonl"]\nvalidation_share = 0.0\n'
        )
        window = make_window(Preferences(), lazy_pages.make_step_pages)
        window.resize(1920, 1080)
        window.show()
        window.open_project(project)
        _application().processEvents()
        try:
            yield window
        finally:
            window.shut_down()
            window.deleteLater()
            _application().processEvents()


@contextmanager
def _own_folders() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        for kind in ("DATA", "CACHE", "CONFIG", "LOGS"):
            os.environ[f"LORA_STUDIO_{kind}"] = str(Path(name) / kind.lower())
        yield Path(name)


def _until(application: QApplication, holds: Callable[[], bool], limit: float) -> None:
    begun = time.perf_counter()
    while not holds() and time.perf_counter() - begun < limit:
        application.processEvents()
        time.sleep(0.002)


PARTS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "start": lambda chosen: start(chosen.rounds),
    "latency": lambda chosen: latency(chosen.seconds, chosen.points),
    "open": lambda chosen: open_project(chosen.runs),
    "memory": lambda chosen: memory(chosen.events),
    "plots": lambda chosen: plots(chosen.points),
}


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["all", *PARTS], default="all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--events", type=int, default=100_000)
    chosen = parser.parse_args()
    wrong: list[str] = []
    for name, run in PARTS.items():
        if "all" in chosen.what or name in chosen.what:
            wrong += run(chosen)
    if wrong:
        raise SystemExit(f"over the limit: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
