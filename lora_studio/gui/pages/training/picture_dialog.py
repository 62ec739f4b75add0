"""Dialog for the size and the colors of an exported chart image."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QComboBox, QWidget

from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.widgets.basics import button, with_title
from lora_studio.gui.widgets.dialog import Dialog

SIZES = (
    (mark("Report"), QSize(1600, 1000)),
    (mark("Slide"), QSize(1920, 1080)),
    (mark("Small"), QSize(1000, 640)),
    (mark("Poster"), QSize(3840, 2160)),
)


class ImageExportDialog(Dialog):
    """Asks for the size and the colors of the image.

    Signals:
        chosen(size, palette): size in pixels, and the color palette.
    """

    chosen = Signal(QSize, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Preselect the colors of the current theme."""
        super().__init__(tr("Save chart as image"), "", parent)
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
        self.colors.setCurrentIndex(1 if theme.get_palette() == theme.DARK else 0)
        self.size_choice.setAccessibleName(tr("Size"))
        self.colors.setAccessibleName(tr("Colors"))
        self.body.addWidget(with_title(tr("Size"), self.size_choice))
        self.body.addWidget(with_title(tr("Colors"), self.colors))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save = self.add_button(button(tr("Save…"), self._choose, kind="primary"), default=True)

    def _choose(self) -> None:
        self.accept()
        self.chosen.emit(self.size_choice.currentData(), self.colors.currentData())
