"""Events of trainings, merges and exports, and pages to play them on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.page import StepPage

FOLDER = "/runs/1/adapter"


def show_widget(qtbot: QtBot, page: StepPage) -> Any:
    qtbot.addWidget(page)
    page.resize(1100, 740)
    page.show()
    qtbot.waitExposed(page)
    return page


def training_events(steps: int, total: int, start: int = 1) -> list[events.Event]:
    """Return falling losses with an evaluation every tenth step."""
    result: list[events.Event] = []
    for step in range(start, steps + 1):
        result.append(
            events.StepDone(
                id="t",
                step=step,
                steps=total,
                epoch=3 * step / total,
                loss=1.2 + 1.2 * math.exp(-6 * step / total),
                learning_rate=2e-4,
                grad_norm=0.5,
                tokens=step * 4096,
                tokens_per_s=2310.4,
                memory_bytes=9 * 2**30,
                eta_s=3.0 * (total - step),
            )
        )
        if step % 10 == 0:
            loss = 1.3 + 1.2 * math.exp(-6 * step / total)
            result.append(events.Evaluated(id="t", step=step, loss=loss))
    return result


def started_events(total: int = 60, step: int = 0) -> list[events.Event]:
    return [
        events.Started(id="t", command="train", time=1000),
        events.TrainingStarted(
            id="t", steps=total, step=step, steps_per_epoch=20, effective_batch=16
        ),
    ]


def finished_events(stopped: bool = False) -> list[events.Event]:
    return [
        events.AdapterSaved(id="t", step=60, folder=FOLDER, bytes=67_000_000),
        events.Done(id="t", stopped=stopped, time=1725),
    ]


def play_events(page: StepPage, sequence: list[events.Event]) -> None:
    for event in sequence:
        page.on_event(event)


def merge_events(run: RunFolder) -> list[events.Event]:
    return [
        events.Started(id="m", command="merge", time=2000),
        events.Progress(id="m", stage="Writing", done=1, total=4),
        events.Merged(
            id="m", folder=str(run.merged), bytes=6_430_000_000, dtype="bfloat16",
            tensors_changed=196,
        ),
        self_test("merged", "m"),
        events.Done(id="m", time=2031),
    ]  # fmt: skip


def self_test(stage: str, about: str) -> events.SelfTested:
    return events.SelfTested(
        id=about, stage=stage, conversations=24, positions=812, tokens_equal=True, top1=0.987,
        kl=0.004, top1_limit=0.95, kl_limit=0.05, passed=True,
    )  # fmt: skip


def export_events(run: RunFolder, *, proven: bool = True) -> list[events.Event]:
    return [
        events.Started(id="e", command="export", time=3000),
        events.GgufWritten(
            id="e", file=str(run.gguf / "bot's-Q4_K_M.gguf"), quantization="Q4_K_M",
            bytes=2_020_000_000, tool="llama.cpp",
        ),
        self_test("Q4_K_M", "e"),
        events.TemplateDerived(
            id="e", template="{{ .Prompt }}", stops=("<end>",), proven=proven, conversations=24,
            difference=None if proven else "“a” where “b” belongs",
        ),
        events.OllamaCreated(id="e", host="http://127.0.0.1:11434", name="bot", version="0.12"),
        events.Done(id="e", time=3200),
    ]  # fmt: skip


def emit(event: events.Event) -> dict[str, Any]:
    """Return the step that sends an event."""
    return {"emit": json.loads(events.to_line(event))}


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Run the event loop until something holds, at most some seconds."""
    from PySide6.QtTest import QTest

    for _ in range(int(seconds * 50)):
        if holds():
            return
        QTest.qWait(10)
        time.sleep(0.01)  # the event loop of a test doesn't let Python's other threads run
