"""Create the optimizer of a recipe, and handle what its kind needs around a step."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.optim import Optimizer

from lora_studio.core.problems import ProblemError
from lora_studio.core.training.optimizers import OPTIMIZERS, Library, explain_unavailable
from lora_studio.core.training.recipe_checks import optimizer_unavailable_error
from lora_studio.core.training.spec import TrainingSpec

Groups = list[dict[str, Any]]

#: The module of each library that has its optimizers.
_MODULES: dict[Library, str] = {
    "torch": "torch.optim",
    "transformers": "transformers",
    "bitsandbytes": "bitsandbytes.optim",
    "schedulefree": "schedulefree",
}


def create_optimizer(spec: TrainingSpec, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer over all trainable parameters; raises ProblemError when it isn't available.

    With a LoRA+ ratio λ the B matrices learn at λ times the rate of the rest (Hayou et al. 2024).
    """
    groups = build_parameter_groups(spec, model)
    device = groups[0]["params"][0].device
    if reason := explain_unavailable(spec.optimizer, device.type, get_missing_packages()):
        raise ProblemError(optimizer_unavailable_error(reason))
    about = OPTIMIZERS[spec.optimizer]
    # Paged memory can move from the GPU to main memory; on a CPU there is nowhere to move to.
    can_page = device.type == "cuda"
    name = about.class_name if can_page else about.class_name.removeprefix("Paged")
    create = getattr(importlib.import_module(_MODULES[about.library]), name)
    optimizer = create(
        groups, lr=spec.learning_rate, weight_decay=spec.weight_decay, **about.arguments
    )
    if about.schedule_free:
        optimizer.train()
    return cast(torch.optim.Optimizer, optimizer)


def build_parameter_groups(spec: TrainingSpec, model: torch.nn.Module) -> Groups:
    """Return the parameter groups of a recipe, without empty ones.

    There are up to three: parameters at the recipe's rate, with weight decay those that are exempt from
    it, and with LoRA+ the B matrices.
    """
    groups: Groups = [
        {"params": []},
        {"params": [], "weight_decay": 0.0},
        {"params": [], "lr": spec.learning_rate * spec.lora_plus_ratio},
    ]
    rest, exempt, fast = (group["params"] for group in groups)
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        if spec.lora_plus_ratio != 1 and ("lora_B" in name or "lora_embedding_B" in name):
            fast.append(value)
        elif spec.weight_decay and is_exempt_from_decay(name, value):
            exempt.append(value)
        else:
            rest.append(value)
    return [group for group in groups if group["params"]]


def is_exempt_from_decay(name: str, value: torch.Tensor) -> bool:
    """Return whether a parameter is exempt from weight decay: biases and scales of norms.

    As in transformers' Trainer, a scale is a parameter with one dimension. DoRA's magnitudes also have
    one, but decay.
    """
    return "bias" in name or (value.ndim < 2 and "lora_magnitude" not in name)


def get_missing_packages() -> tuple[str, ...]:
    """Return the packages that some optimizer needs and this environment lacks."""
    needed = {about.library for about in OPTIMIZERS.values()}
    return tuple(sorted(name for name in needed if importlib.util.find_spec(name) is None))


@contextmanager
def use_inference_weights(optimizer: Optimizer) -> Iterator[None]:
    """Switch the model to the weights to evaluate and save; then restore the training weights exactly.

    A schedule-free optimizer trains at y and yields the average x (Defazio et al. 2024). Its own
    conversion from x back to y rounds, so a resumed training would differ in the last bit.
    """
    if not _is_schedule_free(optimizer):
        yield
        return
    training_weights = _get_values(optimizer)
    schedule_free: Any = optimizer  # untyped, like the library
    schedule_free.eval()
    try:
        yield
    finally:
        schedule_free.train()
        _set_values(optimizer, training_weights)


def get_optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Return everything needed to continue: plain values and tensors.

    If the weights being trained differ from the saved ones, they are in an extra entry, `weights`.
    """
    state: dict[str, Any] = dict(optimizer.state_dict())
    if _is_schedule_free(optimizer):
        state["weights"] = _get_values(optimizer)
    return state


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore what `get_optimizer_state` returned; the model must hold the saved weights."""
    weights = state.pop("weights", None)
    optimizer.load_state_dict(state)
    if getattr(optimizer, "is_paged", False):
        _page_states(optimizer)
    if weights is not None:
        _set_values(optimizer, weights)


def _page_states(optimizer: Any) -> None:
    """Move loaded states back into memory that can leave the GPU: bitsandbytes loads them onto it."""
    for parameter, state in optimizer.state.items():
        for name in ("state1", "state2"):
            value = state.get(name)
            if value is not None and not getattr(value, "is_paged", False):
                # AdEMAMix has two averages in one tensor.
                is_double = value.numel() > parameter.numel()
                create = (
                    optimizer._get_state_double_buffer if is_double else optimizer.get_state_buffer
                )
                buffer = create(parameter, value.dtype)
                buffer.copy_(value)
                state[name] = buffer


def _is_schedule_free(optimizer: Optimizer) -> bool:
    return "train_mode" in optimizer.param_groups[0]


def _get_parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [value for group in optimizer.param_groups for value in group["params"]]


def _get_values(optimizer: Optimizer) -> list[torch.Tensor]:
    return [value.detach().clone() for value in _get_parameters(optimizer)]


@torch.no_grad()
def _set_values(optimizer: Optimizer, values: list[torch.Tensor]) -> None:
    for parameter, value in zip(_get_parameters(optimizer), values, strict=True):
        parameter.copy_(value)
