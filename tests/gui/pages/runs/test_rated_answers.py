"""The Runs page shows the best and the worst answer of a run of reward training."""

from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import ShownAnswer
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.runs.folder import RunFolder
from tests.gui.conftest import WAIT
from tests.helpers.runs.many_runs import make_runs
from tests.helpers.runs.runs_page import Parts


def _add_answers(run: RunFolder, folder: Path, steps: int) -> None:
    project = run.load_project()
    training = project.training.model_copy(update={"rewards": (RewardSpec(kind="exact"),)})
    run.write_project(project.model_copy(update={"training": training}))
    with run.events_file.open("a", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            best, worst = (
                ShownAnswer(prompt="How many?", text=f"{word} {step}", reward=reward)
                for word, reward in (("good", 0.75), ("bad", 0.25))
            )
            event = events.AnswersRated(id="1", step=step, best=best, worst=worst)
            file.write(event.model_dump_json() + "\n")


def test_answers_of_the_last_step_are_shown(
    parts: Parts, project_folder: Path, qtbot: QtBot
) -> None:
    plain, rewarded = make_runs(project_folder, 2)
    _add_answers(rewarded, project_folder, 3)
    page, side = parts.page, parts.page.side
    tab = side.indexOf(side.answers)
    page.on_shown()
    qtbot.waitUntil(lambda: len(page.library.runs) == 2 and not page.library.is_scanning, timeout=WAIT)  # fmt: skip
    page.table.choose([rewarded.path.name])
    qtbot.waitUntil(lambda: side.isTabVisible(tab), timeout=WAIT)
    assert side.answers.best.answer.text() == "good 3"
    assert side.answers.worst.title.text() == "Worst completion: 0.25"
    page.table.choose([plain.path.name])
    assert not side.isTabVisible(tab)
