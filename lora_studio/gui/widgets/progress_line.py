"""The progress of a job: stage, share and time left."""

from __future__ import annotations

from PySide6.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from lora_studio.core import messages
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row

_UNITS = 1000


class ProgressLine(QWidget):
    """A text above a progress bar."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create it with unknown progress."""
        super().__init__(parent)
        self.doing = label()
        self.left = label(role="muted")
        self.bar = QProgressBar(textVisible=False)
        self.bar.setRange(0, _UNITS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addLayout(row(self.doing, None, self.left))
        layout.addWidget(self.bar)

    def show_progress(self, doing: str, share: float | None, eta_s: float | None = None) -> None:
        """Show a share from 0 to 1, or an empty bar for None."""
        self.doing.setText(doing)
        left = (
            tr("{time} left").format(time=localize(messages.describe_remaining(eta_s)))
            if eta_s is not None
            else ""
        )
        done = f"{share:.0%}".replace("%", " %") if share is not None else ""
        self.left.setText("  ·  ".join(part for part in (done, left) if part))
        self.bar.setValue(round(_UNITS * min(1.0, max(0.0, share or 0.0))))
        self.bar.setAccessibleName(f"{doing} {self.left.text()}".strip())
