"""Optimizers: each one learns, scales its groups, resumes from its state; missing packages."""

from __future__ import annotations

import io
from typing import Any, get_args

import pytest
import torch
from torch.utils._pytree import tree_map_only

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks
from lora_studio.core.project.project import Draft
from lora_studio.core.training import recipe_checks
from lora_studio.core.training.optimizers import OPTIMIZERS, Optimizer, explain_unavailable
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.training.recipe import torch_optimizers

ALL: tuple[Optimizer, ...] = get_args(Optimizer)


class Adapter(torch.nn.Module):
    """W = B A, fitted to a matrix; large enough for 8-bit state."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.lora_A = torch.nn.Parameter(torch.randn(64, 80, generator=generator) / 8)
        self.lora_B = torch.nn.Parameter(torch.zeros(96, 64))
        self.target = torch.randn(96, 80, generator=generator) / 4

    def loss(self) -> torch.Tensor:
        return ((self.lora_B @ self.lora_A - self.target) ** 2).sum(1).mean()


def spec_of(name: Optimizer, **others: Any) -> TrainingSpec:
    return TrainingSpec(optimizer=name, learning_rate=OPTIMIZERS[name].usual, **others)


def steps(model: Adapter, optimizer: Any, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        loss = model.loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_every_optimizer_has_facts_and_a_choice() -> None:
    assert set(OPTIMIZERS) == set(ALL)
    assert {about.title for about in OPTIMIZERS.values()} == set(
        TrainingSpec.model_fields["optimizer"].json_schema_extra["choices"].values()
    )


@pytest.mark.parametrize("name", ALL)
def test_optimizer_learns_and_resumes_bit_for_bit(name: Optimizer) -> None:
    model, other = Adapter(), Adapter()
    optimizer = torch_optimizers.create_optimizer(spec_of(name), model)
    losses = steps(model, optimizer, 30)
    with torch_optimizers.use_inference_weights(optimizer):
        assert model.loss().item() < losses[0] - 1e-4
        weights = {name: value.clone() for name, value in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(torch_optimizers.get_optimizer_state(optimizer), buffer)
    buffer.seek(0)
    other.load_state_dict(weights)
    restored = torch_optimizers.create_optimizer(spec_of(name), other)
    torch_optimizers.restore_optimizer(restored, torch.load(buffer, weights_only=True))
    assert steps(model, optimizer, 5) == steps(other, restored, 5)


@pytest.mark.parametrize("name", ALL)
def test_lora_plus_multiplies_the_rate_of_b_matrices(name: Optimizer) -> None:
    model = Adapter()
    optimizer = torch_optimizers.create_optimizer(spec_of(name, lora_plus_ratio=8.0), model)
    slow, fast = optimizer.param_groups
    assert fast["lr"] == 8 * slow["lr"] == 8 * OPTIMIZERS[name].usual
    assert fast["params"] == [model.lora_B]
    steps(model, optimizer, 8)  # RAdam doesn't move in the first five
    assert model.lora_B.abs().sum() > 0


class Whole(Adapter):
    """An adapter with a bias, a norm and DoRA's magnitudes."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.ones(96))
        self.norm = torch.nn.LayerNorm(96)
        self.lora_magnitude_vector = torch.nn.Parameter(torch.ones(96))


@pytest.mark.parametrize("name", ALL)
def test_weight_decay_skips_biases_and_norms(name: Optimizer) -> None:
    model = Whole()
    optimizer = torch_optimizers.create_optimizer(
        spec_of(name, weight_decay=0.1, lora_plus_ratio=4.0), model
    )
    rest, spared, fast = optimizer.param_groups
    assert [group["weight_decay"] for group in (rest, spared, fast)] == [0.1, 0.0, 0.1]
    assert {id(value) for value in spared["params"]} == {
        id(value) for value in (model.bias, model.norm.weight, model.norm.bias)
    }
    assert fast["params"] == [model.lora_B]
    assert len(rest["params"]) == 2


def test_without_weight_decay_there_is_one_group() -> None:
    assert len(torch_optimizers.create_optimizer(spec_of("adamw"), Whole()).param_groups) == 1


@pytest.mark.parametrize("name", ["adamw_8bit", "lion_8bit", "ademamix_8bit", "rmsprop_8bit"])
def test_state_size_of_8_bit_optimizer_matches_its_facts(name: Optimizer) -> None:
    model = Adapter()
    optimizer = torch_optimizers.create_optimizer(spec_of(name), model)
    steps(model, optimizer, 1)
    # Quantization tables and block scales aren't counted: they don't grow with the square of the size.
    state_bytes = sum(
        value.nbytes
        for held in optimizer.state.values()
        for key, value in held.items()
        if key.startswith("state") and isinstance(value, torch.Tensor)
    )
    parameters = sum(value.numel() for value in model.parameters())
    assert state_bytes == OPTIMIZERS[name].state_bytes * parameters


@pytest.mark.parametrize("name", [name for name in ALL if OPTIMIZERS[name].schedule_free])
def test_schedule_free_weights_switch_and_return_exactly(
    name: Optimizer,
) -> None:
    model = Adapter()
    optimizer = torch_optimizers.create_optimizer(spec_of(name), model)
    steps(model, optimizer, 20)
    before = model.lora_B.detach().clone()
    with torch_optimizers.use_inference_weights(optimizer):
        assert not torch.equal(model.lora_B, before)
    assert torch.equal(model.lora_B, before)
    steps(model, optimizer, 1)


def test_inference_weights_of_other_optimizers_are_unchanged() -> None:
    model = Adapter()
    optimizer = torch_optimizers.create_optimizer(spec_of("adamw"), model)
    steps(model, optimizer, 3)
    before = model.lora_B.detach().clone()
    with torch_optimizers.use_inference_weights(optimizer):
        assert torch.equal(model.lora_B, before)
    assert "weights" not in torch_optimizers.get_optimizer_state(optimizer)


def test_missing_package_is_reported_at_its_field_with_a_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_optimizers.importlib.util, "find_spec", lambda name: None if name == "schedulefree" else True)  # type: ignore[attr-defined]  # fmt: skip
    assert torch_optimizers.get_missing_packages() == ("schedulefree",)
    with pytest.raises(ProblemError, match="needs the package schedulefree") as raised:
        torch_optimizers.create_optimizer(spec_of("schedule_free_sgd"), Adapter())
    (problem,) = raised.value.problems
    assert (problem.where.step, problem.where.field) == ("training", "optimizer")
    assert problem.fix is not None
    assert problem.fix.value == "adamw"


def test_bitsandbytes_is_not_offered_on_apple_gpus() -> None:
    ruled_out = {name for name in ALL if explain_unavailable(name, "mps")}
    assert ruled_out == {n for n in ALL if OPTIMIZERS[n].library == "bitsandbytes"}
    assert not any(
        explain_unavailable(name, device) for name in ALL for device in ("cpu", "cuda:1", "auto")
    )
    draft = Draft()
    draft.set("model", "device", "mps")
    draft.set("training", "optimizer", "lion_8bit")
    draft.set("training", "learning_rate", 5e-5)
    (problem,) = checks.filter_by_step(checks.check(draft), "training")
    assert problem.code == "training.optimizer_not_available"


@pytest.mark.parametrize(
    ("name", "rate", "code", "usual"),
    [
        ("adamw", 0.02, "training.learning_rate_high", 2e-4),
        ("lion", 1e-3, "training.learning_rate_high", 5e-5),
        ("sgd", 2e-4, "training.learning_rate_low", 0.1),
    ],
)
def test_unsuitable_learning_rate_gives_a_warning(
    name: Optimizer, rate: float, code: str, usual: float
) -> None:
    draft = Draft()
    draft.set("training", "optimizer", name)
    draft.set("training", "learning_rate", rate)
    (problem,) = checks.filter_by_step(checks.check(draft), "training")
    assert (problem.code, problem.severity) == (code, "warning")
    assert problem.fix is not None
    draft.set("training", "learning_rate", problem.fix.value)
    assert problem.fix.value == usual
    assert not checks.filter_by_step(checks.check(draft), "training")


@pytest.mark.parametrize(
    ("task", "preference", "optimizer", "rate", "usual"),
    [
        pytest.param("preference", "dpo", "adamw", 2e-4, 5e-6, id="dpo"),
        pytest.param("preference", "dpo", "lion", 5e-5, 1.25e-6, id="dpo with lion"),
        pytest.param("kto", "dpo", "adamw", 2e-4, 5e-6, id="kto"),
        pytest.param("preference", "orpo", "adamw", 1e-3, 8e-5, id="orpo"),
        pytest.param("preference", "orpo", "adamw", 2e-4, None, id="orpo within limits"),
        pytest.param("preference", "dpo", "adamw", 2e-5, None, id="dpo within limits"),
        pytest.param("sft", "dpo", "adamw", 2e-4, None, id="conversations"),
    ],
)
def test_rate_for_fine_tuning_is_high_for_preferences(
    task: Any, preference: Any, optimizer: Any, rate: float, usual: float | None
) -> None:
    spec = TrainingSpec(preference=preference, optimizer=optimizer, learning_rate=rate)
    fixes = [problem.fix.value for problem in recipe_checks.check_for(task, spec) if problem.fix]
    assert fixes == ([] if usual is None else [pytest.approx(usual)])


@pytest.mark.parametrize("kind", ["PagedAdamW", "PagedAdEMAMix", "PagedLion"])
def test_paged_states_stay_paged_after_resuming(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """bitsandbytes loads states onto the GPU, where they'd need the memory that paging saves."""
    create = getattr(pytest.importorskip("bitsandbytes.optim"), kind)

    def get_buffer(_: Any, value: torch.Tensor, dtype: torch.dtype = torch.float32) -> Any:
        buffer: Any = torch.zeros_like(value, dtype=dtype)
        buffer.is_paged = True
        return buffer

    def get_double_buffer(_: Any, value: torch.Tensor, dtype: torch.dtype = torch.float32) -> Any:
        return get_buffer(_, torch.stack([value, value]), dtype)

    monkeypatch.setattr(create, "get_state_buffer", get_buffer)
    monkeypatch.setattr(create, "_get_state_double_buffer", get_double_buffer, raising=False)
    monkeypatch.setattr(create, "prefetch_state", lambda *_: None)
    model, resumed = Adapter(), Adapter()
    first = create(model.parameters(), lr=1e-2)
    steps(model, first, 2)
    second = create(resumed.parameters(), lr=1e-2)
    # On their way to a GPU, tensors lose what bitsandbytes has noted on them.
    state = tree_map_only(torch.Tensor, torch.clone, torch_optimizers.get_optimizer_state(first))
    torch_optimizers.restore_optimizer(second, state)
    for own, other in zip(first.state.values(), second.state.values(), strict=True):
        for name in [name for name in ("state1", "state2") if own.get(name) is not None]:
            assert other[name].is_paged
            assert torch.equal(other[name], own[name])
