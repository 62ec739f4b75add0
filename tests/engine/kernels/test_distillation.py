"""The distillation loss: equal to the full KL divergence of torch where all tokens are known."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.engine.kernels import chunked_logprobs
from lora_studio.engine.kernels.distillation import DistillationLoss, TeacherTokens
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tokens.batches import collate
from tests.engine.conftest import TinyModel
from tests.engine.kernels.test_fused import wrap
from tests.engine.tasks.test_objectives import rows_of

WEIGHT, TEMPERATURE = 0.3, 2.5


def tokens_of(logits: torch.Tensor, top_k: int) -> TeacherTokens:
    """Return the most likely tokens of a teacher's logits, plainly computed in 64-bit."""
    every = (logits.double() / TEMPERATURE).log_softmax(1)
    values, ids = every.topk(top_k, 1)
    rest = (1 - values.exp().sum(1)).clamp(min=1e-40).log()
    return TeacherTokens(ids, values.float(), rest.float().clamp(min=-100.0))


def plain_loss(
    logits: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sums of loss, cross-entropy and KL divergence over the whole vocabulary."""
    entropy = F.cross_entropy(logits, targets, reduction="sum")
    own, other = (each / TEMPERATURE for each in (logits, teacher))
    divergence = F.kl_div(
        own.log_softmax(1), other.log_softmax(1), reduction="sum", log_target=True
    )
    return (
        (1 - WEIGHT) * entropy + WEIGHT * TEMPERATURE**2 * divergence,
        entropy,
        divergence,
    )


@pytest.mark.parametrize(("packed", "chunked"), [(True, True), (True, False), (False, True)])
def test_whole_vocabulary_gives_the_full_kl_divergence(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch, packed: bool, chunked: bool
) -> None:
    monkeypatch.setattr(
        chunked_logprobs, "count_logits_at_once", lambda *_: 5 * 512
    )  # several chunks
    model, batch = wrap(tiny("llama3"), LoraSpec(rank=4), torch.float32), collate(rows_of())
    logprob_model = LogprobModel.create(model)
    logits = logprob_model._compute_model_logits(batch)
    teacher = logits.detach() + torch.randn(logits.shape, generator=torch.manual_seed(0))
    expected = plain_loss(logits, batch.targets, teacher)
    expected[0].backward()
    gradients = [value.grad.clone() for value in model.parameters() if value.grad is not None]
    model.zero_grad()
    logprob_model.packed, logprob_model._head = packed, logprob_model._head if chunked else None
    tokens = tokens_of(teacher, logits.shape[1])
    actual = logprob_model.compute_distillation(
        batch, tokens, DistillationLoss(WEIGHT, TEMPERATURE)
    ).sum(0)
    actual[0].backward()
    torch.testing.assert_close(
        actual.detach(), torch.stack(expected).detach(), rtol=1e-5, atol=1e-5
    )
    grads = [value.grad for value in model.parameters() if value.grad is not None]
    for value, other in zip(grads, gradients, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)


def test_all_other_tokens_count_as_one() -> None:
    logits = torch.randn(7, 40, generator=torch.manual_seed(1), dtype=torch.float32)
    teacher = torch.randn(7, 40, generator=torch.manual_seed(2)) * 3
    targets, tokens = torch.arange(7), tokens_of(teacher, 6)
    leaf = logits.double().requires_grad_()
    own, other = ((each / TEMPERATURE).softmax(1) for each in (leaf, teacher.double()))
    p, q = other.gather(1, tokens.ids), own.gather(1, tokens.ids)
    p, q = (torch.cat([each, 1 - each.sum(1, keepdim=True)], 1) for each in (p, q))
    divergence = (p * (p.log() - q.log())).sum()
    (TEMPERATURE**2 * divergence).backward()
    gradient = logits.clone()
    loss = DistillationLoss(1.0, TEMPERATURE)
    values = loss.compute(gradient, targets, tokens, True)
    assert float(values[:, 2].sum()) == pytest.approx(float(divergence.detach()), rel=1e-5)
    assert leaf.grad is not None
    torch.testing.assert_close(gradient, leaf.grad.float(), rtol=1e-4, atol=1e-6)
    assert (values[:, 2] <= F.kl_div(own.log(), other, reduction="none").sum(1) + 1e-6).all()


def test_tokens_of_probability_zero_give_finite_gradients() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0, 0.0], [0.0, 300.0, 0.0, 0.0]])
    teacher = TeacherTokens(
        torch.tensor([[2, 0], [1, 0]]),
        torch.tensor([[0.0, -100.0], [-0.5, -100.0]]),
        torch.tensor([-100.0, -1.0]),
    )
    values = DistillationLoss(0.5, 1.0).compute(logits, torch.tensor([1, 2]), teacher, True)
    assert torch.isfinite(values).all()
    assert torch.isfinite(logits).all()
