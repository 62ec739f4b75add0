"""Checks of devices, losses, and the kernels that a training chooses."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tests.gpu.registry import CheckContext, UnavailableCheckError, check, get_smi_name
from tests.gpu.trainings import (
    compare_losses,
    compare_norms,
    create_run,
    find_model,
    get_half_precision,
    get_losses,
    get_warnings,
    train,
    train_run,
)

#: Most memory that listing devices may take, in bytes: creating a CUDA context takes several hundred MB.
_MOST_TO_LIST = 50_000_000


@check("T0", "devices are listed without using the GPU", seconds=5, needs_gpu=True)
def list_devices_unused(context: CheckContext) -> None:
    """Compare the free memory with nvidia-smi's."""
    import torch

    from lora_studio.engine.devices import devices, load

    index = int(context.device.partition(":")[2] or 0)
    if load.get_free_bytes(index) is None:
        raise UnavailableCheckError("NVML doesn't answer (is nvidia-ml-py installed?)")
    before = _read_free_bytes(context.device)
    found = next(each for each in devices.list_devices().devices if each.name == context.device)
    assert found.free_bytes is not None
    assert found.total_bytes is not None
    free = _read_free_bytes(context.device)
    difference = abs(free - found.free_bytes) / found.total_bytes
    context.figures |= {
        "card": str(found.title),
        "free bytes": found.free_bytes,
        "difference": f"{difference:.3%}",
        "bytes taken": before - free,
    }
    # Not torch.cuda.is_initialized(): to be asked about a GPU initializes PyTorch, without a context.
    has_context = torch._C._cuda_hasPrimaryContext(index)
    context.expect(not has_context, "listing devices creates a CUDA context")
    context.expect(difference < 0.01, "free memory differs from nvidia-smi's by 1 % or more")
    context.expect(before - free < _MOST_TO_LIST, "listing devices takes 50 MB or more")


def _read_free_bytes(device: str) -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise UnavailableCheckError("nvidia-smi isn't installed")
    fields = "--query-gpu=memory.free,mig.mode.current"
    command = [program, fields, "--format=csv,noheader,nounits", "-i", get_smi_name(device)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    free, _, mig = done.stdout.partition(",")
    if done.returncode or mig.strip() == "Enabled":
        raise UnavailableCheckError("nvidia-smi doesn't tell the memory of this device")
    return int(free) << 20


#: Objectives that are trained in every precision and layout, and those that share their kernels.
_FIRST = ("sft", "dpo", "orpo", "kto")
_OTHERS = ("simpo", "hinge", "ipo", "robust", "reward", "classification", "embedding")

#: Precision -> largest relative difference of a loss. On the CPU, 4-bit weights change losses by up to 1.1 %, all
#: others by up to 0.4 %.
_TOLERANCES = {"bf16": 0.01, "fp16": 0.01, "fp32": 0.01, "8bit": 0.01, "4bit": 0.05}

#: Objectives that tolerate more: the loss of embeddings multiplies similarities, and their rounding, by 20.
_LEAST_TOLERANCES = {"embedding": 0.03}

#: How logits are computed -> settings. If the output layer trains, they are computed whole; here it isn't tied to
#: the embeddings.
_LOGITS: dict[str, dict[str, Any]] = {
    "chunked": {},
    "whole": {"family": "mistral", "lora": {"modules_to_save": ("lm_head",)}},
}

#: A second step, because the first loss of objectives with a reference is the same for every model. All rows are in
#: each step: the loss of a few pairs varies by 1 % with the rounding of bfloat16.
_TWO_STEPS: dict[str, Any] = {
    "max_steps": 2, "learning_rate": 1e-3, "schedule": "constant", "warmup_share": 0.0,
    "micro_batch": 6,
}  # fmt: skip


@check("T1", "the first steps of each recipe have the losses of 32-bit on the CPU", seconds=74)
def compare_first_losses(context: CheckContext) -> None:
    """Train two steps of each objective, precision, layout of rows, and way to compute logits."""
    for objective in _FIRST:
        for logits, settings in _LOGITS.items():
            exact = _train_exactly(context, objective, logits, settings)
            for precision in _TOLERANCES:
                for rows in ("packed", "padded"):
                    name = f"{objective} {precision} {rows} {logits}"
                    used = _compare_losses(
                        context, objective, name, precision, exact, rows, settings
                    )
                    layout = used["packed"] == (rows == "packed")
                    context.expect(layout, f"{name}: rows aren't {rows}")
                    is_chunked = used["chunked"] == (logits == "chunked")
                    context.expect(is_chunked, f"{name}: logits aren't {logits}")
    for objective in _OTHERS:
        exact = _train_exactly(context, objective)
        _compare_losses(context, objective, f"{objective} bf16", "bf16", exact)
    _train_with_noise(context)
    _compare_distillation(context)
    _train_on_rewards(context)


def _train_exactly(
    context: CheckContext, objective: str, logits: str = "", settings: dict[str, Any] | None = None
) -> Any:
    """Train in 32-bit on the CPU; return the channel."""
    plain = CheckContext("cpu", context.folder)
    _, exact = train(
        plain, objective, model={"precision": "fp32"}, liger="off", **_TWO_STEPS, **(settings or {})
    )
    losses, name = get_losses(exact), f"{objective} {logits}".strip()
    context.figures[f"{name} fp32 on the CPU"] = [round(each, 4) for each in losses.values()]
    context.expect(losses[1] != losses[2], f"{name}: a step doesn't change the loss")
    return exact


def _compare_losses(
    context: CheckContext,
    objective: str,
    name: str,
    precision: str,
    exact: Any,
    rows: str = "packed",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare the losses of a training with those in 32-bit; return the kernels that it used."""
    run, channel = train(
        context, objective, model={"precision": precision}, packing=rows == "packed", **_TWO_STEPS,
        **(settings or {}),
    )  # fmt: skip
    difference, norms = compare_losses(channel, exact), compare_norms(channel, exact)
    context.figures[name] = f"{difference:.3%}, gradient norms {norms:.1%}"
    tolerance = max(_TOLERANCES[precision], _LEAST_TOLERANCES.get(objective, 0.0))
    context.expect(difference <= tolerance, f"{name}: {difference:.1%} off")
    # A step changes some losses by less than the tolerance, whatever its gradients are.
    context.expect(norms <= 5 * tolerance, f"{name}: gradient norms are {norms:.1%} off")
    return dict(run.read_manifest()["kernels"])


def _train_with_noise(context: CheckContext) -> None:
    """Train with NEFTune and with EVA's initial values, whose losses can't be compared."""
    losses = get_losses(train(context, max_steps=1, neftune_alpha=5.0)[1])
    context.figures["NEFTune"] = losses[1]
    losses = get_losses(train(context, max_steps=1, lora={"init": "eva"})[1])
    context.figures["EVA"] = losses[1]


def _compare_distillation(context: CheckContext) -> None:
    """Train with a teacher in the same format, and compare the losses with those of the CPU."""
    teacher = find_model(context, "llama3", seed=8)
    settings: dict[str, Any] = {"teacher": str(teacher), "teacher_precision": "fp32", **_TWO_STEPS}
    plain = CheckContext("cpu", context.folder)
    _, exact = train(plain, model={"precision": "fp32"}, liger="off", **settings)
    _, channel = train(context, model={"precision": "bf16"}, **settings)
    difference = compare_losses(channel, exact)
    context.figures["distillation"] = f"{difference:.3%}"
    context.expect(difference <= 0.01, f"distillation: {difference:.1%} off")


def _train_on_rewards(context: CheckContext) -> None:
    """Train on rewards with a reference model; answers are drawn, so losses can't be compared."""
    from lora_studio.core.protocol import events

    _, channel = train(
        context, "grpo", max_steps=2, group_size=4, rollout_tokens=8, rollout_passes=2, kl_beta=0.1,
        rewards=({"kind": "length", "max_length": 5, "length_unit": "characters", "length_margin": 40},),
    )  # fmt: skip
    metrics = channel.last(events.StepDone).metrics
    context.figures["GRPO"] = {name: round(value, 4) for name, value in metrics.items()}
    context.expect(metrics["failed_share"] == 0, "GRPO: answers have no reward")
    context.expect(0 <= metrics["kl"] < 0.1, f"GRPO: the KL divergence is {metrics['kl']}")


@check("T2", "packed rows, chunks of logits, and fused layers are used", seconds=42)
def check_kernels(context: CheckContext) -> None:
    """Read from the manifest what a training used, also for deep models, where rounding adds up."""
    depths = (2, 3) if context.is_cpu else (8, 32, 64, 80)
    cases = [("llama3", depth) for depth in depths] + [("qwen3_moe", 2)]
    for family, depth in cases:
        for precision in (get_half_precision(context), "4bit"):
            _check_kernels(context, family, depth, precision)
    context.figures["two equal forward passes"] = _compare_two_passes(context)


def _check_kernels(context: CheckContext, family: str, depth: int, precision: str) -> None:
    import torch

    name = f"{family} {depth} layers {precision}"
    source = deepen(context, family, depth)
    model = {"precision": precision, "source": str(source)}
    with _count_rowwise_passes() as rowwise:
        run, _ = train(context, family=family, model=model, max_steps=1)
    kernels = run.read_manifest()["kernels"]
    context.figures[name] = kernels["said"]
    for part in ("packed", "chunked"):
        context.expect(kernels[part], f"{name}: not {part}")
    context.expect(bool(kernels["fused"]["kinds"]), f"{name}: no layer is fused")
    if has_flash_attention(context.device):
        # Once, to compare both.
        used = kernels["flash"] and len(rowwise) <= 1
        context.expect(used, f"{name}: no variable-length attention")
    uses_cudnn = torch.backends.cuda.cudnn_sdp_enabled() and not context.is_cpu
    context.expect(not uses_cudnn, f"{name}: cuDNN's attention isn't off")


@contextlib.contextmanager
def _count_rowwise_passes() -> Iterator[list[int]]:
    """Yield a list that gets the number of rows of each attention that is computed row by row."""
    from lora_studio.engine.kernels import sequence_packing

    rows: list[int] = []
    original = sequence_packing.rowwise_attention

    def attend(query: Any, key: Any, value: Any, documents: Any, *others: Any) -> Any:
        rows.append(len(documents))
        return original(query, key, value, documents, *others)

    with mock.patch.object(sequence_packing, "rowwise_attention", attend):
        yield rows


def has_flash_attention(device: str) -> bool:
    """Return whether PyTorch has FlashAttention for rows of any length: since 2.11, on NVIDIA's Ampere and later."""
    import torch

    version = tuple(map(int, torch.__version__.split(".")[:2]))
    if device == "cpu" or version < (2, 11) or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_properties(device).major >= 8


def deepen(context: CheckContext, family: str, depth: int) -> Any:
    """Return the folder of a family's tiny model with so many blocks of random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    from tests.helpers.models.tiny_models import tiny_model

    source = find_model(context, family)
    config = AutoConfig.from_pretrained(source)
    if config.num_hidden_layers == depth:
        return source
    folder = context.folder / f"{family}-{depth}"
    if not folder.exists():
        tiny_model(family, folder, tokens_of="llama3")
        config.num_hidden_layers = depth
        config.initializer_range = 0.02
        config.layer_types = None
        set_seed(7)
        AutoModelForCausalLM.from_config(config, dtype=config.dtype).save_pretrained(folder)
    return folder


def _compare_two_passes(context: CheckContext) -> str:
    """Compute the same micro-batch twice; the scores must be equal bit for bit."""
    import torch

    from tests.gpu.gradients import load_logprob_model, make_batch

    logprob_model = load_logprob_model(context, get_half_precision(context))
    batch = make_batch()
    with torch.no_grad(), torch.autocast(logprob_model.device.type, logprob_model.dtype):
        first, second = logprob_model(batch), logprob_model(batch)
    is_equal = torch.equal(first, second)
    context.expect(is_equal, "two forward passes over the same rows differ")
    return "equal" if is_equal else "different"


@check("T3", "Liger's kernels give the loss of training without them", seconds=20, needs_gpu=True)
def compare_liger(context: CheckContext) -> None:
    """Train three families with and without Liger, in the 16-bit format of the GPU: Triton has no other."""
    import torch

    from lora_studio.core.system import programs
    from lora_studio.engine.kernels import liger

    if not liger.is_installed(torch.device(context.device)):
        raise UnavailableCheckError("Liger isn't installed, or has no kernels for this device")
    if missing := programs.find_missing_build_tool():
        raise UnavailableCheckError(f"Triton can't build kernels without the {missing}")
    expected = {"liger_norms", "liger_gates", "liger_rotations", "liger_scores"}
    for family in ("llama3", "qwen3", "gemma3"):
        settings: dict[str, Any] = {
            "family": family,
            "model": {"precision": "auto"},
            "max_steps": 3,
        }
        run, channel = train(context, **settings, liger="auto")
        difference = compare_losses(channel, train(context, **settings, liger="off")[1])
        kernels = run.read_manifest()["kernels"]
        context.figures[family] = f"{difference:.3%}. {kernels['said']}"
        context.expect(difference <= 0.01, f"{family}: losses differ by {difference:.1%}")
        unused = expected - set(kernels["fused"]["kinds"])
        context.expect(not unused, f"{family}: {', '.join(sorted(unused))} not used")


@check("T16", "float16 trains without diverging, as on Turing", seconds=7)
def train_float16(context: CheckContext) -> None:
    """Train 24 steps in float16, whole and with 4-bit weights."""
    from lora_studio.engine.devices import devices

    for precision, settings in {"fp16": {}, "4bit": {"quant_type": "nf4"}}.items():
        devices.avoid_bfloat16(True)
        try:
            run = create_run(
                context,
                model={"precision": precision, **settings},
                max_steps=24,
                learning_rate=2e-3,
            )
            channel = train_run(run)
        finally:
            devices.avoid_bfloat16(False)
        losses = get_losses(channel)
        context.figures[precision] = f"{losses[1]:.3f} → {losses[24]:.3f}"
        context.expect(losses[24] < losses[1], f"{precision}: the loss doesn't fall")
        # Without a compiler, Liger's kernels aren't used: that has nothing to do with float16.
        warned = [code for code in get_warnings(channel) if code != "training.no_build_tool"]
        context.expect(not warned, f"{precision}: {', '.join(warned)}")
