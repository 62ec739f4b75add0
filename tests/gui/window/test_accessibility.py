"""Accessibility of every page and state in several languages, text sizes and directions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from lora_studio.core.problems import STEPS
from lora_studio.gui import language, message_translation, theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences, TextSize
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.widgets.basics import CollapsibleSection
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.window import main_window as main_window_module
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests import screenshots, screenshots_model
from tests.helpers.runs import planted_evaluation
from tests.helpers.set_up_script import NO_NETWORK
from tests.helpers.window import classifier_shots, fake_engine, seen, seen_texts

#: Kind of fault -> function that finds it.
_KINDS: dict[str, Callable[[QWidget], list[str]]] = {
    "cut": seen.cut_texts,
    "cut in a table": seen.cut_cells,
    "squeezed": seen.squeezed,
    "too wide": seen.too_wide,
    "without a name": seen.nameless,
    "out of reach": seen.out_of_reach,
}

#: The same for the language of a German window.
_GERMAN_KINDS: dict[str, Callable[[QWidget], list[str]]] = {
    "with a decimal point": seen_texts.decimal_points,
    "in English": lambda root: seen_texts.english_texts(root, _read_others()),
}

#: Number of checks of a faulty window, 0.2 s apart.
_LOOKS_AT_MOST = 25

LOOKS = [
    pytest.param(("en", 100), id="English", marks=pytest.mark.thorough),
    pytest.param(("en", 150), id="English-150", marks=pytest.mark.thorough),
    pytest.param(("de", 100), id="German", marks=pytest.mark.thorough),
    pytest.param(("de", 150), id="German-150"),
]


@pytest.fixture
def window(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Window]:  # fmt: skip
    """Yield the real window at 1280 × 800 pixels with a project whose facts are all known."""
    code, size = request.param
    file = tmp_path / "scenario.json"
    file.write_text(json.dumps(screenshots.scenario(tmp_path)))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))
    _look(qapp, code, size)
    # A window shrinks to its screen, which is smaller here.
    monkeypatch.setattr(main_window_module, "fit_to_screen", lambda _: None)
    main_window = make_window(Preferences(tour_seen=True), lazy_pages.make_step_pages)
    main_window.resize(1280, 800)
    main_window.show()
    main_window.open_project(screenshots.make_project(tmp_path))
    yield main_window
    main_window.leave()
    main_window.close()
    main_window.deleteLater()
    qapp.processEvents()
    _look(qapp, "en", 100)


def _look(app: QApplication, code: str, size: TextSize) -> None:
    language.install(app, code)
    message_translation.localize_facts.cache_clear()
    theme.apply(app, "light").set_text_size(size)


def _visit(window: Window) -> Iterator[str]:
    for name in (*STEPS, "home", *PAGE_TITLES):
        window.show_page(name)
        QTest.qWait(250)
        yield name
        folded = window.stack.currentWidget().findChildren(CollapsibleSection)
        for more in folded:
            more.set_open(True)
        if folded:
            QTest.qWait(250)
            yield f"{name}, unfolded"
    for dialog in _dialogs(window):
        dialog.show()
        QTest.qWait(20)
        yield type(dialog).__name__
        dialog.reject()


def _dialogs(window: Window) -> Iterator[Dialog]:
    yield NewProjectDialog(Path("/tmp"), window)
    yield window.closing.make_job_dialog("train")
    yield window.closing.make_unsaved_dialog()


@pytest.mark.slow
@pytest.mark.parametrize("window", LOOKS, indirect=True)
def test_pages_have_no_cut_texts_or_unreachable_controls(window: Window) -> None:
    wrong = []
    for name in _visit(window):
        shown = window.findChildren(Dialog) if name.endswith("Dialog") else [window]
        wrong += [f"{name}: {item}" for item in _faults(shown)]
    assert not wrong, "\n" + "\n".join(dict.fromkeys(wrong))


def _read_others() -> str:
    """Return what the workers of the pictures say in English, and the names of data formats."""
    file = Path(os.environ["LORA_STUDIO_CONFIG"]).parent / "scenario.json"
    problems = (screenshots.WARNING, NO_NETWORK)
    said = [str(part) for problem in problems for part in (problem.what, problem.remedy)]
    said += map(planted_evaluation.ask, range(200))
    said += [screenshots_model.GATED, "ShareGPT (conversations: from, value)"]
    said += [*classifier_shots.COUNTS, *classifier_shots.TEXTS]
    return "\n".join([json.dumps(json.loads(file.read_text()), ensure_ascii=False), *said])


def _faults(shown: Sequence[QWidget], code: str = "") -> list[str]:
    """Return layout faults that persist; a busy machine needs time for the layout."""
    kinds = _KINDS | (_GERMAN_KINDS if code == "de" else {})
    for _ in range(_LOOKS_AT_MOST):
        faults = [
            f"{what}: {item}"
            for root in shown
            for what, look in kinds.items()
            for item in look(root)
        ]
        if not faults:
            break
        QTest.qWait(200)
    return faults


@pytest.fixture
def look(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[str]:
    """Set the language and text size of widgets made during the test; yield the language."""
    code, size = request.param
    _look(qapp, code, size)
    yield code
    _look(qapp, "en", 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    "look",
    [
        pytest.param(("en", 100), id="English", marks=pytest.mark.thorough),
        pytest.param(("de", 150), id="German-150"),
    ],
    indirect=True,
)
def test_pictures_have_no_faults_of_layout_or_language(
    look: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "LORA_STUDIO_ENGINE", ""
    )  # restored at the end, whatever changes it in between
    screenshots.isolate_settings(tmp_path)
    wrong = []
    for name, shown in screenshots.shots(tmp_path):
        if isinstance(shown, Window):
            shown.resize(1280, 800)
        wrong += [f"{name}: {item}" for item in _faults([shown], look)]
    led = [
        item for item in wrong if "QListView in Palette" in item
    ]  # reachable by the arrow keys of its line edit
    assert [item for item in wrong if item not in led] == []
