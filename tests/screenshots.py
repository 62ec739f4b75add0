"""Take screenshots of every page: `python -m tests.screenshots OUT`, at two sizes, in both themes.

The window is the real one with a generated project; its workers play a scenario.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QWidget

from lora_studio.core.messages import counted, text
from lora_studio.core.problems import STEPS, Problem, Where
from lora_studio.core.protocol import events
from lora_studio.core.protocol.chat import ServedAdapter
from lora_studio.core.system import paths
from lora_studio.core.templates.server.prompt_proof import PromptPath, PromptProof
from lora_studio.engine.merging.model_files import other_precision_warning
from lora_studio.gui import language, theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.help.dialogs import AboutDialog, DiagnosticsDialog, ShortcutSheet
from lora_studio.gui.help.palette import CommandPalette
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.pages.settings.engine_manager import EngineControl, EngineDialog
from lora_studio.gui.pages.training.curves_card import ImageExportDialog
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.dialogs import ProblemDialog
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.text_size import SIZES as SIZES_OF_TEXT
from lora_studio.gui.window.main_window import CloseDialog, Window
from lora_studio.gui.window.wiring import make_window
from lora_studio.setup.events import Failed, Progress
from lora_studio.setup.operations import SetupRequest
from tests import screenshots_model
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import emit, wait_until
from tests.helpers.set_up_script import NO_NETWORK, Script
from tests.helpers.window import classifier_shots, fake_engine, playground_shots, runs_pictures
from tests.helpers.window.runs_pictures import runs_shots

SIZES = ((1280, 800), (1920, 1080))
THEMES: tuple[theme.Mode, ...] = ("light", "dark")


def scenario(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what the workers find and do."""
    return (
        playground_shots.scenario(folder)
        | classifier_shots.scenario()
        | {
            "inspect_devices": [emit(model_facts.devices(6 * model_facts.GIB))],
            "inspect_model": [emit(model_facts.model())],
            **screenshots_model.scenario(),
            **runs_pictures.scenario(),
            "inspect_dataset": [emit(_dataset(folder / "Projects" / "support-bot"))],
            "read_rows": [emit(events.RowsRead(first=0, matching=554, rows=_rows(100)))],
            "show_row": [emit(_long_row())],
            "measure_dataset": [emit(_lengths())],
            "plan_dataset": [emit(_planned())],
            "lint_dataset": [emit(model_facts.findings(_LEAKED))],
            "estimate_sizes": [emit(model_facts.sizes())],
            "inspect_ollama": [
                emit(events.OllamaFound(host="http://127.0.0.1:11434", version="0.13.2", models=()))
            ],
            "train": [
                emit(events.LogLine(text="Loading the model in 4-bit on cuda:0")),
                emit(model_facts.adapter()),
                {"steps": 240, "seconds": 0.03, "save_every": 80},
                emit(events.AdapterSaved(step=240, folder=str(folder), bytes=67_000_000)),
                {"make": ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"]},
            ],
            "plan_merge": [emit(_MERGE_PLAN)],
            "merge": _merge_steps(folder),
            "export": _export_steps(folder),
            "serve": _serve_steps(folder),
        }
    )


def _merge_steps(folder: Path) -> list[dict[str, Any]]:
    """Return what the worker does while it merges."""
    return [
        emit(
            events.ShardWritten(
                file="model-00001-of-00002.safetensors", number=1, of=2, bytes=5_000_000_000
            )
        ),
        emit(
            events.Progress(
                stage="merging", done=5_400_000_000, total=6_430_000_000, unit="bytes", eta_s=6
            )
        ),
        {"sleep": 1.5},
        {"make": ["merged/config.json", "merged/model.safetensors"]},
        emit(
            events.Merged(
                folder=str(folder), bytes=6_430_000_000, dtype="bf16", tensors_changed=196
            )
        ),
        emit(_self_test("merged", 1.0, 0.0)),
    ]


def _serve_steps(folder: Path) -> list[dict[str, Any]]:
    """Return what the worker does while it serves."""
    adapters = (
        ServedAdapter(id=0, name="20261128-111924-support-bot", scale=1.0),
        ServedAdapter(id=1, name="20261127-180251-support-bot", scale=0.5),
    )
    lines = (
        "0.00.002.489 I srv  llama_server: initializing ...",
        "0.00.011.221 I srv    load_model: loading model '/home/user/.cache/lora-studio/served/5d0ef7.gguf'",
        "0.03.085.515 I srv    load_model: initializing, n_slots = 4, n_ctx_slot = 4096",
        "0.03.121.541 I srv  llama_server: model loaded",
        "0.03.123.364 I srv  llama_server: listening on http://127.0.0.1:41549",
    )
    return [
        emit(events.ServerLogged(lines=lines)),
        emit(
            events.ServerReady(
                address="http://127.0.0.1:41549",
                model="support-bot",
                file=str(folder / "base.gguf"),
                program="/usr/bin/llama-server",
                adapters=adapters,
            )
        ),
        emit(
            events.LogLine(
                text=counted(
                    32,
                    "Verified by llama-server on {n} conversation: it builds the prompt of training.",
                    "Verified by llama-server on {n} conversations: it builds the prompts of training.",
                )
            )
        ),
        {"sleep": 600},
    ]


def _export_steps(folder: Path) -> list[dict[str, Any]]:
    """Return what the worker does while it exports."""
    return [
        emit(
            events.TemplateDerived(
                template=_TEMPLATE, stops=("<|im_end|>",), proven=True, conversations=24
            )
        ),
        *(
            emit(
                events.GgufWritten(
                    file=str(folder / f"support-bot-{name}.gguf"),
                    quantization=name,
                    bytes=size,
                    tool="llama.cpp b6710",
                )
            )
            for name, size in (("Q4_K_M", 2_020_000_000), ("Q8_0", 3_420_000_000))
        ),
        emit(_self_test("Q4_K_M", 0.962, 0.021)),
        emit(_self_test("Q8_0", 0.994, 0.002)),
        emit(
            events.OllamaCreated(
                host="http://127.0.0.1:11434",
                name="support-bot",
                version="0.34.2",
                proof=PromptProof(
                    by="server",
                    version="0.34.2",
                    path=PromptPath.CHAT_TEMPLATE,
                    reason=text("the model has no TEMPLATE"),
                    compared=31,
                    equal=31,
                    counted=9,
                ),
            )
        ),
    ]


_MERGE_PLAN = events.MergePlanned(
    bytes=6_430_000_000,
    missing=6_430_000_000,
    free=212_000_000_000,
    memory=96_000_000,
    dtype="bfloat16",
    shards=2,
    tensors=255,
    tensors_changed=196,
    problems=(other_precision_warning(0.0612, 16),),
)

_TEMPLATE = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


def shots(folder: Path) -> Iterator[tuple[str, QWidget]]:
    """Yield a name and a widget for each state of the window."""
    window = make_window(Preferences(), lazy_pages.make_step_pages)
    window.show()
    QTest.qWait(300)
    yield "home-empty", window
    yield from _settings_shots(window, folder)
    window.state.set("training", "learning_rate", "fast")
    window.state.report("dataset", [WARNING])
    window.show_page("training")
    window.strip.set_open(True)
    yield "problems", window
    yield from frame_shots(window)
    window.state.undo.undo()
    window.strip.set_open(False)
    yield from training_shots(window)
    yield from _merging_and_export_shots(window)
    yield from classifier_shots.playground_shots(window)
    yield from playground_shots.shots(window)
    yield from runs_pictures.shots(window)
    yield from runs_shots(window, wait_until)
    yield from settings_shots(window)
    window.show_page("home")
    wait_until(lambda: all(item.is_loaded for item in window.home.summaries), 10)
    yield "home", window
    window.close()
    window.deleteLater()


def _merging_and_export_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    window.show_page("merging")
    QTest.qWait(900)
    yield "merging-ready", window
    window.show_page("export")
    QTest.qWait(900)
    yield "export-straight", window
    window.show_page("merging")
    window.launcher.request("merge")
    wait_until(lambda: window.pages["merging"].shard is not None, 10)
    QTest.qWait(200)
    yield "merging-running", window
    wait_until(lambda: not window.jobs.running, 30)
    QTest.qWait(400)
    yield "merging-done", window
    window.toasts.clear()
    window.show_page("export")
    QTest.qWait(900)
    yield "export", window
    window.launcher.request("export")
    wait_until(lambda: not window.jobs.running, 30)
    QTest.qWait(400)
    yield "export-done", window
    bar = window.pages["export"].area.verticalScrollBar()
    bar.setValue(bar.maximum())
    QTest.qWait(100)
    yield "export-end", window
    card = cast(ExportPage, window.pages["export"]).serving
    card.model.setCurrentIndex(card.model.count() - 1)
    QTest.qWait(100)
    yield "export-serve", card
    card.start()
    wait_until(lambda: bool(card.notes.text()), 30)
    QTest.qWait(200)
    yield "export-serving", card
    card.stop()
    wait_until(lambda: not card.worker.busy, 30)
    bar.setValue(0)
    window.toasts.clear()


def settings_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield the settings with hosts that were contacted."""
    model_facts.record_contacts()
    window.show_page("settings")
    window.settings.network.more.set_open(False)
    QTest.qWait(300)
    yield "settings", window
    window.settings.network.more.set_open(True)
    QTest.qWait(300)
    yield "settings-network", window.settings.network
    window.settings.network.more.set_open(False)


def _settings_shots(window: Window, folder: Path) -> Iterator[tuple[str, QWidget]]:
    """Lead the window from a new project through the first four steps."""
    window.projects.create_project()
    dialog = window.findChild(NewProjectDialog)
    assert dialog is not None
    yield "dialog-new", dialog
    dialog.reject()
    project = make_project(folder)
    window.open_project(project)
    wait_until(lambda: window.state.facts.dataset is not None or window.page_name != "dataset", 3)
    for step in STEPS[:4]:
        window.show_page(step)
        QTest.qWait(900)
        yield f"{step}", window
        if step == "dataset":
            yield from _dataset_shots(window)
        if step == "model":
            yield from screenshots_model.shots(window)


def frame_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield what opens over any page: command palette, help and tour."""
    window.messages.problem(WARNING)
    yield "message", window
    window.toasts.clear()
    window.help.open_palette()
    palette = window.findChild(CommandPalette)
    assert palette is not None
    palette.line.setText("rate")
    yield "palette", palette
    palette.reject()
    opened: tuple[tuple[str, Callable[[], object], type[QDialog]], ...] = (
        ("dialog-shortcuts", window.help.show_shortcuts, ShortcutSheet),
        ("dialog-about", window.help.show_about, AboutDialog),
        ("dialog-what-now", lambda: window.help.explain(WARNING), ProblemDialog),
        ("dialog-diagnostics", window.help.show_diagnostics, DiagnosticsDialog),
    )
    for name, open_it, kind in opened:
        open_it()
        dialog = window.findChild(kind)
        assert dialog is not None
        QTest.qWait(1500)  # some dialogs load their content first
        yield name, dialog
        dialog.reject()
    yield from _engine_shots(window)
    window.tour.start()
    QTest.qWait(200)
    yield "tour", window
    window.tour.end()
    window.show_page("training")


def _engine_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield the engine setup: planned, running and failed."""
    half = Progress(stage="Downloading", done=1.2e9, total=3.2e9, unit="B", eta_s=90)
    scripts = {
        "plan": Script(),
        "progress": Script(half, hold=True),
        "failed": Script(plan=Failed(problem=NO_NETWORK)),
    }
    for name, script in scripts.items():
        control = EngineControl(make=script)
        dialog = EngineDialog(control, SetupRequest(), window)
        dialog.show()
        wait_until(lambda control=control: control.ending is not None, 10)
        if name == "progress":
            control.carry_out()
            wait_until(lambda control=control: control.share is not None, 10)
        yield f"engine-{name}", dialog
        dialog.reject()
        control.stop_background_work()


def training_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield a training from its first step to its verdict, a comparison, and the image export."""
    page: Any = window.pages["training"]
    window.show_page("training")
    window.launcher.request("train")
    wait_until(lambda: (window.jobs.progress.share or 0) > 0.6, 30)
    yield "training-running", window
    page.plot.read_at(100)
    yield "training-reading", window
    page.plot.read_at(None)
    if not window.jobs.running:  # on a busy machine, the pictures may take longer than the training
        window.launcher.request("train")
        wait_until(lambda: (window.jobs.progress.share or 0) > 0.1, 30)
    window.close()
    closing = window.findChild(CloseDialog)
    assert closing is not None
    yield "dialog-closing", closing
    closing.reject()
    wait_until(lambda: not window.jobs.running, 30)
    QTest.qWait(400)
    window.toasts.clear()
    yield "training-done", window
    page.curves.save_picture()
    dialog = page.curves.findChild(ImageExportDialog)
    yield "dialog-picture", dialog
    dialog.reject()
    window.launcher.request("train")  # another run to compare with
    wait_until(lambda: (window.jobs.progress.share or 0) > 0.5, 30)
    page.plot.bar.compare_opened.emit()
    page.plot.bar.compare.menu().actions()[0].trigger()
    page.plot.bar.strip.setCurrentIndex(page.plot.bar.strip.findData("grad_norm"))
    page.plot.bar.strip.activated.emit(0)
    QTest.qWait(500)
    page.plot.read_at(90)
    yield "training-compared", window
    page.plot.read_at(None)
    wait_until(lambda: not window.jobs.running, 30)
    QTest.qWait(300)
    window.toasts.clear()
    yield "training-done-compared", window


_LEAKED = events.Finding(
    code="lint.leaked",
    title="Validation rows in the training data",
    what="The loss on them would look better than it is.",
    count=4,
    rows=((0, 20), (0, 33), (0, 120), (0, 256)),
    severity="error",
    fix="drop_leaked",
)
WARNING = Problem(
    code="dataset.skipped",
    what="14 rows have nothing to train.",
    remedy="Their answers are empty; look at them under Findings.",
    where=Where(step="dataset"),
    severity="warning",
)


def main() -> None:
    """Take all screenshots, or those named on the command line."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    app = QApplication(sys.argv[:1])
    language.install(app, arguments.language)
    for mode in arguments.theme or THEMES:
        for width, height in SIZES:
            if arguments.width not in (None, width):
                continue
            with tempfile.TemporaryDirectory() as name:
                isolate_settings(Path(name))
                theme.apply(app, mode).set_text_size(arguments.text_size)
                for shot, widget in shots(Path(name)):
                    if isinstance(widget, Window):
                        widget.resize(width, height)
                    QTest.qWait(60)
                    if not arguments.only or shot.startswith(tuple(arguments.only)):
                        widget.grab().save(str(arguments.out / f"{shot}-{width}-{mode}.png"))
                app.sendPostedEvents(None, 52)  # QEvent.DeferredDelete


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--only", nargs="*", default=[], help="pictures whose names begin so")
    parser.add_argument("--theme", nargs="*", choices=THEMES, default=[])
    parser.add_argument("--width", type=int, choices=[width for width, _ in SIZES])
    parser.add_argument("--language", choices=list(language.LANGUAGES), default="en")
    parser.add_argument("--text-size", type=int, choices=SIZES_OF_TEXT, default=100)
    return parser.parse_args()


def isolate_settings(folder: Path) -> None:
    for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
        os.environ[f"LORA_STUDIO_{name}"] = str(folder / name.lower())
    file = folder / "scenario.json"
    file.write_text(json.dumps(scenario(folder)))
    os.environ["LORA_STUDIO_ENGINE"] = fake_engine.command_line(file)


def make_project(folder: Path) -> Path:
    target = folder / "Projects" / "support-bot"
    (target / "Llama-3.2-3B-Instruct").mkdir(parents=True)
    (target / "Llama-3.2-3B-Instruct" / "config.json").write_text("{}")
    shutil.copy(
        paths.get_resources_folder() / "sample" / "assistant.jsonl", target / "support.jsonl"
    )
    (target / "faq.csv").write_text("topic;question;reply\nShipping;How long?;Two days.\n")
    (target / "support-bot.lorastudio").write_text(
        'schema_version = 1\nname = "support-bot"\n[model]\n'
        'source = "./Llama-3.2-3B-Instruct"\nprecision = "4bit"\n'
        '[dataset]\nsources = ["support.jsonl", "faq.csv"]\n[export]\nquantizations = ["Q4_K_M", "Q8_0"]\n'
    )
    return target


_QUESTIONS = (
    "Where is my order?",
    "Do you ship abroad, and what does it cost to send a parcel to Norway?",
    "I would like to return a jacket that I bought three weeks ago.",
    "Which payment methods do you take?",
    "Can I change the delivery address after I have paid?",
)


def _rows(count: int) -> tuple[events.RowPreview, ...]:
    return tuple(
        model_facts.row(number + 1, _QUESTIONS[number % len(_QUESTIONS)]) for number in range(count)
    )


def _dataset(project: Path) -> events.DatasetInspected:
    """Return two sources: a certain one, and a table whose columns were guessed."""
    skipped = (
        events.Skipped(reason="the answer is empty", count=11, rows=(3, 9, 11, 40)),
        events.Skipped(reason="not valid JSON", count=3, rows=(77, 78, 402)),
    )
    first = model_facts.source(
        str(project / "support.jsonl"), rows=434, used=420, skipped=skipped,
        evidence="200 of 200 rows have instruction and output",
    )  # fmt: skip
    second = model_facts.source(
        str(project / "faq.csv"),
        container="CSV with ; and Windows-1252",
        format="question_answer",
        confidence=0.8,
        evidence="two columns of text, the first ends in a question mark in 91 % of rows",
        others=("prompt_completion",),
        columns=("topic", "question", "reply"),
        mapping={"question": "question", "answer": "reply"},
        examples=(
            '{"topic": "Shipping", "question": "How long does it take?", "reply": "Two days."}',
        ),
        rows=120,
        used=120,
        skipped=(),
    )
    return model_facts.dataset(
        sources=(first, second), rows_read=554, rows_used=540, skipped=skipped,
        preview=_rows(200),
    )  # fmt: skip


def _long_row() -> events.RowShown:
    """Return a row with a system message and several sentences, in ChatML."""
    texts = [
        ("<|im_start|>", 0, 1), ("system", 0, 0), ("\n", 0, 0), ("You", 0, 0), (" answer", 0, 0),
        (" customers", 0, 0), (" of", 0, 0), (" a", 0, 0), (" shop", 0, 0), (".", 0, 0),
        ("<|im_end|>", 0, 1), ("\n", 0, 0), ("<|im_start|>", 0, 1), ("user", 0, 0), ("\n", 0, 0),
        ("Where", 0, 0), (" is", 0, 0), (" my", 0, 0), (" order", 0, 0), ("?", 0, 0),
        ("<|im_end|>", 0, 1), ("\n", 0, 0), ("<|im_start|>", 0, 1), ("assistant", 0, 0),
        ("\n", 0, 0), ("On", 1, 0), (" its", 1, 0), (" way", 1, 0), (" to", 1, 0), (" you", 1, 0),
        (".", 1, 0), (" It", 1, 0), (" left", 1, 0), (" our", 1, 0), (" ware", 1, 0), ("house", 1, 0),
        (" yesterday", 2, 0), (" evening", 2, 0), (".", 2, 0), ("<|im_end|>", 2, 1),
    ]  # fmt: skip
    states: tuple[events.TokenState, ...] = ("context", "trained", "cut")
    tokens = tuple(
        events.Token(id=1000 + 37 * number, text=text, state=states[state], special=bool(special))
        for number, (text, state, special) in enumerate(texts)
    )
    preview = model_facts.row(1)
    raw = '{\n  "instruction": "Where is my order?",\n  "output": "On its way to you."\n}'
    return model_facts.shown(preview, tokens=tokens, raw=raw)


def _lengths() -> events.LengthsMeasured:
    return model_facts.lengths(
        [
            60 + (n * n * 7919) % 900 + (n % 17) * 60 + (2000 if n % 90 == 7 else 0)
            for n in range(540)
        ]
    )


def _planned() -> events.DatasetPlanned:
    lengths, skipped = (
        _lengths(),
        (events.Skipped(reason="the answer is empty", count=14, rows=(3,)),),
    )
    return model_facts.planned(
        rows_read=554, rows_train=513, rows_validation=27, rows_per_epoch=513, skipped=skipped,
        tokens=lengths.tokens * 513 // 540, trained_tokens=lengths.trained_tokens * 513 // 540,
        longest_row=lengths.percentiles[100], heaviest=lengths.heaviest,
    )  # fmt: skip


def _dataset_shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    page: Any = window.pages["dataset"]
    page.sources.cards[1].set_open(True)
    QTest.qWait(200)
    yield "dataset-mapping", window
    page.sources.cards[1].panel.slots["question"].combo.edited.emit("\0template")
    QTest.qWait(200)
    page.area.ensureWidgetVisible(page.sources.cards[1].panel.note)
    yield "dataset-template", window
    page.sources.cards[1].set_open(False)
    page.rows.detail.setCurrentIndex(1)
    QTest.qWait(200)
    yield "dataset-tokens", window
    page.tabs.setCurrentIndex(1)
    QTest.qWait(200)
    yield "dataset-lengths", window
    page.tabs.setCurrentIndex(2)
    QTest.qWait(200)
    yield "dataset-findings", window
    yield from classifier_shots.dataset_shots(window)
    page.tabs.setCurrentIndex(0)
    page.rows.detail.setCurrentIndex(0)


def _self_test(stage: str, top1: float, kl: float) -> events.SelfTested:
    return events.SelfTested(
        stage=stage,
        conversations=24,
        positions=1813,
        tokens_equal=True,
        top1=top1,
        kl=kl,
        top1_limit=0.9,
        kl_limit=0.1,
        passed=True,
    )


if __name__ == "__main__":
    main()
