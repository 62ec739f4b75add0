"""LoRA layers of one input computed together: the results of each layer alone, or one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.protocol import commands, events
from lora_studio.engine.kernels import adapted_linear, fused
from lora_studio.engine.kernels.fused import KernelRecord
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.training.trainer import Trainer
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import wrap
from tests.helpers.runs.jobs import handle, new_run, write_rows

_INPUTS = 12


def make_layers(dtype: torch.dtype) -> list[Any]:
    """Return layers of one input with other sizes, ranks, and scales; one has no bias."""
    torch.manual_seed(2)
    base = torch.nn.ModuleDict(
        {
            "a": torch.nn.Linear(_INPUTS, 16),
            "b": torch.nn.Linear(_INPUTS, 5, bias=False),
            "c": torch.nn.Linear(_INPUTS, 8),
        }
    ).to(dtype)
    settings = peft.LoraConfig(
        r=3, lora_alpha=8, target_modules=["a", "b", "c"], rank_pattern={"b": 5}, init_lora_weights=False
    )  # fmt: skip
    model: Any = peft.get_peft_model(base, settings, autocast_adapter_dtype=False)
    layers = [model.base_model.model[name] for name in "abc"]
    assert all(map(adapted_linear.is_plain_lora, layers))
    return layers


def compute(layers: list[Any], x: torch.Tensor, function: Any) -> list[torch.Tensor]:
    """Return results and gradients of the input and all A and B."""
    leaf = x.detach().requires_grad_()
    trained = [value for layer in layers for value in layer.parameters() if value.requires_grad]
    results = list(function(layers, leaf))
    outer = [torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype) for y in results]
    return [*results, *torch.autograd.grad(results, [leaf, *trained], outer)]


def one_by_one(layers: list[Any], x: torch.Tensor) -> list[torch.Tensor]:
    return [type(layer).forward(layer, x) for layer in layers]


def test_layers_computed_together_match_those_of_peft() -> None:
    layers, x = make_layers(torch.float64), torch.randn(2, 7, _INPUTS, dtype=torch.float64)
    actual = compute(layers, x, adapted_linear.compute_together)
    for one, other in zip(actual, compute(layers, x, one_by_one), strict=True):
        torch.testing.assert_close(one, other)


def test_32_bit_inputs_are_cast_like_autocast_casts_them() -> None:
    """On CUDA, a LayerNorm returns 32-bit under autocast."""
    layers, x = make_layers(torch.bfloat16), torch.randn(2, 7, _INPUTS)

    def compute_fused(layers: list[Any], x: torch.Tensor) -> list[torch.Tensor]:
        results = [*adapted_linear.compute_together(layers, x)]
        alone = [adapted_linear.compute_adapted(layer, x) for layer in layers]
        assert {y.grad_fn.name() for y in (*results, *alone) if y.grad_fn} == {"_AdaptedBackward"}
        return results

    with torch.autocast("cpu", torch.bfloat16):
        actual = compute(layers, x, compute_fused)
        expected = compute(layers, x, one_by_one)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)
    assert actual[len(layers)].dtype == torch.float32  # the gradient of x


def test_one_input_gradient_is_passed_on_for_all_layers() -> None:
    layers, x = make_layers(torch.float32), torch.randn(7, _INPUTS).requires_grad_()
    results = adapted_linear.compute_together(layers, x)
    assert len({y.grad_fn for y in results}) == 1


def test_result_without_gradient_counts_as_zero() -> None:
    layers, x = make_layers(torch.float64), torch.randn(7, _INPUTS, dtype=torch.float64)
    unused = compute(layers, x, lambda *args: adapted_linear.compute_together(*args)[:2])
    gradients = unused[2:]
    expected = compute(layers[:2], x, one_by_one)[2:]
    for one, other in zip(gradients, expected, strict=False):
        torch.testing.assert_close(one, other)
    assert not any(each.any() for each in gradients[len(expected) :])


class CastCounter(TorchDispatchMode):
    """Counts the copies in another data type."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += function is torch.ops.aten._to_copy.default
        return function(*args, **(kwargs or {}))


def test_adapters_are_cast_once_while_no_weight_changes() -> None:
    layers, x = make_layers(torch.bfloat16), torch.randn(7, _INPUTS).bfloat16()
    for layer in layers:
        layer.lora_A.float(), layer.lora_B.float()
    expected = compute(layers, x, adapted_linear.compute_together)
    counts = []
    with adapted_linear.keep_casts():
        for _ in range(2):
            with CastCounter() as counter:
                actual = compute(layers, x, adapted_linear.compute_together)
            counts.append(counter.count)
    # One of all A and one of each B.
    assert counts[0] - counts[1] == 1 + len(layers)
    assert all(map(torch.equal, actual, expected))
    with torch.no_grad():
        layers[0].lora_A["default"].weight.mul_(3)
    with adapted_linear.keep_casts():
        changed = compute(layers, x, adapted_linear.compute_together)
    assert not torch.equal(changed[0], expected[0])


@pytest.mark.parametrize(
    ("precision", "checkpointing", "groups"),
    # Two blocks have four groups of layers with one input each, or seven layers.
    [("bf16", "off", 8), ("bf16", "on", 8), ("4bit", "off", 14), ("4bit", "on", 14)],
)
def test_training_casts_adapters_once_per_step(
    tiny: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    checkpointing: str,
    groups: int,
) -> None:
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}."} for n in range(6)]
    run = new_run(
        tmp_path,
        model={"source": str(tiny("llama3")), "precision": precision, "device": "cpu"},
        dataset={"sources": [str(write_rows(tmp_path / "rows.jsonl", rows))], "validation_share": 0.0},
        training={
            "micro_batch": 1, "gradient_accumulation": 3, "max_steps": 2, "packing": False,
            "gradient_checkpointing": checkpointing,
        },
    )  # fmt: skip
    casts: list[object] = []
    counts: dict[int, set[int]] = {}
    cast, accumulate = adapted_linear.cast_adapters, Trainer.accumulate_gradients

    def count_cast(*arguments: Any) -> Any:
        casts.append(arguments)
        return cast(*arguments)

    def count_pass(self: Trainer, batches: Any, weight: int) -> Any:
        casts.clear()
        result = accumulate(self, batches, weight)
        counts.setdefault(len(batches), set()).add(len(casts))
        return result

    monkeypatch.setattr(adapted_linear, "cast_adapters", count_cast)
    monkeypatch.setattr(Trainer, "accumulate_gradients", count_pass)
    assert handle(commands.Train(run=str(run.path))).of(events.Done)
    assert counts == {1: {groups}, 3: {groups}}, "the probe of memory has one micro-batch"


@pytest.mark.parametrize("state", ["disabled", "merged"])
def test_layers_that_are_not_plain_now_compute_alone(state: str) -> None:
    layers, x = make_layers(torch.float64), torch.randn(7, _INPUTS, dtype=torch.float64)
    if state == "merged":
        layers[1].merge()
    else:
        layers[1].enable_adapters(False)
    with torch.no_grad():
        actual = adapted_linear.compute_together(layers, x)
        for one, other in zip(actual, one_by_one(layers, x), strict=True):
            torch.testing.assert_close(one, other)


def test_layers_answer_for_the_common_input_only() -> None:
    layers, x = make_layers(torch.float64), torch.randn(7, _INPUTS, dtype=torch.float64)
    layers[0].forward = lambda _: "own"
    with adapted_linear.precompute(layers, x) as unused:
        assert len({layer(x).grad_fn for layer in layers}) == 1
        assert not unused
        torch.testing.assert_close(layers[1](x + 1), one_by_one(layers, x + 1)[1])
        assert layers[0](x + 1) == "own"
    assert layers[0](x) == "own"
    assert not any("forward" in layer.__dict__ for layer in layers[1:])


def test_layers_get_their_forward_back_after_an_error() -> None:
    layers, x = make_layers(torch.float64), torch.randn(7, _INPUTS, dtype=torch.float64)
    with pytest.raises(MemoryError), adapted_linear.precompute(layers, x):
        raise MemoryError
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_projections_of_attention_and_gates_are_joined(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    )
    joined = {"joined_attention", "joined_gated_forward"}
    assert logprob_model.record.kinds == {"compute_adapted", "compute_norm"} | joined


def test_projections_with_dora_are_not_joined(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(
        wrap(tiny("llama3"), LoraSpec(rank=4, use_dora=True), torch.float32).train()
    )
    assert logprob_model.record.kinds == {"compute_norm", "gated_forward"}


def test_run_that_began_without_joined_layers_resumes_so(tiny: TinyModel) -> None:
    began = KernelRecord(kinds=frozenset({"compute_adapted", "compute_norm", "gated_forward"}))
    model = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32).train()
    assert LogprobModel.create(model, record=began).record.kinds == began.kinds


class NormedInput(torch.nn.Module):
    """An attention that gives its projections another tensor than its own input."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = layers

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x = hidden_states / 2
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)


def test_projections_of_another_input_are_not_joined() -> None:
    layers, x = make_layers(torch.float32), torch.randn(1, 7, _INPUTS)
    fused.fuse_layers(attention := NormedInput(layers), lambda: attention(x))  # type: ignore[arg-type]  # any module
    assert "forward" not in attention.__dict__
    assert all("forward" in layer.__dict__ for layer in layers)


def test_projections_with_hooks_are_not_joined() -> None:
    layers = make_layers(torch.float32)
    names, attention = ("q_proj", "k_proj", "v_proj"), NormedInput(layers)
    assert adapted_linear.are_plain_lora(attention, *names)
    layers[1].register_forward_pre_hook(lambda *_: None)
    assert not adapted_linear.are_plain_lora(attention, *names)


def test_results_may_be_changed_in_place() -> None:
    layers, x = make_layers(torch.float64), torch.randn(2, 7, _INPUTS, dtype=torch.float64)

    def clamp(function: Any) -> Any:
        return lambda layers, x: [y.clamp_(-0.5, 0.5) for y in function(layers, x)]

    actual = compute(layers, x, clamp(adapted_linear.compute_together))
    for one, other in zip(actual, compute(layers, x, clamp(one_by_one)), strict=True):
        torch.testing.assert_close(one, other)


class Part(torch.nn.Module):
    """Layers of one input, as in a block."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(adapted_linear.compute_together(list(self.layers), x)), -1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_joined_layers_of_many_blocks_compile_as_one_graph(dtype: torch.dtype) -> None:
    """PyTorch gives up after 8 graphs for one function."""
    parts, x = [Part(make_layers(dtype)) for _ in range(9)], torch.randn(2, 7, _INPUTS).to(dtype)
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    with adapted_linear.keep_casts():
        for part in parts:
            for layer in part.layers:
                layer.lora_A.float(), layer.lora_B.float()
            part.compile(backend="aot_eager", dynamic=True)
            part(x.requires_grad_()).sum().backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
