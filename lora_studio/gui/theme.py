"""Colors, spacing and fonts of the window, applied live to the whole application."""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, QTemporaryDir, Signal
from PySide6.QtGui import (
    QAction,
    QColor,
    QFont,
    QFontDatabase,
    QGuiApplication,
    QIcon,
    QPainter,
    QPalette,
    QPixmap,
    QPixmapCache,
)
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QAbstractButton, QApplication, QPushButton, QToolButton

from lora_studio.core.system import paths
from lora_studio.gui.preferences import TextSize
from lora_studio.gui.text_size import Size as Size
from lora_studio.gui.text_size import fit_again

Mode = Literal["light", "dark", "system"]
Role = Literal["text", "muted", "accent", "on_accent", "ok", "warn", "error"]


@dataclass(frozen=True)
class ColorPalette:
    """Colors as #RRGGBB. `loss`, `evaluation`, `learning_rate` and `series` are for curves."""

    name: Literal["light", "dark"]
    window: str
    card: str
    field: str
    line: str
    edge: str  # outline of controls: must be visible without the fill
    hover: str
    selected: str
    text: str
    muted: str
    disabled: str
    accent: str
    accent_hover: str
    on_accent: str
    ok: str
    warn: str
    error: str
    loss: str
    evaluation: str
    learning_rate: str
    series: tuple[str, ...]


LIGHT = ColorPalette(
    name="light",
    window="#F6F7F9",
    card="#FFFFFF",
    field="#FFFFFF",
    line="#DFE3E8",
    edge="#868F9A",
    hover="#EDF0F3",
    selected="#E6ECFC",
    text="#1B1F24",
    muted="#5B6570",
    disabled="#8B949E",
    accent="#2F5FE3",
    accent_hover="#2450C8",
    on_accent="#FFFFFF",
    ok="#1A7747",
    warn="#955800",
    error="#C4352B",
    loss="#2F5FE3",
    evaluation="#C26E1A",
    learning_rate="#5B6570",
    series=("#2F5FE3", "#C26E1A", "#0B7F78", "#A8327A", "#6B5BD2", "#6E7400"),
)

DARK = ColorPalette(
    name="dark",
    window="#16191D",
    card="#1E2227",
    field="#191C21",
    line="#2E343B",
    edge="#6C7682",
    hover="#262B31",
    selected="#26324B",
    text="#E6E9ED",
    muted="#98A2AD",
    disabled="#6C7682",
    accent="#7AA2FF",
    accent_hover="#95B5FF",
    on_accent="#10141B",
    ok="#4CC38A",
    warn="#F0B04F",
    error="#FF7A70",
    loss="#7AA2FF",
    evaluation="#F0A860",
    learning_rate="#98A2AD",
    series=("#7AA2FF", "#F0A860", "#4FC4BA", "#EE8FC4", "#B3A5FF", "#C3C95B"),
)


class Spacing:
    """Spacing in device-independent pixels."""

    XS, S, M, L, XL, XXL = 4, 8, 12, 16, 24, 32
    PAGE = XL
    CARD = L
    ROW = M
    RADIUS_CARD, RADIUS_CONTROL = 8, 6


class Theme(QObject):
    """The current theme.

    Signals:
        changed: another palette was applied; custom-painted widgets repaint.
    """

    changed = Signal()

    def __init__(self, app: QApplication) -> None:
        """Create the theme of an application."""
        super().__init__(app)
        self._app = app
        self._images = QTemporaryDir()
        app.setStyle("fusion")
        app.setFont(body_font())
        self._style = (paths.get_resources_folder() / "style.qss").read_text("utf-8")
        self.mode: Mode = "system"
        self.palette = LIGHT
        app.styleHints().colorSchemeChanged.connect(self._follow_system)

    def apply(self, mode: Mode) -> None:
        """Apply a mode to the whole application."""
        self.mode = mode
        palette = self._choose(mode)
        if palette == self.palette and self._app.styleSheet():
            return
        self.palette = palette
        self._app.setPalette(_make_qt_palette(self.palette))
        self._set_style_sheet()
        self._tint_again()
        self.changed.emit()

    def set_text_size(self, percent: TextSize) -> None:
        """Change the size of all text."""
        if percent == Size.percent:
            return
        Size.percent = percent
        self._app.setFont(body_font())
        if self._app.styleSheet():
            fit_again(self._app.allWidgets())
            self._set_style_sheet()
            self._tint_again()
            self.changed.emit()

    def _set_style_sheet(self) -> None:
        """Style every widget again, each one once.

        WORKAROUND: when Qt replaces a style sheet, it styles each widget again with every one of its
        ancestors, so a widget 12 levels deep 12 times. Without a style sheet before, it does so once.
        """
        self._app.setStyleSheet("")
        self._app.setStyleSheet(self._substitute())

    def _choose(self, mode: Mode) -> ColorPalette:
        if mode == "system":
            dark = self._app.styleHints().colorScheme() == Qt.ColorScheme.Dark
            return DARK if dark else LIGHT
        return DARK if mode == "dark" else LIGHT

    def _follow_system(self) -> None:
        if self.mode == "system" and self._choose("system") != self.palette:
            self.apply("system")

    def _substitute(self) -> str:
        tokens = {key: str(value) for key, value in asdict(self.palette).items()}
        tokens |= {"mono": get_monospace_family()}
        tokens |= Size.list_tokens()
        tokens |= {f"space_{key.lower()}": f"{value}px" for key, value in _list_constants(Spacing)}

        def value_of(match: re.Match[str]) -> str:
            name, _, role = match[1].partition(":")
            if role.isdigit():  # the height of one line of text
                return f"{Size.scale_height(int(role))}px"
            return self._write_tinted_image(name, cast(Role, role)) if role else tokens[name]

        return re.sub(r"@\{([\w:-]+)\}", value_of, self._style)

    def _write_tinted_image(self, name: str, role: Role) -> str:
        """Return a tinted icon as a file, because style sheets accept only files."""
        file = Path(self._images.path()) / f"{self.palette.name}-{role}-{name}.svg"
        if not file.exists():
            file.write_bytes(_tint_icon(name, getattr(self.palette, role)))
        return f'"{file.as_posix()}"'

    def _tint_again(self) -> None:
        for widget in self._app.allWidgets():
            if isinstance(widget, QAbstractButton):
                _refresh_icon(widget)
            for action in widget.actions():
                _refresh_icon(action)


def apply(app: QApplication, mode: Mode) -> Theme:
    """Apply a mode to the application and return its theme."""
    existing = app.findChild(Theme)
    applied = existing if isinstance(existing, Theme) else Theme(app)
    applied.apply(mode)
    return applied


def get_theme() -> Theme:
    """Return the theme of the application; it follows the system by default."""
    app = QApplication.instance()
    assert isinstance(app, QApplication), "a QApplication comes first"
    existing = app.findChild(Theme)
    return existing if isinstance(existing, Theme) else apply(app, "system")


def get_palette() -> ColorPalette:
    """Return the current palette."""
    return get_theme().palette


def color(role: str) -> QColor:
    """Return a color of the current palette by name."""
    return QColor(getattr(get_palette(), role))


def body_font(size: int = 0, *, bold: bool = False) -> QFont:
    """Return the system font with tabular figures; `size` is in pixels, 0 for body text."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    font.setPixelSize(size or Size.BODY)
    font.setFeature(QFont.Tag("tnum"), 1)
    if bold:
        font.setWeight(QFont.Weight.DemiBold)
    return font


def get_monospace_family() -> str:
    """Return the family of the system's monospace font."""
    return QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()


def icon(name: str, role: Role = "text", *, room: int = 0) -> QIcon:
    """Return an icon in a color of the current palette; `set_icon` follows theme changes.

    `room` is as in `pixmap`.
    """
    palette = get_palette()
    result = QIcon(pixmap(name, getattr(palette, role), room=room))
    result.addPixmap(pixmap(name, palette.disabled, room=room), QIcon.Mode.Disabled)
    return result


def set_icon(target: QAbstractButton | QAction, name: str, role: Role = "text") -> None:
    """Set an icon that follows theme changes on a button or action."""
    target.setProperty("icon_name", name)
    target.setProperty("icon_role", role)
    _refresh_icon(target)


def pixmap(name: str, tint: str, size: int = 20, *, room: int = 0) -> QPixmap:
    """Return an icon in any color, sharp on every screen.

    `size`, and the `room` between the icon and the text after it, are in logical pixels at a text size
    of 100 %; both scale with the text."""
    size, room = Size.scaled(size), Size.scaled(room)
    screens = QGuiApplication.instance()
    ratio = screens.devicePixelRatio() if isinstance(screens, QGuiApplication) else 1.0
    key = f"lora_studio {name} {tint} {size} {ratio} {room}"
    made_before = QPixmap()
    if QPixmapCache.find(key, made_before):
        return made_before
    side = round(size * ratio)
    result = QPixmap(QSize(round((size + room) * ratio), side))
    result.fill(Qt.GlobalColor.transparent)
    painter = QPainter(result)
    QSvgRenderer(QByteArray(_tint_icon(name, tint))).render(painter, QRectF(0, 0, side, side))
    painter.end()
    result.setDevicePixelRatio(ratio)
    QPixmapCache.insert(key, result)
    return result


def _list_constants(holder: type) -> list[tuple[str, int]]:
    return [(key, value) for key, value in vars(holder).items() if isinstance(value, int)]


@functools.cache  # a few dozen icons in a few colors
def _tint_icon(name: str, tint: str) -> bytes:
    svg = (paths.get_resources_folder() / "icons" / f"{name}.svg").read_text("utf-8")
    return svg.replace("currentColor", tint).encode()


def _refresh_icon(target: QAbstractButton | QAction) -> None:
    name = target.property("icon_name")
    if name:
        # Qt's distance between icon and text is too small, and style sheets can't set it.
        room = 0
        if isinstance(target, QPushButton):
            room = 5
            target.setIconSize(QSize(Size.scaled(20), Size.scaled(16)))
        elif isinstance(target, QToolButton):
            target.setIconSize(QSize(Size.scaled(16), Size.scaled(16)))
        target.setIcon(icon(name, target.property("icon_role"), room=room))


def _make_qt_palette(tokens: ColorPalette) -> QPalette:
    result = QPalette()
    roles = {
        QPalette.ColorRole.Window: tokens.window,
        QPalette.ColorRole.WindowText: tokens.text,
        QPalette.ColorRole.Base: tokens.field,
        QPalette.ColorRole.AlternateBase: tokens.window,
        QPalette.ColorRole.Text: tokens.text,
        QPalette.ColorRole.Button: tokens.card,
        QPalette.ColorRole.ButtonText: tokens.text,
        QPalette.ColorRole.BrightText: tokens.error,
        QPalette.ColorRole.ToolTipBase: tokens.card,
        QPalette.ColorRole.ToolTipText: tokens.text,
        QPalette.ColorRole.PlaceholderText: tokens.muted,
        QPalette.ColorRole.Link: tokens.accent,
        QPalette.ColorRole.LinkVisited: tokens.accent,
        QPalette.ColorRole.Highlight: tokens.accent,
        QPalette.ColorRole.HighlightedText: tokens.on_accent,
        QPalette.ColorRole.Light: tokens.card,
        QPalette.ColorRole.Midlight: tokens.hover,
        QPalette.ColorRole.Mid: tokens.line,
        QPalette.ColorRole.Dark: tokens.edge,
        QPalette.ColorRole.Shadow: tokens.edge,
        QPalette.ColorRole.Accent: tokens.accent,
    }
    for role, value in roles.items():
        result.setColor(role, QColor(value))
    faded = QPalette.ColorGroup.Disabled
    for role in (
        QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText,
    ):  # fmt: skip
        result.setColor(faded, role, QColor(tokens.disabled))
    return result
