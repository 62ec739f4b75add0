"""Every visible text has a translation, and the compiled translations are up to date."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from lora_studio.core import messages
from lora_studio.core.curves import verdict
from lora_studio.gui import language, message_translation
from tests.helpers.scripts import load

message_templates = load("message_templates")  # imported by the next one
translations = load("translations")

CODES = sorted(language.LANGUAGES.keys() - {"en"})
_PLACE = re.compile(r"\{(\w*)[^}]*\}")


@pytest.fixture(scope="module")
def texts() -> message_templates.Templates:
    """Return the texts of the sources."""
    return translations.collect()


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_every_text_has_a_translation(code: str, texts: message_templates.Templates) -> None:
    known = translations.read(code)
    missing = sorted(texts.every - known.keys())
    assert not missing, f"run `python packaging/translations.py`, then translate {missing}"
    unused = sorted(known.keys() - texts.every)
    assert not unused, f"run `python packaging/translations.py`, which drops {unused}"


def test_no_message_is_formatted_before_translation(
    texts: message_templates.Templates,
) -> None:
    assert [f"{file.name}:{line}: {code}" for file, line, code in texts.finished] == []


@pytest.mark.parametrize("code", CODES)
def test_translations_have_the_same_fields_as_their_texts(code: str) -> None:
    wrong = []
    for text, forms in translations.read(code).items():
        expected = sorted(_PLACE.findall(text))
        for form in forms[-1:]:  # the singular form may omit the number
            actual = sorted(_PLACE.findall(form))
            if actual != expected:
                wrong.append((text, form))
    assert not wrong


@pytest.mark.parametrize("code", CODES)
def test_counted_texts_have_every_plural_form(
    code: str, texts: message_templates.Templates
) -> None:
    known = translations.read(code)
    forms = {text: len(known[text]) for text in texts.counted if text in known}
    most = max(forms.values())
    assert {text for text, count in forms.items() if count != most} == set()


@pytest.mark.parametrize("code", CODES)
def test_compiled_translations_are_up_to_date(code: str, tmp_path: Path) -> None:
    translations.compile_to(code, tmp_path / "made.qm")
    assert (tmp_path / "made.qm").read_bytes() == (translations.FOLDER / f"{code}.qm").read_bytes()


def test_collector_finds_templates_where_they_are_declared(tmp_path: Path) -> None:
    source = tmp_path / "sample.py"
    source.write_text(
        "TITLES: dict[str, Template] = {'key': 'A title'}\n"
        "class Rule:\n    code: str\n    what: Template\n"
        "def refuse(code: str, reason: Text | Template) -> Template:\n    return 'A result'\n"
        "rule = Rule('code', 'A field')\n"
        "def check(is_new):\n    what = 'A name' if is_new else 'Another name'\n"
        "    refuse('code', what)\n    refuse('code', f'finished {what}')\n"
        "counted(2, '{n} row', '{n} rows')\n"
        "log.warning('A log %s')\n"
    )
    templates = message_templates.collect([source])
    assert templates.plain == {"A title", "A result", "A field", "A name", "Another name"}
    assert templates.counted == {"{n} rows": "{n} row"}
    assert [code for _, _, code in templates.finished] == ["f'finished {what}'"]


def test_package_files_have_their_texts_in_every_language(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"LoRA Studio project": ("Projekt",), "fine-tuning": ("Feinabstimmung",)}
    monkeypatch.setattr(translations, "read", lambda code: known if code == "de" else {})
    content = (
        "  <_comment>LoRA Studio project</_comment>\n  <name>_x</name>\n_Key=fine-tuning\n_Name=A\n"
    )
    assert translations.fill(content) == (
        '  <comment>LoRA Studio project</comment>\n  <comment xml:lang="de">Projekt</comment>\n'
        "  <name>_x</name>\nKey=fine-tuning\nKey[de]=Feinabstimmung\nName=A\n"
    )
    for name in ("lora-studio.desktop", "lora-studio-mime.xml", "metainfo.xml"):
        filled = translations.fill(
            (translations.ROOT / "packaging/linux" / name).read_text("utf-8")
        )
        assert not re.search(r"^ *<?_", filled, re.M)


def test_translated_texts_are_literals() -> None:
    wrong = []
    for file in sorted((translations.ROOT / "lora_studio" / "gui").rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            if named and call.func.id == "tr" and isinstance(call.args[0], ast.JoinedStr):
                wrong.append(f"{file.name}:{call.lineno}")
    assert not wrong


@pytest.fixture
def _german(qapp: QApplication) -> Iterator[None]:
    language.install(qapp, "de")
    yield
    language.install(qapp, "en")


@pytest.mark.usefixtures("_german")
def test_message_is_translated_by_its_template() -> None:
    message = verdict.divergence_verdict(messages.text("The loss rose from {first:loss} to {last:loss}.", first=1.1, last=1.42)).what  # fmt: skip
    assert message_translation.localize(message) == "Der Loss stieg von 1,10 auf 1,42."
