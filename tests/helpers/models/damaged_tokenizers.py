"""Tokenizers damaged at random, as a broken download, a full disk or a stranger leaves them.

`create_tokenizers` writes intact tokenizers of several families and file layouts, `damage` breaks one
of their files, and `check_tokenizer` loads the result the way the program does.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.engine.model.tokenizer import load_tokenizer
from tests.helpers.faults import odd_json
from tests.helpers.models.tiny_models import tiny_model

#: Layouts of tokenizers, each made from a tiny model of a family.
LAYOUTS = ("llama3", "gemma3", "phi3", "qwen3_legacy", "mistral_sentencepiece")

#: The turns that a loaded tokenizer has to encode and decode.
_TEXTS = ("The keeper laughed, 42 times.", "Grüße 你好 🙂\n\n", " ", "<|x|> </s> [INST]")


@dataclass(frozen=True)
class TokenizerDamage:
    """What was done to a tokenizer: the file, and a description to find it again."""

    file: str
    description: str


def create_tokenizers(folder: Path) -> dict[str, Path]:
    """Write an intact tokenizer of each layout into `folder`; return layout -> its folder."""
    folders = {layout: folder / layout for layout in LAYOUTS}
    for layout, target in folders.items():
        tiny_model(layout.partition("_")[0], target)
        (target / "model.safetensors").unlink()
    _write_full_config(folders["llama3"], "PreTrainedTokenizerFast")
    _write_full_config(folders["gemma3"], "GemmaTokenizer")
    _write_full_config(folders["phi3"], "LlamaTokenizer")
    _split_into_vocabulary_and_merges(folders["qwen3_legacy"])
    _write_full_config(folders["mistral_sentencepiece"], "LlamaTokenizer")
    (folders["mistral_sentencepiece"] / "tokenizer.json").unlink()
    return folders


def iter_damaged(
    intact: dict[str, Path], target: Path, count: int, seed: int
) -> Iterator[tuple[Path, TokenizerDamage]]:
    """Yield `count` damaged copies in turn, each in the folder `target`, which is replaced."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        layout = LAYOUTS[number % len(LAYOUTS)]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(intact[layout], target)
        damage = damage_tokenizer(target, intact, rng)
        yield (
            target,
            TokenizerDamage(damage.file, f"{seed}/{number} {layout}: {damage.description}"),
        )


def damage_tokenizer(folder: Path, intact: dict[str, Path], rng: random.Random) -> TokenizerDamage:
    """Damage one file of the tokenizer in a folder; `intact` are others to swap files with."""
    names = sorted(file.name for file in folder.iterdir() if file.name in _FILES)
    file = folder / rng.choice(names)
    damages: list[tuple[int, Callable[[Path, random.Random], str]]] = [
        (2, _cut),
        (2, _overwrite_with_noise),
        (1, _empty),
        (1, lambda file, rng: _swap(file, rng, intact)),
    ]
    if file.suffix == ".json":
        damages += [(8, _replace_json_value), (3, _remove_json_entry)]
        if file.name in ("tokenizer.json", "vocab.json"):
            damages += [(4, _make_vocabulary_inconsistent)]
    (damage,) = rng.choices(
        [damage for _, damage in damages], weights=[weight for weight, _ in damages]
    )
    return TokenizerDamage(file.name, f"{file.name}: {damage(file, rng)}")


def check_tokenizer(folder: Path) -> Problem | None:
    """Load a tokenizer and use it; return the problem that refuses it, None if it can be used.

    Any other exception passes.
    """
    try:
        tokenizer = load_tokenizer(folder)
    except ProblemError as error:
        return error.problems[0]
    for text in _TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokenizer.decode(ids)
    tokenizer.convert_ids_to_tokens([0])
    assert tokenizer.pad_token_id is not None
    return None


_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "config.json", "generation_config.json",
)  # fmt: skip


# --- layouts ----------------------------------------------------------------------------------


def _write_full_config(folder: Path, tokenizer_class: str) -> None:
    """Write tokenizer_config.json as older versions of transformers do, with added tokens."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    config.pop("backend")
    added = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    config["added_tokens_decoder"] = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"}
        for token in added
    }
    config["extra_special_tokens"] = {}
    config["tokenizer_class"] = tokenizer_class
    template = folder / "chat_template.jinja"
    config["chat_template"] = template.read_text("utf-8")
    template.unlink()
    file.write_text(json.dumps(config, indent=1), "utf-8")
    special = {
        name: {"content": config[name], "lstrip": False, "rstrip": False, "special": True}
        for name in ("bos_token", "eos_token", "unk_token")
        if config[name]
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special), "utf-8")


def _split_into_vocabulary_and_merges(folder: Path) -> None:
    """Replace tokenizer.json with the older vocab.json, merges.txt and added_tokens.json."""
    _write_full_config(folder, "Qwen2Tokenizer")
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").unlink()
    vocabulary = content["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    merges = "".join(" ".join(pair) + "\n" for pair in content["model"]["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added), "utf-8")


# --- damages ----------------------------------------------------------------------------------


def _cut(file: Path, rng: random.Random) -> str:
    content = file.read_bytes()
    length = rng.randrange(len(content))
    file.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def _overwrite_with_noise(file: Path, rng: random.Random) -> str:
    content = bytearray(file.read_bytes())
    count = rng.choice((1, 4, 64, len(content)))
    start = rng.randrange(len(content))
    for index in range(start, min(start + count, len(content))):
        content[index] = rng.randrange(256)
    file.write_bytes(bytes(content))
    return f"{count} random bytes at {start}"


def _empty(file: Path, rng: random.Random) -> str:
    content = rng.choice((b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xef\xbb\xbf{}", b"3"))
    file.write_bytes(content)
    return f"replaced with {content[:8]!r}"


def _swap(file: Path, rng: random.Random, intact: dict[str, Path]) -> str:
    others = sorted(
        other
        for folder in intact.values()
        for other in folder.iterdir()
        if other.name in _FILES and other.read_bytes() != file.read_bytes()
    )
    other = rng.choice(others)
    shutil.copyfile(other, file)
    return f"replaced with {other.parent.name}/{other.name}"


def _replace_json_value(file: Path, rng: random.Random) -> str:
    content = json.loads(file.read_text("utf-8"))
    path, value = rng.choice(odd_json.list_paths(content)), rng.choice(odd_json.ODD_VALUES)
    file.write_text(json.dumps(odd_json.replace_value(content, path, value)), "utf-8")
    return f"{'.'.join(map(str, path))} = {str(value)[:30]!r}"


def _remove_json_entry(file: Path, rng: random.Random) -> str:
    content = json.loads(file.read_text("utf-8"))
    path = rng.choice(odd_json.list_paths(content))
    file.write_text(json.dumps(odd_json.remove_value(content, path)), "utf-8")
    return f"without {'.'.join(map(str, path))}"


def _make_vocabulary_inconsistent(file: Path, rng: random.Random) -> str:
    content = json.loads(file.read_text("utf-8"))
    model = content.get("model", {"vocab": content, "merges": []})
    vocabulary, merges = model["vocab"], model["merges"]
    token = rng.choice(sorted(vocabulary))
    match rng.randrange(5):
        case 0:
            del vocabulary[token]
            what = f"no {token!r} in the vocabulary"
        case 1:
            vocabulary[token] = rng.choice((2**31, 2**32 - 1, 2**32, -1, 10**7))
            what = f"id {vocabulary[token]} for {token!r}"
        case 2:
            other = rng.choice(sorted(vocabulary))
            vocabulary[token] = vocabulary[other]
            what = f"{token!r} and {other!r} share an id"
        case 3:
            merges.insert(0, rng.choice((["zz", "qq"], ["a"], "a", ["a", "b", "c"], 3)))
            what = f"merge {merges[0]}"
        case _:
            vocabulary.clear()
            what = "empty vocabulary"
    file.write_text(json.dumps(content), "utf-8")
    return what
