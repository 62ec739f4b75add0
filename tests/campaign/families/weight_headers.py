"""Headers of weight files: safetensors and GGUF."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from lora_studio.core.problems import InvalidContentError, ProblemError
from lora_studio.core.protocol.events import to_line
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import change_value, damage_bytes, draw_text

_TENSORS: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "model.norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
    "lm_head.weight": {"dtype": "U8", "shape": [4], "data_offsets": [20, 24]},
}


def generate_safetensors(rng: random.Random) -> bytes:
    """Return a safetensors file with a damaged header."""
    header: Any = _TENSORS
    if rng.random() < 0.8:
        for _ in range(rng.choice((1, 1, 2, 3))):
            header = change_value(rng, header)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    length = len(text)
    if rng.random() < 0.1:
        length = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1))
    content = struct.pack("<Q", length) + text + bytes(rng.choice((24, 24, 24, 23, 25, 0)))
    return damage_bytes(rng, content) if rng.random() < 0.3 else content


def run_safetensors(content: bytes, sandbox: Path) -> str:
    """Read the header; tensors that are accepted must have the right size and be readable."""
    from lora_studio.engine.model import folder, safetensors_files, safetensors_header

    file = sandbox / "model.safetensors"
    file.write_bytes(content)
    try:
        header, _ = safetensors_header.read_header(file)
    except (OSError, InvalidContentError):
        header = None
    if header is not None:
        folder.get_stored_dtype(header)
    try:
        tensors = safetensors_files.read_header(file)
    except ProblemError as error:
        str(error)
        return "refused"
    if header is None:
        raise WrongResultError("two readers of one header disagree")
    for tensor in tensors:
        try:
            values = tensor.read()
        except ProblemError as error:
            str(error)
            return "unknown format"
        if values.nbytes != tensor.end - tensor.start or tensor.end > len(content):
            raise WrongResultError("a tensor has another size than its bytes")
    return "read"


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def _pack_value(rng: random.Random, value: Any) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + _text(value)
        case bool():
            return struct.pack("<IB", 7, value)
        case int():
            return struct.pack("<II", 4, value & 0xFFFFFFFF)
        case float():
            return struct.pack("<If", 6, value)
        case _:
            kind = rng.choice((0, 4, 6, 8, 9, 12, 13))
            items = b"".join(_text(str(item)) for item in value) if kind == 8 else rng.randbytes(24)
            length = rng.choice((len(value), len(value), 0, 2**20, 2**40, 2**63, 2**64 - 1))
            return struct.pack("<IIQ", 9, kind, length) + items


def generate_gguf(rng: random.Random) -> bytes:
    """Return a GGUF file with unusual keys and values, sometimes with damaged bytes."""
    values: dict[str, Any] = {
        "general.architecture": "llama", "general.file_type": 7, "llama.block_count": 2,
        "llama.embedding_length": 8, "llama.attention.head_count": 2, "llama.rope.freq_base": 10000.0,
        "llama.context_length": 64, "llama.feed_forward_length": 16, "general.license": "mit",
        "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.chat_template": "{{ x }}", "split.count": 1,
        "general.name": "m", "general.type": "model", "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.add_bos_token": True,
    }  # fmt: skip
    for key in rng.sample(list(values), rng.randrange(5)):
        values[key] = rng.choice(
            (draw_text(rng), rng.randrange(2**32), -1, 1e300 and 0.5, ["x"] * 3, True)
        )
        if rng.random() < 0.3:
            values[draw_text(rng)] = values.pop(key)
    pairs = b"".join(_text(key) + _pack_value(rng, value) for key, value in values.items())
    tensors = b""
    count = rng.randrange(3)
    for number in range(count):
        dimensions = rng.choice((1, 2, 2, 4, 9, 2**31))
        shape = struct.pack("<QQ", rng.choice((2, 0, 2**40, 2**63)), 4)[: 8 * min(dimensions, 2)]
        tensors += _text(f"blk.{number}.w") + struct.pack("<I", dimensions) + shape
        tensors += struct.pack("<IQ", rng.choice((0, 1, 8, 99)), rng.choice((0, 32, 2**63)))
    claimed = rng.choice((len(values), len(values), len(values), 0, 2**40, 2**64 - 1))
    content = struct.pack("<4sIQQ", b"GGUF", rng.choice((3, 3, 3, 2, 1, 0)), count, claimed)
    content += pairs + tensors + bytes(64)
    return damage_bytes(rng, content) if rng.random() < 0.5 else content


def run_gguf(content: bytes, sandbox: Path) -> str:
    """List the file as a model, and look for the cause of a wrong export in it."""
    from lora_studio.engine.model import gguf_header, scan

    file = sandbox / "model.gguf"
    file.write_bytes(content)
    entry = scan.read_gguf_entry(file, "folder")
    if entry is not None:
        to_line(entry)
    try:
        gguf_header.read(file)
    except (OSError, ValueError):
        return "refused"
    return "read"


FAMILIES = [
    SimpleFamily(
        "safetensors",
        generate_safetensors,
        run_safetensors,
        smoke=100,
        weight=1.5,
    ),
    SimpleFamily("gguf", generate_gguf, run_gguf, smoke=100, weight=1.5),
]
