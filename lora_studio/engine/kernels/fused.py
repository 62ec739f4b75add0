"""Fused layers: LoRA, norms, gates and rotary embeddings in fewer passes over memory.

A matrix product is cheap; the elementwise operations around it aren't, as each one reads and writes whole
activations. Here the low-rank update is added by the product that computes it (`adapted_linear.py`), also
where weights are stored in 4 bits. Norms, gates and rotary embeddings take one pass with a library's kernels:
those of Liger on a GPU, and compiled ones on a CPU with AMX (`inductor.py`). Without them, norms and gates are
computed in blocks (`elementwise.py`).
Every replacement is compared with the layer's own values and gradients first (`fuse_layers`); where they
differ, the next candidate is tried, and finally the layer stays unchanged.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import peft
import torch
from transformers.activations import GELUTanh, SiLUActivation

from lora_studio.core.messages import Text, text
from lora_studio.engine.kernels import (
    adapted_linear,
    elementwise,
    inductor,
    numerical_equivalence,
)
from lora_studio.engine.kernels.elementwise import Gate
from lora_studio.engine.kernels.numerical_equivalence import Comparison

#: The layers of an attention that compute queries, keys and values.
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")

#: The layers of a gated feed-forward layer that compute what is activated, and what it is multiplied by.
_INNER_LAYERS = ("gate_proj", "up_proj")

#: The activation modules that compute each kind of gate.
_ACTIVATIONS: dict[Gate, tuple[type[torch.nn.Module], ...]] = {
    "silu": (torch.nn.SiLU, SiLUActivation),
    "gelu": (GELUTanh,),
}

#: The function in transformers' modules that rotates queries and keys.
_ROTATION = "apply_rotary_pos_emb"


def _norm_forward(
    self: Any,
    x: torch.Tensor,
    kernel: Callable[..., torch.Tensor],
    epsilon: str = "variance_epsilon",
) -> torch.Tensor:
    """Compute an RMS norm with a kernel; `epsilon` is the name of the layer's attribute."""
    if x.dtype != self.weight.dtype:
        return type(self).forward(self, x)  # type: ignore[no-any-return]  # a layer is Any
    return kernel(x, self.weight, getattr(self, epsilon))


def is_plain_norm(layer: torch.nn.Module, epsilon: str = "variance_epsilon") -> bool:
    """Return whether a layer looks like Llama's RMS norm, frozen; in Gemma `epsilon` is "eps"."""
    weight = getattr(layer, "weight", None)
    return (
        type(layer).__name__.endswith("RMSNorm")
        and isinstance(weight, torch.nn.Parameter)
        and not weight.requires_grad
        and isinstance(getattr(layer, epsilon, None), float)
    )


def _gated_forward(
    self: Any, x: torch.Tensor, activate: Callable[..., torch.Tensor], joined: bool = False
) -> torch.Tensor:
    """Compute a gated feed-forward layer; with `joined`, its inner layers are computed together."""
    if joined:
        gate, up = adapted_linear.compute_together([self.gate_proj, self.up_proj], x)
    else:
        gate, up = self.gate_proj(x), self.up_proj(x)
    if gate.dtype != up.dtype:
        return self.down_proj(self.act_fn(gate) * up)  # type: ignore[no-any-return]  # a layer is Any
    return self.down_proj(activate(gate, up))  # type: ignore[no-any-return]  # a layer is Any


def is_gated_mlp(layer: torch.nn.Module, *acts: type[torch.nn.Module]) -> bool:
    """Return whether a layer looks like Llama's gated feed-forward layer, with one of the activations."""
    parts = all(
        isinstance(getattr(layer, f"{name}_proj", None), torch.nn.Module)
        for name in ("gate", "up", "down")
    )
    return parts and isinstance(getattr(layer, "act_fn", None), acts or _ACTIVATIONS["silu"])


def _replace_rotation(
    kind: type[torch.nn.Module], rotation: Callable[..., Any]
) -> Callable[..., Any] | None:
    """Return an attention's forward that rotates queries and keys with `rotation`, None if it doesn't rotate.

    The module's own function stays for heads in another layout, and for those that are rotated in part.
    transformers' attention has no argument for it: the copy of its forward has a global of its own, so that other
    models with the same module keep theirs.
    """
    forward = kind.forward
    code = getattr(forward, "__code__", None)
    if code is None or _ROTATION not in code.co_names or forward.__closure__:
        return None
    own_rotation = forward.__globals__[_ROTATION]
    if list(inspect.signature(own_rotation).parameters)[:4] != ["q", "k", "cos", "sin"]:
        return None  # rotates one tensor at a time

    def rotate(
        query: torch.Tensor,
        key: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        unsqueeze_dim: int = 1,
    ) -> Any:
        if unsqueeze_dim != 1 or not cosine.shape[-1] == query.shape[-1] == key.shape[-1]:
            return own_rotation(query, key, cosine, sine, unsqueeze_dim=unsqueeze_dim)
        return rotation(query, key, cosine, sine)

    names = {**forward.__globals__, _ROTATION: rotate}
    replaced = types.FunctionType(code, names, forward.__name__, forward.__defaults__)
    replaced.__kwdefaults__ = forward.__kwdefaults__
    return replaced


def _compare_rotations(
    rotation: Callable[..., Any], layer: Any, _: Any, x: torch.Tensor, others: dict[str, Any]
) -> Comparison:
    """Compare how an attention rotates the queries and keys of `x` with `rotation`.

    The attention's own result says less: behind the softmax, the same rounding can change the gradients of
    queries and keys by a tenth.
    """
    comparisons: list[Comparison] = []
    own: Callable[..., Any] = type(layer).forward.__globals__[_ROTATION]

    def compare(query: torch.Tensor, key: torch.Tensor, *angles: torch.Tensor) -> Any:
        def compute(rotate: Callable[..., Any]) -> list[torch.Tensor]:
            with torch.enable_grad():
                leaves = [each.detach().requires_grad_() for each in (query, key)]
                rotated = rotate(*(leaf.clone() for leaf in leaves), *angles)
            grads = numerical_equivalence.compute_gradients(rotated, leaves)
            return [*(y.detach() for y in rotated), *grads]

        results = numerical_equivalence.compare_results(lambda: (compute(rotation), compute(own)))
        comparisons.append(results)
        return own(query, key, *angles)

    forward = _replace_rotation(type(layer), compare)
    if forward is not None:
        forward(layer, x, **others)
    if not comparisons:
        return Comparison(False, text("this model rotates only parts of its heads"))
    return next((each for each in comparisons if not each.agrees), comparisons[0])


def _join_projections(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return an attention's forward with queries, keys and values that are computed together."""

    def joined_attention(self: Any, hidden_states: torch.Tensor, *args: Any, **named: Any) -> Any:
        with adapted_linear.precompute(_get_projections(self), hidden_states):
            return forward(self, hidden_states, *args, **named)

    return joined_attention


def _get_projections(attention: Any) -> list[Any]:
    return [getattr(attention, name) for name in _PROJECTIONS]


def _compare_projections(layer: Any, _: Any, x: torch.Tensor, others: dict[str, Any]) -> Comparison:
    """Compare queries, keys and values that are computed together with those of each layer.

    An attention that doesn't give its own input to all three gains nothing.
    """
    with adapted_linear.precompute(_get_projections(layer), x) as unused:
        type(layer).forward(layer, x, **others)
    if unused:
        return Comparison(agrees=False)
    layers = torch.nn.ModuleList(_get_projections(layer))

    def together(layers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(adapted_linear.compute_together(layers, x)), -1)

    def alone(layers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([type(each).forward(each, x) for each in layers], -1)

    return numerical_equivalence.compare_forward(layers, together, x, {}, alone)


def _compare_joined_rotations(
    rotation: Callable[..., Any], layer: Any, forward: Any, x: torch.Tensor, others: dict[str, Any]
) -> Comparison:
    """Compare both what an attention's projections compute and how it rotates the result."""
    comparison = _compare_projections(layer, forward, x, others)
    if not comparison.agrees:
        return comparison
    return _compare_rotations(rotation, layer, forward, x, others)


#: What kernels of a library compute.
KernelPart = Literal["norms", "gates", "rotations", "scores"]

#: A module with `NAME`, its name in manifests, and `rms_norm`, `gated_activation`, and `rotary_embedding`.
KernelLibrary = types.ModuleType


@dataclass(frozen=True)
class _Replacement:
    """A function that may replace a layer's forward, and how to compare it.

    `kind` is the name under which a manifest records it; `part` is what a kernel of a library computes in it.
    """

    kind: str
    forward: Callable[..., Any]
    part: KernelPart | None = None
    compare: Callable[..., Comparison] = numerical_equivalence.compare_forward


@dataclass
class FusedLayers:
    """How many layers are fused, how many by kernels of a library, and why its other kernels weren't used.

    `kinds` and `exceptions` are those of a `KernelRecord`.
    """

    layers: int = 0
    by_library: int = 0
    reasons: dict[KernelPart, Text] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    exceptions: dict[str, str] = field(default_factory=dict)


def _get_replacements(
    layer: Any, library: KernelLibrary | None, gates_by_library: bool
) -> list[_Replacement]:
    """Return what may replace a layer's forward, the fastest first."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return []
    every = [] if library is None else _get_library_replacements(layer, library, gates_by_library)
    if adapted_linear.is_plain_lora(layer):
        every.append(_Replacement("compute_adapted", adapted_linear.compute_adapted))
    elif adapted_linear.is_4bit_lora(layer):
        every.append(_Replacement("compute_adapted_4bit", adapted_linear.compute_adapted_4bit))
    elif is_plain_norm(layer):
        forward = partial(_norm_forward, kernel=elementwise.rms_norm)
        every.append(_Replacement("compute_norm", forward))
    elif is_gated_mlp(layer):
        forward = partial(_gated_forward, activate=elementwise.gated_silu)
        if adapted_linear.are_plain_lora(layer, *_INNER_LAYERS):
            every.append(_Replacement("joined_gated_forward", partial(forward, joined=True)))
        every.append(_Replacement("gated_forward", forward))
    elif adapted_linear.are_plain_lora(layer, *_PROJECTIONS):
        joined = _join_projections(layer.__class__.forward)
        every.append(_Replacement("joined_attention", joined, compare=_compare_projections))
    return every


def _get_library_replacements(
    layer: Any, library: KernelLibrary, with_gates: bool
) -> list[_Replacement]:
    """Return the replacements with a library's kernels."""
    every: list[_Replacement] = []
    for model, epsilon in (("llama", "variance_epsilon"), ("gemma", "eps")):
        if is_plain_norm(layer, epsilon):
            kernel = partial(library.rms_norm, kind=model)
            norm_forward = partial(_norm_forward, kernel=kernel, epsilon=epsilon)
            every.append(_Replacement(f"{library.NAME}_norms", norm_forward, "norms"))
    for gate, activations in _ACTIVATIONS.items():
        if with_gates and is_gated_mlp(layer, *activations):
            activate = partial(library.gated_activation, kind=gate)
            joined = library is inductor and adapted_linear.are_plain_lora(layer, *_INNER_LAYERS)
            forward = partial(_gated_forward, activate=activate, joined=joined)
            every.append(_Replacement(f"{library.NAME}_gates", forward, "gates"))
    rotation = library.rotary_embedding
    rotated = _replace_rotation(layer.__class__, rotation)
    if rotated is not None:
        if library is inductor and adapted_linear.are_plain_lora(layer, *_PROJECTIONS):
            compare = partial(_compare_joined_rotations, rotation)
            joined_name, joined_forward = (
                f"{library.NAME}_joined_rotations",
                _join_projections(rotated),
            )
            every.append(_Replacement(joined_name, joined_forward, "rotations", compare))
        compare = partial(_compare_rotations, rotation)
        every.append(_Replacement(f"{library.NAME}_rotations", rotated, "rotations", compare))
    return every


class _LayerComparison:
    """A forward hook that compares each layer with its replacements on the first input that it gets.

    `chosen` are the first replacements that agree; `reasons` say why a library's kernels weren't used.
    """

    def __init__(self, candidates: dict[torch.nn.Module, list[_Replacement]]) -> None:
        """Take the possible replacements of each layer, the fastest first."""
        self.chosen: dict[torch.nn.Module, _Replacement] = {}
        self.reasons: dict[KernelPart, Text] = {}
        self._candidates = candidates
        self._compared: set[torch.nn.Module] = set()
        self._failed = set[KernelPart]()

    def __call__(
        self, layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any
    ) -> None:
        others = dict(kwargs)
        x = args[0] if len(args) == 1 else others.pop("hidden_states", None)
        if x is None or layer in self._compared:
            return
        self._compared.add(layer)
        for replacement in self._candidates[layer]:
            if replacement.part in self._failed:  # a kernel that failed to compile fails every time
                continue
            comparison = replacement.compare(layer, replacement.forward, x, others)
            if comparison.agrees:
                self.chosen[layer] = replacement
                return
            if replacement.part is not None:
                self.reasons.setdefault(replacement.part, comparison.reason)
                if comparison.error:
                    self._failed.add(replacement.part)


def fuse_layers(
    model: peft.PeftModel,
    run_few_tokens: Callable[[], object],
    *,
    library: KernelLibrary | None = None,
    gates_by_library: bool = True,
    record: KernelRecord | None = None,
) -> FusedLayers:
    """Replace the forward of every layer for which a fused one agrees, and count them.

    `run_few_tokens` passes a few tokens through the model, and each layer is compared on the input that
    it gets there. (Comparing the model's output instead doesn't work: with massive activations, the last
    digit of one layer can change half of it.) Of the replacements, only those that `record` allows are tried.
    """
    names = {layer: name for name, layer in model.named_modules()}
    allows = (record or KernelRecord()).allows_kind
    possible = {
        layer: replacements
        for layer in names
        if (replacements := _get_replacements(layer, library, gates_by_library))
    }
    candidates = {
        layer: [each for each in replacements if allows(names[layer], each.kind)]
        for layer, replacements in possible.items()
    }
    comparison = _compare_layers(model, run_few_tokens, candidates)
    kinds, exceptions = summarize_fused_layers(
        {names[layer]: [each.kind for each in every] for layer, every in possible.items()},
        {names[layer]: replacement.kind for layer, replacement in comparison.chosen.items()},
    )
    fused = FusedLayers(reasons=comparison.reasons, kinds=kinds, exceptions=exceptions)
    for layer, replacement in comparison.chosen.items():
        # No method of a partial: since 2.14, torch.compile refuses methods without a source file.
        layer.forward = partial(replacement.forward, layer)  # type: ignore[method-assign]  # of this one layer
        fused.layers += 1
        fused.by_library += replacement.part is not None
    return fused


def _compare_layers(
    model: peft.PeftModel,
    run_few_tokens: Callable[[], object],
    candidates: dict[torch.nn.Module, list[_Replacement]],
) -> _LayerComparison:
    """Return what a pass without dropout and gradients shows about the replacements of each layer."""
    comparison = _LayerComparison(candidates)
    hooks = [layer.register_forward_hook(comparison, with_kwargs=True) for layer in candidates]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            run_few_tokens()
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return comparison


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
