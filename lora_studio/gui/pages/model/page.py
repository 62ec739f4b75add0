"""The model step: base model, its details, precision and device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QCheckBox, QWidget

from lora_studio.core import formatting
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import model_fit
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.model_fit import with_least_memory
from lora_studio.core.memory.plan import FitSettings, MemoryPlan
from lora_studio.core.model.catalog import ModelEntry
from lora_studio.core.model.spec import ModelSpec, classify_source
from lora_studio.core.project import checks
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import DownloadModel, InspectModel
from lora_studio.core.system import offline
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.choices import CardOption, CardsControl, ComboControl
from lora_studio.gui.controls.controls import Control, PathControl, name_control
from lora_studio.gui.jobs.debounced_query import NAMING, DebouncedQuery, strip_model
from lora_studio.gui.jobs.hub_account import HubAccount, get_hub_address
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem, localize_stage
from lora_studio.gui.pages.model.browser import ModelBrowser, ModelFinder
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    button,
    column,
    label,
    row,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.external_open import open_page
from lora_studio.gui.widgets.fact_list import Fact, FactList
from lora_studio.gui.widgets.file_dialogs import get_dropped_path
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.progress_line import ProgressLine

_KINDS = {
    "none": mark("No model selected."),
    "builtin": mark("The small built-in model. It is downloaded once, when it is first needed."),
    "gguf": mark("A GGUF file. Its weights are dequantized to 16-bit for training."),
    "folder": mark("A Hugging Face model folder on this computer."),
    "hub": mark(
        "A model on the Hugging Face Hub. It is downloaded once into the shared Hugging Face cache."
    ),
}
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_FACTS_WIDTH = 330


class ModelPage(StepPage):
    """Selects the base model, and inspects it and the adapter whenever either changes."""

    step = "model"
    title = mark("Model")

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Create the page: sources on the left, models in the middle, details on the right."""
        super().__init__(state, parent)
        self._preferences = preferences or Preferences()
        self.query = DebouncedQuery(self._make_question, self, self._list_files)
        self.query.ask.connect(self.ask)
        self.query.outdated.connect(self.question_outdated)
        self.query.busy_changed.connect(lambda _: self.status_changed.emit())
        self.finder = ModelFinder(self)
        self.finder.ask.connect(self.ask)
        self.account = HubAccount(self)
        self.account.ask.connect(self.ask)
        self._has_listed = False
        self._download: DownloadModel | None = None  # in progress
        self._explained = False  # whether the download line shows a problem of the project
        self.source = PathControl(state.get_facts("model", "source"))
        self.browser = ModelBrowser(self.finder, self._preferences, self._get_fit_settings)
        self.download = DownloadLine()
        self.precision = PrecisionControl()
        self.device = DeviceControl()
        self.facts = FactList()
        self.note = label(role="muted", wrap=True)
        self.kind = label(role="caption", wrap=True)
        self._build_layout()
        self._wire()
        self._on_opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _build_layout(self) -> None:
        facts = Card(tr("Details"))
        facts.setMinimumWidth(Size.scaled(280))
        facts.add(self.note, self.facts, self.download)
        facts.body.addStretch(1)
        middle = column(self._make_source_card(), self.browser, spacing=Spacing.L)
        self.body.addWidget(ResponsiveColumns(middle, facts, (1, 0), right_width=_FACTS_WIDTH))
        self.body.addWidget(self._make_precision_card())
        self.body.addStretch(1)

    def _make_source_card(self) -> Card:
        card = Card()
        self.source.line.setPlaceholderText(tr("Folder, .gguf file, or org/name"))
        source = self.add_editor("source", control=self.source)
        source.set_help("")
        source.set_label_visible(False)
        card.add(source, self.kind)
        return card

    def _make_precision_card(self) -> Card:
        card = Card(tr("Precision"))
        precision = self.add_editor("precision", control=self.precision)
        precision.set_label_visible(False)
        device = self.add_editor("device", control=self.device)
        device.set_help("")
        card.add(precision, device)
        more = CollapsibleSection()
        for field in ("quant_type", "double_quant", "sharding", "revision", "trust_remote_code"):
            more.add(self.add_editor(field))
        card.add(more)
        return card

    def _wire(self) -> None:
        self.setAcceptDrops(True)
        self.query.busy_changed.connect(lambda _: self._show_facts())
        self.browser.chosen.connect(self._choose)
        self.browser.list.confirmed.connect(self.header.primary.click)
        self.browser.sign_in_clicked.connect(self.sign_in)
        self.browser.sign_out_clicked.connect(self.account.sign_out)
        self.browser.online_requested.connect(self.online_requested)
        self.download.started.connect(self._start_download)
        self.download.cancelled.connect(lambda: self.question_dropped.emit("download_model"))
        self.download.sign_in_clicked.connect(self.sign_in)
        self.download.page_clicked.connect(self._open_page)
        self.download.online_requested.connect(self.online_requested)
        self.account.changed.connect(self._on_account_changed)
        self.account.failed.connect(self.state.messages.problem)
        self.browser.sources.currentRowChanged.connect(lambda _: self._inspect_account())
        self.state.value_changed.connect(self._on_value_changed)
        self.state.opened.connect(self._on_opened)
        self.state.facts_changed.connect(self._on_facts_changed)
        self.state.problems_changed.connect(lambda _: self._show_facts())

    # --- user actions -------------------------------------------------------------------------

    def _choose(self, entry: ModelEntry) -> None:
        self.state.change(
            tr("Model"), [("model", "source", entry.source), ("model", "revision", entry.revision)]
        )

    def sign_in(self) -> None:
        """Open the dialog that asks for a token."""
        self.account.open_sign_in(self)

    def _open_page(self) -> None:
        open_page(f"{get_hub_address()}/{self.state.get('model', 'source')}")

    def _start_download(self) -> None:
        model = self.state.get_spec("model")
        if isinstance(model, ModelSpec):
            self._download = DownloadModel(model=strip_model(model))
            self.download.show_started()
            self.ask.emit(self._download)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept a folder or a GGUF file anywhere on the page."""
        if get_dropped_path(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Use the dropped folder or file as the model."""
        if (path := get_dropped_path(event)) is not None:
            event.acceptProposedAction()
            self.source.set_path(
                path if path.is_dir() or path.suffix.lower() == ".gguf" else path.parent
            )

    def on_shown(self) -> None:
        """Check the files again, because they may have changed on disk."""
        self.state.check_again()
        self.query.ask_now()
        self._show_memory()  # the training settings may have changed
        if not self._has_listed:
            self._has_listed = True
            self.finder.list_local(self._preferences.model_folders)

    def repeat_queries(self) -> None:
        """Repeat the queries that failed, because offline mode or a consent has changed."""
        self.download.explain("", "")
        self.query.forget()
        self.query.schedule()
        self.finder.clear("hub")
        self.browser.on_source_changed()

    def check_files(self) -> None:
        """Inspect the model again if its files have changed on disk."""
        if self.query.has_changed_files() and self._make_question() is not None:
            self.query.forget()
            self.query.ask_now()

    # --- questions and answers ----------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Handle events of listings, downloads and the account.

        Answers about the model itself arrive through the project's facts.
        """
        self.query.on_event(event)
        if self.finder.on_event(event) or self.account.on_event(event):
            return
        if self._download is not None and getattr(event, "id", "") == self._download.id:
            self._follow(event, self._download.model)

    def _follow(self, event: object, model: ModelSpec) -> None:
        match event:
            case events.Progress():
                self.download.show_progress(event)
            case events.Done() | events.Failed() | events.Cancelled():
                self._download = None
                if self._is_chosen(model):
                    self.download.show_ending(event)
                else:  # its ending isn't about the model that is shown
                    self.download.show_ending(events.Done())
                    if isinstance(event, events.Failed):
                        self.state.messages.problem(event.problem)
                self.query.forget()  # the number of missing bytes has changed
                self.query.ask_now()
                self.finder.list_local(self._preferences.model_folders)

    def _is_chosen(self, model: ModelSpec) -> bool:
        """Return whether this is still the project's model."""
        chosen = self.state.get_spec("model")
        return isinstance(chosen, ModelSpec) and strip_model(chosen) == model

    def _make_question(self) -> InspectModel | None:
        """Return the query for model details; they depend on neither precision nor device."""
        model = self.state.get_spec("model")
        wrong = checks.filter_errors(checks.filter_by_step(checks.check(self.state.draft), "model"))
        if not isinstance(model, ModelSpec) or wrong:
            return None
        lora = self.state.get_spec("lora")
        shape = cast(LoraSpec, lora) if lora else LoraSpec()
        return InspectModel(
            model=strip_model(model),
            lora=shape,
            teacher=self._get_teacher(model),
            llama_cpp=str(self.state.get("export", "llama_cpp")).strip(),
        )

    def _get_teacher(self, model: ModelSpec) -> ModelSpec | None:
        """Return the teacher of the project; None if there is none, or it isn't valid."""
        training = self.state.get_spec("training")
        if not isinstance(training, TrainingSpec) or not training.teacher.strip():
            return None
        problems = checks.filter_errors(checks.check(self.state.draft))
        if any(problem.where.field == "teacher" for problem in problems):
            return None
        return strip_model(training.make_teacher_spec(model))

    def _list_files(self) -> list[Path]:
        model = self.state.get_spec("model")
        if not isinstance(model, ModelSpec) or model.kind not in ("folder", "gguf"):
            return []
        source = Path(model.source)
        return [source / "config.json" if model.kind == "folder" else source]

    def _get_fit_settings(self) -> FitSettings | None:
        """Return the settings to estimate other models with, None while no device is known."""
        plan = run_preview.get_fit_settings(self.state)
        device = run_preview.get_device(self.state)
        return plan or (model_fit.build_default_settings(device) if device else None)

    def _on_opened(self) -> None:
        self._report_unused_gpu()
        self.query.forget()
        self.query.schedule()
        self._show_kind()
        self._show_facts()

    def _on_value_changed(self, step: str, field: str) -> None:
        if step == "model" and field in NAMING:
            self.state.report("inspect_model", [])
            self.state.report("export_of_model", [])
            self.state.forget("model")
            self._show_kind()
        if (step, field) == ("dataset", "chat_template"):
            self._show_facts()
        is_asked = (step, field) in (("training", "teacher"), ("export", "llama_cpp"))
        if step == "lora" or is_asked or (step == "model" and field in NAMING):
            self.query.schedule()
        if step == "model" and field in ("precision", "device", "sharding"):
            self._show_memory()
            self._report_unused_gpu()

    def _on_facts_changed(self, name: str) -> None:
        if name == "devices":
            self.device.show_devices(self.state.facts.devices)
            self._report_unused_gpu()
            self._show_memory()
            self.browser.refresh()
        elif name == "model":
            model = self.state.facts.model
            problem = model.export_problem if model else None
            self.state.report("export_of_model", [problem] if problem else [])
            self._show_facts()
            self.status_changed.emit()
        elif name == "lengths":
            self._show_memory()

    def _report_unused_gpu(self) -> None:
        """Report why training doesn't use this computer's GPU, unless the CPU was chosen."""
        machine, chosen = self.state.facts.devices, self.state.get("model", "device")
        problem = machine.unused_gpu if machine and chosen == "auto" else None
        self.state.report("unused_gpu", [problem] if problem else [])

    def _inspect_account(self) -> None:
        """Query the account the first time the Hub is shown, never before."""
        if self.browser.source == "hub" and self.account.current is None and not offline.is_on():
            self.account.inspect()

    def _on_account_changed(self) -> None:
        self.browser.show_account(self.account.current)
        # Only signing in or out can resolve what blocks the model details.
        if self.account.was_changed_by_user:
            self.download.explain("", "")
            self.query.forget()
            self.query.ask_now()

    def describe_unchecked(self) -> str:
        """Return a caption until the details of the model are known."""
        if self.state.facts.model is not None:
            return ""
        return tr("checking") if self.query.is_coming else tr("not checked yet")

    # --- display ------------------------------------------------------------------------------

    def _get_kind(self) -> str:
        return classify_source(str(self.state.get("model", "source")))

    def _show_kind(self) -> None:
        self.kind.setText(tr(_KINDS[self._get_kind()]))
        self.browser.show_current(str(self.state.get("model", "source")))

    def _show_facts(self) -> None:
        # An empty location needs its own explanation, not the description of its models.
        wrong = checks.filter_errors(self.state.list_problems("model", "source"))
        self.kind.setVisible(self._get_kind() == "none" or not wrong)
        model = self.state.facts.model
        self.facts.setVisible(model is not None)
        self.note.setVisible(model is None)
        if model is not None:
            self.facts.show_facts(_list_facts(model, self._get_added_template()))
        else:
            self.note.setText(self._explain_missing_facts())
        if not self.download.is_running:
            self.download.offer(model.missing_bytes if model else 0)
            self._explain()
        self._show_memory()

    def _get_added_template(self) -> str:
        """Return the title of the chat template that a model without one gets."""
        chosen = str(self.state.get("dataset", "chat_template"))
        about = self.state.get_facts("dataset", "chat_template")
        return about.choices.get(chosen, "ChatML") if chosen != "model" else "ChatML"

    def _explain(self) -> None:
        """Show how to resolve a problem that keeps the Hub from returning model details."""
        with_help = ("model.gated", "model.token", "model.not_found", "model.offline")
        found = self.state.list_problems("model", "source") if self._get_kind() == "hub" else ()
        problem = next((each for each in found if each.code in with_help), None)
        if problem is not None:
            self.download.explain(problem.code, localize_problem(problem))
        elif self._explained:
            self.download.explain("", "")
        self._explained = problem is not None

    def _explain_missing_facts(self) -> str:
        if self.query.busy:
            return tr("Reading model details…")
        elsewhere = [p for p in self.state.list_problems("model") if p.where.field != "source"]
        if elsewhere:
            return localize_problem(elsewhere[0])
        if self.state.list_problems("model", "source") and self._get_kind() != "none":
            return tr("No details available.")
        return tr("Select a model to see its size, license, and memory use.")

    def _show_memory(self) -> None:
        model = self.state.facts.model
        notes = {}
        for precision, needed in (model.weight_bytes if model else {}).items():
            plan = run_preview.make_plan(self.state, precision)
            memory = formatting.format_memory(needed)
            notes[precision] = describe_fit(memory, plan) if plan else memory
        if (device := run_preview.get_device(self.state)) is not None:
            notes["auto"] = notes.get(device.precision, "")
        self.precision.show_memory(notes)
        already = model.prequantized if model else None
        why_not = tr("This model is already quantized ({method}).").format(method=already)
        self.precision.set_quantized_available(not already, why_not)


def _list_facts(model: events.ModelInspected, added: str) -> list[Fact]:
    template = (
        tr("included")
        if model.has_chat_template
        else tr("none ({name} will be used)").format(name=added)
    )
    layers = tr("{count} (hidden size {width})").format(
        count=model.layers, width=formatting.format_number(model.hidden_size)
    )
    context = tr_n("{n} token", "{n} tokens", model.context) if model.context else ""
    return [
        (tr("Architecture"), model.architecture),
        (tr("Parameters"), formatting.format_count(model.parameters)),
        (tr("Layers"), layers),
        (tr("Vocabulary"), tr_n("{n} token", "{n} tokens", model.vocabulary)),
        (tr("Context length"), context or tr("not specified")),
        *_list_storage_facts(model),
        (tr("License"), model.license or tr("not specified")),
        (tr("Access"), tr("gated: accept the terms on the Hub") if model.gated else ""),
        (tr("Chat template"), template),
    ]


def _list_storage_facts(model: events.ModelInspected) -> list[Fact]:
    dtype = _DTYPES.get(model.stored_dtype, model.stored_dtype)
    size = formatting.format_size(model.disk_bytes) if model.disk_bytes else ""
    if not model.gguf_bytes:
        return [
            (tr("Data type"), dtype),
            (tr("Quantization"), model.prequantized or ""),
            (tr("Size on disk"), size),
        ]
    file_size = formatting.format_size(model.gguf_bytes)
    unpacked = tr("{dtype}, {size}").format(dtype=dtype, size=size)
    return [
        (tr("GGUF file"), f"{model.gguf_type}, {file_size}" if model.gguf_type else file_size),
        (tr("Unpacked for training"), unpacked),
    ]


_FULL = "16bit"
#: Values of the setting that the 16-bit card represents, with their labels.
_FORMATS = {
    "auto": mark("Best for this device"),
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
}
_CARDS = (
    CardOption(_FULL, mark("16-bit"), mark("Full precision, fastest")),
    CardOption("8bit", mark("8-bit"), mark("Up to 50 % less memory, very little quality loss")),
    CardOption("4bit", mark("4-bit"), mark("Up to 75 % less memory, small quality loss (QLoRA)")),
)


class PrecisionControl(Control):
    """Edits `ModelSpec.precision`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the cards; the data type is shown only while the 16-bit card is selected."""
        super().__init__(parent)
        self._value: Any = "auto"
        self.cards = CardsControl(_CARDS)
        self.formats = ComboControl(_FORMATS)
        name_control(self.formats, tr("Data type"))
        self._format_row = QWidget()
        self._format_row.setLayout(row(label(tr("Data type"), "muted"), self.formats, None))
        self.setFocusProxy(self.cards)
        self.setLayout(column(self.cards, self._format_row, spacing=Spacing.M))
        self.cards.edited.connect(self._on_card_chosen)
        self.formats.edited.connect(self.apply_choice)

    def show_value(self, value: Any) -> None:
        """Show a precision."""
        self._value = value
        full = isinstance(value, str) and value in _FORMATS
        self.cards.show_value(_FULL if full else value)
        self.formats.show_value(value if full else "")
        self._format_row.setVisible(full)

    def show_memory(self, notes: Mapping[str, str]) -> None:
        """Show the memory that each precision needs, "auto" among them; a missing entry shows nothing."""
        precise = self._value if self._value in ("bf16", "fp16", "fp32") else "auto"
        self.cards.set_note(_FULL, notes.get(precise) or notes.get("bf16", ""))
        for value in ("8bit", "4bit"):
            self.cards.set_note(value, notes.get(value, ""))

    def set_quantized_available(self, available: bool, why_not: str) -> None:
        """Enable or disable 8-bit and 4-bit for this model."""
        for value in ("8bit", "4bit"):
            self.cards.set_available(value, available, why_not)

    def _on_card_chosen(self, value: str) -> None:
        self.apply_choice("auto" if value == _FULL else value)


def describe_fit(weights: str, plan: MemoryPlan) -> str:
    """Return the memory of the weights, and whether training fits: with the current settings, or with the least."""
    needed = estimate(plan)
    if needed.fits:
        return tr("{weights} ✓ fits").format(weights=weights)
    if estimate(with_least_memory(plan)).fits:
        return tr("{weights} · fits with reduced memory use").format(weights=weights)
    return tr("{weights} ⚠ training needs {memory}").format(
        weights=weights, memory=formatting.format_memory(needed.total)
    )


class DeviceControl(Control):
    """A list of devices, and a check box for each GPU of a machine with several."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Offer the automatic choice and the CPU until `show_devices` is called."""
        super().__init__(parent)
        self.combo = ComboControl(list_device_choices(None))
        self.setFocusProxy(self.combo.box)
        self.ticks: dict[str, QCheckBox] = {}
        self._value = "auto"
        self._together = QWidget()
        self._flow = FlowLayout(self._together)
        self._several = label(tr("Train on several GPUs (each processes part of every batch):"), role="caption")  # fmt: skip
        self.setLayout(column(self.combo, self._several, self._together, spacing=Spacing.S))
        self.combo.edited.connect(self._choose)
        self.combo.left.connect(self.left)
        self.show_devices(None)

    def show_devices(self, devices: events.DevicesFound | None) -> None:
        """Offer the devices of this machine; the value doesn't change."""
        self.combo.set_choices(list_device_choices(devices))
        for box in self.ticks.values():
            box.hide()
            box.deleteLater()
        gpus = [device for device in (devices.devices if devices else ()) if "cuda:" in device.name]
        gpus.sort(key=lambda device: int(device.name.partition(":")[2]))
        self.ticks = {
            device.name: QCheckBox(f"{localize(device.title)} ({device.name})") for device in gpus
        }
        for box in self.ticks.values():
            self._flow.addWidget(box)
            box.clicked.connect(self._tick)
        self._several.setVisible(len(gpus) > 1)
        self._together.setVisible(len(gpus) > 1)
        self.show_value(self._value)

    def show_value(self, value: Any) -> None:
        """Show one device in the list and its check box, several in their check boxes only."""
        self._value = str(value)
        self._show_in_list()
        for name, box in self.ticks.items():
            box.setChecked(name in self._value.split(","))

    def _show_in_list(self) -> None:
        """Show the number of GPUs instead of an entry if several are selected."""
        self.combo.show_value(self._value)
        if (count := self._value.count(",") + 1) > 1:
            self.combo.box.setPlaceholderText(tr("{count} GPUs").format(count=count))

    def _choose(self, value: object) -> None:
        self.show_value(value)
        self.edited.emit(value)

    def _tick(self) -> None:
        """Store the checked GPUs; none checked means "auto"."""
        ticked = [name for name, box in self.ticks.items() if box.isChecked()]
        value = ",".join(ticked) or "auto"
        self._value = value
        self._show_in_list()
        self.edited.emit(value)
        self.left.emit()


def list_device_choices(devices: events.DevicesFound | None) -> dict[str, str]:
    """Return titles by device name, "auto" first; only "auto" and "cpu" while devices are unknown."""
    if devices is None or not devices.devices:
        return {"auto": mark("Automatic"), "cpu": "CPU"}
    choices = {"auto": tr("Automatic ({title})").format(title=localize(devices.devices[0].title))}
    several = sum(device.name.startswith("cuda") for device in devices.devices) > 1
    for device in devices.devices:
        if device.name != "auto":
            title = localize(device.title)
            is_one_of_several = several and device.name.startswith("cuda")
            choices[device.name] = tr("{device}, {free} of {total} free").format(
                device=f"{title} ({device.name})" if is_one_of_several else title,
                free=formatting.format_memory(device.free_bytes),
                total=formatting.format_memory(device.total_bytes),
            )
    return choices


class DownloadLine(QWidget):
    """A status, a progress bar and buttons; hidden if there is nothing to download.

    Signals:
        started, cancelled: start the download, or cancel it.
        sign_in_clicked, page_clicked, online_requested: resolve what blocks the download.
    """

    started = Signal()
    cancelled = Signal()
    sign_in_clicked = Signal()
    page_clicked = Signal()
    online_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the line, hidden."""
        super().__init__(parent)
        self.start = button("", self.started.emit, icon="download")
        self.stop = button(tr("Cancel"), self.cancelled.emit)
        self.progress = ProgressLine()
        self.status = StatusLabel()
        self.sign_in = button(tr("Sign in…"), self.sign_in_clicked.emit, kind="link")
        self.page = button(tr("Open model page"), self.page_clicked.emit, kind="link")
        self.online = button(tr("Turn off offline mode"), self.online_requested.emit, kind="link")
        self.setLayout(
            column(
                self.status,
                row(self.sign_in, self.page, self.online, None),
                self.progress,
                row(self.start, self.stop, None),
                spacing=Spacing.S,
            )
        )
        self._bytes, self._running, self._resumable = 0, False, False
        self.offer(0)

    @property
    def is_running(self) -> bool:
        """Return whether a download is running."""
        return self._running

    def offer(self, missing: int) -> None:
        """Offer to download `missing` bytes; 0 if the model is complete."""
        self._bytes = missing
        if not missing:
            self._resumable = False
            self.explain("", "")
        self._show()

    def show_started(self) -> None:
        """Show that the download was started."""
        self._running, self._resumable = True, False
        self.explain("", "")
        self.progress.show_progress(tr("Connecting to the Hub…"), None)
        self._show()

    def show_progress(self, event: events.Progress) -> None:
        """Show the progress of the download."""
        share = event.done / event.total if event.total else None
        if event.total:
            status = tr("{done} of {total}").format(
                done=formatting.format_size(event.done), total=formatting.format_size(event.total)
            )
        else:
            status = localize_stage(event.stage)
        self.progress.show_progress(status, share, event.eta_s)

    def show_ending(self, event: events.Ending) -> None:
        """Show how the download ended: complete, canceled or failed."""
        self._running = False
        match event:
            case events.Done():
                self._bytes = 0
            case events.Cancelled():
                self._resumable = True
                self.explain("", tr("Download canceled. The part already downloaded is kept."))
            case events.Failed():
                problem = event.problem
                self._resumable = problem.code in ("model.interrupted", "model.hub_failed")
                self.explain(problem.code, localize_problem(problem))
        self._show()

    def explain(self, code: str, text: str) -> None:
        """Show why the download isn't possible, with the action that resolves it."""
        self.status.set_status(text, "error" if code else "muted")
        self.status.setVisible(bool(text))
        self.sign_in.setVisible(code in ("model.gated", "model.token", "model.not_found"))
        self.page.setVisible(code == "model.gated")
        self.online.setVisible(code == "model.offline")
        self._show()

    def _show(self) -> None:
        self.progress.setVisible(self._running)
        self.stop.setVisible(self._running)
        self.start.setVisible(bool(self._bytes) and not self._running)
        size = formatting.format_size(self._bytes)
        title = tr("Resume download ({size})") if self._resumable else tr("Download {size}")
        self.start.setText(title.format(size=size))
        explained = bool(self.status.text())
        self.setVisible(self._running or bool(self._bytes) or explained)
