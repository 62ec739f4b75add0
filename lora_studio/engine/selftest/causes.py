"""Why a stage fails its self-test: the likeliest cause, found by looking at the files themselves.

Called only when a test has not reached its limit, so it may take its time: every update of the adapter is compared
with what the merge made of it, and a GGUF file's header with the merged model's settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.core import formatting as words
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.problems import ProblemError
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.merging import prequantized
from lora_studio.engine.model import safetensors_files

#: An update merged at 1 ± this is there; rounding to 16 bits blurs small updates.
_TOLERANCE = 0.05

#: Rounding whose errors are a larger share of the updates than this is told as the cause.
_BLURRED = 0.1

#: Of a larger weight so many rows are looked at, evenly spaced.
_ROWS = 256


@dataclass(frozen=True)
class Cause:
    """The likeliest cause of a failure in words, "" when none was found.

    `rounded_to`: the merge is right, and what is off comes from storing it in this precision.
    """

    words: str = ""
    rounded_to: str = ""


@dataclass(frozen=True)
class MergeFacts:
    """How much of each module's update is in the merged weights: 1 all, 0 nothing.

    The least-squares factor f of W' − W ≈ f · s·B·A: f = ⟨W' − W, s·B·A⟩ / ⟨s·B·A, s·B·A⟩. Modules
    that are `untouched` have the base's weights. `blurred` is ‖W' − (W + s·B·A)‖ / ‖s·B·A‖ over all of
    them where every value of W' is W + s·B·A, rounded once to the precision `stored`; else None.
    """

    factors: dict[str, float]
    untouched: frozenset[str]
    untied: bool
    blurred: float | None = None
    stored: str = ""

    def found(self) -> Cause:
        """Rounding, where that explains all; else what is wrong with the merge."""
        if self.blurred is not None and self.blurred > _BLURRED and not self.untied:
            share = words.percent(self.blurred)
            return Cause(
                f"rounding to {self.stored} changes the adapter's updates by {share}", self.stored
            )
        return Cause(self.cause())

    def cause(self) -> str:
        """What is wrong, in words; empty when every update is there once and at its scale."""
        missing = [name for name in self.factors if name in self.untouched]
        wrong = [
            (name, factor)
            for name, factor in self.factors.items()
            if abs(factor - 1) > _TOLERANCE and name not in self.untouched
        ]
        if missing and len(missing) == len(self.factors):
            return "the adapter has not been merged at all: these are the base model's weights"
        if missing:
            return f"the updates of {_named(missing)} are missing from the merged weights"
        if wrong and len(wrong) == len(self.factors) and _alike([f for _, f in wrong]):
            return f"the updates were merged at {wrong[0][1]:.2f} times their scale"
        if wrong:
            return (
                f"{_named([name for name, _ in wrong])} do not hold the updates that belong to them"
            )
        return "its embedding and its output layer are no longer the same" if self.untied else ""


def of_merged(base: Path, chosen: Sequence[WeightedAdapter], merged: Path) -> Cause:
    """The likeliest cause of a merged model that is wrong; none when the weights look right, or hold
    several adapters, whose updates cannot be told apart.
    """
    if len(chosen) > 1:
        return Cause()
    try:
        found = merging(base, adapter_files.read(Path(chosen[0].folder), chosen[0].weight), merged)
    except (ProblemError, OSError, KeyError, ValueError):
        return Cause()  # nothing can be said of files that cannot be compared
    return found.found()


def merging(base: Path, adapter: Adapter, merged: Path) -> MergeFacts:
    """Compares base and merged weights with the adapter's updates; raises ProblemError."""
    before, after = (
        prequantized.unpacked(base, safetensors_files.index(base)),
        safetensors_files.index(merged),
    )
    factors: dict[str, float] = {}
    untouched: set[str] = set()
    errors, sizes, rounded, stored = 0.0, 0.0, True, ""
    for layer in adapter.layers:
        name = f"{layer.module}.weight"
        if layer.of == "linear" and layer.magnitude is None and name in before and name in after:
            length = before[name].length
            rows = torch.arange(0, length, max(1, length // _ROWS))
            old, new = before[name].rows(0, length)[rows], after[name].read()[rows]
            difference = (new.float() - old.float()).flatten()
            update = _update(rows, layer)
            size = float(update @ update)
            factors[layer.module] = float(difference @ update) / size if size else 1.0
            if not difference.any():
                untouched.add(layer.module)
            error = difference - update
            rounded = rounded and bool((error.abs() <= _rounding(new)).all())
            errors, sizes = errors + float(error @ error), sizes + size
            stored = safetensors_files.dtype_name(new.dtype)
    head, table = "lm_head.weight", "model.embed_tokens.weight"
    untied = head in after and head not in before and not adapter.replacements
    untied = untied and not torch.equal(after[head].read(), after[table].read())
    blurred = math.sqrt(errors / sizes) if rounded and sizes else None
    return MergeFacts(factors, frozenset(untouched), untied, blurred, stored)


def _update(rows: torch.Tensor, layer: Layer) -> torch.Tensor:
    """s·B·A in these rows, one after another."""
    return (layer.b.read()[rows].float() @ layer.a.read().float() * layer.scale).flatten()


def _rounding(values: torch.Tensor) -> torch.Tensor:
    """The largest error of each value of one rounding to its type: half the distance to the next."""
    facts = torch.finfo(values.dtype)
    least = facts.smallest_normal * facts.eps
    return (values.float().abs().flatten() * facts.eps + least) / 2 * 1.001


def _named(modules: list[str]) -> str:
    more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
    return ", ".join(modules[:3]) + more


def _alike(factors: list[float]) -> bool:
    return max(factors) - min(factors) < _TOLERANCE


# --- a GGUF file ------------------------------------------------------------------------------


def of_gguf(file: Path, config: dict[str, Any]) -> str:
    """The likeliest cause of a GGUF file that is wrong; "" when its header looks right.

    `config` are the settings of the merged model that it was made of.
    """
    try:
        header = _header(file)
    except (OSError, ValueError, KeyError):
        return ""
    return next(_differences(header, config.get("text_config", config)), "")


def _differences(header: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    architecture = header.get("general.architecture", "")
    layers, expected = header.get(f"{architecture}.block_count"), config.get("num_hidden_layers")
    if layers and expected and layers < expected:
        yield f"it has {layers} of {expected} layers"
    if config.get("tie_word_embeddings") and "output.weight" in header["tensors"]:
        yield "it has an output layer of its own, where the model uses its embedding"
    rope = config.get("rope_parameters") or {}
    theta = rope.get("rope_theta", config.get("rope_theta"))
    base = header.get(f"{architecture}.rope.freq_base")
    if theta and base and abs(base - theta) > 1e-3 * theta:
        yield f"its rotary embedding has the base {base:g} instead of {theta:g}"
    for key, name in (
        ("embedding_length", "hidden_size"),
        ("attention.head_count", "num_attention_heads"),
    ):
        got, wanted = header.get(f"{architecture}.{key}"), config.get(name)
        if got and wanted and got != wanted:
            yield f"its {key} is {got} instead of {wanted}"


def _header(file: Path) -> dict[str, Any]:
    """Scalars of a GGUF header by name, and the names of its tensors."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    found: dict[str, Any] = {"tensors": {tensor.name for tensor in reader.tensors}}
    for name, entry in reader.fields.items():
        if len(entry.types) == 1:  # arrays, such as the vocabulary, are not asked for
            found[name] = entry.contents()
    return found
