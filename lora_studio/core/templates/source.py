"""Read a chat template from disk, with the special tokens that it and the server add to a prompt."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_json, read_text

#: Assumed tokens of a template file without a tokenizer_config.json next to it.
USUAL_BOS, USUAL_EOS = "<s>", "</s>"


@dataclass(frozen=True)
class TemplateSource:
    """A chat template and the special tokens that it may write.

    `server_adds_bos`: llama.cpp starts every prompt with `bos` itself. `assumed`: the tokens whose
    text is a guess.
    """

    text: str
    special_tokens: dict[str, str] = field(default_factory=dict)
    server_adds_bos: bool = True
    assumed: tuple[str, ...] = ()

    @property
    def bos(self) -> str:
        """Return the text of the token that starts a prompt, "" if none."""
        return self.special_tokens.get("bos_token", "")

    @property
    def eos(self) -> str:
        """Return the text of the token that ends an answer, "" if unknown."""
        return "" if "eos_token" in self.assumed else self.special_tokens.get("eos_token", "")


def read_source(
    path: Path, *, bos: str | None = None, eos: str | None = None, adds_bos: bool | None = None
) -> TemplateSource:
    """Return the chat template of a model folder or a template file; raises ProblemError.

    `bos`, `eos` and `adds_bos` take precedence over `tokenizer_config.json`.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_json(folder / "tokenizer_config.json")
    text = _read_folder(path, config) if path.is_dir() else _read_file(path)
    tokens = _read_special_tokens(folder, config)
    tokens |= {f"{name}_token": t for name, t in (("bos", bos), ("eos", eos)) if t is not None}
    assumed: list[str] = []
    for name, default in (("bos_token", USUAL_BOS), ("eos_token", USUAL_EOS)):
        if name not in tokens and not config and re.search(rf"\b{name}\b", text):
            tokens[name] = default
            assumed.append(name)
    if adds_bos is None:
        adds_bos = _has_add_bos(folder, config, tokens.get("bos_token", ""))
    return TemplateSource(text, tokens, adds_bos, tuple(assumed))


def _read_file(path: Path) -> str:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(
            "template.unreadable",
            "{path} can't be read: {reason}.",
            "Choose a model folder or a text file with a chat template.",
            where=Where(file=str(path)),
            path=str(path),
            reason=describe_os_error(error),
        ) from None
    return _read_config(_read_json(path), path) if path.name == "tokenizer_config.json" else text


def _read_folder(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return _read_file(file)
    template = config.get("chat_template") or _read_json(folder / "chat_template.json").get(
        "chat_template"
    )
    return _read_config({"chat_template": template}, folder)


def _read_config(config: dict[str, Any], path: Path) -> str:
    template = config.get("chat_template")
    if isinstance(template, list):  # several named templates
        named = [item for item in template if isinstance(item, dict)]
        templates = {str(item.get("name")): item.get("template") for item in named}
        template = templates.get("default") or next(iter(templates.values()), None)
    if not isinstance(template, str) or not template:
        raise fail(
            "template.missing",
            "No chat template was found in {path}.",
            "Choose a folder with chat_template.jinja or tokenizer_config.json, or the template file.",
            where=Where(file=str(path)),
            path=str(path),
        )
    return template


def _read_special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    settings = _read_json(folder / "special_tokens_map.json") | config
    tokens: dict[str, str] = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token"):
        value = settings.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            tokens[name] = text
    return tokens


def _has_add_bos(folder: Path, config: dict[str, Any], bos: str) -> bool:
    """Return whether llama.cpp's converter sets add_bos: from the config, else from the tokenizer's
    behavior.
    """
    stated = config.get("add_bos_token")
    if isinstance(stated, bool):
        return stated
    processor = _read_json(folder / "tokenizer.json").get("post_processor")
    if processor:
        return bool(bos) and json.dumps(bos) in json.dumps(processor)
    return not config or (folder / "tokenizer.model").is_file()


def _read_json(file: Path) -> dict[str, Any]:
    """Return the object in a file, {} if the file does not exist."""
    try:
        content = read_json(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise fail(
            "template.unreadable",
            "{path} can't be read: {reason}.",
            "Repair the file or download the model again.",
            where=Where(file=str(file)),
            path=str(file),
            reason=describe_os_error(error),
        ) from None
    return content if isinstance(content, dict) else {}
