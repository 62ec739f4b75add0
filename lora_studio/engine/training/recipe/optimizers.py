"""The optimizer of a recipe, and what its kind asks of the loop around it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from lora_studio.core.problems import ProblemError
from lora_studio.core.training.optimizers import OPTIMIZERS, why_not
from lora_studio.core.training.recipe_checks import optimizer_not_available
from lora_studio.core.training.spec import TrainingSpec

Groups = list[dict[str, Any]]

#: Names of bitsandbytes' classes.
#: WORKAROUND: its AdEMAMix32bit makes room for one of its two averages only, and steps beyond it
#: (0.50: an error on a processor, other memory on a GPU); AdEMAMix makes room for both.
_BITSANDBYTES = {
    "adamw_8bit": "AdamW8bit",
    "paged_adamw": "PagedAdamW32bit",
    "paged_adamw_8bit": "PagedAdamW8bit",
    "lion": "Lion32bit",
    "lion_8bit": "Lion8bit",
    "paged_lion": "PagedLion32bit",
    "paged_lion_8bit": "PagedLion8bit",
    "ademamix": "AdEMAMix",
    "ademamix_8bit": "AdEMAMix8bit",
    "paged_ademamix": "PagedAdEMAMix",
    "paged_ademamix_8bit": "PagedAdEMAMix8bit",
    "rmsprop_8bit": "RMSprop8bit",
}


def make(spec: TrainingSpec, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all that trains in a model; raises ProblemError where it is not to be had.

    With a LoRA+ ratio λ the B matrices learn at λ times the rate of all else (Hayou et al. 2024).
    """
    groups = parameter_groups(spec, model)
    device = groups[0]["params"][0].device
    if reason := why_not(spec.optimizer, device.type, missing_packages()):
        raise ProblemError(optimizer_not_available(reason))
    settings: dict[str, Any] = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if spec.optimizer in _BITSANDBYTES:
        return _of_bitsandbytes(_BITSANDBYTES[spec.optimizer], groups, settings, device)
    return _MAKERS[spec.optimizer](groups, settings)


def parameter_groups(spec: TrainingSpec, model: torch.nn.Module) -> Groups:
    """What trains: all at the recipe's rate, the B matrices of LoRA+ in a group of their own, and with
    weight decay another one of what it leaves alone (`is_spared`)."""
    groups: Groups = [
        {"params": []},
        {"params": [], "weight_decay": 0.0},
        {"params": [], "lr": spec.learning_rate * spec.lora_plus_ratio},
    ]
    rest, spared, fast = (group["params"] for group in groups)
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        if spec.lora_plus_ratio != 1 and ("lora_B" in name or "lora_embedding_B" in name):
            fast.append(value)
        elif spec.weight_decay and is_spared(name, value):
            spared.append(value)
        else:
            rest.append(value)
    return [group for group in groups if group["params"]]


def is_spared(name: str, value: torch.Tensor) -> bool:
    """Whether weight decay leaves a parameter alone: biases and the scales of norms, which have one
    dimension, as transformers' Trainer does it. It pulls at the lengths of DoRA's rows, though."""
    return "bias" in name or (value.ndim < 2 and "lora_magnitude" not in name)


def missing_packages() -> tuple[str, ...]:
    """The packages that some optimizer needs and this environment lacks."""
    needed = {about.library for about in OPTIMIZERS.values()}
    return tuple(sorted(name for name in needed if importlib.util.find_spec(name) is None))


@contextmanager
def weights_to_use(optimizer: Any) -> Iterator[None]:
    """Within it a model has the weights to judge, keep and use; after it those to train on, exactly.

    A schedule-free optimizer trains at y and yields the average x (Defazio et al. 2024). Going from
    x back to y by its own means would round, and a resumed training would differ in the last bit.
    """
    if not _is_schedule_free(optimizer):
        yield
        return
    before = _values(optimizer)
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        _put(optimizer, before)


def state(optimizer: Any) -> dict[str, Any]:
    """All that going on needs: plain values and tensors. Beside the usual, `weights` that train now,
    where those are not the ones to use."""
    found: dict[str, Any] = dict(optimizer.state_dict())
    if _is_schedule_free(optimizer):
        found["weights"] = _values(optimizer)
    return found


def restore(optimizer: Any, found: dict[str, Any]) -> None:
    """Takes up what `state` gave; the model holds the weights to use, as it was saved."""
    weights = found.pop("weights", None)
    optimizer.load_state_dict(found)
    if weights is not None:
        _put(optimizer, weights)


def _is_schedule_free(optimizer: Any) -> bool:
    return "train_mode" in optimizer.param_groups[0]


def _parameters(optimizer: Any) -> list[torch.Tensor]:
    return [value for group in optimizer.param_groups for value in group["params"]]


def _values(optimizer: Any) -> list[torch.Tensor]:
    return [value.detach().clone() for value in _parameters(optimizer)]


@torch.no_grad()
def _put(optimizer: Any, values: list[torch.Tensor]) -> None:
    for parameter, value in zip(_parameters(optimizer), values, strict=True):
        parameter.copy_(value)


def _of_bitsandbytes(
    name: str, groups: Groups, settings: dict[str, Any], device: torch.device
) -> torch.optim.Optimizer:
    from bitsandbytes import optim

    # Pages are memory that a GPU can push out to the main one; elsewhere there is nowhere to push.
    name = name if device.type == "cuda" else name.removeprefix("Paged")
    return cast(torch.optim.Optimizer, getattr(optim, name)(groups, **settings))


def _adafactor(groups: Groups, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Adafactor (Shazeer & Stern 2018) at the recipe's rate, without a schedule of its own."""
    from transformers import Adafactor

    return Adafactor(groups, **settings, scale_parameter=False, relative_step=False)


def _schedule_free(name: str) -> Callable[[Groups, dict[str, Any]], torch.optim.Optimizer]:
    def made(groups: Groups, settings: dict[str, Any]) -> torch.optim.Optimizer:
        import schedulefree

        optimizer = getattr(schedulefree, name)(groups, **settings)
        optimizer.train()
        return cast(torch.optim.Optimizer, optimizer)

    return made


_MAKERS: dict[str, Callable[[Groups, dict[str, Any]], torch.optim.Optimizer]] = {
    "adamw": lambda groups, settings: torch.optim.AdamW(groups, **settings, fused=True),
    "adafactor": _adafactor,
    "sgd": lambda groups, settings: torch.optim.SGD(groups, **settings, momentum=0.9),
    "adagrad": lambda groups, settings: torch.optim.Adagrad(groups, **settings),
    "rmsprop": lambda groups, settings: torch.optim.RMSprop(groups, **settings),
    "schedule_free_adamw": _schedule_free("AdamWScheduleFree"),
    "schedule_free_radam": _schedule_free("RAdamScheduleFree"),
    "schedule_free_sgd": _schedule_free("SGDScheduleFree"),
}
