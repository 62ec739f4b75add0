"""Whole optimizer steps on fake CUDA tensors: no tensor meets one of another device or dtype.

Not collected directly: `test_fake_cuda.py` runs this file in a separate process, because pretending to have
CUDA changes PyTorch for the rest of it. That process reads no conftest.py, which would import Qt.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.helpers import disable_input_dtype_casting
from peft.tuners.lora import Linear as LoraLinear
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from lora_studio.core.chat import Sampling
from lora_studio.core.model.embedding_files import EmbeddingOutput
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.grpo import ClipRange, GrpoVariant
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.generation import prefix_cache
from lora_studio.engine.generation.batched import generate_batch
from lora_studio.engine.generation.continuations import Continuation, continuation_logprobs
from lora_studio.engine.kernels import liger
from lora_studio.engine.kernels.chunked_logprobs import compute_cross_entropy
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading
from lora_studio.engine.rewards.registry import WeightedRewards
from lora_studio.engine.tasks.classification import attach_classifier
from lora_studio.engine.tasks.grpo import Grpo, SampledAnswer
from lora_studio.engine.tasks.preference import attach_reward_head
from lora_studio.engine.tokens.batches import Batch, collate
from lora_studio.engine.training import kernel_choice
from lora_studio.engine.training.frozen_models.teacher import TeacherModel, TeacherStore
from lora_studio.engine.training.step_batches import TrainingData
from lora_studio.engine.training.trainer import Trainer
from tests.helpers.models import fake_cuda
from tests.helpers.models.fake_cuda import DeviceWaits
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import make_job, new_run
from tests.helpers.runs.rows_in_memory import LABELS, RisingReward, Rows, make_rows

DTYPES = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "4bit": torch.bfloat16, "8bit": torch.float16,
    "4bit-fp16": torch.float16, "fp32": torch.float32,
}  # fmt: skip

OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft": {}, "dpo": {"preference": "dpo"}, "orpo": {"preference": "orpo"}, "kto": {},
    "hinge": {"preference": "dpo", "dpo_loss": "hinge"}, "ipo": {"preference": "dpo", "dpo_loss": "ipo"},
    "robust": {"preference": "dpo", "dpo_loss": "robust"}, "simpo": {"preference": "simpo"},
    "reward": {"preference": "reward"},
    "grpo": {
        "group_size": 2, "rollout_tokens": 2, "rollout_passes": 2, "rollout_top_p": 0.9, "kl_beta": 0.1,
        "rewards": ({"kind": "length"},), "gradient_accumulation": 1,
    },
    "distillation": {"teacher": "a model", "distillation_top_k": 4},
    "classification": {},
    # Several micro-batches, of which each is computed twice.
    "embedding": {"micro_batch": 1, "gradient_accumulation": 2},
}  # fmt: skip

CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="session", autouse=True)
def _fake_cuda() -> None:
    fake_cuda.install()
    gc.freeze()  # the imported libraries, a million objects, in all garbage collections


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny model. Tests must not change it."""
    return tiny_model("llama3", tmp_path_factory.mktemp("llama3") / "tiny")


def create_run(
    folder: Path,
    model: Path,
    objective: str,
    precision: str,
    lora: dict[str, Any] | None = None,
    **training: Any,
) -> RunFolder:
    """Return a new run of two steps with two micro-batches of two rows, unless `training` says otherwise."""
    return new_run(
        folder,
        model={"source": str(model), "precision": precision.partition("-")[0]},
        lora={"rank": 4, **(lora or {})},
        training={
            "micro_batch": 2, "gradient_accumulation": 2, "max_steps": 2, "optimizer": "adamw", "keep_best": False,
            "sample_rows": 0, "sample_tokens": 2, **training, **OBJECTIVES[objective],
        },
    )  # fmt: skip


def load_model(
    run: RunFolder, objectives: Sequence[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> AdaptedModel:
    """Load a real tiny model with an adapter on the CPU, and a head if a reward model is trained."""
    project, job = run.load_project(), make_job()
    dtype = DTYPES[precision]
    monkeypatch.setattr(devices, "get_dtype", lambda *_: dtype)
    loaded = loading.load(project.model, job, project.dataset, training=True)
    loaded.model.model.layers = loaded.model.model.layers[:1]
    checkpointing = project.training.gradient_checkpointing != "off"
    wrapped = attach.attach_adapter(
        loaded.model, project.lora, job, gradient_checkpointing=checkpointing
    )
    tuned = AdaptedModel(loaded, wrapped)
    if "reward" in objectives:
        attach_reward_head(tuned, 0)
    if "classification" in objectives:
        attach_classifier(tuned, LABELS, 0)
    if "embedding" in objectives:
        tuned.embedding = EmbeddingOutput("last", loaded.model.config.hidden_size, 64)
    loaded.device = CUDA
    return tuned


def make_trainer(run: RunFolder, tuned: AdaptedModel, objective: str) -> Trainer:
    """Return the trainer of a model on the fake GPU."""
    tasks = {"sft": "sft", "distillation": "sft"}
    own_tasks = ("kto", "grpo", "classification", "embedding")
    task: Any = objective if objective in own_tasks else tasks.get(objective, "preference")
    spec = run.load_project().training
    rows = make_rows(objective, packed=spec.packing)
    ready = events.DatasetReady(
        task=task, rows_read=len(rows), rows_train=len(rows), rows_validation=2, tokens=0,
        trained_tokens=0, labels=dict.fromkeys(LABELS, 2) if objective == "classification" else {},
    )  # fmt: skip
    rewards = WeightedRewards([(each, RisingReward()) for each in spec.rewards])
    data = TrainingData(task, rows, Rows(rows[:2]), "rows", ready, rewards)
    return Trainer(run, spec, tuned, data, make_job(), ProcessGroup(), run.path)


def run_steps(trainer: Trainer, waits: DeviceWaits) -> tuple[list[str], list[str]]:
    """Run a step and an evaluation; return what the step waited for, and what it copied blocking."""
    with disable_input_dtype_casting(trainer.model, active=trainer.dtype != torch.float32):
        if trainer.rollouts is not None:
            trainer.probe_memory()
        waits.clear()
        trainer.training_step()
        # transformers' Adafactor copies numbers of its own.
        own = [copy for copy in waits.uploads if "loss_scaling.py" not in copy]
        written = [wait for wait in waits.waits if "group_sampling.py" in wait]
        noted = [wait for wait in waits.waits if wait not in written], own
        trainer.evaluate()
    # A wait for each token that is written.
    answers = sum(map(len, trainer.batches.read_step(0))) * trainer.spec.group_size
    assert len(written) == (
        answers * trainer.spec.rollout_tokens if trainer.rollouts is not None else 0
    )
    return noted


def count_waits(trainer: Trainer) -> int:
    """Return how often a step may wait: for the metrics of each update, and for KTO's z.

    A scaler reads whether gradients overflowed, unless the optimizer handles that on the GPU, as AdamW does.
    """
    updates = trainer.spec.rollout_passes if trainer.rollouts is not None else 1
    reads = trainer.spec.optimizer != "adamw"
    return updates * (1 + reads) + (trainer.data.task == "kto")


def save_and_resume(trainer: Trainer, create: Callable[[], Trainer]) -> None:
    """Save a checkpoint and the adapter after the evaluation, and take another step in a new trainer."""
    sent: list[Any] = trainer.job.channel.events  # type: ignore[attr-defined]  # a RecordingChannel
    with (
        disable_input_dtype_casting(trainer.model, active=trainer.dtype != torch.float32),
        fake_cuda.use_fake_files() as saved,
    ):
        trainer.save_checkpoint()
        trainer.adapters.save_final(trainer.state)
        assert saved == {str(CUDA)}
        kinds = {event.kind for event in sent}
        assert {"checkpoint_saved", "adapter_saved"} <= kinds
        is_generative = trainer.spec.trains_generative_model(trainer.data.task)
        assert ("sampled" in kinds) == is_generative
        warned = {event.problem.code for event in sent if event.kind == "warned"}
        assert warned <= {"training.answers_cut"}  # at the last of few tokens
        resumed = create()
        resumed.load_checkpoint()
        assert resumed.state.step == 1
        resumed.training_step()
    states = tree_leaves(list(resumed.optimizer.state.values()))
    assert {
        state.device for state in states if isinstance(state, torch.Tensor) and state.dim()
    } == {CUDA}


#: Recipes that every change is tested with: each objective, each way to store weights. Objectives joined by
#: "+" train the same model, one after another: to choose its kernels takes as long as a step. Only the
#: resumed ones and KTO have several micro-batches; other steps wait as often with one.
RECIPES = {
    "orpo+reward-bf16-packed": {"lora": {"use_dora": True}},
    "embedding+sft-4bit-fp16-packed": {"neftune_alpha": 5.0, "gradient_checkpointing": "on"},
    "kto+classification-fp16-padded": {"neftune_alpha": 5.0, "gradient_accumulation": 2},
    "sft-8bit-packed": {"lora": {"dropout": 0.1}},
    "dpo+distillation+grpo-fp16-packed": {},
    "kto+dpo-bf16-packed": {"gradient_checkpointing": "on", "gradient_accumulation": 2},
    "orpo+sft-4bit-padded": {},
}  # fmt: skip

#: The one of them that also answers, saves, and resumes, with its last objective; of the thorough ones, all do.
_RESUMED = "dpo+distillation+grpo-fp16-packed"

#: Further recipes: checkpointing, a trained output layer and optimizers with states of their own.
FURTHER = {
    "sft-bf16-packed": {"neftune_alpha": 5.0},
    "sft-fp16-padded": {"gradient_checkpointing": "on"},
    "sft-fp32-packed": {"optimizer": "adafactor"},
    "orpo-fp16-padded": {"lora": {"modules_to_save": ("lm_head",)}},
    "kto-bf16-packed": {"gradient_checkpointing": "on"},
    "kto-4bit-padded": {"optimizer": "schedule_free_adamw"},
    "ipo-bf16-padded": {},
    "simpo-fp16-packed": {},
    "reward-bf16-padded": {},
    "reward-4bit-packed": {"gradient_checkpointing": "on"},
    "hinge-fp16-packed": {},
    "robust-bf16-packed": {},
    "grpo-bf16-packed": {"grpo_variant": "dr_grpo", "lora": {"modules_to_save": ("lm_head",)}},
    "grpo-4bit-padded": {"grpo_variant": "gspo", "gradient_checkpointing": "on"},
    "distillation-bf16-padded": {"lora": {"modules_to_save": ("lm_head",)}},
    "distillation-4bit-packed": {"distillation_temperature": 2.0},
    "classification-bf16-packed": {"gradient_checkpointing": "on", "class_weights": "balanced"},
    "classification-4bit-padded": {},
    "embedding-bf16-packed": {"gradient_checkpointing": "on", "pooling": "mean"},
    "embedding-fp16-padded": {"lora": {"dropout": 0.1}},
    "embedding-4bit-padded": {"pooling": "mean"},
}  # fmt: skip

GRID = [
    (f"{objective}-{precision}-{layout}", {})
    for objective in ("sft", "dpo", "orpo", "kto")
    for precision in DTYPES
    for layout in ("packed", "padded")
]

EVERY = [
    *(pytest.param(*case, id=case[0]) for case in RECIPES.items()),
    *(pytest.param(*case, marks=pytest.mark.thorough) for case in (*FURTHER.items(), *GRID)),
]


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize(("name", "recipe"), EVERY)
def test_step_stays_on_its_device(
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    name: str,
    recipe: dict[str, Any],
) -> None:
    objectives, _, rest = name.partition("-")
    precision, _, layout = rest.rpartition("-")
    packing = layout == "packed"
    resumes = name == _RESUMED or request.node.get_closest_marker("thorough")
    settings = recipe if resumes else {"gradient_accumulation": 1, **recipe}
    *_, last = names = objectives.split("+")
    runs = {
        objective: create_run(
            tmp_path, llama, objective, precision, packing=packing, **settings,
            sample_prompts=("Hi",) if resumes and objective == last else (),
        )
        for objective in names
    }  # fmt: skip
    tuned = load_model(runs[last], names, precision, monkeypatch)
    # LLM.int8 searches for outliers.
    with fake_cuda.use_fake_cuda(allows_dynamic_shapes=precision == "8bit") as waits:
        fake_cuda.move_to_fake_cuda(tuned.model)
        for objective, run in runs.items():
            trainer = make_trainer(run, tuned, objective)
            logprob_model = trainer.logprob_model
            assert logprob_model.packed == packing
            assert (trainer.scaler.is_enabled()) == (DTYPES[precision] == torch.float16)
            assert logprob_model.chunked == ("modules_to_save" not in recipe.get("lora", {}))
            waited, blocking = run_steps(trainer, waits)
            assert len(waited) <= count_waits(trainer), waited
            assert not blocking
            monkeypatch.setattr(
                kernel_choice, "create_logprob_model", lambda *_, same=logprob_model, **__: same
            )
        if resumes:
            save_and_resume(trainer, lambda: make_trainer(runs[last], tuned, last))


def test_layers_behind_a_layernorm_are_fused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA, but not on a CPU, autocast lets a LayerNorm return 32-bit."""
    folder = shutil.copytree(llama, tmp_path / "stablelm")
    config = AutoConfig.for_model(
        "stablelm", vocab_size=AutoConfig.from_pretrained(llama).vocab_size, hidden_size=64,
        intermediate_size=128, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tuned = load_model(create_run(tmp_path, folder, "sft", "bf16"), ["sft"], "bf16", monkeypatch)
    dtypes: list[torch.dtype] = []

    def compute(logits: torch.Tensor, targets: torch.Tensor, wants_gradient: bool) -> torch.Tensor:
        dtypes.append(logits.dtype)
        return compute_cross_entropy(logits, targets, wants_gradient)

    with fake_cuda.use_fake_cuda():
        fake_cuda.move_to_fake_cuda(tuned.model)
        monkeypatch.setattr(liger, "is_installed", lambda _: True)
        monkeypatch.setattr(liger, "cross_entropy", compute)
        logprob_model = LogprobModel.create(tuned.model, dtype=torch.bfloat16)
        assert dtypes == [torch.bfloat16]  # those of the logits
        monkeypatch.setattr(LoraLinear, "forward", lambda *_: pytest.fail("not fused"))
        with torch.autocast("cuda", torch.bfloat16):
            assert logprob_model(collate(make_rows("sft"))).dtype == torch.float32


def test_batches_of_answers_stay_on_one_device(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, llama, "sft", "bf16")
    tuned = load_model(run, ["sft"], "bf16", monkeypatch)
    network, tokenizer, job = tuned.model.eval(), tuned.base.tokenizer, make_job()
    sampling = Sampling(temperature=1.0, repetition_penalty=1.1, max_tokens=3)
    prompts = ["Who is Pim?", "Who is Pim, and where?", "Who is there?"]
    # All tokens read as 1, so that the first answer ends before the others.
    stops = [(tokenizer.decode([1]),), (), ()]
    with fake_cuda.use_fake_cuda() as waits:
        fake_cuda.move_to_fake_cuda(network)
        answers = dict(generate_batch(network, tokenizer, prompts, sampling, job, stops=stops))
        assert [answers[row].tokens for row in range(3)] == [0, 3, 3]
        assert not waits.uploads
        assert len(waits.waits) == 3 + 2 + 2, waits.waits  # one for each token
        waits.clear()
        pairs = [Continuation((1, 2, 3), (4, 5)), Continuation((1, 2, 3, 4), (5,))]
        scores = dict(continuation_logprobs(network, pairs, job))
        assert [scores[row].tokens for row in range(2)] == [2, 1]
    assert not waits.uploads


def test_teacher_stays_on_its_device(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, llama, "sft", "fp16")
    tuned = load_model(run, ["sft"], "fp16", monkeypatch)
    dtype = TeacherStore(tmp_path / "none", np.ones(1, np.int64), 4).dtype
    with fake_cuda.use_fake_cuda() as waits:
        fake_cuda.move_to_fake_cuda(tuned.base.model)
        teacher = TeacherModel(tuned.base, limit=200, temperature=2.0, dtype=dtype)
        waits.clear()
        records = teacher.compute(make_rows("sft"), make_job())
    assert records["ids"].shape == (24, 4)
    assert not waits.uploads


class LogprobModelOnTwoGpus:
    """Scores answers on the second GPU, where the last layers are; the first ones are on the first."""

    device, shared = CUDA, False

    def __call__(self, batch: Batch) -> torch.Tensor:
        return torch.zeros(len(batch.targets), device="cuda:1", requires_grad=True)

    def switch_to_reference(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("variant", ["grpo", "gspo"])
def test_answers_are_compared_where_the_last_layers_are(variant: GrpoVariant) -> None:
    logprob_model: Any = LogprobModelOnTwoGpus()
    objective = Grpo(logprob_model, variant, ClipRange(0.2, 0.2), kl_beta=0.1)
    rows = [SampledAnswer(row, 1.0) for row in make_rows("sft")]
    with fake_cuda.use_fake_cuda() as waits:
        for _ in range(2):
            loss = objective.compute_loss(rows)
            loss.total.backward()
            assert {value.device.index for value in (loss.total, *loss.metrics.values())} == {1}
    assert not waits.uploads
    assert not waits.waits


def test_rows_are_selected_from_layers_on_two_gpus() -> None:
    with fake_cuda.use_fake_cuda():
        layers = [prefix_cache.GrowingLayer() for _ in range(2)]
        for number, layer in enumerate(layers):
            states = torch.empty(3, 2, 5, 8, device=f"cuda:{number}")
            layer.update(states, states)
        cache = prefix_cache.Cache(layers=layers)
        rows = torch.tensor([0, 2]).to(CUDA)
        copied = prefix_cache.select(cache, rows)
        cache.batch_select_indices(rows)
    for part in (cache, copied):
        assert [layer.keys.shape[0] for layer in part.layers] == [2, 2]
        assert [layer.keys.device.index for layer in part.layers] == [0, 1]
