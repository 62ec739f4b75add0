"""A drawing of one transformer block in which linear layers are toggled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from lora_studio.core.lora.spec import Targets
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Size, Spacing, body_font, color, get_theme
from lora_studio.gui.widgets.tooltips import plain_tip

BlockColumn = Literal["in", "out", "up", "down", "other"]

#: Layers of a Llama-shaped block, drawn until the model's layers are known.
DEFAULT_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

#: Patterns of layer names and their columns; the first match counts.
_COLUMN_PATTERNS: tuple[tuple[BlockColumn, re.Pattern[str]], ...] = (
    ("down", re.compile(r"down|fc2|c_proj_mlp|w2\Z|dense_4h_to_h|wo_mlp|output_linear", re.I)),
    ("up", re.compile(r"gate|up_proj|fc1|c_fc|w1\Z|w3\Z|dense_h_to_4h|input_linear|wi\Z", re.I)),
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
        for index, column in enumerate(_COLUMNS):
            center = _END + round(free * _CENTRES[index])
            members = self._list_slots(column)
            top = self._find_middle() - len(members) * _PITCH // 2
            width = max([_WIDTH, *(self.buttons[slot.name].sizeHint().width() for slot in members)])
            self._columns[column] = QRect(center - width // 2, top, width, len(members) * _PITCH)
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
        plus1 = QPointF(out.right() + _STEP, middle)
        norm2 = QPointF((plus1.x() + up.left() - _FAN) / 2, middle)
        times = QPointF((up.right() + down.left()) / 2, middle)
        plus2 = QPointF(down.right() + _STEP, middle)
        painter.setPen(QPen(color("edge"), 1.4))
        begin = QPointF(2, middle)
        self._draw_path(painter, [begin, norm1, QPointF(into.left() - _FAN, middle)])
        self._draw_fan(painter, "in", QPointF(into.left() - _FAN, middle), attention)
        self._draw_path(painter, [attention, plus1])
        self._draw_path(painter, [plus1, norm2, QPointF(up.left() - _FAN, middle)])
        self._draw_fan(painter, "up", QPointF(up.left() - _FAN, middle), times)
        self._draw_path(painter, [times, plus2, QPointF(self.width() - 2, middle)])
        self._draw_residual(painter, QPointF(_STEP / 2, middle), plus1)
        self._draw_residual(painter, QPointF(plus1.x() + _STEP * 0.8, middle), plus2)
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
_END, _NORM, _STEP, _FAN = 22, 24, 20, 22
