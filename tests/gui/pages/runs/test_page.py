"""The Runs page: search, comparison, tags, actions and deletion, by keyboard and mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.formatting import format_size
from lora_studio.core.project import access_requests
from lora_studio.core.runs import grid_search, index
from lora_studio.core.runs.folder import RunFolder, list_runs
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.controls.controls import format_decimal
from lora_studio.gui.pages.runs.actions import DeleteDialog, GridDialog, parse_numbers
from lora_studio.gui.pages.runs.page import RunsPage
from lora_studio.gui.pages.runs.table import COLUMNS
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT
from tests.helpers.runs.many_runs import as_search, damage, make_runs
from tests.helpers.runs.runs_page import Parts

SHORT = [{"steps": 5, "seconds": 0.01}, {"make": ["adapter/adapter_model.safetensors"]}]


@pytest.fixture
def page(parts: Parts, project_folder: Path, qtbot: QtBot) -> RunsPage:
    """Return the visible page of a project with twelve runs."""
    make_runs(project_folder, 12)
    parts.page.on_shown()
    _wait_for_runs(parts.page, qtbot, 12)
    return parts.page


def _wait_for_runs(page: RunsPage, qtbot: QtBot, count: int) -> None:
    qtbot.waitUntil(
        lambda: len(page.library.runs) == count and not page.library.is_scanning, timeout=WAIT
    )


def _names(page: RunsPage) -> list[str]:
    return [run.folder for run in page.table.rows.shown]


def _choose(page: RunsPage, *indexes: int) -> list[str]:
    names = [_names(page)[index] for index in indexes]
    page.table.choose(names)
    page.table.setFocus()
    return names


def test_project_without_runs_shows_a_hint(
    parts: Parts, project_folder: Path, qtbot: QtBot
) -> None:
    parts.state.open(project_folder)
    shown = [item.text() for item in parts.page.content.currentWidget().findChildren(QLabel)]
    assert "No runs yet" not in shown, "they haven't been read"
    qtbot.waitUntil(lambda: not parts.page.library.is_scanning, timeout=WAIT)
    assert parts.page.content.currentIndex() == 0


def test_search_and_state_filter_the_table(page: RunsPage, qtbot: QtBot) -> None:
    qtbot.keyClick(page.table, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(page.search.hasFocus)
    qtbot.keyClicks(page.search, "rank=64 night")
    qtbot.keyClick(page.search, Qt.Key.Key_Return)
    assert [run.rank for run in page.table.rows.shown] == [64] * 3
    assert page.count.text() == "3 of 12"
    qtbot.keyClick(page.search, Qt.Key.Key_Escape)
    assert len(_names(page)) == 12
    page.filter.setCurrentIndex(page.filter.findData("failed"))
    page.filter.activated.emit(page.filter.currentIndex())
    assert [run.state for run in page.table.rows.shown] == ["failed"]
    assert str(page.table.rows.shown[0].reason) == "The disk is full."


def test_sorting_by_any_column_keeps_the_selection(page: RunsPage) -> None:
    chosen = _choose(page, 3)
    for number, column in enumerate(COLUMNS):
        for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
            page.table.sortByColumn(number, order)
            assert [run.folder for run in page.table.list_selected()] == chosen, column
    page.table.sortByColumn(COLUMNS.index("eval"), Qt.SortOrder.AscendingOrder)
    losses = [run.best_eval for run in page.table.rows.shown]
    assert losses == sorted(losses, key=lambda loss: loss or 0.0)


def test_ticked_runs_are_plotted_by_the_chosen_metric(page: RunsPage, qtbot: QtBot) -> None:
    names = _choose(page, 0, 1)
    qtbot.keyClick(page.table, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: [len(run.steps) for run in page.plot.runs] == [20, 20], timeout=WAIT)
    assert [page.table.rows.get_letter(name) for name in names] == ["A", "B"]
    choice = page.plot.choice
    choice.setCurrentIndex(choice.findData("eval:loss"))
    choice.activated.emit(choice.currentIndex())
    assert [len(trace.curve.steps) for trace in page.plot.chart.traces] == [4, 4]
    page.plot.setFocus()
    qtbot.keyClick(page.plot, Qt.Key.Key_End)
    assert page.plot.readout.text().startswith("step 20  ·  A ")
    title = page.plot.chart.measure_caption_height()
    assert title > 0
    assert page.plot.readout.y() >= title, "the plotted curves stay visible"
    qtbot.keyClick(page.table, Qt.Key.Key_Space)
    assert page.plot.runs == []


def test_number_of_ticked_runs_is_limited(page: RunsPage, parts: Parts) -> None:
    page.table.rows.tick(_names(page), True)
    assert len(page.table.rows.ticked) == 6
    assert "up to 6 runs" in parts.posted[-1]


def test_unreadable_run_does_not_stay_ticked(page: RunsPage, parts: Parts, qtbot: QtBot) -> None:
    (name,) = _choose(page, 0)
    page.library.run(name).events_file.unlink()
    page.table.rows.tick([name], True)
    qtbot.waitUntil(lambda: page.table.rows.ticked == [], timeout=WAIT)
    assert "events.jsonl" in str(parts.posted[-1])


def test_selected_runs_are_compared_by_different_settings(page: RunsPage) -> None:
    _choose(page, 0, 1)
    lines = page.side.settings.lines.lines
    assert [line.about.name for line in lines] == [
        "source", "rank", "alpha", "sources", "epochs", "learning_rate", "seed",
    ]  # fmt: skip
    assert all(line.differs for line in lines)
    page.side.settings.differences_only.click()
    everything = page.side.settings.lines.lines
    assert len(everything) > 60
    assert {line.about.name for line in everything if line.differs} == {
        line.about.name for line in lines
    }
    cell = page.side.settings.lines.index([line.about.name for line in lines].index("rank"), 0)
    assert page.side.settings.view.isVisible()
    assert cell.isValid()


def test_value_columns_share_the_available_width(page: RunsPage, qtbot: QtBot) -> None:
    _choose(page, 0, 1, 2)
    view = page.side.settings.view
    view.resize(900, 300)
    widths = [view.columnWidth(column) for column in range(1, 4)]
    assert view.viewport().width() - 3 <= view.columnWidth(0) + sum(widths) <= 900
    view.resize(200, 300)
    readable = view.columnWidth(1)
    assert readable >= 12 * view.fontMetrics().averageCharWidth()
    assert readable < widths[0]


def test_single_run_shows_settings_that_differ_from_defaults(page: RunsPage) -> None:
    _choose(page, 1)
    run = page.table.list_selected()[0]
    assert page.side.facts.get_facts()["Folder"] == run.folder
    shown = {line.about.name: line.values[0] for line in page.side.settings.lines.lines}
    assert shown["rank"] == run.rank
    assert "dropout" not in shown


def test_title_and_tags_are_saved_in_the_run(page: RunsPage, qtbot: QtBot) -> None:
    (name,) = _choose(page, 2)
    qtbot.keyClick(page.table, Qt.Key.Key_F2)
    qtbot.waitUntil(page.side.notes.title.hasFocus)
    qtbot.keyClicks(page.side.notes.title, "the polite one")
    qtbot.keyClick(page.side.notes.title, Qt.Key.Key_Return)
    page.side.notes.tags.setFocus()
    page.side.notes.tags.setText("polite, keep,polite")
    qtbot.keyClick(page.side.notes.tags, Qt.Key.Key_Return)
    about = page.library.run(name).read_about()
    assert (about.title, about.tags) == ("the polite one", ("polite", "keep"))
    _wait_for_runs(page, qtbot, 12)
    summary = page.library.get(name)
    assert summary is not None
    assert summary.name == "the polite one"


def test_typed_notes_are_saved_when_another_project_opens(
    page: RunsPage, parts: Parts, tmp_path: Path
) -> None:
    (name,) = _choose(page, 0)
    run = page.library.run(name)
    page.side.notes.notes.setPlainText("half a thought")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "other.lorastudio").write_text("schema_version = 3\n")
    parts.state.open(tmp_path / "other")
    assert run.read_about().notes == "half a thought"
    assert not (tmp_path / "other" / "runs").exists()


def test_tag_is_added_to_every_selected_run(page: RunsPage, qtbot: QtBot) -> None:
    names = _choose(page, 0, 1)
    before = [page.library.run(name).read_about().tags for name in names]
    qtbot.keyClick(page.table, Qt.Key.Key_T, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(page.side.notes.tags.hasFocus)
    qtbot.keyClicks(page.side.notes.tags, "keep")
    qtbot.keyClick(page.side.notes.tags, Qt.Key.Key_Return)
    after = [page.library.run(name).read_about().tags for name in names]
    assert after == [(*tags, "keep") for tags in before]


def test_enter_makes_a_run_the_current_one(page: RunsPage, parts: Parts, qtbot: QtBot) -> None:
    (name,) = _choose(page, 4)
    qtbot.keyClick(page.table, Qt.Key.Key_Return)
    assert parts.state.run == page.library.run(name)
    qtbot.waitUntil(lambda: not parts.jobs.is_following, timeout=WAIT)
    assert page.table.rows.current == name


def allow_run(run: RunFolder) -> None:
    """Record that the user has allowed what a run asks for."""
    access_requests.allow_requests(access_requests.list_run_requests(run.path, run.load_project()))


def test_settings_of_a_run_are_copied_in_one_undo_step(
    page: RunsPage, parts: Parts, qtbot: QtBot
) -> None:
    parts.state.set("training", "epochs", 7.0)
    _choose(page, 1)
    run = page.table.list_selected()[0]
    allow_run(page.library.run(run.folder))
    page.run_actions.actions["settings"].trigger()
    qtbot.waitUntil(lambda: parts.state.get("lora", "rank") == run.rank, timeout=WAIT)
    assert parts.state.get("training", "epochs") == run.get_value("training.epochs")
    assert parts.state.get("training", "seed") == run.get_value("training.seed")
    parts.state.undo.undo()
    assert parts.state.get("training", "epochs") == 7.0
    assert parts.state.get("lora", "rank") == 16


@pytest.mark.slow
def test_run_again_starts_a_run_with_the_same_settings(
    page: RunsPage, parts: Parts, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=SHORT)
    (name,) = _choose(page, 3)
    chosen = page.library.run(name)
    allow_run(chosen)
    page.run_actions.actions["repeat"].trigger()
    _wait_for_runs(page, qtbot, 13)
    qtbot.waitUntil(lambda: not parts.jobs.running and not parts.jobs.is_following, timeout=WAIT)
    new_run = list_runs(page.library.run(name).path.parent)[0]
    assert new_run.load_project() == page.library.run(name).load_project()
    assert new_run.read_state() == "trained"


@pytest.mark.slow
def test_continue_training_starts_from_the_adapter_of_the_run(
    page: RunsPage, parts: Parts, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=SHORT)
    (name,) = _choose(page, 0)
    page.run_actions.actions["continue"].trigger()
    _wait_for_runs(page, qtbot, 13)
    qtbot.waitUntil(lambda: not parts.jobs.running and not parts.jobs.is_following, timeout=WAIT)
    new_run = list_runs(page.library.run(name).path.parent)[0]
    assert new_run.load_project().lora.start_from == str(page.library.run(name).adapter)


def _open_deletion(page: RunsPage, qtbot: QtBot) -> DeleteDialog:
    qtbot.keyClick(page.table, Qt.Key.Key_Delete)
    dialog = QApplication.activeModalWidget()
    assert isinstance(dialog, DeleteDialog)
    return dialog


def test_deleted_runs_move_to_the_trash(
    page: RunsPage, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    names = _choose(page, 0, 2)
    parts.launcher.open_run(page.library.run(names[1]))
    qtbot.waitUntil(lambda: not parts.jobs.is_following, timeout=WAIT)
    dialog = _open_deletion(page, qtbot)
    size = sum(run.bytes for run in page.library.runs if run.folder in names)
    assert f"({format_size(size)})" in dialog.text.text()
    assert not dialog.checkpoints.isVisible()
    dialog.all.click()
    _wait_for_runs(page, qtbot, 10)
    assert not set(names) & set(_names(page))
    assert not any(page.library.run(name).path.exists() for name in names)
    assert parts.state.run is None
    trash = tmp_path / "home" / "Trash" / "files"
    assert {item.name for item in trash.iterdir()} == set(names)


def test_checkpoints_can_be_deleted_alone(
    page: RunsPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    name = _names(page)[0]
    run = page.library.run(name)
    run.checkpoint(5).mkdir(parents=True)
    (run.checkpoint(5) / "state.bin").write_bytes(bytes(7000))
    page.library.refresh()
    qtbot.waitUntil(
        lambda: (summary := page.library.get(name)) is not None and summary.checkpoints == 1,
        timeout=WAIT,
    )
    _choose(page, 0)
    dialog = _open_deletion(page, qtbot)
    assert dialog.checkpoints.text() == "Delete checkpoints only (7 kB)"
    dialog.checkpoints.click()
    qtbot.waitUntil(lambda: not run.checkpoints.exists(), timeout=WAIT)
    qtbot.waitUntil(lambda: not page.run_actions.tasks.busy, timeout=WAIT)
    assert run.adapter.is_dir()


def test_run_is_kept_and_reported_when_the_trash_fails(
    page: RunsPage, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    (tmp_path / "home").write_text("is no folder")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    (name,) = _choose(page, 0)
    _open_deletion(page, qtbot).all.click()
    qtbot.waitUntil(lambda: any("trash" in str(text) for text in parts.posted), timeout=WAIT)
    assert page.library.run(name).path.is_dir()


def test_run_in_use_is_not_deleted(page: RunsPage, parts: Parts, qtbot: QtBot) -> None:
    (name,) = _choose(page, 0)
    run = page.library.run(name)
    dialog = _open_deletion(page, qtbot)
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 1})  # another program starts a job meanwhile
    try:
        dialog.all.click()
        qtbot.waitUntil(lambda: any("is running" in text for text in parts.posted), timeout=WAIT)
    finally:
        lock.release()
    assert run.path.is_dir()


def test_missing_metrics_are_shown_in_list_and_curves(
    page: RunsPage, parts: Parts, qtbot: QtBot
) -> None:
    name = next(run.folder for run in page.table.rows.shown if run.step > 3)
    file = page.library.run(name).events_file
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"step":2,' not in line]
    assert len(kept) < len(lines)
    file.write_bytes(b"".join(kept))
    page.library.refresh()
    qtbot.waitUntil(
        lambda: (run := page.library.get(name)) is not None and bool(run.warning), timeout=WAIT
    )
    rows = page.table.rows
    row = [run.folder for run in rows.shown].index(name)
    index = rows.index(row, COLUMNS.index("state"))
    assert "⚠" in index.data()
    assert "1 step are missing: 2 to 2" in index.data(Qt.ItemDataRole.ToolTipRole)
    rows.tick([name], True)
    qtbot.waitUntil(lambda: any("missing" in text for text in parts.posted), timeout=WAIT)


def test_menu_enables_only_possible_actions(page: RunsPage, qtbot: QtBot) -> None:
    damage(page.library.run("x").path.parent.parent)
    page.library.refresh()
    _wait_for_runs(page, qtbot, 16)
    broken = next(run.folder for run in page.table.rows.shown if run.state == "unreadable")
    page.table.choose([broken])
    on = {name for name, action in page.run_actions.actions.items() if action.isEnabled()}
    assert on == {"rename", "tag", "csv", "folder", "delete"}


def test_right_click_selects_the_run_under_the_pointer(page: RunsPage, qtbot: QtBot) -> None:
    page.table.menu_requested.disconnect()
    position = page.table.visualRect(page.table.rows.index(2, 2)).center()
    with qtbot.waitSignal(page.table.menu_requested):
        page.table.customContextMenuRequested.emit(position)
    assert [run.folder for run in page.table.list_selected()] == [_names(page)[2]]


def test_shown_runs_are_exported_as_csv(page: RunsPage, tmp_path: Path, qtbot: QtBot) -> None:
    page.run_actions.write_csv(tmp_path / "runs.csv", page.table.rows.shown)
    qtbot.waitUntil(lambda: (tmp_path / "runs.csv").is_file(), timeout=WAIT)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 13


def test_home_and_end_select_the_first_and_last_run(page: RunsPage, qtbot: QtBot) -> None:
    names = _names(page)
    for key, expected in ((Qt.Key.Key_Home, names[0]), (Qt.Key.Key_End, names[-1])):
        page.table.clearSelection()
        qtbot.keyClick(page.table, key)
        assert [run.folder for run in page.table.list_selected()] == [expected]
    qtbot.keyClick(page.table, Qt.Key.Key_Home)
    assert [run.folder for run in page.table.list_selected()] == [names[0]]


def test_side_panel_tabs_fit_long_titles(page: RunsPage, qtbot: QtBot) -> None:
    bar = page.side.tabBar()
    page.side.setTabText(0, "Einstellungen des Laufs, die nicht die Vorgabe sind")
    page.side.show_grids(page.library.runs)
    page.resize(1096, 700)  # the default window size without the rail
    qtbot.waitUntil(lambda: bar.width() >= bar.sizeHint().width(), timeout=WAIT)


def test_single_listed_run_is_selected_and_ticked_by_keyboard(
    page: RunsPage, qtbot: QtBot, parts: Parts
) -> None:
    page.search.setText(page.table.rows.shown[0].folder)
    qtbot.keyClick(page.search, Qt.Key.Key_Return)
    page.table.selectionModel().clear()
    page.table.setFocus()
    qtbot.keyClick(page.table, Qt.Key.Key_Down)
    only = page.table.rows.shown[0].folder
    assert [run.folder for run in page.table.list_selected()] == [only]
    qtbot.keyClick(page.table, Qt.Key.Key_Space)
    assert only in page.table.rows.ticked


# --- grid search ----------------------------------------------------------------------------------


def test_grid_of_two_settings_is_queued(page: RunsPage, parts: Parts, qtbot: QtBot) -> None:
    parts.queue.pause()
    qtbot.mouseClick(page.header.primary, Qt.MouseButton.LeftButton)
    dialog = QApplication.activeModalWidget()
    assert isinstance(dialog, GridDialog)
    assert dialog.add.text() == "Add 9 runs to queue"
    assert dialog.total.text() == (  # as long as earlier runs
        "9 runs, about 10 min in total\nAlpha stays 2 × rank."
    )
    dialog.first.numbers.setText("8, 0")
    assert "from 1 to 1024" in dialog.first.error.text()
    assert not dialog.add.isEnabled()
    dialog.first.numbers.setText("8,64")
    dialog.second.choose("lora.rank")
    assert "already" in dialog.second.error.text()
    dialog.second.choose("training.schedule")
    for box, _ in dialog.second.boxes[:2]:
        box.click()
    assert dialog.list_axes() == [
        ("lora.rank", (8, 64)),
        ("training.schedule", ("linear", "cosine")),
    ]
    qtbot.keyClick(dialog.first.numbers, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(parts.queue.items) == 4, timeout=WAIT)
    _wait_for_runs(page, qtbot, 16)
    first = page.library.run(parts.queue.names[0]).load_project()
    assert (first.lora.rank, first.training.schedule) == (8, "linear")
    assert page.side.isTabVisible(3)


def test_grid_view_shows_the_best_eval_loss(page: RunsPage, qtbot: QtBot) -> None:
    as_search(list_runs(page.library.run("x").path.parent)[::-1])
    page.library.refresh()
    qtbot.waitUntil(lambda: page.side.grids.shown is not None, timeout=WAIT)
    table = page.side.grids.table
    assert [table.verticalHeaderItem(n).text() for n in range(4)] == ["8", "16", "32", "64"]
    assert [table.horizontalHeaderItem(n).text() for n in range(3)] == ["5e-5", "1e-4", "2e-4"]
    runs = {(run.rank, run.get_value("training.learning_rate")): run for run in page.library.runs}
    lowest = min(runs, key=lambda key: runs[key].best_eval or 9.0)
    assert page.side.grids.summary.text().endswith(
        f"with Rank {lowest[0]}, Learning rate {format_decimal(lowest[1])}."
    )
    table.item(1, 2).setSelected(True)
    assert [run.folder for run in page.table.list_selected()] == [runs[16, 2e-4].folder]


@pytest.mark.parametrize(
    ("text", "setting", "values"),
    [
        ("8 16  32", "lora.rank", [8, 16, 32]),
        ("8,16,32,", "lora.rank", [8, 16, 32]),
        ("0,05; 0,1", "lora.dropout", [0.05, 0.1]),
        ("1e-4, 2e-4", "training.learning_rate", [1e-4, 2e-4]),
        ("1k 2k tokens", "dataset.max_length", [1024, 2048]),
        ("5 % 10%", "lora.dropout", [0.05, 0.1]),
        ("8 many", "lora.rank", [8, "many"]),
        ("", "lora.rank", []),
    ],
    ids=[
        "spaces",
        "trailing-comma",
        "decimal-commas",
        "scientific",
        "units",
        "percent",
        "invalid-value",
        "empty",
    ],
)
def test_grid_values_are_parsed_by_their_field(
    text: str, setting: str, values: list[object]
) -> None:
    assert parse_numbers(text, grid_search.list_searchable_settings()[setting]) == values


@pytest.mark.slow
def test_two_thousand_runs_can_be_sorted_and_searched(
    window: Window, project_folder: Path, qtbot: QtBot
) -> None:
    make_runs(project_folder, 2000)
    index.read_summaries(project_folder / "runs")
    window.open_project(project_folder)
    window.show_page("runs")
    qtbot.waitUntil(lambda: window.runs.table.rows.rowCount() == 2000, timeout=WAIT)
    window.runs.table.sortByColumn(COLUMNS.index("eval"), Qt.SortOrder.AscendingOrder)
    window.runs.search.setText("gemma rank=8")
    window.runs.search.entered.emit()
    assert 0 < window.runs.table.rows.rowCount() < 2000


def test_project_can_be_changed_while_runs_are_scanned(
    page: RunsPage, parts: Parts, project_folder: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.lorastudio").write_text("schema_version = 3\n")
    make_runs(project_folder, 60)
    for folder in (other, project_folder) * 4:
        parts.state.open(folder)
        page.library.refresh()
        QApplication.processEvents()  # results of the previous scan may arrive now
    _wait_for_runs(page, qtbot, 60)


def test_table_layout_and_splitter_are_restored(
    page: RunsPage, project_folder: Path, qtbot: QtBot
) -> None:
    header = page.table.horizontalHeader()
    model = COLUMNS.index("model")
    header.resizeSection(model, 240)
    header.moveSection(header.visualIndex(COLUMNS.index("tags")), 1)
    page.table.sortByColumn(COLUMNS.index("loss"), Qt.SortOrder.AscendingOrder)
    preferences = Preferences()
    page.preferences = preferences
    page.splitter.moveSplitter(round(0.65 * sum(page.splitter.sizes())), 1)  # as a drag does
    page.stop_background_work()

    state = ProjectState()
    state.open(project_folder)
    again = Parts(state, Preferences.model_validate_json(preferences.model_dump_json()))
    again.page.resize(1700, 800)
    again.page.on_shown()
    _wait_for_runs(again.page, qtbot, 12)
    header = again.page.table.horizontalHeader()
    assert header.sectionSize(model) == pytest.approx(240, abs=4)
    assert header.visualIndex(COLUMNS.index("tags")) == 1
    assert header.sortIndicatorSection() == COLUMNS.index("loss")
    assert header.sortIndicatorOrder() == Qt.SortOrder.AscendingOrder
    first, second = again.page.splitter.sizes()
    assert first / (first + second) == pytest.approx(0.65, abs=0.03)
    again.stop_background_work()


def test_splitter_that_nobody_moved_keeps_its_place(page: RunsPage) -> None:
    page.preferences = Preferences(runs_shares=[40.0, 80.0])
    page.resize(640, 480)  # such as a page that isn't shown in a session
    page.stop_background_work()
    assert page.preferences.runs_shares == [40.0, 80.0]


def test_spare_width_goes_to_columns_with_cut_text(page: RunsPage) -> None:
    page.resize(1900, 800)
    page.table.resize(1600, 400)
    wide = page.table.columnWidth(COLUMNS.index("model"))
    page.table.resize(1000, 400)
    assert wide > page.table.columnWidth(COLUMNS.index("model"))


def test_selected_runs_are_copied_in_visible_column_order(page: RunsPage, qtbot: QtBot) -> None:
    _choose(page, 0, 1)
    header = page.table.horizontalHeader()
    header.moveSection(header.visualIndex(COLUMNS.index("state")), 0)
    qtbot.keyClick(page.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    assert len(lines) == 2
    assert lines[0][0] == page.table.rows.index(0, COLUMNS.index("state")).data()
    assert lines[0][1] == page.table.rows.index(0, COLUMNS.index("name")).data()
