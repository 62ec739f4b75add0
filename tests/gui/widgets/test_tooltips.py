"""Foreign text in the window is shown as it is, and nothing that it names is read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QImage, Qt, QTextDocumentFragment
from pytestqt.qtbot import QtBot

from lora_studio.gui.pages.playground.chat_column import AnswerText
from lora_studio.gui.widgets.tooltips import plain_tip

WINDOW = Path(__file__).resolve().parents[3] / "lora_studio" / "gui"


@pytest.mark.parametrize(
    "text",
    [
        "<img src='file:///dev/zero'>",
        "a <b>b</b>",
        "x &lt; y",
        "plain",
        "1 < 2 > 0",
        "C:\\<i>\nnext",
    ],
)
def test_tooltip_shows_every_character(text: str) -> None:
    tip = plain_tip(text)
    shown = QTextDocumentFragment.fromHtml(tip).toPlainText() if Qt.mightBeRichText(tip) else tip
    assert shown == text


def is_our_own(argument: ast.expr) -> bool:
    """Return whether a tooltip is a literal, translated or not, or made plain."""
    is_call = isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name)
    return isinstance(argument, ast.Constant) or (
        is_call and argument.func.id in ("tr", "plain_tip")
    )


def test_every_tooltip_is_a_literal_or_made_plain() -> None:
    foreign = []
    for file in sorted(WINDOW.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            position = {"setToolTip": 0, "showText": 1}.get(node.func.attr)
            if position is not None and not is_our_own(node.args[position]):
                foreign.append(f"{file.relative_to(WINDOW)}:{node.lineno}")
    assert foreign == []


def test_labels_are_created_by_one_function_as_plain_text() -> None:
    """Only these build labels themselves, and escape names or show no text of others."""
    rich = {"plots/step_plot.py", "widgets/token_view.py"}
    files = {
        file.relative_to(WINDOW).as_posix()
        for file in WINDOW.rglob("*.py")
        if "RichText" in file.read_text("utf-8").replace("import RichText", "")
        and "TextFormat.RichText" in file.read_text("utf-8")
    }
    assert files == rich


@pytest.mark.parametrize("address", ["{file}", "file://{file}", "file:{file}"])
def test_image_of_an_answer_is_not_read(qtbot: QtBot, tmp_path: Path, address: str) -> None:
    file = tmp_path / "large.png"
    image = QImage(400, 900, QImage.Format.Format_RGB32)
    image.fill(QColor("red"))
    assert image.save(str(file))
    view = AnswerText("answer")
    qtbot.addWidget(view)
    view.resize(600, 400)
    view.show()
    view.show_answer(f"**Look** ![picture]({address.format(file=file)})")
    qtbot.waitExposed(view)
    assert view.document().size().height() < 100
    shown = view.grab().toImage()
    pixels = {shown.pixel(x, y) for x in range(shown.width()) for y in range(shown.height())}
    assert QColor("red").rgb() not in pixels
