"""The model step: which base model, what is known of it, and how it is held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

from lora_studio.core import checks, events, words
from lora_studio.core.commands import InspectModel
from lora_studio.core.estimate import Plan, estimate
from lora_studio.core.lora import LoraSpec
from lora_studio.core.model import BUILTIN_PREFIX, DEFAULT_BUILTIN, ModelSpec, source_kind
from lora_studio.gui import memory_plan
from lora_studio.gui.inquiry import NAMING, Inquiry, named_model
from lora_studio.gui.pages.page import Page
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.theme import Space
from lora_studio.gui.widgets.basics import Card, FlowLayout, More, button, column, label
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.device_control import DeviceControl
from lora_studio.gui.widgets.fact_list import Fact, FactList
from lora_studio.gui.widgets.path_control import PathControl, dropped_path
from lora_studio.gui.widgets.precision_control import PrecisionControl

_KINDS = {
    "none": "Nothing chosen yet.",
    "builtin": "The small model that comes along: downloaded once, when first needed.",
    "gguf": "A GGUF file: its weights are taken back to 16 bits for training.",
    "folder": "A Hugging Face model on this computer.",
    "hub": "A model on the Hugging Face hub: downloaded once, when first needed.",
}
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


class ModelPage(Page):
    """Asks the inspector about the model and the adapter whenever either changes."""

    step = "model"
    title = "Model"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Left: what is chosen; right: what is known of it."""
        super().__init__(state, parent)
        self.inquiry = Inquiry(self._question, self)
        self.inquiry.ask.connect(self.ask)
        self.source = PathControl(state.about("model", "source"))
        self.precision = PrecisionControl()
        self.device = DeviceControl()
        self.facts = FactList()
        self.note = label(role="muted", wrap=True)
        self.kind = label(role="caption", wrap=True)
        self._lay_out()
        self.setAcceptDrops(True)
        self.inquiry.busy_changed.connect(lambda _: self._show_facts())
        state.value_changed.connect(self._value_changed)
        state.opened.connect(self._opened)
        state.facts_changed.connect(self._facts_changed)
        state.problems_changed.connect(lambda _: self._show_facts())
        self._opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        left = column(self._source_card(), self._precision_card(), None, spacing=Space.L)
        facts = Card("Facts")
        facts.setMinimumWidth(300)
        facts.add(self.note, self.facts)
        self.body.addWidget(Columns(left, column(facts, None), (2, 1)))
        self.body.addStretch(1)

    def _source_card(self) -> Card:
        card = Card("Where from")
        self.source.line.setPlaceholderText("A folder, a .gguf file, or org/name on the hub")
        source = self.add_editor("source", control=self.source)
        source.set_label_visible(False)
        source.set_help("")
        ways = QWidget()
        flow = FlowLayout(ways)
        for made in (
            button("Folder…", self.source.pick_folder, icon="folder"),
            button("GGUF file…", self.source.pick_file, icon="file"),
            button("From the hub", self._type_hub_id, icon="search"),
            button("Built-in small model", self._use_builtin, icon="model"),
        ):
            flow.addWidget(made)
        self.source.browse.hide()
        card.add(ways, source, self.kind)
        return card

    def _precision_card(self) -> Card:
        card = Card("Precision")
        precision = self.add_editor("precision", control=self.precision)
        precision.set_label_visible(False)
        device = self.add_editor("device", control=self.device)
        device.set_help("")
        card.add(precision, device)
        more = More()
        for field in ("quant_type", "double_quant", "sharding", "revision", "trust_remote_code"):
            more.add(self.add_editor(field))
        card.add(more)
        return card

    # --- what the user does -------------------------------------------------------------------

    def _use_builtin(self) -> None:
        self.state.set("model", "source", BUILTIN_PREFIX + DEFAULT_BUILTIN)

    def _type_hub_id(self) -> None:
        if self.state.get("model", "source") and self._kind() != "hub":
            self.source.line.clear()
        self.source.line.setPlaceholderText("org/name, such as HuggingFaceTB/SmolLM2-360M-Instruct")
        self.source.line.setFocus(Qt.FocusReason.OtherFocusReason)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """A folder or a GGUF file, anywhere on the page."""
        if dropped_path(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Takes it as the model."""
        if (path := dropped_path(event)) is not None:
            event.acceptProposedAction()
            self.source.take(_model_of(path))

    def on_shown(self) -> None:
        """The disk may have changed meanwhile."""
        self.state.check_again()
        self.inquiry.now()
        self._show_memory()  # the recipe may be another one

    # --- questions and answers ----------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Watches for the end of the inspection; answers come through the project's facts."""
        self.inquiry.take(event)

    def _question(self) -> InspectModel | None:
        """Facts rest on neither precision nor device: a change of those asks nothing."""
        model = self.state.spec("model")
        wrong = checks.errors(checks.of_step(checks.check(self.state.draft), "model"))
        if not isinstance(model, ModelSpec) or wrong:
            return None
        lora = self.state.spec("lora")
        shape = cast(LoraSpec, lora) if lora else LoraSpec()
        return InspectModel(model=named_model(model), lora=shape)

    def _opened(self) -> None:
        self.inquiry.forget()
        self.inquiry.soon()
        self._show_kind()
        self._show_facts()

    def _value_changed(self, step: str, field: str) -> None:
        if step == "model" and field in NAMING:
            self.state.report("inspect_model", [])
            self.state.forget("model")
            self._show_kind()
        if step == "lora" or (step == "model" and field in NAMING):
            self.inquiry.soon()
        if step == "model" and field in ("precision", "device", "sharding"):
            self._show_memory()

    def _facts_changed(self, name: str) -> None:
        if name == "devices":
            self.device.show_devices(self.state.facts.devices)
            self._show_memory()
        elif name == "model":
            self._show_facts()
        elif name == "lengths":
            self._show_memory()

    # --- what is shown ------------------------------------------------------------------------

    def _kind(self) -> str:
        return source_kind(str(self.state.get("model", "source")))

    def _show_kind(self) -> None:
        self.kind.setText(_KINDS[self._kind()])

    def _show_facts(self) -> None:
        model = self.state.facts.model
        self.facts.setVisible(model is not None)
        self.note.setVisible(model is None)
        if model is not None:
            self.facts.show_facts(_facts_of(model))
        else:
            self.note.setText(self._why_nothing())
        self._show_memory()

    def _why_nothing(self) -> str:
        if self.inquiry.busy:
            return "Looking at the model…"
        elsewhere = [p for p in self.state.problems("model") if p.where.field != "source"]
        if elsewhere:
            return f"{elsewhere[0].what} {elsewhere[0].remedy}"
        if self.state.problems("model", "source") and self._kind() != "none":
            return "Nothing is known of it."
        return "Choose a model to see its size, its licence and the memory it takes."

    def _show_memory(self) -> None:
        model = self.state.facts.model
        notes = {}
        for precision, needed in (model.weight_bytes if model else {}).items():
            plan = memory_plan.of(self.state, precision)
            fit = _fit(plan) if plan else ""
            notes[precision] = f"{words.memory(needed)}{fit}"
        self.precision.show_memory(notes)
        already = model.prequantized if model else None
        self.precision.set_quantised_available(
            not already, f"The model is already quantised ({already})."
        )


def _fit(plan: Plan) -> str:
    """Whether a training fits, with the recipe as it is set."""
    found = estimate(plan)
    return " ✓ fits" if found.fits else f" ⚠ training needs {words.memory(found.total)}"


def _facts_of(model: events.ModelInspected) -> list[Fact]:
    template = "comes with the model" if model.has_chat_template else "none: ChatML will be added"
    return [
        ("Architecture", model.architecture),
        ("Parameters", words.count(model.parameters)),
        ("Layers", f"{model.layers}, each {words.number(model.hidden_size)} wide"),
        ("Vocabulary", words.plural(model.vocabulary, "token")),
        ("Context", words.plural(model.context, "token") if model.context else "not stated"),
        ("Stored as", _DTYPES.get(model.stored_dtype, model.stored_dtype)),
        ("Quantised", model.prequantized or ""),
        ("Licence", model.licence or "not stated"),
        ("Chat template", template),
    ]


def _model_of(path: Path) -> Path:
    """A file of a model folder stands for the folder."""
    return path if path.is_dir() or path.suffix.lower() == ".gguf" else path.parent
