"""The kernels that a training uses, as its manifest records them: a resumed training uses the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KernelRecord:
    """The kernels of a training; None stands for anything that isn't recorded, and may be chosen freely.

    `packed` says whether rows are packed end to end, `chunked` whether logits are computed in chunks,
    `flash` whether FlashAttention computes all rows at once, `shared` whether the prompt of several answers
    is computed once, `direct_writing` whether answers are written by `DirectDecoder`, `liger` whether Liger
    computes anything, `tf32` whether products in 32-bit use TF32.
    `kinds` are the kinds of fused layers; a layer uses the first one that is possible for it, except for those
    in `exceptions`, which map the name of a layer to its kind, "" if it isn't fused.
    """

    liger: bool | None = None
    tf32: bool | None = None
    packed: bool | None = None
    chunked: bool | None = None
    flash: bool | None = None
    shared: bool | None = None
    direct_writing: bool | None = None
    kinds: frozenset[str] | None = None
    exceptions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_manifest(cls, entry: Any) -> KernelRecord:
        """Return the record in a manifest; entries that aren't valid count as not recorded.

        Versions without Liger, TF32, shared prompts or direct writing wrote no entry of them, so they are
        False; a new training has None.
        """
        if entry is None:
            return cls()
        recorded = entry if isinstance(entry, dict) else {}
        fused = recorded.get("fused")
        kinds = fused.get("kinds") if isinstance(fused, dict) else None
        exceptions = fused.get("exceptions") if isinstance(fused, dict) else None
        return cls(
            liger=bool(recorded.get("liger")),
            tf32=bool(recorded.get("tf32")),
            packed=_read_choice(recorded, "packed"),
            chunked=_read_choice(recorded, "chunked"),
            flash=_read_choice(recorded, "flash"),
            shared=bool(recorded.get("shared")),
            direct_writing=bool(recorded.get("direct_writing")),
            kinds=frozenset(map(str, kinds)) if isinstance(kinds, list) else None,
            exceptions=exceptions if isinstance(exceptions, dict) else {},
        )

    def to_manifest(self) -> dict[str, Any]:
        """Return the entry of the manifest."""
        fused = {"kinds": sorted(self.kinds or ()), "exceptions": dict(self.exceptions)}
        return {
            "liger": self.liger,
            "tf32": self.tf32,
            "packed": self.packed,
            "chunked": self.chunked,
            "flash": self.flash,
            "shared": self.shared,
            "direct_writing": self.direct_writing,
            "fused": fused,
        }

    def allows_kind(self, layer: str, kind: str) -> bool:
        """Return whether a layer may be computed by a kind of fused layer."""
        if self.kinds is None:
            return True
        return self.exceptions.get(layer, kind) == kind and kind in self.kinds


def summarize_fused_layers(
    candidates: Mapping[str, list[str]], chosen: Mapping[str, str]
) -> tuple[frozenset[str], dict[str, str]]:
    """Return the kinds and exceptions of a record.

    `candidates` are the possible kinds of each layer, the first one preferred, and `chosen` the kind in use.
    """
    kinds = frozenset(chosen.values())
    exceptions = {}
    for layer, possible in candidates.items():
        preferred = next((kind for kind in possible if kind in kinds), "")
        if (kind := chosen.get(layer, "")) != preferred:
            exceptions[layer] = kind
    return kinds, exceptions


def _read_choice(recorded: dict[str, Any], name: str) -> bool | None:
    value = recorded.get(name)
    return value if isinstance(value, bool) else None
