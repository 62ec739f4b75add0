"""Card below the columns: prompt, system prompt, sampling and device."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.chat import Sampling
from lora_studio.core.formatting import format_float
from lora_studio.core.spec import get_facts
from lora_studio.gui.controls.controls import LineControl, parse
from lora_studio.gui.language import tr
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing, set_icon
from lora_studio.gui.widgets.basics import Card, FlowLayout, button, label, row

#: Milliseconds without typing before `typed` is emitted.
_TYPED_DELAY = 400


class PromptCard(Card):
    """Edits the prompt and the settings for its answers.

    Signals:
        sent: send the prompt.
        stop_clicked, regenerate_clicked, keep_clicked: the button was clicked.
        cpu_clicked: answer on the CPU.
        recalled: edit the last prompt.
        canceled: Esc was pressed in the prompt.
        typed: prompt or system prompt changed; emitted after a pause in typing.
        sampling_chosen(sampling), device_chosen(name): other settings; "" is the project's device.
    """

    sent = Signal()
    stop_clicked = Signal()
    regenerate_clicked = Signal()
    keep_clicked = Signal()
    cpu_clicked = Signal()
    recalled = Signal()
    canceled = Signal()
    typed = Signal()
    sampling_chosen = Signal(object)
    device_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent=parent)
        self.prompt = PromptBox()
        self.system = QPlainTextEdit(tabChangesFocus=True)
        self.system.setAccessibleName(tr("System prompt"))
        self.system.setPlaceholderText(tr("Describe the model's role and how it should answer"))
        set_scaled_sizes(self.system, height=68)
        self.system.hide()
        self.with_system = button(tr("System prompt"), self._toggle_system, icon="chevron-right")
        self.sampling = button("", self._open_sampling, icon="settings")
        self.sampling.setToolTip(tr("Sampling settings"))
        self.panel = SamplingPanel(self)
        self.device = QComboBox()
        self.device.setAccessibleName(tr("Device"))
        self.device.setToolTip(tr("Device"))
        self.device.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.keep = button(tr("Add to samples"), self.keep_clicked.emit, icon="sample")
        self.keep.setToolTip(
            tr(
                "Adds this prompt to the sample prompts, which the model answers at every "
                "evaluation during training"
            )
        )
        self.regenerate = button(tr("Regenerate"), self.regenerate_clicked.emit, icon="refresh")
        self.regenerate.setToolTip("Ctrl+R")
        self.stop = button(tr("Stop"), self.stop_clicked.emit, icon="stop")
        self.stop.setToolTip(tr("Stop generating (Esc)"))
        self.send = button(tr("Send"), self.sent.emit, kind="primary")
        self.send.setToolTip(tr("Send (Enter or Ctrl+Enter)"))
        self.use_cpu = button(tr("Answer on the CPU"), self.cpu_clicked.emit)
        self.status = label("", "caption")
        self.note = label("", "caption", wrap=True)
        self._typing = QTimer(self, singleShot=True, interval=_TYPED_DELAY)
        self._build_layout()
        self._wire()

    def _build_layout(self) -> None:
        sending, tools = QWidget(), QWidget()
        sending.setLayout(row(self.status, self.use_cpu, self.regenerate, self.stop, self.send))
        flow = FlowLayout(tools)
        for part in (self.with_system, self.sampling, self.device, self.keep):
            flow.addWidget(part)
        flow.add_at_right(sending)
        self.add(self.note, self.system, self.prompt, tools)
        self.body.setSpacing(Spacing.S)

    def _wire(self) -> None:
        self._typing.timeout.connect(self.typed)
        self.prompt.sent.connect(self.sent)
        self.prompt.recalled.connect(self.recalled)
        self.prompt.canceled.connect(self.canceled)
        self.prompt.textChanged.connect(self._typing.start)
        self.system.textChanged.connect(self._typing.start)
        self.panel.changed.connect(self.sampling_chosen)
        self.device.activated.connect(
            lambda _: self.device_chosen.emit(str(self.device.currentData()))
        )

    @property
    def is_typing(self) -> bool:
        """Whether there is text that `typed` hasn't reported yet."""
        return self._typing.isActive()

    def discard_pending(self) -> None:
        """Discard a pending `typed` signal."""
        self._typing.stop()

    def set_texts(self, prompt: str, system: str) -> None:
        """Replace prompt and system prompt."""
        if prompt != self.prompt.text():
            self.prompt.setPlainText(prompt)
        if system != self.system.toPlainText():
            self.system.setPlainText(system)
        self.discard_pending()

    def show_state(self, *, busy: bool, answered: bool, device_busy: bool) -> None:
        """Show the buttons that apply: while answering, afterwards, and while a job uses the
        device.
        """
        self.stop.setVisible(busy)
        self.send.setVisible(not busy)
        self.use_cpu.setVisible(device_busy and not busy)
        self.regenerate.setVisible(answered and not busy and not device_busy)

    def show_settings(self, sampling: Sampling, devices: Sequence[str], device: str) -> None:
        """Show sampling, the available devices and the selected one."""
        self.sampling.setText(summarize(sampling))
        self.panel.show_sampling(sampling)
        items = ["", *devices]
        if [self.device.itemData(index) for index in range(self.device.count())] != items:
            self.device.clear()
            for each in items:
                self.device.addItem(each or tr("Project device"), each)
        self.device.setCurrentIndex(max(0, self.device.findData(device)))

    def show_note(self, text: str) -> None:
        """Show a note above the prompt, "" for none."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _toggle_system(self) -> None:
        opened = self.system.isHidden()
        self.system.setVisible(opened)
        set_icon(self.with_system, "chevron-down" if opened else "chevron-right")
        if opened:
            self.system.setFocus()

    def _open_sampling(self) -> None:
        self.panel.open_at(self.sampling)


#: Maximum number of visible lines.
_MAX_LINES = 6


class PromptBox(QPlainTextEdit):
    """A text box that grows with the text, up to a few lines.

    Signals:
        sent: Enter was pressed in a box that isn't empty.
        recalled: Up was pressed in an empty box: edit the last prompt.
        canceled: Esc was pressed.
    """

    sent = Signal()
    recalled = Signal()
    canceled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.setAccessibleName(tr("Prompt"))
        self.setPlaceholderText(tr("Enter a prompt (Enter to send, Shift+Enter for a new line)"))
        self.setTabChangesFocus(True)
        self.textChanged.connect(self._fit)
        self._fit()

    def text(self) -> str:
        """Return the text."""
        return self.toPlainText()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Handle Enter, Up and Esc."""
        shifted = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter if not shifted:
                if self.text().strip():
                    self.sent.emit()
            case Qt.Key.Key_Up if not self.text():
                self.recalled.emit()
            case Qt.Key.Key_Escape:
                self.canceled.emit()
            case _:
                super().keyPressEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Fit the height once the margins of the style sheet are known."""
        super().showEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Fit the height to the text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        lines = min(max(self.document().blockCount(), 2), _MAX_LINES)
        margins = self.contentsMargins().top() + self.contentsMargins().bottom() + 14
        height = lines * self.fontMetrics().lineSpacing() + margins
        if height != self.height():
            self.setFixedHeight(height)


class SamplingPanel(QFrame):
    """Edits the fields of `Sampling`; invalid values are marked and ignored.

    Signals:
        changed(sampling): the settings changed.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the defaults."""
        super().__init__(parent, Qt.WindowType.Popup)
        self.setProperty("surface", "card")
        self.setAccessibleName(tr("Sampling"))
        self._sampling = Sampling()
        self.controls: dict[str, LineControl] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(Spacing.L)
        grid.setVerticalSpacing(Spacing.S)
        for line, name in enumerate(Sampling.model_fields):
            about = get_facts(Sampling, name)
            control = LineControl(about)
            control.setToolTip(tr(about.description))
            control.line.setAccessibleName(tr(about.title))
            control.edited.connect(lambda value, name=name: self._edit(name, value))
            control.left.connect(self._refresh)
            title = label(tr(about.title), "label")
            title.setBuddy(control.line)
            title.setToolTip(tr(about.description))
            grid.addWidget(title, line, 0)
            grid.addWidget(control, line, 1)
            self.controls[name] = control
        self.error = label("", "error", wrap=True)
        self.greedy = button(tr("Greedy"), self._set_greedy)
        self.greedy.setToolTip(
            tr("Always picks the most likely token, so answers are reproducible")
        )
        self.reset = button(tr("Reset"), lambda: self._set(Sampling()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.CARD, Spacing.CARD, Spacing.CARD, Spacing.CARD)
        layout.setSpacing(Spacing.M)
        layout.addWidget(label(tr("Sampling"), "section"))
        layout.addLayout(grid)
        layout.addWidget(self.error)
        layout.addLayout(row(self.greedy, self.reset, None))
        self.show_sampling(Sampling())

    def show_sampling(self, sampling: Sampling) -> None:
        """Show sampling settings."""
        self._sampling = sampling
        self._refresh()

    def open_at(self, target: QPushButton) -> None:
        """Open above a button, with the first field focused."""
        self.adjustSize()
        self.move(target.mapToGlobal(QPoint(0, -self.sizeHint().height() - Spacing.XS)))
        self.show()
        first = next(iter(self.controls.values()))
        first.line.setFocus()
        first.line.selectAll()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Close on Esc."""
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)

    def _refresh(self) -> None:
        for name, control in self.controls.items():
            control.show_value(getattr(self._sampling, name))
            control.set_invalid(False)
        self.error.hide()

    def _edit(self, name: str, value: object) -> None:
        if isinstance(value, str):
            value = parse(value, get_facts(Sampling, name))
        try:
            sampling = Sampling.model_validate(self._sampling.model_dump() | {name: value})
        except ValueError:
            about = get_facts(Sampling, name)
            self.controls[name].set_invalid(True)
            message = tr("{field} must be between {low} and {high}.")
            self.error.setText(
                message.format(
                    field=tr(about.title), low=_format(about.minimum), high=_format(about.maximum)
                )
            )
            self.error.show()
            return
        self._set(sampling)

    def _set_greedy(self) -> None:
        self._set(self._sampling.model_copy(update={"temperature": 0.0}))

    def _set(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._refresh()
        self.changed.emit(sampling)


def _format(value: float | None) -> str:
    return "" if value is None else format_float(value, "g")


def summarize(sampling: Sampling) -> str:
    """Return the settings in short, for the button that opens the popup."""
    if sampling.temperature == 0:
        return tr("Greedy · {count} tokens").format(count=sampling.max_tokens)
    return tr("Temperature {temperature} · {count} tokens").format(
        temperature=_format(sampling.temperature), count=sampling.max_tokens
    )
