"""Help topics: every field opens its section by F1 and by a click."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lora_studio.core.help import diagnostics
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.project.project import SPECS
from lora_studio.core.spec import list_facts
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.docs_viewer import DocsViewer


def read_sections() -> dict[str, str]:
    """Return the text of each topic without its heading."""
    _, *sections = diagnostics.read_text().split("\n## ")
    return {
        diagnostics.slugify(text.partition("\n")[0]): text.partition("\n")[2] for text in sections
    }


@pytest.mark.parametrize("step", SPECS)
def test_every_field_has_a_help_section(step: str) -> None:
    known = diagnostics.list_topics()
    unexplained = [x.name for x in list_facts(SPECS[step]) if x.help_topic not in known]
    assert unexplained == []


def test_help_sections_are_filled_and_have_unique_topics() -> None:
    headings = [line for line in diagnostics.read_text().splitlines() if line.startswith("## ")]
    assert len(headings) == len(diagnostics.list_topics())
    assert all(len(text) > 80 for text in read_sections().values())


def test_adapter_formulas_are_in_the_topics_of_their_fields() -> None:
    for field, formula in (
        ("rank", "W' = W + s · B A"),
        ("use_rslora", "s = alpha / √r"),
        ("use_dora", "‖W + s B A‖"),
        ("init", "W = U S Vᵀ"),
    ):
        topic = next(x.help_topic for x in list_facts(LoraSpec) if x.name == field)
        assert formula in read_sections()[topic]


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState) -> LoraPage:
    lora_page = LoraPage(state)
    qtbot.addWidget(lora_page)
    lora_page.resize(1100, 740)
    lora_page.show()
    qtbot.waitExposed(lora_page)
    return lora_page


def viewer_of(page: LoraPage) -> DocsViewer:
    viewers = page.window().findChildren(DocsViewer)
    assert len(viewers) == 1, "each page opens in the same viewer"
    return viewers[0]


def first_words(viewer: DocsViewer) -> str:
    """Return the text of the block at the top of the viewport."""
    return viewer.page.cursorForPosition(viewer.page.viewport().rect().topLeft()).block().text()


def test_f1_in_a_field_scrolls_to_its_section(qtbot: QtBot, page: LoraPage) -> None:
    page.rank.line.line.setFocus()
    qtbot.keyClick(page.rank.line.line, Qt.Key.Key_F1)
    viewer = viewer_of(page)
    assert viewer.isVisible()
    assert viewer.topic == "lora-update"
    assert first_words(viewer) in ("LoRA update", "")
    qtbot.keyClick(page.dropout.line.line, Qt.Key.Key_F1)
    assert viewer_of(page).topic == "dropout"
    viewer.close()


def test_click_on_the_help_mark_opens_the_section(qtbot: QtBot, page: LoraPage) -> None:
    mark = page.editors["alpha"].mark
    assert mark.isVisible()
    assert "F1" in mark.toolTip()
    qtbot.mouseClick(mark, Qt.MouseButton.LeftButton)
    viewer = viewer_of(page)
    assert viewer.topic == "lora-update"
    viewer.topics.setFocus()
    qtbot.keyClick(viewer.topics, Qt.Key.Key_Down)
    assert viewer.topic == "dropout"
    viewer.close()


def test_field_without_a_label_has_the_mark_after_its_help(page: LoraPage) -> None:
    flag = page.editors["use_dora"]
    assert flag.mark.isHidden()
    assert not flag.other_mark.isHidden()
