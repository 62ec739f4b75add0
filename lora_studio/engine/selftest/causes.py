"""Find the most likely cause of a failed self-test stage by inspecting the files.

It runs only after a failure, so it may be slow: it compares every update of the adapter with the
merged weights, and a GGUF file's header with the merged model's settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.merging import prequantized
from lora_studio.engine.model import safetensors_files

#: An update counts as merged if its factor is 1 ± this; rounding to 16 bits blurs small updates.
_TOLERANCE = 0.05

#: Rounding is reported as the cause when its errors exceed this share of the updates.
_BLURRED = 0.1

#: Maximum number of rows of a weight to compare, evenly spaced.
_ROWS = 256


@dataclass(frozen=True)
class Cause:
    """The most likely cause of a failure; without a message when none was found.

    `rounded_to`: the merge is correct, and the error comes from storing it in this dtype.
    """

    message: Text = NO_TEXT
    rounded_to: str = ""


@dataclass(frozen=True)
class MergeFacts:
    """How much of each module's update is in the merged weights: 1 all, 0 nothing.

    The least-squares factor f of W' − W ≈ f · s·B·A: f = ⟨W' − W, s·B·A⟩ / ⟨s·B·A, s·B·A⟩. Modules
    that are `untouched` have the base's weights. `blurred` is ‖W' − (W + s·B·A)‖ / ‖s·B·A‖ over all
    modules if every value of W' is W + s·B·A rounded once to the precision `stored`; else None.
    """

    factors: dict[str, float]
    untouched: frozenset[str]
    untied: bool
    blurred: float | None = None
    stored: str = ""

    def find_likely_cause(self) -> Cause:
        """Return rounding if it explains everything, else what is wrong with the merge."""
        if self.blurred is not None and self.blurred > _BLURRED and not self.untied:
            message = text(
                "rounding to {dtype} changes the adapter's updates by {share:percent}",
                dtype=self.stored,
                share=self.blurred,
            )
            return Cause(message, self.stored)
        return Cause(self.describe_fault())

    def describe_fault(self) -> Text:
        """Return what is wrong; empty when every update is merged once and at its scale."""
        missing = [name for name in self.factors if name in self.untouched]
        wrong = [
            (name, factor)
            for name, factor in self.factors.items()
            if abs(factor - 1) > _TOLERANCE and name not in self.untouched
        ]
        if missing and len(missing) == len(self.factors):
            return text("the adapter was not merged: these are the base model's weights")
        if missing:
            return text(
                "the updates of {modules} are missing from the merged weights",
                modules=_format_module_names(missing),
            )
        if wrong and len(wrong) == len(self.factors) and _has_equal_factors([f for _, f in wrong]):
            return text(
                "the updates were merged at {factor:.2f} times their scale", factor=wrong[0][1]
            )
        if wrong:
            return text(
                "{modules} contain the wrong updates",
                modules=_format_module_names([name for name, _ in wrong]),
            )
        if self.untied:
            return text("its embedding and output layer are no longer tied")
        return NO_TEXT


def find_cause_in_merged(base: Path, chosen: Sequence[WeightedAdapter], merged: Path) -> Cause:
    """Return the most likely cause of a wrong merged model.

    It is empty when the weights look right, or when several adapters were merged, whose updates
    can't be separated.
    """
    if len(chosen) > 1:
        return Cause()
    try:
        facts = compare_merge(
            base, adapter_files.read(Path(chosen[0].folder), chosen[0].weight), merged
        )
    except (ProblemError, OSError, KeyError, ValueError):
        return Cause()  # the files can't be compared
    return facts.find_likely_cause()


def compare_merge(base: Path, adapter: Adapter, merged: Path) -> MergeFacts:
    """Compare base and merged weights with the adapter's updates; raises ProblemError."""
    before, after = (
        prequantized.unpack_tensors(base, safetensors_files.read_index(base)),
        safetensors_files.read_index(merged),
    )
    factors: dict[str, float] = {}
    untouched: set[str] = set()
    errors, sizes, rounded, stored = 0.0, 0.0, True, ""
    for layer in adapter.layers:
        name = f"{layer.module}.weight"
        if layer.of == "linear" and layer.magnitude is None and name in before and name in after:
            length = before[name].length
            rows = torch.arange(0, length, max(1, length // _ROWS))
            old, new = before[name].read_rows(0, length)[rows], after[name].read()[rows]
            difference = (new.float() - old.float()).flatten()
            update = _update(rows, layer)
            size = float(update @ update)
            factors[layer.module] = float(difference @ update) / size if size else 1.0
            if not difference.any():
                untouched.add(layer.module)
            error = difference - update
            rounded = rounded and bool((error.abs() <= _get_rounding_error(new)).all())
            errors, sizes = errors + float(error @ error), sizes + size
            stored = safetensors_files.get_dtype_name(new.dtype)
    head, table = "lm_head.weight", "model.embed_tokens.weight"
    untied = head in after and head not in before and not adapter.replacements
    untied = untied and not torch.equal(after[head].read(), after[table].read())
    blurred = math.sqrt(errors / sizes) if rounded and sizes else None
    return MergeFacts(factors, frozenset(untouched), untied, blurred, stored)


def _update(rows: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Yield s·B·A for these ranges of rows."""
    return (layer.b.read()[rows].float() @ layer.a.read().float() * layer.scale).flatten()


def _get_rounding_error(values: torch.Tensor) -> torch.Tensor:
    """Return the largest rounding error of each value: half the distance to the next one."""
    facts = torch.finfo(values.dtype)
    least = facts.smallest_normal * facts.eps
    return (values.float().abs().flatten() * facts.eps + least) / 2 * 1.001


def _format_module_names(modules: list[str]) -> Text | str:
    """Return up to three names, and how many more there are."""
    names = ", ".join(modules[:3])
    if len(modules) <= 3:
        return names
    return text("{names} and {more} more", names=names, more=len(modules) - 3)


def _has_equal_factors(factors: list[float]) -> bool:
    return max(factors) - min(factors) < _TOLERANCE


# --- a GGUF file ------------------------------------------------------------------------------


def find_cause_in_gguf(file: Path, config: dict[str, Any]) -> Text:
    """Return the most likely cause of a wrong GGUF file; empty when its header looks right.

    `config` has the settings of the merged model that it was converted from.
    """
    try:
        header = _read_header(file)
    except (OSError, ValueError, KeyError):
        return NO_TEXT
    return next(_iter_differences(header, config.get("text_config", config)), NO_TEXT)


def _iter_differences(header: dict[str, Any], config: dict[str, Any]) -> Iterator[Text]:
    architecture = header.get("general.architecture", "")
    layers, expected = header.get(f"{architecture}.block_count"), config.get("num_hidden_layers")
    if layers and expected and layers < expected:
        yield text("it has {layers} of {expected} layers", layers=layers, expected=expected)
    if config.get("tie_word_embeddings") and "output.weight" in header["tensors"]:
        yield text("it has a separate output layer, but the model ties it to the embedding")
    rope = config.get("rope_parameters") or {}
    theta = rope.get("rope_theta", config.get("rope_theta"))
    base = header.get(f"{architecture}.rope.freq_base")
    if theta and base and abs(base - theta) > 1e-3 * theta:
        yield text(
            "its RoPE base is {actual:g} instead of {expected:g}", actual=base, expected=theta
        )
    for key, name in (
        ("embedding_length", "hidden_size"),
        ("attention.head_count", "num_attention_heads"),
    ):
        actual, configured = header.get(f"{architecture}.{key}"), config.get(name)
        if actual and configured and actual != configured:
            yield text(
                "its {setting} is {actual} instead of {expected}",
                setting=key,
                actual=actual,
                expected=configured,
            )


def _read_header(file: Path) -> dict[str, Any]:
    """Return the scalars of a GGUF header by name, and the names of its tensors."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    header: dict[str, Any] = {"tensors": {tensor.name for tensor in reader.tensors}}
    for name, entry in reader.fields.items():
        if len(entry.types) == 1:  # arrays, such as the vocabulary, are not asked for
            header[name] = entry.contents()
    return header
