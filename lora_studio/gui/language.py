"""The language of the window: every text a user sees goes through `tr`, by its English wording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QLocale, Qt, QTranslator
from PySide6.QtGui import QGuiApplication

from lora_studio.core import formatting, timestamps
from lora_studio.core.system import paths

#: One context for all texts: the same English words mean the same everywhere in this program.
CONTEXT = "LoRA Studio"
#: Languages with a translation beside the texts' own English, by their ISO 639 code, in their own words.
LANGUAGES = {"en": "English", "de": "Deutsch"}

#: Sets thousands apart wherever a comma would be read as a decimal mark (ISO 80000-1, 7.3.1). The
#: decimal mark is a point in every language, as in fields, project files and commands.
NARROW_SPACE = "\u202f"

_SHORT = QLocale.FormatType.ShortFormat


def tr(text: str) -> str:
    """`text` in the user's language, or as it is where there is no translation.

    `text` is a literal at the call, for extraction. Values are named and come afterwards:
    `tr("{count} runs selected").format(count=count)`.
    """
    return QCoreApplication.translate(CONTEXT, text)


def tr_n(singular: str, plural: str, n: int, **values: Any) -> str:
    """The right form for a number, with `{n}` and further `values` filled in.

    `tr_n("{n} run", "{n} runs", count)`. Other languages have other forms than two: Qt finds the
    one for `n` among the translations of `plural`.
    """
    found = QCoreApplication.translate(CONTEXT, plural, None, n)
    if found == plural and n == 1:
        found = singular
    return found.format(n=formatting.number(n), **values)


def mark(text: str) -> str:
    """`text` itself: marks a literal in a module's table for extraction; `tr` it when it is shown."""
    return text


def is_english() -> bool:
    """Whether texts are shown as they are written."""
    return tr(_PROBE) == _PROBE


#: A text that every translation has, and says in other words.
_PROBE = mark("Continue")


def inside(text: str) -> str:
    """A text for the middle of a sentence: where the language allows it, with a small letter."""
    return text[:1].lower() + text[1:] if is_english() else text


def install(app: QGuiApplication, choice: str) -> str:
    """Translates what is built from now on; returns the code of the language.

    `choice` is a key of LANGUAGES or "system", which falls back to English.
    """
    code = choice if choice in LANGUAGES else _of_system()
    for old in app.findChildren(QTranslator):
        app.removeTranslator(old)
        old.deleteLater()
    formatting.set_thousands_mark("," if code == "en" else NARROW_SPACE)
    names = [QLocale(code).standaloneMonthName(n, _SHORT) for n in range(1, 13)]
    if code != "en":
        qt_texts = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
        for name, folder in ((f"qtbase_{code}", qt_texts), (code, str(_folder()))):
            translator = QTranslator(app)
            if translator.load(name, folder):
                app.installTranslator(translator)
    timestamps.set_words(names, tr("{day} {month}"))
    app.setLayoutDirection(_direction(code))
    return code


def _of_system() -> str:
    for wanted in QLocale.system().uiLanguages():
        code = wanted.split("-")[0].lower()
        if code in LANGUAGES:
            return code
    return "en"


def _direction(code: str) -> Qt.LayoutDirection:
    return QLocale(code).textDirection()


def _folder() -> Path:
    return paths.resources() / "translations"
