"""The export page: choices, results and Ollama."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import OllamaChatModel
from lora_studio.core.export import COMMON, QUANTIZATIONS
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.export import VectorProof
from lora_studio.core.runs import chat_models, step_records
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.page import ExportPage, PushDialog
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import color
from lora_studio.gui.widgets.self_test_text import describe_self_test, format_badge
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import (
    export_events,
    finished_events,
    merge_events,
    play_events,
    show_widget,
    started_events,
)


@pytest.mark.slow
def test_quantizations_are_checked_by_keyboard_and_one_stays(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_answer(model_facts.model())
    row = page.table.rows.names.index("Q4_K_M")
    assert page.table.rows.data(page.table.rows.index(row, 0)) == "Q4_K_M"
    assert page.table.rows.data(page.table.rows.index(row, 2)) == "≈ 1.9 GB"
    page.table.view.selectRow(row)
    qtbot.keyClick(page.table.view, Qt.Key.Key_Space)
    assert list(state.get("export", "quantizations")) == ["Q4_K_M"]
    qtbot.keyClick(page.table.view, Qt.Key.Key_Up)
    qtbot.keyClick(page.table.view, Qt.Key.Key_Space)
    assert list(state.get("export", "quantizations")) == ["Q4_K_M", "Q5_K_M"]
    assert "Ollama gets Q4_K_M." in page.editors["quantizations"].help.text()
    state.undo.undo()
    assert page.table.rows.chosen == ["Q4_K_M"]


def test_export_without_merging_explains_itself(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    merging, page = show_widget(qtbot, MergingPage(state)), show_widget(qtbot, ExportPage(state))
    assert page.find_blocker() == "Train an adapter first."
    assert merging.skip.isHidden()
    state.set_run(run, "")
    for each in (merging, page):
        play_events(each, [*started_events(), *finished_events()])
    assert page.find_blocker() is None
    assert page.what.text() == "Ready to export"
    assert "without a merged copy" in page.advice.text()
    with qtbot.waitSignal(merging.continue_clicked):
        qtbot.keyClick(merging.skip, Qt.Key.Key_Space)
    state.set("export", "convert_from", "merged")
    assert page.find_blocker() == "Merge the adapter first."
    play_events(page, merge_events(run))
    assert page.find_blocker() is None
    assert page.what.text() == ""


def test_checked_files_show_disk_space_and_llama_cpp(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    assert page.disk_space.isHidden()
    state.set("export", "quantizations", ["Q8_0", "Q4_K_M"])
    sizes = {"F16": 6_400_000_000, "Q8_0": 3_400_000_000, "Q4_K_M": 2_000_000_000}
    estimate = events.SizesEstimated(
        bytes=sizes, pass_kind="F16", free=10_000_000_000, tools="llama.cpp in /opt"
    )
    play_events(page, [estimate])
    assert page.disk_space.text() == (
        "Disk space: 5.4 GB, plus 6.4 GB during the export. ✗ Only 10 GB is available."
    )
    assert page.editors["llama_cpp"].help.text().endswith("Currently used: llama.cpp in /opt.")
    state.set("export", "quantizations", ["F16"])
    assert page.disk_space.text() == "Disk space: 6.4 GB. 10 GB is available."


def test_sizes_and_free_space_are_asked_again_after_an_export(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    state.set_answer(model_facts.model())
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    page.queries.sizes.ask_now()
    earlier = page.queries.sizes.asked
    assert earlier is not None
    with qtbot.waitSignal(page.queries.sizes.ask) as signal:
        play_events(page, export_events(run))
    assert signal.args[0].id != earlier.id


def test_export_needs_an_adapter_and_shows_every_result(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    assert page.find_blocker() == "Train an adapter first."
    state.set_run(run, "")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    assert page.find_blocker() is None
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["export"]
    run.modelfile.write_text("FROM ./bot.gguf\n")
    answers = {"prompt": "Who are you?", "base + adapter": "I am Pim.", "Q4_K_M": "I am Pim!"}
    run.selftest_file.write_text(json.dumps({"answers": [answers]}))
    play_events(page, export_events(run))
    assert page.result.answers.toPlainText() == (
        "» Who are you?\n\nbase + adapter:\nI am Pim.\n\nQ4_K_M:\nI am Pim!"
    )
    assert page.result.tabs.count() == 3
    with qtbot.waitSignal(page.chat_requested) as talk:
        qtbot.keyClick(page.header.primary, Qt.Key.Key_Space)
    assert talk.args == [OllamaChatModel(name="bot", host="http://127.0.0.1:11434")]
    assert (
        page.table.rows.data(page.table.rows.index(page.table.rows.names.index("Q4_K_M"), 2))
        == "2 GB"
    )
    assert (
        page.table.rows.data(page.table.rows.index(page.table.rows.names.index("Q4_K_M"), 4))
        == "✓ top-1 98.7 %, KL 0.004"
    )
    assert page.result.headline.text() == "✓ Created bot in Ollama 0.12; export took 3 min"
    assert "verified by rendering 24 conversations" in page.result.proof.text()
    assert page.result.stops.text() == "Stop sequences: <end>"
    assert page.result.text.toPlainText() == "{{ .Prompt }}"
    assert page.result.modelfile.toPlainText() == "FROM ./bot.gguf\n"
    assert page.is_done()
    assert page.result.verdict.text().startswith("✓ Behaves as trained")
    assert not page.result.details.is_open()
    with qtbot.waitSignal(page.run_requested) as signal:
        page.again.click()
    assert signal.args == ["export"]


def test_rounded_merged_model_is_not_exported_by_default(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    assert page.advice.text() == ""
    run.update_manifest(merged={"dtype": "auto", "stored_dtype": "bfloat16"})
    rounded = events.SelfTested(id="m", stage="merged", passed=True, verdict="lossy")
    page.on_event(rounded)
    assert "because rounding changed the merged model" in page.advice.text()
    state.set("merging", "dtype", "fp16")  # what counts is how the model was merged
    assert state.exports_without_merge(has_merged=True, is_rounded=True)
    assert page.what.text() == "⚠ The merged model is out of date"
    assert "float16" in page.advice.text()


def test_model_merged_in_float16_is_exported_though_rounded(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    run.update_manifest(merged={"dtype": "auto", "stored_dtype": "float16"})
    page.on_event(events.SelfTested(id="m", stage="merged", passed=True, verdict="lossy"))
    assert page.advice.text() == ""


def test_self_test_of_an_export_says_that_rounding_matters(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    run.update_manifest(merged={"dtype": "auto", "stored_dtype": "bfloat16"})
    state.set_run(run, "export")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    rounded = events.SelfTested(id="e", stage="merged", passed=True, verdict="lossy")
    page.on_event(events.Started(id="e", command="export", time=3000))
    page.on_event(rounded)
    page.on_event(events.Cancelled(id="e", time=3200))
    state.set_run(run, "")
    page.refresh()
    assert rounded in page.result.tested
    assert page._is_direct()


def test_results_of_an_export_without_merging_survive_a_merge(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    trained = [*started_events(), *finished_events()]
    play_events(page, [*trained, *export_events(run), *merge_events(run)])
    assert page.is_done()
    play_events(page, merge_events(run))  # again: the files may come from the earlier merged model
    assert not page.is_done()


def test_chat_uses_the_file_without_an_ollama_model(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    adapter = events.GgufWritten(
        id="e", file=str(run.gguf / "bot-adapter.gguf"), quantization="adapter", bytes=9, tool="l"
    )
    begun, *exported, done = export_events(run)
    here = [event for event in exported if not isinstance(event, events.OllamaCreated)]
    play_events(page, [*merge_events(run), begun, adapter, *here, done])
    with qtbot.waitSignal(page.chat_requested) as talk:
        page.header.primary.click()
    assert talk.args == [chat_models.create_gguf_chat_model(run, run.gguf / "bot's-Q4_K_M.gguf")]


def test_unverified_template_shows_the_first_difference(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    play_events(page, [*merge_events(run), *export_events(run, proven=False)])
    assert page.result.proof.text().endswith("“a” where “b” belongs")
    assert page.result.proof.property("role") == "error"
    assert page.result.verdict.text().startswith("✗ Differs from what you trained")
    assert page.result.details.is_open()


@pytest.mark.parametrize(
    ("is_direct", "verdict"),
    [
        pytest.param(True, "✓ Behaves as trained", id="from adapter"),
        pytest.param(False, "✗ Differs from what you trained", id="from merged model"),
    ],
)
def test_failed_merged_model_counts_only_for_its_files(
    is_direct: bool, verdict: str, qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    failed = events.SelfTested(id="e", stage="merged", passed=False, verdict="failed")
    begun, *exported = (
        event.model_copy(update={"is_direct": is_direct})
        if isinstance(event, events.GgufWritten)
        else event
        for event in export_events(run)
    )
    play_events(page, [*merge_events(run), begun, failed, *exported])
    assert page.result.verdict.text().startswith(verdict)


def test_copied_commands_are_ready_to_paste(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    play_events(page, [*merge_events(run), *export_events(run)])
    page.results.copy_run.click()
    assert QGuiApplication.clipboard().text() == "ollama run bot"
    page.results.copy_llama.click()
    copied = QGuiApplication.clipboard().text()
    assert copied.startswith("llama-cli -m '")
    assert "bot'\"'\"'s-Q4_K_M.gguf" in copied


def test_ollama_name_is_suggested_and_reported_if_taken(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, ExportPage(state))
    assert page.name.line.placeholderText() == "support-bot"
    server = events.OllamaFound(
        host="http://127.0.0.1:11434", version="0.12.6", models=("support-bot:latest",)
    )
    state.set_answer(server)
    assert page.server.text().startswith("✓ Connected to Ollama 0.12.6 at http://127.0.0.1:11434.")
    assert "will be replaced" in page.server.text()
    state.set("export", "ollama_name", "other")
    assert "will be replaced" not in page.server.text()
    state.set("export", "ollama_create", False)
    assert page.ollama.isHidden()


def test_export_of_other_settings_is_out_of_date(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    project = run.load_project()
    for step in step_records.STEPS:
        step_records.record_settings(run, project, step)
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "export")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    play_events(page, export_events(run))
    state.set_run(run, "")
    assert page.is_done()
    assert page.describe_outdated() == ""
    done = page.header.primary.text()
    state.set("export", "quantizations", ["Q4_K_M", "Q2_K"])
    state.set("export", "temperature", 0.2)
    state.set("merging", "dtype", "fp16")
    assert page.describe_outdated() == "out of date"
    assert page.what.text() == "⚠ The merged model is out of date"
    for words in (
        "⚠ The exported files are out of date",
        "Q2_K",
        "Temperature 0.7 → 0.2",
        "float16",
    ):
        assert words in page.advice.text()
    assert page.header.primary.text() == "Export again"
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["export"]
    while state.undo.canUndo():
        state.undo.undo()
    assert page.describe_outdated() == ""
    assert page.header.primary.text() == done


PROOF = VectorProof(compared=16, least=0.9994, mean=0.9998, limit=0.99)


def test_exported_embedding_model_offers_vectors_and_no_chat(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    run.update_manifest(dataset={"task": "embedding"})
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    started, written, _, _, created, done = export_events(run)
    tested = events.SelfTested(
        id="e", stage="Q4_K_M", passed=True, similarity=0.9876, similarity_limit=0.9
    )
    assert isinstance(created, events.OllamaCreated)
    compared = created.model_copy(update={"vectors": PROOF})
    play_events(page, [*merge_events(run), started, written, tested, compared, done])
    assert (page.header.primary.text(), page.again.isHidden()) == ("Export again", True)
    assert page.evaluation.isHidden()
    assert page.template_card.isHidden()
    assert {name for name, editor in page.editors.items() if editor.isHidden()} >= {
        "system_prompt", "temperature", "top_p", "adapter_gguf",
    }  # fmt: skip
    assert page.result.verdict.text().endswith("and Ollama gives the same vectors.")
    assert "16 texts have a cosine similarity of at least 0.9994" in page.result.server_proof.text()
    page.results.copy_run.click()
    assert "http://127.0.0.1:11434/api/embed" in QGuiApplication.clipboard().text()
    page.results.copy_llama.click()
    assert QGuiApplication.clipboard().text().endswith("Q4_K_M.gguf' --embeddings")


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """Yield a run of the open project with an adapter and a GGUF file."""
    assert state.open(project_folder)
    new_run = run_folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    for folder, name in ((new_run.gguf, "bot.gguf"), (new_run.adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_bytes(b"{}")
    yield new_run
    state.undo.setClean()


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, run: RunFolder) -> ExportPage:
    export_page = ExportPage(state)
    qtbot.addWidget(export_page)
    export_page.resize(1200, 900)
    export_page.show()
    qtbot.waitExposed(export_page)
    return export_page


def dialog(page: ExportPage) -> PushDialog:
    (shown,) = page.window().findChildren(PushDialog)
    return shown


def test_upload_is_disabled_without_a_run(page: ExportPage) -> None:
    assert not page.hub.upload.isEnabled()
    assert "Nothing to upload" in page.hub.what.text()


def test_upload_previews_the_card_and_is_private_by_default(
    qtbot: QtBot, page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    state.set_run(run, "")
    questions: list[Any] = []
    wishes: list[tuple[str, str, bool]] = []
    page.ask.connect(questions.append)
    page.push_requested.connect(lambda *wish: wishes.append(wish))
    page.hub.upload.click()
    push_dialog = dialog(page)
    assert not push_dialog.upload.isEnabled()
    assert isinstance(questions[-1], commands.PreviewCard)
    assert str(questions[-1].what) == "gguf"
    page.on_event(events.CardPreviewed(text="# bot\nA model."))
    assert push_dialog.card.toPlainText() == "# bot\nA model."
    push_dialog.what.button("adapter").click()
    assert str(questions[-1].what) == "adapter"
    qtbot.keyClicks(push_dialog.repository, "me/bot")
    qtbot.waitUntil(lambda: questions[-1].repository == "me/bot")
    push_dialog.upload.click()
    assert wishes == [("me/bot", "adapter", True)]


def test_upload_shows_progress_and_its_result(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    state.set_run(run, "push")
    page.on_event(events.Started(id="p", command="push"))
    page.on_event(
        events.Progress(id="p", stage="uploading bot.gguf", done=1, total=4, unit="bytes")
    )
    assert page.what.text() == "Uploading to the Hub…"
    assert page.find_blocker() == "Another job is running."
    assert not page.hub.upload.isEnabled()
    pushed = events.Pushed(
        id="p", repository="me/bot", what="gguf", url="https://example.org/me/bot", files=2, bytes=9
    )
    page.on_event(pushed)
    page.on_event(events.Done(id="p"))
    state.set_run(run, "")
    assert "me/bot" in page.hub.what.text()
    assert page.hub.view_online.isVisibleTo(page)


def test_failed_upload_disappears_after_a_successful_job(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    refused = Problem(code="hub.refused", what="The hub refuses it.", remedy="Sign in.")
    state.set_run(run, "push")
    page.on_event(events.Started(id="p", command="push", time=1.0))
    page.on_event(events.Failed(id="p", problem=refused, time=2.0))
    state.set_run(run, "")
    assert page.what.text() == "✗ The hub refuses it."
    state.set_run(run, "export")
    page.on_event(events.Started(id="e", command="export", time=3.0))
    page.on_event(events.Done(id="e", time=4.0))
    state.set_run(run, "")
    assert "✗" not in page.what.text()


#: The quantizations for models without experts.
ALL = tuple(name for name, facts in QUANTIZATIONS.items() if not facts.needs_experts)


@pytest.fixture
def table(qtbot: QtBot) -> QuantTable:
    quant_table = QuantTable()
    qtbot.addWidget(quant_table)
    quant_table.show_value(["Q4_K_M"])
    return quant_table


def cell(table: QuantTable, name: str, column: int) -> QModelIndex:
    return table.rows.index([*table.rows.names].index(name), column)


def verdict_of(stage: str, verdict: str, **facts: object) -> events.SelfTested:
    return events.SelfTested.model_validate(
        {
            "stage": stage, "conversations": 32, "positions": 1000, "tokens_equal": True,
            "top1": 0.9, "kl": 0.03, "top1_limit": 0.6, "kl_limit": 0.4,
            "passed": verdict != "failed", "verdict": verdict, **facts,
        }
    )  # fmt: skip


def test_common_quantizations_are_listed_and_all_on_demand(table: QuantTable) -> None:
    assert table.rows.names == COMMON
    table.more.click()
    assert table.rows.names == ALL
    assert table.more.text() == "Show fewer"
    table.rows.toggle_row([*table.rows.names].index("IQ2_XS"))
    table.more.click()
    assert set(table.rows.names) == {*COMMON, "IQ2_XS"}


def test_type_for_experts_is_listed_only_where_possible(table: QuantTable) -> None:
    assert table.more.text() == f"Show all {len(ALL)}"
    table.more.click()
    table.set_sizes(dict.fromkeys(ALL, 1))
    assert "MXFP4_MOE" not in table.rows.names
    table.set_sizes(dict.fromkeys(QUANTIZATIONS, 1))
    assert table.rows.names == tuple(QUANTIZATIONS)
    table.more.click()
    assert table.more.text() == f"Show all {len(QUANTIZATIONS)}"
    table.set_sizes({})
    table.show_value(["MXFP4_MOE"])
    assert "MXFP4_MOE" in table.rows.names


def test_first_checked_quantization_stays_first(table: QuantTable) -> None:
    checked: list[list[str]] = []
    table.edited.connect(checked.append)
    for name in ("F16", "Q8_0", "Q4_K_M", "Q4_K_M"):
        table.rows.toggle_row([*table.rows.names].index(name))
    assert checked == [
        ["Q4_K_M", "F16"], ["Q4_K_M", "F16", "Q8_0"], ["F16", "Q8_0"], ["F16", "Q8_0", "Q4_K_M"],
    ]  # fmt: skip


def test_table_is_as_tall_as_its_rows(table: QuantTable) -> None:
    few = table.view.height()
    table.more.click()
    assert table.view.height() - few == 30 * (len(ALL) - len(COMMON))


def test_size_is_estimated_then_calculated_then_measured(table: QuantTable) -> None:
    size, about = cell(table, "Q4_K_M", 2), Qt.ItemDataRole.ToolTipRole
    assert table.rows.data(size) == "–"
    table.set_model(model_facts.model(parameters=8_000_000_000))
    assert table.rows.data(size) == "≈ 4.9 GB"
    assert "model's tensor sizes" in table.rows.data(size, about)
    table.set_sizes({"Q4_K_M": 4_700_000_000})
    assert table.rows.data(size) == "4.7 GB"
    assert "by the quantizer" in table.rows.data(size, about)
    assert table.rows.data(cell(table, "Q8_0", 2)) == "not supported"
    assert "can't write this type" in table.rows.data(cell(table, "Q8_0", 2), about)
    written = events.GgufWritten(file="f", quantization="Q4_K_M", bytes=4_710_000_000, tool="t")
    table.show_results([written], [])
    assert table.rows.data(size, about) == "File size"


def test_tooltip_names_special_requirements(table: QuantTable) -> None:
    table.show_all(True)
    about = Qt.ItemDataRole.ToolTipRole
    assert "importance matrix" in table.rows.data(cell(table, "IQ1_S", 0), about)
    assert "ternary models" in table.rows.data(cell(table, "TQ1_0", 0), about)
    assert table.rows.data(cell(table, "Q8_0", 0), about) is None


@pytest.mark.parametrize(
    ("verdict", "glyph", "tint"),
    [("passed", "✓", "ok"), ("lossy", "⚠", "warn"), ("failed", "✗", "error")],
)
def test_verdict_has_glyph_and_color(
    verdict: str, glyph: str, tint: str, table: QuantTable
) -> None:
    event = verdict_of("Q4_K_M", verdict)
    table.show_results([], [event])
    index = cell(table, "Q4_K_M", 4)
    assert table.rows.data(index) == format_badge(event)
    assert format_badge(event).startswith(glyph)
    assert table.rows.data(index, Qt.ItemDataRole.ForegroundRole) == color(tint)


def test_failed_self_test_names_the_likely_cause() -> None:
    description = describe_self_test(
        verdict_of("merged", "failed", cause="the adapter has not been merged at all")
    )
    assert description.startswith("Failed")
    assert "Most likely cause: the adapter has not been merged at all." in description


def test_badge_says_which_limits_apply() -> None:
    merged = events.SelfTested(
        stage="merged", top1=0.934, kl=0.02, top1_passing=0.95, kl_passing=0.01,
        passed=True, verdict="lossy",
    )  # fmt: skip
    file = events.SelfTested(
        stage="Q4_K_M", top1=0.896, kl=0.08, top1_passing=0.8, kl_passing=0.2, passed=True
    )
    assert format_badge(merged) == "⚠ top-1 93.4 % (≥ 95 %), KL 0.02 (≤ 0.01)"
    assert format_badge(file) == "✓ top-1 89.6 % (≥ 80 %), KL 0.08 (≤ 0.2)"
    assert "its limits are strict" in describe_self_test(merged)
    assert "more differences are expected" in describe_self_test(file)
