"""Rows with images, audio, or video: skipped with a count, or used as text on request, never silently."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lora_studio.core.dataset.formats.conversion import convert, without_media
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.dataset.formats.values import find_media_mark
from lora_studio.core.tasks.samples import UnusableKind, UnusableRow

ASKED, ANSWERED = "Qu'est-ce que c'est ?", "Un chat roux."


def turns(content: Any, answer: Any = ANSWERED) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    }


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return turns([{"type": kind, **fields}, {"type": "text", "text": ASKED}])


LLAVA = {
    "id": "000000033471",
    "image": "coco/train2017/000000033471.jpg",
    "conversations": [
        {"from": "human", "value": f"<image>\n{ASKED}"},
        {"from": "gpt", "value": ANSWERED},
    ],
}
ROWS: dict[str, dict[str, Any]] = {
    "llava": LLAVA,
    "llava without its column": {"conversations": LLAVA["conversations"]},
    "llava with the mark at the end": {
        "conversations": [
            {"from": "human", "value": f"{ASKED}\n<image>"}, {"from": "gpt", "value": ANSWERED}
        ]
    },
    "images": {**turns(ASKED), "images": ["photos/1.jpg", "photos/2.jpg"]},
    "bytes": {"question": ASKED, "answer": ANSWERED, "image": {"bytes": b"\x89PNG", "path": None}},
    "image_url": part("image_url", image_url={"url": "https://example.org/cat"}),
    "input_image": part("input_image", image_url="https://example.org/cat"),
    "input_audio": part("input_audio", input_audio={"data": "UklGR", "format": "wav"}),
    "image": part("image", image="cat.png"),
    "placeholder part": part("image"),
    "part without a type": turns([{"image": "cat.png"}, {"text": ASKED}], [{"text": ANSWERED}]),
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}, {"text": ASKED}]},
            {"role": "model", "parts": [{"text": ANSWERED}]},
        ]
    },
    "file": {"file_name": "0001.png", "question": ASKED, "answer": ANSWERED},
    "path": {"image_path": "img/1.webp", "question": ASKED, "answer": ANSWERED},
    "rounds": {"images": [{"bytes": "iVBOR"}], "texts": [{"user": ASKED, "assistant": ANSWERED, "source": "x"}]},
    "pair": {"prompt": ASKED, "chosen": ANSWERED, "rejected": "Un chien.", "images": ["1.jpg"]},
    "in a cell": {"messages": json.dumps(part("image", image="cat.png")["messages"])},
    "other languages": {"Bilder": ["1.jpg", "2.jpg"], "Frage": ASKED, "Antwort": ANSWERED},
    "video": {"video": "1.mp4", "prompt": f"<video>{ASKED}", "completion": ANSWERED},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_media_are_refused_until_the_user_chooses_the_text(
    name: str,
) -> None:
    row = ROWS[name]
    verdict = detect([row] * 7, list(row))
    (problem,) = verdict.problems
    assert (verdict.format, problem.code, problem.severity) == (None, "dataset.media", "error")
    assert str(problem.what).startswith("7 rows of 7 ")
    assert problem.fix is not None
    assert problem.fix.changes == (("dataset", "fixes", ["remove_media"]),)
    chosen = detect([row] * 7, list(row), fixes=["remove_media"])
    assert chosen.format is not None, chosen.problems
    sample = convert(without_media(row), chosen.format, chosen.mapping)
    answers = sample.chosen or sample.messages[1:]
    assert [sample.messages[0].content.strip(), answers[0].content] == [ASKED, ANSWERED]


def test_some_rows_with_media_are_counted_and_skipped() -> None:
    rows = [LLAVA if i % 4 == 0 else {"id": str(i), "conversations": [
        {"from": "human", "value": f"{i} + {i}?"}, {"from": "gpt", "value": str(2 * i)}]} for i in range(20)]  # fmt: skip
    verdict = detect(rows, fixes=["drop_refusals"])
    assert verdict.format == "sharegpt"
    (problem,) = verdict.problems
    assert (problem.code, problem.severity) == ("dataset.media_rows", "warning")
    assert str(problem.what).startswith("5 rows of 20 ")
    assert problem.fix is not None
    assert problem.fix.value == ["drop_refusals", "remove_media"]
    with pytest.raises(UnusableRow) as caught:
        convert(rows[0], "sharegpt", verdict.mapping)
    assert caught.value.kind is UnusableKind.MEDIA


@pytest.mark.parametrize(
    "text",
    [
        "<image>\nWhat is it?", "Compare <image_1> and <image_2>.", "Listen: <audio>", "(<image>./</image>)",
        "Picture 1: <img>cat.jpg</img>", "<|vision_start|><|image_pad|><|vision_end|>What is it?",
    ],
)  # fmt: skip
def test_placeholder_is_found_and_removed(text: str) -> None:
    assert find_media_mark(text)
    row = without_media({"text": text})
    assert not find_media_mark(row["text"])
    with pytest.raises(UnusableRow):
        convert({"text": text}, "text", {"text": "text"})


@pytest.mark.parametrize(
    "text",
    [
        '<video controls><source src="a.mp4"></video>',
        "<rss><image><url>a</url></image></rss>",
        "What does the <video> tag do, and what `<audio>`?",
        "<img src=a><image href=b />",
    ],
    ids=["video", "RSS", "tags in prose", "img"],
)
def test_html_media_tags_are_not_placeholders(text: str) -> None:
    row = {"instruction": "Explain.", "output": text}
    assert convert(row, "alpaca").messages[1].content == text
    assert without_media(row) == row
