"""The language of the window: texts are looked up by their English wording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QLocale, Qt, QTranslator
from PySide6.QtGui import QGuiApplication

from lora_studio.core import formatting
from lora_studio.core.system import paths

#: One context for all texts: the same English text has one translation.
CONTEXT = "LoRA Studio"
#: ISO 639 code of each language of the window -> its name in that language.
LANGUAGES = {"en": "English", "de": "Deutsch"}

#: How each language writes numbers, where it differs from English. Thousands are separated by a
#: narrow space (ISO 80000-1, 7.3.1), since a point or a comma could be taken for the decimal mark.
#: Project files, commands, and names keep the decimal point.
_NUMBER_STYLES = {
    "de": formatting.NumberStyle("\u202f", ",", ("Tsd.", "Mio.", "Mrd.", "Bio.")),
}

#: The language in use.
_current = "en"

_SHORT = QLocale.FormatType.ShortFormat


def tr(text: str) -> str:
    """Return a text in the user's language, or unchanged if it has no translation.

    Pass a literal, so that the text is collected. Fill in named values afterwards:
    `tr("{count} runs selected").format(count=count)`.
    """
    return QCoreApplication.translate(CONTEXT, text)


def tr_n(singular: str, plural: str, n: int, **values: Any) -> str:
    """Return the plural form for a number, with `{n}` and further `values` filled in.

    `tr_n("{n} run", "{n} runs", count)`. Qt chooses among the translations of `plural`, of which
    a language may have more than two.
    """
    template = QCoreApplication.translate(CONTEXT, plural, None, n)
    if n == 1 and template == plural:
        template = singular
    return template.format(n=formatting.format_number(n), **values)


def mark(text: str) -> str:
    """Return the text unchanged: collects a literal of a table, which is passed to `tr` later."""
    return text


def install(app: QGuiApplication, choice: str) -> str:
    """Translate all widgets created from now on; return the code of the language.

    `choice` is a key of LANGUAGES or "system", which falls back to English.
    """
    global _current
    code = _current = choice if choice in LANGUAGES else _get_system_language()
    for installed in app.findChildren(QTranslator):
        app.removeTranslator(installed)
        installed.deleteLater()
    formatting.set_number_style(_NUMBER_STYLES.get(code, formatting.NumberStyle()))
    QLocale.setDefault(QLocale(code))  # of number fields
    names = [QLocale(code).monthName(n, _SHORT) for n in range(1, 13)]
    if code != "en":
        qt_texts = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
        for name, folder in ((f"qtbase_{code}", qt_texts), (code, str(_get_folder()))):
            translator = QTranslator(app)
            if translator.load(name, folder):
                app.installTranslator(translator)
    formatting.set_date_names(names, tr("{day} {month}"))
    app.setLayoutDirection(Qt.LayoutDirection.LeftToRight)  # of all LANGUAGES
    return code


def get_current() -> str:
    """Return the code of the language in use, such as "de"."""
    return _current


def _get_system_language() -> str:
    for preferred in QLocale.system().uiLanguages():
        code = preferred.split("-")[0].lower()
        if code in LANGUAGES:
            return code
    return "en"


def _get_folder() -> Path:
    return paths.get_resources_folder() / "translations"
