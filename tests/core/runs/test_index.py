"""The index of runs: summaries, its cache, and damaged run folders."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import index as run_index
from lora_studio.core.runs import table
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunIndex, RunSummary
from lora_studio.core.system.locks import FileLock
from lora_studio.core.training.spec import TrainingSpec
from tests.helpers.runs.many_runs import damage, make_runs
from tests.helpers.runs.planted_evaluation import plant


def _append(run: RunFolder, *recorded: events.Event) -> None:
    with run.events_file.open("ab") as file:
        for event in recorded:
            file.write(events.to_line(event).encode() + b"\n")


def _step(step: int, loss: float, at: float) -> events.StepDone:
    return events.StepDone(
        id="t", time=at, step=step, steps=100, epoch=1.0, loss=loss, learning_rate=1e-4,
        grad_norm=1.0, tokens=1, tokens_per_s=1.0, memory_bytes=1,
    )  # fmt: skip


def _one(folder: Path, **specs: object) -> RunFolder:
    project = Project.model_validate({"name": "bot", **specs})
    return run_folder.create_run(folder / "runs", project, folder)


def _begun(at: float = 1000.0) -> list[events.Event]:
    return [
        events.Started(id="t", time=at, command="train"),
        events.TrainingStarted(
            id="t", time=at, steps=100, steps_per_epoch=50, effective_batch=8
        ),
    ]  # fmt: skip


def _read(folder: Path) -> RunSummary:
    (summary,) = run_index.read_summaries(folder / "runs")
    return summary


def test_scores_are_those_of_the_lowest_eval_loss(tmp_path: Path) -> None:
    run = _one(tmp_path)
    scores = [{"label_accuracy": 0.5, "macro_f1": 0.4}, {"label_accuracy": 0.9, "macro_f1": 0.8}]
    scores.append({"label_accuracy": 1.0, "macro_f1": 1.0})
    evaluated = [
        events.Evaluated(id="t", step=step, loss=loss, metrics=metrics | {"other": 2.0})
        for step, loss, metrics in zip((1, 2, 3), (0.9, 0.4, 0.6), scores, strict=True)
    ]
    _append(run, *_begun(), *evaluated)
    read = _read(tmp_path)
    assert read.best_scores == scores[1]
    assert (table.format_cell(read, "accuracy"), table.format_cell(read, "f1")) == ("90 %", "80 %")
    assert table.list_empty_columns([read]) == ["reward", "recall", "mrr"]
    found = RunSummary("b", best_scores={"recall_at_10": 0.75, "mrr": 0.5})
    assert [table.format_cell(found, column) for column in ("recall", "mrr")] == ["75 %", "0.500"]
    ordered = table.sort_runs([found, read], "f1", descending=True)
    assert [each.folder for each in ordered] == [read.folder, "b"]
    (cached,) = RunIndex(tmp_path / "runs").load()
    assert cached.best_scores == scores[1]


def test_summary_has_the_columns_of_the_table(tmp_path: Path) -> None:
    run = _one(
        tmp_path,
        model={"source": "org/some-model-1B"},
        lora=LoraSpec(rank=32),
        dataset={"sources": [{"path": "rows.jsonl"}, {"path": "more/letters.csv"}]},
        training=TrainingSpec(learning_rate=1e-4),
    )
    _append(run, *_begun(), _step(1, 2.0, 1010.0), events.Evaluated(id="t", step=1, loss=1.9))
    _append(run, _step(2, 1.5, 1020.0), events.Done(id="t", time=1060.0))
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").write_bytes(bytes(1000))
    summary = _read(tmp_path)
    assert (summary.name, summary.model, summary.data) == (
        "bot",
        "some-model-1B",
        "rows.jsonl, letters.csv",
    )
    assert (summary.rank, summary.loss, summary.best_eval, summary.step) == (32, 1.5, 1.9, 2)
    assert (summary.state, summary.seconds, summary.has_adapter) == ("trained", 60.0, True)
    assert summary.bytes == sum(
        file.stat().st_size for file in run.path.rglob("*") if file.is_file()
    )
    assert summary.settings["training.learning_rate"] == 1e-4
    assert "training.epochs" not in summary.settings
    assert summary.get_value("training.epochs") == TrainingSpec().epochs


def test_best_evaluation_ignores_steps_that_were_repeated(tmp_path: Path) -> None:
    run = _one(tmp_path)
    lines = [_step(10, 1.0, 1100), events.Evaluated(id="t", step=10, loss=1.4)]
    lines += [_step(20, 0.9, 1200), events.Evaluated(id="t", step=20, loss=1.1)]
    _append(run, *_begun(), *lines)
    assert _read(tmp_path).best_eval == 1.1
    again = events.TrainingStarted(
        id="u", time=2000, steps=100, step=15, steps_per_epoch=50, effective_batch=8
    )
    _append(run, events.Started(id="u", time=2000, command="train"), again)
    assert _read(tmp_path).best_eval == 1.4


def test_training_time_sums_attempts_without_pauses(tmp_path: Path) -> None:
    run = _one(tmp_path)
    _append(run, *_begun(1000), _step(1, 1.0, 1030), events.Done(id="t", time=1040, paused=True))
    _append(run, *_begun(5000), _step(2, 1.0, 5020))
    assert _read(tmp_path).seconds == 60.0


def test_missing_steps_are_a_warning_until_trained_again(tmp_path: Path) -> None:
    run = _one(tmp_path)
    damaged = b'{"kind":"step_done","step":3,"ste\n'
    _append(run, *_begun(), _step(1, 1.0, 1001.0), _step(2, 1.0, 1002.0))
    assert not _read(tmp_path).warning
    with run.events_file.open("ab") as file:
        file.write(damaged)
    _append(run, _step(4, 1.0, 1004.0))
    runs = RunIndex(tmp_path / "runs")
    (listed,) = list(runs.refresh())[-1]
    assert str(listed.warning).startswith("The metrics of 1 step are missing: 3 to 3.")
    (cached,) = RunIndex(tmp_path / "runs").load()
    assert cached.warning == listed.warning
    _append(run, *_begun(), _step(1, 1.0, 1011.0), _step(2, 1.0, 1012.0), _step(3, 1.0, 1013.0))
    (listed,) = list(runs.refresh())[-1]
    assert not listed.warning


def test_vanished_worker_leaves_interrupted_run_with_reason(tmp_path: Path) -> None:
    run = _one(tmp_path)
    _append(run, *_begun(time.time()), _step(1, 1.0, time.time()))
    run.checkpoint(1).mkdir(parents=True)
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 1})
    index = RunIndex(tmp_path / "runs")
    assert [run.state for run in list(index.refresh())[-1]] == ["running"]
    lock.release()  # no file of the run changes when its worker is killed
    (summary,) = list(index.refresh())[-1]
    assert (summary.state, summary.is_resumable) == ("interrupted", True)
    assert "process was killed" in str(summary.reason)


def test_run_older_than_the_boot_was_interrupted_by_shutdown(tmp_path: Path) -> None:
    _append(_one(tmp_path), *_begun(at=5.0))
    assert "shut down" in str(_read(tmp_path).reason)


def test_only_changed_runs_are_read_again(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, 30)
    run_index.read_summaries(tmp_path / "runs")
    index = RunIndex(tmp_path / "runs")
    read: list[str] = []

    def noted(names: object) -> list[str]:
        assert isinstance(names, list)
        read.extend(names)
        return names

    _append(runs[3], _step(99, 0.5, 9e9))
    runs[5].write_about(RunAnnotations(title="the good one"))
    runs[7].checkpoint(3).mkdir(parents=True)
    summaries = {run.folder: run for run in list(index.refresh(noted))[-1]}
    assert read == [runs[n].path.name for n in (3, 5, 7)]
    assert summaries[runs[3].path.name].loss == 0.5
    assert summaries[runs[5].path.name].name == "the good one"
    assert summaries[runs[7].path.name].checkpoints == 1


def test_score_of_an_evaluation_is_read_and_cached(tmp_path: Path) -> None:
    (run,) = make_runs(tmp_path, 1, steps=3)
    (before,) = run_index.read_summaries(tmp_path / "runs")
    plant(run)
    (after,) = run_index.read_summaries(tmp_path / "runs")
    assert before.answers is None
    assert after.answers is not None
    assert RunIndex(tmp_path / "runs").load() == [after]
    plant(run, complete=False)
    (partial,) = run_index.read_summaries(tmp_path / "runs")
    assert partial.answers == after.answers


def test_answer_score_is_out_of_date_once_the_adapter_changed(tmp_path: Path) -> None:
    run = _one(tmp_path)
    run.update_manifest(checksums={"adapter": {"adapter_model.safetensors": [8, 1]}})
    plant(run, rows=12, general=6)
    (before,) = run_index.read_summaries(tmp_path / "runs")
    assert before.answers is not None
    assert not before.answers.is_outdated
    run.update_manifest(checksums={"adapter": {"adapter_model.safetensors": [8, 2]}})
    _append(run, events.Done(id="t", time=2000.0))  # as a continued training ends
    (after,) = run_index.read_summaries(tmp_path / "runs")
    assert after.answers is not None
    assert after.answers.is_outdated
    assert after.answers.score == before.answers.score


def test_cached_summaries_load_without_reading_runs(tmp_path: Path) -> None:
    make_runs(tmp_path, 12)
    before = run_index.read_summaries(tmp_path / "runs")
    assert RunIndex(tmp_path / "runs").load() == before
    assert len(before) == 12
    assert before == sorted(before, key=lambda run: run.created, reverse=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"LoRA Studio runs 0\n{}\n", b"\xff\x00"],
    ids=["empty", "truncated", "list", "older-version", "not-utf8"],
)
def test_damaged_or_foreign_cache_is_rebuilt(tmp_path: Path, content: bytes) -> None:
    make_runs(tmp_path, 3)
    cache = tmp_path / "runs" / run_index.CACHE
    cache.write_bytes(content)
    assert len(run_index.read_summaries(tmp_path / "runs")) == 3
    assert len(cache.read_text().splitlines()) == 4


def test_damaged_cache_line_drops_only_that_run(tmp_path: Path) -> None:
    make_runs(tmp_path, 3)
    run_index.read_summaries(tmp_path / "runs")
    cache = tmp_path / "runs" / run_index.CACHE
    head, first, *rest = cache.read_text().splitlines()
    cache.write_text("\n".join([head, first[:40], *rest]))
    assert len(RunIndex(tmp_path / "runs").load()) == 2
    assert len(run_index.read_summaries(tmp_path / "runs")) == 3


def test_damaged_run_folder_is_listed_with_a_reason(tmp_path: Path) -> None:
    make_runs(tmp_path, 2)
    reasons = damage(tmp_path)
    (tmp_path / "runs" / "a file").write_text("is no run")
    (tmp_path / "runs" / ".being-made.tmp").mkdir()
    summaries = {run.folder: run for run in run_index.read_summaries(tmp_path / "runs")}
    assert len(summaries) == 2 + len(reasons)
    for name, word in reasons.items():
        assert summaries[name].state == "unreadable"
        assert word in str(summaries[name].reason)


def test_run_with_unreadable_settings_is_listed(tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260101-000001-x" / "project.toml").mkdir(parents=True)
    assert _read(tmp_path).state == "unreadable"


def test_missing_runs_folder_gives_no_runs(tmp_path: Path) -> None:
    assert run_index.read_summaries(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_search_covers_names_tags_notes_and_settings(tmp_path: Path) -> None:
    run = _one(tmp_path, model={"source": "org/Llama-1B"}, lora=LoraSpec(rank=64))
    run.write_about(RunAnnotations(tags=(" night , shift ", "night"), notes="Rude answers"))
    summary = _read(tmp_path)
    assert summary.tags == ("night", "shift")
    for text in ("LLAMA", "rank=64", "night rude", "bot shift", ""):
        assert table.is_match(summary, text)
    assert not table.is_match(summary, "night rank=8")


def test_search_matches_default_settings_in_any_notation(
    tmp_path: Path,
) -> None:
    _one(tmp_path, lora=LoraSpec(rank=16), training=TrainingSpec(learning_rate=1e-4))
    summary = _read(tmp_path)
    for text in ("rank=16", "learning_rate=1e-4", "learning_rate=0.0001", "epochs=3"):
        assert table.is_match(summary, text)
    for text in ("rank=8", "learning_rate=2e-4", "rank=", "no_setting=1", "=16"):
        assert not table.is_match(summary, text)


def test_differences_follow_the_order_of_the_specs(tmp_path: Path) -> None:
    for rank, rate in ((8, 1e-4), (16, 2e-4)):
        _one(tmp_path, lora=LoraSpec(rank=rank), training=TrainingSpec(learning_rate=rate))
    summaries = run_index.read_summaries(tmp_path / "runs")
    differences = {
        name: sorted(values) for name, values in table.find_differences(summaries).items()
    }
    assert differences == {"lora.rank": [8, 16], "training.learning_rate": [1e-4, 2e-4]}
    assert list(differences) == ["lora.rank", "training.learning_rate"]
    everything = table.find_differences(summaries, everything=True)
    assert everything["training.epochs"] == [TrainingSpec().epochs] * 2


def test_runs_without_a_value_sort_last() -> None:
    runs = [RunSummary("a", loss=2.0), RunSummary("b"), RunSummary("c", loss=1.0)]
    names = [run.folder for run in table.sort_runs(runs, "loss", descending=False)]
    assert names == ["c", "a", "b"]
    names = [run.folder for run in table.sort_runs(runs, "loss", descending=True)]
    assert names == ["a", "c", "b"]


def test_csv_contains_only_settings_that_differ(tmp_path: Path) -> None:
    for rank in (8, 16):
        _one(tmp_path, lora=LoraSpec(rank=rank))
    lines = list(
        csv.DictReader(table.to_csv(run_index.read_summaries(tmp_path / "runs")).splitlines())
    )
    assert sorted(line["lora.rank"] for line in lines) == ["16", "8"]
    assert "lora.alpha" not in lines[0]


def test_annotating_a_missing_run_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "file" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ProblemError, match="the run no longer exists"):
        run.write_about(RunAnnotations(title="x"))


def test_latest_run_is_one_that_has_started(tmp_path: Path) -> None:
    first, waiting = _one(tmp_path), _one(tmp_path)
    assert run_folder.find_latest(tmp_path / "runs") == max(
        first, waiting, key=lambda run: run.path.name
    )
    _append(first, *_begun())
    assert run_folder.find_latest(tmp_path / "runs") == first


def test_interrupted_merge_is_not_resumable(tmp_path: Path) -> None:
    run = _one(tmp_path)
    _append(run, *_begun(), _step(1, 1.0, 1010), events.Done(id="t", time=1020))
    run.checkpoint(1).mkdir(parents=True)
    _append(run, events.Started(id="m", time=2000, command="merge"))
    summary = _read(tmp_path)
    assert (summary.state, summary.command, summary.is_resumable) == ("interrupted", "merge", False)
    _append(run, events.Started(id="u", time=3000, command="train"))
    assert _read(tmp_path).is_resumable
