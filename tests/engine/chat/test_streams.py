"""Answers that this process computes: which errors reach the chat, and in what state."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.core.chat import Sampling
from lora_studio.core.protocol import events
from lora_studio.engine.chat import turn_scheduler
from lora_studio.engine.chat.label_predictor import LabelPredictor
from lora_studio.engine.chat.streams import TokenStream, TorchTokens
from lora_studio.engine.chat.turn_scheduler import ColumnAnswer
from lora_studio.engine.devices import devices
from lora_studio.engine.generation.turn_boundaries import TurnEndCriteria
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.runtime.failures import NotFiniteError
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import Recorder, recorded_job


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_end_the_answer(
    temperature: float, value: float, tiny: TinyModel
) -> None:
    network: Any = AutoModelForCausalLM.from_pretrained(Path(tiny("llama3"))).eval()
    steps: list[int] = []

    def damage(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        steps.append(len(logits))
        return logits * value if len(steps) == 3 else logits

    network.lm_head.register_forward_hook(damage)
    sampling = Sampling(temperature=temperature, top_p=0.9, top_k=5, max_tokens=8)
    tokens = TorchTokens(network, [5, 6, 7], sampling)
    assert [type(tokens.next_token(lambda: None)) for _ in range(2)] == [int, int]
    with pytest.raises(NotFiniteError):
        tokens.next_token(lambda: None)
    assert tokens.next_token(lambda: None) is None


def test_thread_of_an_answer_computes_on_its_models_gpu(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's current device is another one in each thread."""
    network: Any = AutoModelForCausalLM.from_pretrained(Path(tiny("llama3"))).eval()
    chosen: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(
        devices,
        "set_current_device",
        lambda device: chosen.append((threading.current_thread().name, device)),
    )
    tokens = TorchTokens(network, [5, 6, 7], Sampling(max_tokens=2))
    assert isinstance(tokens.next_token(lambda: None), int)
    tokens.close()
    assert chosen == [("answer", network.device)]


class _Cache:
    """Stands for the memory of an answer."""


class _FailingModel:
    """A model whose computation fails after the first token."""

    device = torch.device("cpu")

    def __init__(self, kind: type[Exception], message: str) -> None:
        self._kind, self._message = kind, message
        self.caches: list[weakref.ref[_Cache]] = []

    def generate(self, input_ids: torch.Tensor, stopping_criteria: Any, **_: Any) -> None:
        cache = _Cache()
        self.caches.append(weakref.ref(cache))
        stopping_criteria[0](input_ids, None)
        raise self._kind(self._message)


def _answer(network: _FailingModel) -> Recorder:
    """Answer in one column as the chat does."""
    job, recorder = recorded_job()
    tokens = TorchTokens(network, [1, 2], Sampling())
    stream = TokenStream(tokens, str, lambda _: False, TurnEndCriteria(()), 2)
    answers = {0: ColumnAnswer(0, stream)}
    while answers:
        turn_scheduler.run_or_refuse_column(
            0, answers, job, lambda: turn_scheduler.advance(0, answers, job)
        )
    return recorder


def test_memory_of_an_answer_that_had_too_little_is_free() -> None:
    """A traceback in a cycle kept it, and the next question failed as well."""
    network = _FailingModel(torch.OutOfMemoryError, "CUDA out of memory.")
    [refused] = _answer(network).of(events.AnswerRefused)
    assert [cache() for cache in network.caches] == [None]
    assert refused.problem.code == "device.out_of_memory"
    assert "micro-batch" not in str(refused.problem.remedy)
    assert refused.problem.where.step == "model"


def test_lost_gpu_ends_the_command_instead_of_a_column() -> None:
    network = _FailingModel(RuntimeError, "CUDA error: device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side"):
        _answer(network)


def test_probabilities_that_are_not_finite_are_refused(tiny: TinyModel) -> None:
    network: Any = AutoModelForCausalLM.from_pretrained(Path(tiny("llama3"))).eval()
    head = torch.nn.Linear(network.config.hidden_size, 2)
    tokenizer = load_tokenizer(tiny("llama3"))
    device = torch.device("cpu")
    classifier = LabelPredictor(network.model, head, ("no", "yes"), tokenizer, device, 64)
    assert len(classifier.predict(["Lit."], lambda _: None).probabilities[0]) == 2
    torch.nn.init.constant_(head.weight, float("nan"))
    with pytest.raises(NotFiniteError):
        classifier.predict(["Lit."], lambda _: None)
