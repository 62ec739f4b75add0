"""The LoRA step: rank, alpha, dropout, target modules, and the size of the adapter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from lora_studio.core import formatting
from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec, Targets
from lora_studio.core.memory import adapter_size
from lora_studio.core.memory.advice import fill_micro_batches
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.problems import ProblemError, Step
from lora_studio.core.protocol import events
from lora_studio.gui.controls.choices import CardOption, CardsControl, PresetNumberControl
from lora_studio.gui.controls.controls import SliderNumberControl
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Size, Spacing, body_font, color, get_theme
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    column,
    label,
    set_role,
    set_visible,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.tooltips import plain_tip

#: Preset ranks, each with a title and its purpose.
_RANKS = (
    (8, mark("Rank 8"), mark("Tone, style, and format")),
    (16, mark("Rank 16"), mark("Most tasks (start here)")),
    (32, mark("Rank 32"), mark("A new domain")),
    (64, mark("Rank 64"), mark("A lot of new material")),
)
#: Stops of the slider, closer together around common ranks.
_STOPS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_DROPOUT = {
    0.0: mark("No dropout: fastest, and a good default for most datasets."),
    0.05: mark("Light dropout: reduces overfitting on a few hundred rows."),
    0.1: mark(
        "Stronger dropout: reduces overfitting when you train on a small dataset for many epochs."
    ),
}
_STEP: Step = "lora"

#: Editors that are hidden while the adapter type doesn't use their setting.
_ONLY_LORA = ("alpha", "use_rslora", "use_dora", "init", "own_ranks", "bias")


class LoraPage(StepPage):
    """Edits the adapter settings and shows the number of trainable parameters.

    The count is immediate if the layer widths are known. Otherwise a query worker counts, and its latest
    count is shown meanwhile.
    """

    step = "lora"
    title = "LoRA"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Create the page: rank presets on top, adapter settings on the left, layers on the right."""
        super().__init__(state, parent)
        self.presets = CardsControl(
            [CardOption(rank, tr(name), tr(use)) for rank, name, use in _RANKS]
        )
        self.presets.setAccessibleName(tr("Rank presets"))
        self.rank = SliderNumberControl(state.get_facts(_STEP, "rank"), _STOPS)
        self.alpha = PresetNumberControl(
            state.get_facts(_STEP, "alpha"), {tr("1 × rank"): 0, tr("2 × rank"): 0}
        )
        self.dropout = PresetNumberControl(
            state.get_facts(_STEP, "dropout"),
            {formatting.format_float(value, "g"): value for value in _DROPOUT},
        )
        self.drawing = BlockDrawing()
        self.sentence = label(role="section", wrap=True)
        self.detail = label(role="muted", wrap=True)
        self._stale = False
        self._started: LoraSpec | None = None  # the settings of the adapter to start from
        self._build_layout()
        self.presets.edited.connect(self._choose_rank)
        self.rank.slid.connect(self._slide_rank)
        self.drawing.toggled.connect(self._choose_layers)
        state.value_changed.connect(self._on_value_changed)
        state.opened.connect(self._show_all)
        state.facts_changed.connect(self._on_facts_changed)
        self._show_all()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _build_layout(self) -> None:
        strength = Card(tr("Adapter"))
        strength.add(
            self.add_editor("adapter_type", style="segments"),
            self.add_editor("rank", control=self.rank),
            self.add_editor("alpha", control=self.alpha),
        )
        strength.add(self.add_editor("dropout", control=self.dropout))
        more = CollapsibleSection()
        more.add(
            self.add_editor("use_rslora"),
            self.add_editor("use_dora"),
            self.add_editor("init"),
            self.add_editor("blocks"),
            self.add_editor("own_ranks"),
            self.add_editor("bias", style="segments"),
            self.add_editor("modules_to_save"),
            self.add_editor("new_tokens"),
            self.add_editor("start_from"),
        )
        strength.add(more)
        layers = Card(tr("Layers"))
        layers.add(
            self.add_editor("targets", style="combo"),
            self.drawing,
            self.add_editor("target_names"),
            self.add_editor("adapt_experts"),
        )
        result = Card()
        result.add(self.sentence, self.detail)
        self.body.addWidget(self.presets)
        self.body.addWidget(result)
        self.body.addWidget(ResponsiveColumns(column(strength, None), column(layers, None), (2, 3)))
        self.body.addStretch(1)

    # --- user actions -------------------------------------------------------------------------

    def _choose_rank(self, rank: int) -> None:
        """Set the rank; alpha keeps its ratio to it, in the same undo step."""
        self.state.change(tr("Rank {rank}").format(rank=rank), [(_STEP, "rank", rank)])

    def _slide_rank(self, rank: int) -> None:
        """Set the rank while the slider moves; the whole movement is one undo step."""
        self.state.change(tr("Rank"), [(_STEP, "rank", rank)], merges=True)

    def _choose_layers(self, names: list[str]) -> None:
        self.state.change(
            tr("Target modules"), [(_STEP, "targets", "names"), (_STEP, "target_names", names)]
        )

    # --- display ------------------------------------------------------------------------------

    def _on_value_changed(self, step: str, field: str) -> None:
        if step == _STEP:
            self._stale = True
            self._show_all()
        elif field == "preference":  # a reward model has a head
            self._show_sentence()

    def _on_facts_changed(self, name: str) -> None:
        if name == "model":
            self._stale = False
            self._show_all()
        elif name in ("dataset", "plan"):  # the plan has the labels of a classifier
            self._show_sentence()

    def _show_all(self) -> None:
        self._show_start()
        self._show_strength()
        self._show_layers()
        self._show_sentence()

    def _show_start(self) -> None:
        """Show and disable the settings that the starting adapter determines."""
        spec = self.state.get_spec(_STEP)
        starting: LoraSpec | None = None
        if isinstance(spec, LoraSpec) and spec.start_from:
            with suppress(ProblemError):
                adapters.read_config(Path(spec.start_from))
                starting = adapters.resolve_lora(spec)
        changed, self._started = starting != self._started, starting
        if not changed and starting is None:
            return
        for field in adapters.TAKEN:
            field_editor = self.editors[field]
            field_editor.setEnabled(starting is None)
            field_editor.setToolTip(
                plain_tip(
                    "" if starting is None else tr("Set by the adapter that training starts from.")
                )
            )
            decided = self.state.get(_STEP, field) if starting is None else getattr(starting, field)
            field_editor.control.show_value(decided)
        for part in (self.presets, self.drawing):
            part.setEnabled(starting is None)

    def _get_effective(self, field: str) -> object:
        """Return the value that training uses: the starting adapter's if it determines the
        field.
        """
        if self._started is not None and field in adapters.TAKEN:
            return getattr(self._started, field)
        return self.state.get(_STEP, field)

    def _show_strength(self) -> None:
        is_lora = self._get_effective("adapter_type") != "miss"
        for field in _ONLY_LORA:
            unused = field == "alpha" or self._is_default(field)
            set_visible(self.editors[field], is_lora or not unused)
        rank, alpha = self._get_effective("rank"), self._get_effective("alpha")
        self.presets.show_value(rank)
        ratio = ""
        if isinstance(rank, int) and isinstance(alpha, int) and rank > 0:
            self.alpha.set_presets({tr("1 × rank"): rank, tr("2 × rank"): 2 * rank})
            ratio = tr("Currently {ratio} × rank.").format(
                ratio=formatting.format_float(alpha / rank, ".3g")
            )
        description = tr(self.state.get_facts(_STEP, "alpha").description)
        self.editors["alpha"].set_help(f"{ratio} {description}".strip())
        dropout = self.state.get(_STEP, "dropout")
        help_text = _DROPOUT.get(dropout) if isinstance(dropout, int | float) else None
        self.editors["dropout"].set_help(
            tr(help_text or self.state.get_facts(_STEP, "dropout").description)
        )

    def _is_default(self, field: str) -> bool:
        return bool(self.state.get(_STEP, field) == self.state.get_facts(_STEP, field).default)

    def _show_layers(self) -> None:
        model = self.state.facts.model
        self.drawing.set_layers(model.linear_names if model else DEFAULT_LAYERS)
        targets, names = self._get_effective("targets"), self._get_effective("target_names")
        named = [str(name) for name in names] if isinstance(names, list | tuple) else []
        is_preset = targets in list(self.state.get_facts(_STEP, "targets").choices)
        chosen = (
            list_targeted_names(cast(Targets, targets), named, self.drawing.get_slots())
            if is_preset
            else set()
        )
        adapts_experts = bool(self._get_effective("adapt_experts"))
        experts: set[str] = set()
        if model and model.shape and model.shape.experts:
            experts = {*model.linear_names} - {layer.name for layer in model.shape.linear}
        if adapts_experts:
            chosen |= experts
        elif targets != "names":  # presets leave them out
            chosen -= experts
        self.drawing.show_chosen(chosen)
        self.editors["target_names"].setVisible(targets == "names")
        for_experts = self.editors["adapt_experts"]
        for_experts.is_searchable = bool(experts) or adapts_experts
        for_experts.setVisible(for_experts.is_searchable)

    def _show_sentence(self) -> None:
        model, spec = self.state.facts.model, self.state.get_spec(_STEP)
        at_once = (
            adapter_size.count_parameters(model, spec)
            if model and isinstance(spec, LoraSpec)
            else None
        )
        counted = run_preview.get_adapter_size(self.state)
        waiting = self._stale and at_once is None
        set_role(self.sentence, "muted" if counted is None or waiting else "section")
        if spec is None:
            sentence = tr("Fix the values below to see the number of trainable parameters.")
        elif model is None and self.state.get("model", "source"):
            sentence = tr(
                "The number of trainable parameters appears when the model details are known."
            )
        elif model is None:
            sentence = tr("Select a model to see the number of trainable parameters.")
        elif counted is None and model.adapter_problem is not None:
            sentence = localize(model.adapter_problem.what)
        elif counted is None:
            sentence = tr("No trainable parameters: this model has none of the selected layers.")
        else:
            sentence = _describe_size(counted)
        self.sentence.setText(sentence)
        details = [_describe_detail(counted), self._describe_memory()] if counted and model else []
        details += [localize(note.what) for note in model.adapter_notes] if model else []
        if self._started is not None and isinstance(spec, LoraSpec):
            shape = adapters.describe(adapters.read_config(Path(spec.start_from)))
            note = tr(
                "Continues from an adapter: {shape}. Settings that the adapter determines "
                "are disabled below."
            )
            details.append(note.format(shape=localize(shape)))
        self.detail.setText(" ".join(part for part in details if part))
        self.detail.setVisible(bool(self.detail.text()))

    def _describe_memory(self) -> str:
        """Return the memory that training with this adapter needs, and how much is free."""
        plan = run_preview.make_plan(self.state)
        if plan is None:
            return ""
        memory = estimate(fill_micro_batches(plan))
        needed, free = (
            formatting.format_memory(memory.total),
            formatting.format_memory(plan.device.free_bytes),
        )
        if memory.fits:
            return tr("Training needs {needed} of memory; {free} is free.").format(
                needed=needed, free=free
            )
        return tr("Training needs {needed} of memory, but only {free} is free.").format(
            needed=needed, free=free
        )


def _describe_size(counted: events.ParametersCounted) -> str:
    return tr(
        "{trained} of {total} parameters are trainable ({share}); adapter weights: {size}"
    ).format(
        trained=formatting.format_count(counted.trainable),
        total=formatting.format_count(counted.total),
        share=formatting.format_percent(counted.percent / 100),
        size=formatting.format_size(counted.adapter_bytes),
    )


def _describe_detail(counted: events.ParametersCounted) -> str:
    return tr("Target modules in every block: {layers}.").format(
        layers=formatting.join_names(counted.targets, tr("and"))
    )


BlockColumn = Literal["in", "out", "up", "down", "other"]

#: Layers of a Llama-shaped block, drawn until the model's layers are known.
DEFAULT_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

#: Patterns of layer names and their columns; the first match counts.
_COLUMN_PATTERNS: tuple[tuple[BlockColumn, re.Pattern[str]], ...] = (
    ("down", re.compile(r"down|fc2|c_proj_mlp|w2\Z|dense_4h_to_h|wo_mlp|output_linear", re.I)),
    (
        "up",
        re.compile(
            r"(?<!input_)gate|up_proj|fc1|c_fc|w1\Z|w3\Z|dense_h_to_4h|input_linear|wi\Z", re.I
        ),
    ),
    ("out", re.compile(r"(\bo|out|dense|^wo|^c)(_proj|_lin)?\Z", re.I)),
    ("in", re.compile(r"(\bq|\bk|\bv|qkv|query|key|value|c_attn|wq|wk|wv|_a|_b)", re.I)),
)
_QUERY_VALUE = re.compile(r"(q|v|query|value|wq|wv|qkv.*|query_key_value|c_attn)(_proj|_lin)?\Z")
_ENDINGS = re.compile(r"_(proj|lin|linear)\Z")


@dataclass(frozen=True)
class Slot:
    """A linear layer: its full name, its short title in the drawing, and its column."""

    name: str
    title: str
    column: BlockColumn


def list_block_slots(names: Sequence[str]) -> list[Slot]:
    """Return the position of each linear layer of a model in the drawing."""
    short = [_ENDINGS.sub("", name) for name in names]
    return [
        Slot(name, title if short.count(title) == 1 else name, _get_column(name))
        for name, title in zip(names, short, strict=True)
    ]


def list_targeted_names(
    targets: Targets, target_names: Sequence[str], known: Sequence[Slot]
) -> set[str]:
    """Return the names of the layers that a choice of target modules adapts."""
    match targets:
        case "names":
            return set(target_names)
        case "attention_qv":
            return {slot.name for slot in known if _QUERY_VALUE.match(slot.name)}
        case "attention":
            return {slot.name for slot in known if slot.column in ("in", "out")}
        case "mlp":
            return {slot.name for slot in known if slot.column in ("up", "down")}
        case _:
            return {slot.name for slot in known}


class BlockDrawing(QWidget):
    """From left to right: norm, attention, norm, MLP, and the two residual paths around them.

    Signals:
        toggled(names): the enabled layers, in the model's order.
    """

    toggled = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Draw a Llama-shaped block until `set_layers` is called."""
        super().__init__(parent)
        self._slots: list[Slot] = []
        self.buttons: dict[str, QPushButton] = {}
        self._columns: dict[BlockColumn, QRect] = {}
        self._extra: set[str] = set()  # selected names that this model doesn't have
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMaximumWidth(760)
        self.setAccessibleName(tr("Linear layers of a transformer block that get an adapter"))
        get_theme().changed.connect(self.update)
        self.set_layers(DEFAULT_LAYERS)

    def set_layers(self, names: Sequence[str]) -> None:
        """Draw the linear layers of the model's blocks."""
        if [slot.name for slot in self._slots] == list(names):
            return
        on = self.list_enabled()
        for layer_button in self.buttons.values():
            layer_button.hide()
            layer_button.deleteLater()
        self._slots = list_block_slots(names)
        self.buttons = {slot.name: self._make_button(slot) for slot in self._slots}
        self.show_chosen(on)
        self.updateGeometry()
        self._arrange()

    def get_slots(self) -> list[Slot]:
        """Return the layers drawn."""
        return list(self._slots)

    def show_chosen(self, names: Iterable[str]) -> None:
        """Toggle the layers without emitting `toggled`."""
        chosen = set(names)
        self._extra = chosen - set(self.buttons)
        for name, chip in self.buttons.items():
            chip.setChecked(name in chosen)

    def list_enabled(self) -> list[str]:
        """Return the names of the enabled layers; names that the model doesn't have come last."""
        on = [name for name, chip in self.buttons.items() if chip.isChecked()]
        return [*on, *sorted(self._extra)]

    # --- geometry -----------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """Return a size with the height that the fullest column needs."""
        height = (
            2 * _RAIL
            + max(1, self._count_rows()) * _PITCH
            + (_PITCH if self._list_slots("other") else 0)
        )
        return QSize(620, height)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest size that has room for the names."""
        return QSize(520, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Place the buttons for the new size."""
        super().resizeEvent(event)
        self._arrange()

    def _list_slots(self, column: BlockColumn) -> list[Slot]:
        return [slot for slot in self._slots if slot.column == column]

    def _count_rows(self) -> int:
        return max(len(self._list_slots(column)) for column in _COLUMNS)

    def _find_middle(self) -> int:
        return _RAIL + self._count_rows() * _PITCH // 2

    def _arrange(self) -> None:
        """Place the buttons in four columns, and buttons without a column in a row below."""
        free = self.width() - 2 * _END
        for index, stage in enumerate(_COLUMNS):
            center = _END + round(free * _CENTRES[index])
            members = self._list_slots(stage)
            top = self._find_middle() - len(members) * _PITCH // 2
            width = max([_WIDTH, *(self.buttons[slot.name].sizeHint().width() for slot in members)])
            self._columns[stage] = QRect(center - width // 2, top, width, len(members) * _PITCH)
            for row, slot in enumerate(members):
                self.buttons[slot.name].setGeometry(
                    center - width // 2,
                    top + row * _PITCH + (_PITCH - _HEIGHT) // 2,
                    width,
                    _HEIGHT,
                )
        left = _END
        for slot in self._list_slots("other"):
            chip = self.buttons[slot.name]
            chip.setGeometry(left, self.height() - _HEIGHT, chip.sizeHint().width(), _HEIGHT)
            left += chip.sizeHint().width() + Spacing.S
        self.update()

    # --- painting -----------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint paths and operations; the buttons paint themselves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(body_font(Size.CAPTION))
        middle = float(self._find_middle())
        columns = [self._columns[column] for column in _COLUMNS]
        into, out, up, down = columns
        norm1 = QPointF(_END + _NORM, middle)
        attention = QPointF((into.right() + out.left()) / 2, middle)
        plus1 = QPointF(out.right() + _GAP, middle)
        norm2 = QPointF((plus1.x() + up.left() - _FAN) / 2, middle)
        times = QPointF((up.right() + down.left()) / 2, middle)
        plus2 = QPointF(down.right() + _GAP, middle)
        painter.setPen(QPen(color("edge"), 1.4))
        begin = QPointF(2, middle)
        self._draw_path(painter, [begin, norm1, QPointF(into.left() - _FAN, middle)])
        self._draw_fan(painter, "in", QPointF(into.left() - _FAN, middle), attention)
        self._draw_path(painter, [attention, plus1])
        self._draw_path(painter, [plus1, norm2, QPointF(up.left() - _FAN, middle)])
        self._draw_fan(painter, "up", QPointF(up.left() - _FAN, middle), times)
        self._draw_path(painter, [times, plus2, QPointF(self.width() - 2, middle)])
        self._draw_residual(painter, QPointF(_GAP / 2, middle), plus1)
        self._draw_residual(painter, QPointF(plus1.x() + _GAP * 0.8, middle), plus2)
        self._draw_arrow(painter, QPointF(self.width() - 2, middle))
        self._draw_operation(painter, norm1, tr("norm"), 22)
        self._draw_operation(painter, norm2, tr("norm"), 22)
        self._draw_operation(painter, attention, tr("attention"), 34)
        self._draw_operation(painter, plus1, "+", 9)
        gated = len(self._list_slots("up")) > 1
        self._draw_operation(painter, times, "×" if gated else tr("act"), 9 if gated else 16)
        self._draw_operation(painter, plus2, "+", 9)
        painter.end()

    def _draw_fan(
        self, painter: QPainter, column: BlockColumn, start: QPointF, end: QPointF
    ) -> None:
        """Draw curves from a point through each button of a column to another point."""
        for slot in self._list_slots(column):
            box = self.buttons[slot.name].geometry()
            y = float(box.center().y()) + 0.5
            path = QPainterPath(start)
            path.cubicTo(start.x() + 10, start.y(), box.left() - 10, y, box.left(), y)
            path.moveTo(box.right() + 1, y)
            path.cubicTo(box.right() + 12, y, end.x() - 16, end.y(), end.x(), end.y())
            painter.drawPath(path)

    def _draw_residual(self, painter: QPainter, start: QPointF, end: QPointF) -> None:
        """Draw the path around half of the block, along the upper edge."""
        top = _RAIL / 2
        path = QPainterPath(start)
        path.lineTo(start.x(), top + 8)
        path.quadTo(start.x(), top, start.x() + 8, top)
        path.lineTo(end.x() - 8, top)
        path.quadTo(end.x(), top, end.x(), top + 8)
        path.lineTo(end)
        painter.drawPath(path)

    @staticmethod
    def _draw_path(painter: QPainter, points: list[QPointF]) -> None:
        for start, end in pairwise(points):
            painter.drawLine(start, end)

    @staticmethod
    def _draw_arrow(painter: QPainter, tip: QPointF) -> None:
        painter.drawLine(tip, tip + QPointF(-6, -4))
        painter.drawLine(tip, tip + QPointF(-6, 4))

    @staticmethod
    def _draw_operation(painter: QPainter, center: QPointF, words: str, half: int) -> None:
        """Draw a named operation on the path."""
        painter.save()
        box = QRectF(center.x() - half, center.y() - 9, 2 * half, 18)
        painter.setBrush(color("card"))
        painter.setPen(QPen(color("edge"), 1))
        painter.drawRoundedRect(box, 9, 9)
        painter.setPen(color("muted"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, words)
        painter.restore()

    def _make_button(self, slot: Slot) -> QPushButton:
        chip = QPushButton(slot.title, self, autoDefault=False)
        chip.setCheckable(True)
        chip.setProperty("kind", "chip")
        chip.setToolTip(plain_tip(slot.name))
        chip.setAccessibleName(slot.name)
        chip.clicked.connect(lambda _=False: self.toggled.emit(self.list_enabled()))
        chip.show()
        return chip


def _get_column(name: str) -> BlockColumn:
    return next((column for column, pattern in _COLUMN_PATTERNS if pattern.search(name)), "other")


_COLUMNS: tuple[BlockColumn, ...] = ("in", "out", "up", "down")
#: Centers of the four columns of buttons, as shares of the width.
_CENTRES = (0.165, 0.40, 0.72, 0.905)
_RAIL = 30  # room for a residual path
_PITCH, _HEIGHT, _WIDTH = 36, 28, 52
_END, _NORM, _GAP, _FAN = 22, 24, 20, 22
