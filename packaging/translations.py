"""Collects every text that a user can see and keeps its translations up to date.

    python packaging/translations.py               collect, drop unused texts, compile the .qm files
    python packaging/translations.py --missing     list the texts that lack a translation
    python packaging/translations.py --set FILE    take translations from a JSON file: {"text": "Text"},
                                                   or a list of plural forms for a text that counts
    … --language CODE                              the same in another language than German
    python packaging/translations.py --fill FILE   print a file of the packages with its texts in every language
Texts without a translation are written as unfinished; Qt Linguist and a text editor both work on
`resources/translations/CODE.ts`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import message_templates
from message_templates import Templates

from lora_studio.core import chat, export
from lora_studio.core.dataset import spec as dataset_spec
from lora_studio.core.project import presets, project
from lora_studio.core.protocol import training as training_protocol
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.spec import list_facts
from lora_studio.core.training import optimizers
from lora_studio.gui.language import CONTEXT, LANGUAGES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "resources" / "translations"
#: Packages whose messages the window shows; the command line speaks English.
_SHOWN = ("core", "engine", "gui", "setup", "client")
#: Files of the Linux packages. Their texts stand behind a key or a tag that begins with "_".
_PACKAGE_FILES = ("lora-studio.desktop", "lora-studio-mime.xml", "metainfo.xml")
_PACKAGE_TEXT = re.compile(
    r"^( *)(?:_(?P<key>\w+)=|<_(?P<tag>\w+)>)(?P<text>.*?)(?:</_\w+>)?$", re.M
)


def collect() -> Templates:
    """Return every template of the window, of the specs, and of the messages that the window shows."""
    files = (file for part in _SHOWN for file in (ROOT / "lora_studio" / part).rglob("*.py"))
    templates = message_templates.collect(sorted(files))
    templates.plain |= _of_tables()
    templates.plain -= set(templates.counted)
    return templates


def _of_tables() -> set[str]:
    """Return the texts that the specs and related tables declare."""
    texts: set[str] = set()
    for spec in (*project.SPECS.values(), RewardSpec, chat.Sampling):
        for facts in list_facts(spec):
            labels = {
                choice_title
                for value, choice_title in facts.choices.items()
                if choice_title != value
            }
            texts |= {facts.title, facts.description, facts.unit, *labels}
            texts |= set(facts.choice_details.values())
    for preset in presets.PRESETS:
        texts |= {preset.title, preset.text, preset.evidence}
    for row_format in dataset_spec.FORMATS.values():
        texts |= {row_format.name, row_format.title}
    texts |= set(training_protocol.COMPONENTS.values())
    texts |= {optimizer.title for optimizer in optimizers.OPTIMIZERS.values()}
    for quantization in export.QUANTIZATIONS.values():
        texts |= {quantization.loss, quantization.only_for}
    for name in _PACKAGE_FILES:
        content = (ROOT / "packaging" / "linux" / name).read_text("utf-8")
        texts |= {match["text"] for match in _PACKAGE_TEXT.finditer(content)}
    return texts - {""}


# --- the files of a language ------------------------------------------------------------------


def read(language: str) -> dict[str, tuple[str, ...]]:
    """Return finished translations by their English text: one form, or several plural forms."""
    return read_file(FOLDER / f"{language}.ts")


def read_file(file: Path) -> dict[str, tuple[str, ...]]:
    """Return the finished translations in one .ts file, by their English text."""
    translations: dict[str, tuple[str, ...]] = {}
    if not file.exists():
        return translations
    for message in ET.parse(file).getroot().iter("message"):
        target = message.find("translation")
        if target is None:
            continue
        forms = [form.text or "" for form in target.iter("numerusform")] or [target.text or ""]
        if target.get("type") != "unfinished" and all(forms):
            translations[message.findtext("source") or ""] = tuple(forms)
    return translations


def write_file(
    file: Path, language: str, known: dict[str, tuple[str, ...]], counted_texts: set[str]
) -> None:
    """Write a .ts file: every text, sorted, those without a translation unfinished."""
    root = ET.Element("TS", version="2.1", language=language, sourcelanguage="en")
    context = ET.SubElement(root, "context")
    ET.SubElement(context, "name").text = CONTEXT
    for text in sorted(known):
        counted = text in counted_texts
        message = ET.SubElement(context, "message", {"numerus": "yes"} if counted else {})
        ET.SubElement(message, "source").text = text
        target = ET.SubElement(message, "translation")
        forms = known.get(text, ())
        if not forms or (len(forms) > 1 and not counted):
            forms = ("", "") if counted else ("",)
            target.set("type", "unfinished")
        if counted:
            for form in forms:
                ET.SubElement(target, "numerusform").text = form
        else:
            target.text = forms[0]
    ET.indent(root, space="    ")
    xml = ET.tostring(root, encoding="unicode")
    head = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n'
    file.write_text(f"{head}{xml}\n", "utf-8")


def compile_to(language: str, out: Path) -> None:
    """Compile a .ts file to a .qm file with Qt's tool, which PySide6 includes."""
    tool = Path(sys.executable).parent / "pyside6-lrelease"
    source = FOLDER / f"{language}.ts"
    subprocess.run([tool, "-silent", source, "-qm", out], check=True)


def fill(content: str) -> str:
    """Return the content of a file of the packages with its texts in every language that has them."""
    known = {code: read(code) for code in LANGUAGES.keys() - {"en"}}

    def write(match: re.Match[str]) -> str:
        indent, key, tag, text = match.groups()
        forms = {code: texts[text][0] for code, texts in sorted(known.items()) if text in texts}
        lines = [f"{key}={text}" if key else f"<{tag}>{text}</{tag}>"]
        lines += [
            f"{key}[{code}]={form}" if key else f'<{tag} xml:lang="{code}">{form}</{tag}>'
            for code, form in forms.items()
        ]
        return "\n".join(indent + line for line in lines)

    return _PACKAGE_TEXT.sub(write, content)


def merge(base: Path, ours: Path, theirs: Path, language: str) -> None:
    """Merge three versions of a .ts file entry by entry into `ours`: a merge driver for git."""
    base_texts, our_texts, their_texts = (read_file(file) for file in (base, ours, theirs))
    merged = our_texts | {
        text: forms for text, forms in their_texts.items() if base_texts.get(text) != forms
    }
    write_file(ours, language, merged, {text for text, forms in merged.items() if len(forms) > 1})


def main() -> None:
    """Update the collected texts, the .ts file of every language, and the compiled .qm files."""
    parser = argparse.ArgumentParser(description="Translations of the window.")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--set", type=Path, dest="new_texts")
    parser.add_argument("--language", default="de")
    parser.add_argument("--merge", nargs=3, type=Path)
    parser.add_argument("--fill", type=Path)
    options = parser.parse_args()
    if options.merge:
        merge(*options.merge, options.language)
        return
    if options.fill:
        print(fill(options.fill.read_text("utf-8")), end="")
        return
    texts = collect()
    if options.missing:
        missing = sorted(texts.every - set(read(options.language)))
        print(json.dumps(missing, ensure_ascii=False, indent=1))
        return
    for language in LANGUAGES.keys() - {"en"}:
        translated = read(language)
        if options.new_texts and language == options.language:
            new_texts = json.loads(options.new_texts.read_text("utf-8"))
            translated |= {
                text: (form,) if isinstance(form, str) else tuple(form)
                for text, form in new_texts.items()
            }
            for text in new_texts.keys() - texts.every:
                print(f"not a text of the program: {text}")
        write_file(
            FOLDER / f"{language}.ts",
            language,
            {t: translated.get(t, ()) for t in texts.every},
            set(texts.counted),
        )
        compile_to(language, FOLDER / f"{language}.qm")
        untranslated = len(texts.every - set(translated))
        print(f"{language}: {len(texts.every)} texts, {untranslated} without a translation")


if __name__ == "__main__":
    main()
