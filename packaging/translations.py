"""Collects every text that a user can see and keeps its translations up to date.

    python packaging/translations.py               collect, drop unused texts, compile the .qm files
    python packaging/translations.py --missing     list the texts that lack a translation
    python packaging/translations.py --set FILE    take translations from a JSON file: {"text": "Text"},
                                                   or a list of two forms for a text that counts
Texts without a translation are written as unfinished; Qt Linguist and a text editor both work on
`resources/translations/de.ts`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.core import export
from lora_studio.core.dataset import spec as dataset_spec
from lora_studio.core.project import presets, project
from lora_studio.core.protocol import training as training_protocol
from lora_studio.core.spec import all_facts
from lora_studio.core.training import optimizers
from lora_studio.gui.language import CONTEXT, LANGUAGES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "resources" / "translations"
#: Modules whose texts no user sees, or that write files of their own: templates, scripts, cards.
_UNSEEN = (
    "core/project/migrations.py",
    "core/runs/model_card.py", "core/templates/go/", "core/templates/proof_cases.py", "core/templates/writing/",
    "core/templates/probing/conversation_plan.py", "core/spec.py",
    "engine/__main__.py", "engine/cluster.py", "engine/training/reproduction/",
    "engine/model/builtin.py", "engine/bytecode.py",
)  # fmt: skip
#: Calls whose texts are for developers, for a machine, or are taken from the specs.
_INTERNAL = {
    "setting", "compile", "getLogger", "debug", "info", "exception", "ValueError",
    "TypeError", "KeyError", "RuntimeError", "AssertionError", "NotImplementedError", "TypeVar",
    "sub", "search", "match", "fullmatch", "run", "Popen", "getenv", "add_argument", "Field", "Thread",
}  # fmt: skip
#: Functions and classes whose arguments are messages.
_MESSAGES = {"Problem", "fail", "error", "warning", "Fix", "text"}
#: Texts that look like such for users and are not: patterns, code, tests of models, names of others.
_NOT_SHOWN = (
    "OSI Approved", "LoRA Studio runs 2", "Value error,", "Application Support", "import json", "%Y",
    "Looks something up.", "What to look up.", "Mac Roman", "Upload {what} by", "struct ", "void(",
    "bool(", "plain blanks", "spaces and newlines", "uHi", "u ccc", "# `ollama", "PARAMETER stop", "What is 2 + 2?", "Hello! Who are you?", "out of memory|", "The lighthouse keeper",
    "The built-in model is downloaded by", "The model {source} is downloaded", "The model is in `", "Using Rank-Stabilized", ".*changes the base", "What comes after", "After {number} comes",
)  # fmt: skip
#: Texts that are such although hardly a word is in them.
_SHORT = ("{run}, step {step}", "about {words}", "{title}: “{plain}” {fault}.")
#: Templates that join or quote names: too general to recognize in finished sentences.
_JOINTS = {"“{name}”", "{first} and {last}", "{first} or {last}"}
#: Values of these names are texts of the program themselves, not data of the user.
_PHRASES = {
    "title", "label", "what", "why", "reason", "cause", "said", "kind", "kinds", "noun", "phrase",
    "verb", "hint", "advice", "remedy", "note", "evidence", "difference", "fault", "place", "problem",
    "shown", "listed", "plural", "remaining", "rest", "where", "many", "rows", "tokens", "sentence",
    "doing", "of", "recomputing", "method", "parts", "words", "name", "unit", "taken", "who", "how",
    "format", "titles", "faults", "refusal", "limit", "need", "described", "logits", "share",
}  # fmt: skip


@dataclass
class Texts:
    """`plain` texts, `counted` ones with their singular, and `told` templates with their phrases."""

    plain: set[str] = field(default_factory=set)
    counted: dict[str, str] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)

    def every(self) -> set[str]:
        """All that the translations have to have."""
        return self.plain | set(self.counted) | set(self.told)


def collect() -> Texts:
    """Every text of the window, of the specs, and of core and engine where they speak to users."""
    found = Texts(plain=_of_tables() | _JOINTS)
    for file in sorted((ROOT / "lora_studio" / "gui").rglob("*.py")):
        _of_window(ast.parse(file.read_text("utf-8")), found)
    for file in _tellers():
        place = file.relative_to(ROOT / "lora_studio").as_posix()
        if not place.startswith(_UNSEEN):
            in_window = place.startswith("gui/")
            one = _Told(ast.parse(file.read_text("utf-8")), in_window)
            found.told |= one.found
            found.counted |= one.counted
    found.plain |= {text for text in found.told if "{" not in text}
    found.told = {text: names for text, names in sorted(found.told.items()) if "{" in text}
    return found


def _tellers() -> Iterator[Path]:
    """Modules whose sentences come to the window finished."""
    for folder in ("core", "engine", "gui", "setup"):
        yield from sorted((ROOT / "lora_studio" / folder).rglob("*.py"))
    yield from sorted((ROOT / "lora_studio" / "client").rglob("*.py"))


def _of_tables() -> set[str]:
    """What the specs and the tables beside them declare."""
    texts: set[str] = set()
    for spec in project.SPECS.values():
        for facts in all_facts(spec):
            said = {words for value, words in facts.choices.items() if words != value}
            texts |= {facts.title, facts.description, facts.unit, *said}
    for preset in presets.PRESETS:
        texts |= {preset.title, preset.text}
    texts |= {*dataset_spec.FORMAT_TITLES.values(), *dataset_spec.FORMAT_NAMES.values()}
    texts |= set(training_protocol.COMPONENTS.values())
    texts |= {about.title for about in optimizers.OPTIMIZERS.values()}
    for about in export.QUANTIZATIONS.values():
        texts |= {about.loss, about.only_for or ""}
    return texts - {""}


def _of_window(tree: ast.Module, found: Texts) -> None:
    """Literals at `tr`, `mark` and `tr_n`."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
            continue
        literals = [part.value for part in call.args if isinstance(part, ast.Constant)]
        match call.func.id:
            case "tr" | "mark" if literals:
                found.plain.add(str(literals[0]))
            case "tr_n" if len(literals) > 1:
                found.counted[str(literals[1])] = str(literals[0])


#: A field of a template.
_FIELD = re.compile(r"\{[^}]*\}")


class _Told:
    """Sentences in a module, f-strings as templates."""

    def __init__(self, tree: ast.Module, problems_only: bool) -> None:
        self.found: dict[str, list[str]] = {}
        self.counted: dict[str, str] = {}
        self._problems_only = problems_only
        self._visit(tree, in_problem=False)

    def _visit(self, node: ast.AST, in_problem: bool) -> None:
        if isinstance(node, ast.Call):
            name = _name(node.func)
            if name == "plural":
                self._counted(node)
            if name == "counted" and len(node.args) > 2:
                one, many = (
                    part.value for part in node.args[1:3] if isinstance(part, ast.Constant)
                )
                self.counted[str(many)] = str(one)
                for value in (*node.args[3:], *(keyword.value for keyword in node.keywords)):
                    self._visit(value, in_problem)
                return
            is_message = name in _MESSAGES and isinstance(node.func, ast.Name)
            if name == "text" and isinstance(node.func, ast.Name) and node.args:
                template = node.args[0]
                value = template.value if isinstance(template, ast.Constant) else ""
                if isinstance(value, str) and any(map(str.isalpha, _FIELD.sub("", value))):
                    self.found[value] = []
            if name in _INTERNAL or (isinstance(node.func, ast.Attribute) and name == "warning"):
                return
            in_problem = in_problem or is_message
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        elif isinstance(node, ast.Assert | ast.Subscript | ast.Compare | ast.MatchValue):
            return
        elif isinstance(node, ast.JoinedStr | ast.Constant) and (
            in_problem or not self._problems_only
        ):
            for text, names in _templates(node):
                if _is_text(text):
                    self.found[text] = names
        for child in ast.iter_child_nodes(node):
            if not isinstance(node, ast.JoinedStr) or isinstance(child, ast.FormattedValue):
                self._visit(child, in_problem)

    def _counted(self, call: ast.Call) -> None:
        nouns = [part.value for part in call.args[1:] if isinstance(part, ast.Constant)]
        if nouns:
            for noun in (nouns[0], nouns[1] if len(nouns) > 1 else f"{nouns[0]}s"):
                self.found[f"{{n}} {noun}"] = []


def _is_text(text: str) -> bool:
    words = [word for word in text.replace("{", " {").split() if not word.startswith("{")]
    spoken = [word for word in words if sum(map(str.isalpha, word)) > 1]
    codes = any(sign in text for sign in ("\n", "<|", "{{", "--", "://", "$", "%(", "\\", "= "))
    enough = len(spoken) > 1 or text in _SHORT
    return enough and " " in text and not codes and not text.startswith(_NOT_SHOWN)


def _templates(node: ast.JoinedStr | ast.Constant) -> Iterator[tuple[str, list[str]]]:
    """A text with named places; one for each way its conditions can go."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value.strip(), []
        return
    made: list[tuple[str, dict[str, str], list[str]]] = [("", {}, [])]
    for part in node.values:
        if isinstance(part, ast.Constant):
            literal = str(part.value).replace("{", "{{").replace("}", "}}")
            made = [(text + literal, seen, phrases) for text, seen, phrases in made]
        elif isinstance(part, ast.FormattedValue):
            branches = _branches(part.value)
            made = [_added(one, branch) for one in made for branch in branches]
    for text, _, phrases in made:
        yield " ".join(text.split(" ")).strip(), sorted(set(phrases))


def _branches(value: ast.expr) -> list[ast.expr]:
    if isinstance(value, ast.IfExp):
        return [*_branches(value.body), *_branches(value.orelse)]
    return [value]


def _added(
    one: tuple[str, dict[str, str], list[str]], value: ast.expr
) -> tuple[str, dict[str, str], list[str]]:
    text, seen, phrases = one
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return text + value.value.replace("{", "{{").replace("}", "}}"), seen, phrases
    code = ast.unparse(value)
    wanted = _place(value)
    name = wanted
    while seen.get(name, code) != code:
        name += "_"
    spoken = wanted.split("_")[-1] in _PHRASES or (
        isinstance(value, ast.Call) and _name(value.func) in _PHRASES
    )
    return (
        f"{text}{{{name}}}",
        {**seen, name: code},
        [*phrases, name] if spoken else phrases,
    )


def _place(value: ast.expr) -> str:
    """A name for what stands in a place, from the expression that fills it."""
    while isinstance(value, ast.Call):
        value = value.args[0] if value.args and _name(value.func) in _SAYING else value.func
    match value:
        case ast.Attribute():
            name = value.attr
        case ast.Name():
            name = value.id
        case ast.Subscript():
            return _place(value.value)
        case _:
            name = "value"
    name = name.strip("_").lower() or "value"
    return "count" if name == "n" else name


#: Calls that put their first argument into words.
_SAYING = {
    "number", "plural", "size", "memory", "percent", "duration", "count", "loss", "small", "rate",
    "listed", "remaining", "str", "round", "len", "repr", "min", "max", "sorted", "join",
}  # fmt: skip


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


# --- the files of a language ------------------------------------------------------------------


def read(language: str) -> dict[str, tuple[str, ...]]:
    """Translations by their English text: one form, or several by number; none if unfinished."""
    return read_file(FOLDER / f"{language}.ts")


def read_file(file: Path) -> dict[str, tuple[str, ...]]:
    """Return the finished translations in one .ts file, by their English text."""
    found: dict[str, tuple[str, ...]] = {}
    if not file.exists():
        return found
    for message in ET.parse(file).getroot().iter("message"):
        target = message.find("translation")
        if target is None:
            continue
        forms = [form.text or "" for form in target.iter("numerusform")] or [target.text or ""]
        if target.get("type") != "unfinished" and all(forms):
            found[message.findtext("source") or ""] = tuple(forms)
    return found


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
        if len(forms) != (2 if counted else 1):
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
    """Makes a .qm file of a .ts file with Qt's own tool, which comes with PySide6."""
    tool = Path(sys.executable).parent / "pyside6-lrelease"
    source = FOLDER / f"{language}.ts"
    subprocess.run([tool, "-silent", source, "-qm", out], check=True)


def merge(base: Path, ours: Path, theirs: Path, language: str) -> None:
    """Merge three versions of a .ts file entry by entry into `ours`: a merge driver for git."""
    old, mine, other = (read_file(file) for file in (base, ours, theirs))
    both = mine | {text: forms for text, forms in other.items() if old.get(text) != forms}
    write_file(ours, language, both, {text for text, forms in both.items() if len(forms) > 1})


def main() -> None:
    """Bring the texts, every language and what the window loads up to date."""
    parser = argparse.ArgumentParser(description="Translations of the window.")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--set", type=Path, dest="given")
    parser.add_argument("--language", default="de")
    parser.add_argument("--merge", nargs=3, type=Path)
    options = parser.parse_args()
    if options.merge:
        merge(*options.merge, options.language)
        return
    texts = collect()
    if options.missing:
        missing = sorted(texts.every() - set(read(options.language)))
        print(json.dumps(missing, ensure_ascii=False, indent=1))
        return
    (FOLDER / "told.json").write_text(
        json.dumps(texts.told, ensure_ascii=False, indent=0) + "\n", "utf-8"
    )
    for language in LANGUAGES.keys() - {"en"}:
        known = read(language)
        if options.given and language == options.language:
            given = json.loads(options.given.read_text("utf-8"))
            known |= {
                text: (form,) if isinstance(form, str) else tuple(form)
                for text, form in given.items()
            }
            for text in given.keys() - texts.every():
                print(f"not a text of the program: {text}")
        write_file(
            FOLDER / f"{language}.ts",
            language,
            {t: known.get(t, ()) for t in texts.every()},
            set(texts.counted),
        )
        compile_to(language, FOLDER / f"{language}.qm")
        left = len(texts.every() - set(known))
        print(f"{language}: {len(texts.every())} texts, {left} without a translation")


if __name__ == "__main__":
    main()
