"""Card below the columns: prompt, system prompt, sampling and device."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QWidget

from lora_studio.core.chat import Sampling
from lora_studio.gui.language import tr
from lora_studio.gui.pages.playground.prompt_box import PromptBox
from lora_studio.gui.pages.playground.sampling_panel import SamplingPanel, summarize
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
