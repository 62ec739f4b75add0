"""Media placeholders such as <image>: reported with row and column, and only if they are placeholders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from tests.helpers.jobs import handle

pytestmark = pytest.mark.usefixtures("cache")

TEXT = {"instruction": "Who?", "input": "", "output": "I."}


def problems(path: Path, rows: list[dict[str, Any]]) -> tuple[Problem, ...]:
    path.write_text("\n".join(map(json.dumps, rows)))
    spec = DatasetSpec(sources=(DataSource(path=str(path)),))
    channel = handle(commands.InspectDataset(dataset=spec))
    (source,) = channel.last(events.DatasetInspected).sources
    assert source.used == len(rows)
    return source.problems


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<image>\nWhat is it?", "<image>"),
        ("Describe it. <video>", "<video>"),
        ("What do you hear in <audio>?", "<audio>"),
        ("Compare <image_1> with <image_2>.", "<image_1>"),
        ("(<image>./</image>)\nWhat is it?", "<image>./</image>"),
        ("Picture 1: <img>cat.jpg</img>", "<img>cat.jpg</img>"),
    ],
    ids=["image", "video", "audio", "numbered", "slash", "img"],
)
def test_media_placeholder_is_reported_with_row_and_column(
    tmp_path: Path, text: str, mark: str
) -> None:
    (problem,) = problems(tmp_path / "rows.jsonl", [TEXT, {**TEXT, "input": text}])
    assert problem.code == "dataset.media_marks"
    assert problem.severity == "warning"
    assert problem.where.row == 2
    assert f"such as {mark} in “input” of row 2" in str(problem.what)


@pytest.mark.parametrize(
    "text",
    [
        '<video controls><source src="a.mp4"></video>',
        "<video><source src=a></video>",
        "<rss><image><url>a</url></image></rss>",
        "What does the <video> tag do, and what `<audio>`?",
        "<img src=a><image href=b />",
    ],
    ids=["video with controls", "video", "RSS", "tags in prose", "img"],
)
def test_html_media_tags_are_not_placeholders(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path / "rows.jsonl", [{**TEXT, "input": text}]) == ()


def test_placeholder_in_unused_column_is_ignored(tmp_path: Path) -> None:
    assert problems(tmp_path / "rows.jsonl", [{**TEXT, "note": "<image>"}]) == ()
