"""Size and colours of a picture of curves."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.widgets.basics import button, titled
from lora_studio.gui.widgets.dialog import Dialog

SIZES = (
    (mark("Report"), QSize(1600, 1000)),
    (mark("Slide"), QSize(1920, 1080)),
    (mark("Small"), QSize(1000, 640)),
    (mark("Poster"), QSize(3840, 2160)),
)


class ImageExportDialog(Dialog):
    """Two choices.

    Signals:
        chosen(size, palette): in pixels, and the colours.
    """

    chosen = Signal(QSize, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """The colours of the window are proposed."""
        super().__init__(tr("Save the curves as a picture"), "", parent)
        self.size_choice, self.colors = QComboBox(), QComboBox()
        for name, size in SIZES:
            self.size_choice.addItem(
                tr("{name}, {width} × {height} pixels").format(
                    name=tr(name), width=size.width(), height=size.height()
                ),
                size,
            )
        for palette, name in ((theme.LIGHT, tr("Light")), (theme.DARK, tr("Dark"))):
            self.colors.addItem(name, palette)
        self.colors.setCurrentIndex(1 if theme.current() == theme.DARK else 0)
        self.size_choice.setAccessibleName(tr("Size"))
        self.colors.setAccessibleName(tr("Colours"))
        self.body.addWidget(titled(tr("Size"), self.size_choice))
        self.body.addWidget(titled(tr("Colours"), self.colors))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save = self.add_button(button(tr("Save…"), self._choose, kind="primary"), default=True)

    def _choose(self) -> None:
        self.accept()
        self.chosen.emit(self.size_choice.currentData(), self.colors.currentData())
