"""The Model and LoRA pages: the questions they ask, shown answers and edits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox
from pytestqt.qtbot import QtBot

from lora_studio.core import formatting
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import InspectModel
from lora_studio.gui.frame.shell import get_step_state
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.debounced_query import PAUSE
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts, plans
from tests.helpers.window.fake_engine import FileDrop


class FakeQueryWorkers:
    """The questions of a page; `answer` plays the query workers and the window around it."""

    def __init__(self, page: StepPage) -> None:
        self.page = page
        self.questions: list[InspectModel] = []
        page.ask.connect(self._take)

    def _take(self, question: object) -> None:
        """Record the question, except for model lists and account checks."""
        if isinstance(question, InspectModel):
            self.questions.append(question)

    def answer(self, *answers: events.Event, ending: events.Event | None = None) -> None:
        about = self.questions[-1].id
        for event in (*answers, ending or events.Done()):
            own = event.model_copy(update={"id": about})
            self.page.state.set_answer(own)
            self.page.on_event(own)


def shown(qtbot: QtBot, page: StepPage) -> StepPage:
    qtbot.addWidget(page)
    page.resize(1100, 740)
    page.show()
    qtbot.waitExposed(page)
    return page


@pytest.fixture
def opened(state: ProjectState, project_folder: Path) -> Iterator[ProjectState]:
    assert state.open(project_folder)
    yield state
    state.undo.setClean()


# --- model ------------------------------------------------------------------------------------


def test_model_is_inspected_once_typing_pauses(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    query_workers = FakeQueryWorkers(shown(qtbot, page))
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    for rank in (8, 9, 10):
        opened.set("lora", "rank", rank)
    assert len(query_workers.questions) == 1
    qtbot.waitUntil(lambda: len(query_workers.questions) == 2)
    question = query_workers.questions[1]
    assert isinstance(question, InspectModel)
    assert question.lora.rank == 10
    assert Path(question.model.source).is_absolute()


def test_changing_precision_or_device_does_not_inspect_again(
    qtbot: QtBot, opened: ProjectState
) -> None:
    query_workers = FakeQueryWorkers(shown(qtbot, ModelPage(opened)))
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    opened.set("model", "precision", "4bit")
    opened.set("model", "device", "cpu")
    query_workers.page.on_shown()
    qtbot.wait(2 * PAUSE)
    assert len(query_workers.questions) == 1


def test_missing_model_is_not_inspected(qtbot: QtBot, opened: ProjectState) -> None:
    query_workers = FakeQueryWorkers(shown(qtbot, ModelPage(opened)))
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    opened.set("model", "source", "./nowhere")
    qtbot.wait(2 * PAUSE)
    assert len(query_workers.questions) == 1
    assert "doesn't exist" in (query_workers.page.find_blocker() or "")


def test_rail_says_ready_only_once_the_model_is_read(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    query_workers = FakeQueryWorkers(shown(qtbot, page))
    captions: list[str] = []
    page.status_changed.connect(
        lambda: captions.append(get_step_state(page, opened, JobControl()).caption)
    )
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    assert captions[-1] == "checking"
    query_workers.answer(model_facts.model())
    assert captions[-1] == "ready"
    opened.forget("model")
    assert captions[-1] == "not checked yet"


def test_model_facts_are_shown_with_units(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    query_workers = FakeQueryWorkers(shown(qtbot, page))
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    assert page.note.text() == "Reading model details…"
    query_workers.answer(model_facts.model(has_chat_template=False, license=None))
    facts = page.facts.get_facts()
    assert facts["Parameters"] == "3.2 B"
    assert facts["Context length"] == "131,072 tokens"
    assert facts["Layers"] == "28 (hidden size 3,072)"
    assert facts["License"] == "not specified"
    assert facts["Chat template"] == "none (ChatML will be used)"
    assert "Quantization" not in facts
    opened.set("dataset", "chat_template", "gemma")
    assert page.facts.get_facts()["Chat template"] == "none (Gemma will be used)"
    assert page.note.isHidden()


def test_precision_cards_show_their_memory(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    cards = page.precision.cards.cards
    assert cards["16bit"].note() == "6 GiB"
    assert cards["4bit"].note() == "2 GiB"
    cards["4bit"].radio.click()
    assert opened.get("model", "precision") == "4bit"
    cards["16bit"].radio.click()
    assert opened.get("model", "precision") == "auto"
    opened.set("model", "precision", "fp32")
    assert cards["16bit"].note() == "12 GiB"


def test_precision_cards_show_whether_training_fits(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    opened.set_answer(model_facts.lengths())
    cards = page.precision.cards.cards
    opened.set_answer(model_facts.devices(free=8 * model_facts.GIB))
    assert cards["16bit"].note() == "6 GiB · fits with reduced memory use", "as the list says"
    assert cards["4bit"].note() == "2 GiB ✓ fits"
    opened.set_answer(model_facts.devices(free=1 * model_facts.GIB))
    assert cards["4bit"].note().startswith("2 GiB ⚠ training needs ")


def test_card_of_full_precision_shows_what_automatic_means(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    cpu = model_facts.devices().devices[-1].model_copy(update={"precision": "fp32"})
    opened.set_answer(events.DevicesFound(devices=(cpu,)))
    assert page.precision.cards.cards["16bit"].note().startswith("12 GiB")
    opened.set("model", "precision", "bf16")
    assert page.precision.cards.cards["16bit"].note().startswith("6 GiB")


def test_training_fit_follows_the_chosen_device(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    opened.set_answer(model_facts.lengths())
    first, cpu = model_facts.devices(free=8 * model_facts.GIB).devices
    second = first.model_copy(update={"name": "cuda:1", "free_bytes": 23 * model_facts.GIB})
    opened.set_answer(events.DevicesFound(devices=(first, second, cpu)))
    cards = page.precision.cards.cards
    assert cards["16bit"].note() == "6 GiB ✓ fits", "auto is the GPU with the most free memory"
    opened.set("model", "device", "cuda:0")
    assert "reduced" in cards["16bit"].note()
    opened.set("model", "device", "cuda:1")
    assert cards["16bit"].note() == "6 GiB ✓ fits"
    opened.set("model", "device", "cuda:0,cuda:1")
    assert cards["16bit"].note() == "6 GiB ✓ fits", (
        "the fuller one has no room, so they are sharded"
    )
    opened.set("model", "sharding", "replicate")
    assert "reduced" in cards["16bit"].note()
    assert cards["4bit"].note() == "2 GiB ✓ fits"


def test_prequantized_model_cannot_be_quantized_again(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model(prequantized="4bit"))
    assert not page.precision.cards.cards["4bit"].isEnabled()
    assert page.facts.get_facts()["Quantization"] == "4bit"


def test_devices_are_listed_as_choices(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.devices())
    box = page.device.combo.box
    assert [box.itemData(i) for i in range(box.count())] == ["auto", "cuda:0", "cpu"]
    assert box.itemText(1) == "RTX 4090, 23 GiB of 24 GiB free"
    assert box.currentData() == "auto"
    assert not [tick for tick in page.device.ticks.values() if tick.isVisible()]


def test_several_gpus_can_be_ticked(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    devices = model_facts.devices().devices
    second = devices[0].model_copy(update={"name": "cuda:1"})
    opened.set_answer(events.DevicesFound(devices=(devices[0], second, devices[1])))
    first, other = page.device.ticks["cuda:0"], page.device.ticks["cuda:1"]
    assert first.isVisible()
    other.click()
    assert opened.get("model", "device") == "cuda:1"
    first.click()
    assert opened.get("model", "device") == "cuda:0,cuda:1"
    assert page.device.combo.box.placeholderText() == "2 GPUs"
    opened.set("model", "device", "cuda:1")
    assert (first.isChecked(), other.isChecked()) == (False, True)
    assert page.device.combo.box.currentData() == "cuda:1"
    opened.set("model", "device", "cuda:1,cuda:0")
    assert (first.isChecked(), other.isChecked()) == (True, True)
    first.click()
    other.click()
    assert opened.get("model", "device") == "auto"


def test_failed_inspection_shows_its_problem_at_the_field(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = ModelPage(opened)
    query_workers = FakeQueryWorkers(shown(qtbot, page))
    qtbot.waitUntil(lambda: len(query_workers.questions) == 1)
    problem = Problem.model_validate(
        {
            "code": "model.unreadable",
            "what": "config.json is no JSON.",
            "remedy": "Download the model again.",
            "where": {"step": "model", "field": "source"},
        }
    )
    query_workers.answer(ending=events.Failed(problem=problem))
    opened.report("inspect_model", [problem])
    error = page.editors["source"].error
    assert error.isVisible()
    assert error.text() == "config.json is no JSON. Download the model again."
    page.on_shown()
    assert len(query_workers.questions) == 2, "the folder may have been fixed, so ask again"


def test_changing_the_model_hides_the_previous_facts(qtbot: QtBot, opened: ProjectState) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    opened.set("model", "source", "builtin:SmolLM2-135M-Instruct")
    assert opened.facts.model is None
    assert page.facts.isHidden()
    assert "built-in model" in page.kind.text()


def test_dropping_a_model_file_selects_its_folder(
    qtbot: QtBot, opened: ProjectState, project_folder: Path
) -> None:
    page = ModelPage(opened)
    shown(qtbot, page)
    page.dropEvent(FileDrop(project_folder / "model" / "config.json"))
    assert opened.get("model", "source") == "model"


# --- lora -------------------------------------------------------------------------------------


def test_sentence_shows_the_number_of_trainable_parameters(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    waiting = "The number of trainable parameters appears when the model details are known."
    assert page.sentence.text() == waiting
    opened.set_answer(model_facts.model())
    expected = "16.8 M of 3.2 B parameters are trainable (0.52 %); adapter weights: 67 MB"
    assert page.sentence.text() == expected
    opened.set("lora", "rank", 8)
    assert page.sentence.property("role") == "muted", "the count is outdated"
    opened.set_answer(model_facts.model(adapter=model_facts.adapter(8_400_000)))
    assert page.sentence.text().startswith("8.4 M of 3.2 B")
    assert page.sentence.property("role") == "section"
    opened.set_answer(model_facts.model(adapter=None))
    assert page.sentence.text().startswith("No trainable parameters")


def test_experts_are_drawn_as_adapted_only_if_they_are(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    dense = plans.inspected()
    opened.set_answer(dense)
    assert page.editors["adapt_experts"].isHidden()
    assert dense.shape is not None
    names = [layer.name for layer in dense.shape.linear]
    mixture = dense.shape.model_copy(update={"experts": 4})
    opened.set_answer(
        dense.model_copy(update={"shape": mixture, "linear_names": (*names, "gate_up_proj")})
    )
    assert not page.editors["adapt_experts"].isHidden()
    assert set(page.drawing.list_enabled()) == set(names)
    opened.set("lora", "adapt_experts", True)
    assert set(page.drawing.list_enabled()) == {*names, "gate_up_proj"}
    opened.undo.undo()
    assert set(page.drawing.list_enabled()) == set(names)


def test_rank_card_keeps_the_alpha_ratio_in_one_undo_step(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    page.presets.cards[64].radio.click()
    assert (opened.get("lora", "rank"), opened.get("lora", "alpha")) == (64, 128)
    opened.undo.undo()
    assert (opened.get("lora", "rank"), opened.get("lora", "alpha")) == (16, 32)
    assert page.presets.cards[16].radio.isChecked()
    opened.set("lora", "rank", 20)
    assert not any(card.radio.isChecked() for card in page.presets.cards.values())


def test_rank_slider_updates_counts_at_once_in_one_undo_step(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    opened.set_answer(plans.inspected())
    opened.set_answer(model_facts.devices())
    page.rank.slider.setFocus()
    for _ in range(2):
        qtbot.keyClick(page.rank.slider, Qt.Key.Key_Right)
    assert (opened.get("lora", "rank"), opened.get("lora", "alpha")) == (32, 64)
    shape = plans.inspected().shape
    assert shape is not None
    trained = 32 * sum((x.inputs + x.outputs) * x.count for x in shape.linear)
    assert page.sentence.text().startswith(f"{formatting.format_count(trained)} of ")
    assert page.sentence.property("role") == "section", "the count doesn't wait for the worker"
    assert "Training needs" in page.detail.text()
    opened.undo.undo()
    assert (opened.get("lora", "rank"), opened.get("lora", "alpha")) == (16, 32)
    assert page.rank.slider.value() == 5


def test_settings_that_miss_lacks_are_hidden_unless_set(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    opened.set("lora", "use_dora", True)
    opened.set("lora", "adapter_type", "miss")
    hidden = {name for name, editor in page.editors.items() if editor.isHidden()}
    lacking = {"alpha", "use_rslora", "init", "own_ranks", "bias"}
    assert hidden == lacking | {"target_names", "adapt_experts"}  # these depend on other choices
    opened.set("lora", "adapter_type", "lora")
    assert not page.editors["alpha"].isHidden()


def test_alpha_can_be_set_as_a_multiple_of_the_rank(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    page.alpha.buttons.button("1 × rank").click()
    assert opened.get("lora", "alpha") == 16
    opened.set("lora", "alpha", 40)
    assert "2.5 × rank" in page.editors["alpha"].help.text()
    assert not page.alpha.buttons.button("1 × rank").isChecked()


def test_incompatible_choices_are_disabled_with_a_reason(
    qtbot: QtBot, opened: ProjectState
) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    box = page.editors["init"].control.focusProxy()
    assert isinstance(box, QComboBox)
    model = box.model()
    assert isinstance(model, QStandardItemModel)
    items = {box.itemData(index): model.item(index) for index in range(box.count())}
    assert items["pissa"].isEnabled()
    assert not items["loftq"].isEnabled()
    assert "isn't loaded in 4-bit" in items["loftq"].toolTip()
    opened.set("model", "precision", "4bit")
    assert items["loftq"].isEnabled()
    assert not items["pissa"].isEnabled()
    assert "which are quantized" in items["pissa"].toolTip()
    assert items["eva"].isEnabled()


def test_starting_adapter_fixes_rank_alpha_and_layers(
    qtbot: QtBot, opened: ProjectState, tmp_path: Path
) -> None:
    settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 12, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "adapter_model.safetensors").touch()
    page = LoraPage(opened)
    shown(qtbot, page)
    opened.set("lora", "start_from", str(tmp_path))
    assert "Continues from an adapter: rank 8, alpha 12, and q_proj." in page.detail.text()
    assert not page.editors["rank"].isEnabled()
    assert not page.presets.isEnabled()
    assert page.presets.cards[8].radio.isChecked()
    assert page.drawing.list_enabled() == ["q_proj"]
    assert page.rank.line.line.text() == "8"
    assert page.alpha.line.line.text() == "12"
    assert page.editors["alpha"].help.text().startswith("Currently 1.5 × rank.")
    opened.set("lora", "rank", 40)  # like in an older project
    assert page.rank.line.line.text() == "8"
    opened.undo.undo()
    assert page.editors["dropout"].isEnabled()
    opened.undo.undo()
    assert page.editors["rank"].isEnabled()
    assert page.presets.cards[16].radio.isChecked()
    assert len(page.drawing.list_enabled()) == 7
    assert "adapter" not in page.detail.text()


def test_clicking_the_drawing_selects_layers_by_name(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    opened.set_answer(model_facts.model())
    opened.set("lora", "targets", "attention_qv")
    assert page.drawing.list_enabled() == ["q_proj", "v_proj"]
    assert page.editors["target_names"].isHidden()
    page.drawing.buttons["down_proj"].click()
    assert opened.get("lora", "targets") == "names"
    assert list(opened.get("lora", "target_names")) == ["q_proj", "v_proj", "down_proj"]
    assert page.editors["target_names"].isVisible()
    opened.undo.undo()
    assert opened.get("lora", "targets") == "attention_qv"


def test_drawing_shows_the_layers_of_the_model(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    fused = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "router")
    opened.set_answer(model_facts.model(linear_names=fused))
    columns = {slot.title: slot.column for slot in page.drawing.get_slots()}
    assert columns == {
        "qkv": "in", "o": "out", "gate_up": "up", "down": "down", "router": "other",
    }  # fmt: skip
    opened.set("lora", "targets", "attention")
    assert page.drawing.list_enabled() == ["qkv_proj", "o_proj"]


def test_layer_is_toggled_by_keyboard(qtbot: QtBot, opened: ProjectState) -> None:
    page = LoraPage(opened)
    shown(qtbot, page)
    qtbot.keyClick(page.drawing.buttons["k_proj"], Qt.Key.Key_Space)
    assert "k_proj" not in opened.get("lora", "target_names")
    assert "q_proj" in opened.get("lora", "target_names")
