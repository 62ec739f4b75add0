"""Estimate what a training needs: bytes of memory for each component, and seconds.

Adds up what the loop in `engine.training` keeps in memory. The layers' formulas give the tensors
that the backward pass needs; the few factors that no formula gives (`Constants`) are measured by
`tests/benchmarks/memory.py --fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lora_studio.core.memory.plan import BYTES, SOFTMAX_ON_GPU, MemoryPlan, count_logits_at_once
from lora_studio.core.memory.weights import estimate_dequantized_bytes, estimate_process_bytes
from lora_studio.core.model.catalog import LinearLayers, ModelShape
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.optimizers import OPTIMIZERS, Optimizer

#: Scores at a time of attention with a cap, for all heads, by the kind of device: 16 MB in 32 bits. On a GPU,
#: fewer launches are worth 32 MB.
CAPPED_SCORES = {"cpu": 1 << 22, "mps": 1 << 22, "cuda": 1 << 23}

#: Tensors as large as these scores that its backward pass has in memory at once.
_SCORE_COPIES = 5

#: Time of a training with gradient checkpointing relative to one without: the second forward pass
#: is a third of the work (Chen et al. 2016).
RECOMPUTING = 4 / 3


def estimate(plan: MemoryPlan) -> MemoryEstimate:
    """Return the peak memory and the time of a training. Takes microseconds per kind of layer."""
    trained = plan.inspected.adapter.trainable if plan.inspected.adapter else 0
    # Processes on the CPU share one memory; each GPU has its own.
    times = plan.processes if plan.kind == "cpu" else 1
    rows = estimate_token_row_bytes(plan)
    casts = plan.bytes_each * trained if plan.bytes_each < 4 else 0
    tokens = plan.tokens
    stored, working = estimate_activations(plan, tokens)
    logits = _estimate_logits(plan, tokens)
    # The logits are freed before the backward pass of the layers begins, and what writing answers keeps
    # before the forward pass.
    computed = max(stored + max(0, working - logits), estimate_written_bytes(plan))
    activations = round(plan.correction * computed)
    logits = round(plan.correction * logits)
    on_cpu = plan.kind == "cpu"
    held = round(plan.correction * _estimate_reserved(plan, tokens, stored))
    fixed = plan.fixed_bytes
    return MemoryEstimate(
        weights=times * estimate_process_bytes(plan),
        adapters=times * (4 * trained + casts),
        gradients=times * 4 * trained,
        optimizer=times * estimate_optimizer_bytes(plan.training.optimizer, trained),
        activations=times * activations,
        logits=times * logits,
        overhead=times * (fixed + held + rows + estimate_dequantized_bytes(plan)),
        tokens=tokens,
        # A GPU reports memory in use, without the driver's and the allocator's reserve.
        uncounted=0 if on_cpu else fixed + held,
        guessed=times * (activations + logits + (held if on_cpu else 0)),
        available=plan.device.free_bytes,
        device=plan.device.title,
        seconds=estimate_seconds(plan),
        teacher=estimate_teacher_bytes(plan),
        teacher_cache=estimate_cache_bytes(plan),
    )


def estimate_token_row_bytes(plan: MemoryPlan) -> int:
    """Return the bytes that training the rows of new tokens takes beyond their own: a copy of the output
    layer with the rows in it, and the gradient of one such copy (PEFT's TrainableTokensLayer).
    """
    if not plan.lora.new_tokens:
        return 0
    return 2 * plan.bytes_each * plan.inspected.vocabulary * plan.inspected.hidden_size


def estimate_optimizer_bytes(name: Optimizer, trained: int) -> int:
    """Return the bytes of optimizer state for a number of trained parameters.

    8-bit states have a 32-bit scale per 256 numbers.
    """
    scales = 1 + 4 / 256 if "8bit" in name else 1
    return round(OPTIMIZERS[name].state_bytes * scales * trained)


def estimate_activations(plan: MemoryPlan, tokens: int) -> tuple[float, float]:
    """Return the bytes that all layers keep until the backward pass, and the transient bytes of
    one.

    With checkpointing, only the input of each layer is kept (Unsloth keeps it outside the GPU), and
    one layer at a time is recomputed.
    """
    size, model, shape = plan.bytes_each, plan.inspected, plan.shape
    block, adapters = estimate_block_bytes(plan), estimate_adapter_bytes(plan)
    working = (
        tokens * size * (plan.constants.transient * _compute_widest(shape) + 2 * model.hidden_size)
    )
    working = max(working, estimate_dora_bytes(plan), estimate_capped_attention_bytes(plan))
    experts = estimate_expert_bytes(plan)
    if plan.checkpoints:
        inputs = tokens * (4 if plan.has_fp32_weights else size) * model.hidden_size * model.layers
        if plan.training.gradient_checkpointing == "unsloth" and plan.kind == "cuda":
            inputs = 0  # offloaded to main memory
        return inputs + experts, tokens * (block + adapters) + working
    first, count = _find_adapted_blocks(plan)
    # Counts the last norm's input instead of the first one's, which needs no gradient.
    return tokens * (block * (model.layers - first) + adapters * count) + experts, working


def estimate_written_bytes(plan: MemoryPlan) -> float:
    """Return the bytes of keys and values while answers are written, and of the logits of their tokens.

    The buffer of keys and values is copied when it grows by an eighth, so a layer may have two. Logits
    are in 32-bit with their probabilities and cumulative sums.
    """
    if not plan.written_tokens:
        return 0.0
    cache = 2 * plan.bytes_each * plan.shape.key_width * plan.written_tokens
    answers = plan.training.count_answers_at_once(plan.training.micro_batch)
    logits = (plan.bytes_each + 3 * 4) * answers * plan.inspected.vocabulary
    return cache * (plan.inspected.layers + 1) + logits


def _compute_widest(shape: ModelShape) -> int:
    """Return the width of the widest intermediate result in a block, in numbers per token."""
    return max(shape.intermediate_size, shape.expert_size * shape.experts_per_token)


def _estimate_reserved(plan: MemoryPlan, tokens: int, activations: float) -> float:
    """Return the bytes that the allocator holds but doesn't use.

    glibc fragments: the temporary tensors of a layer differ in size and don't fit the gaps between
    kept tensors.
    """
    if plan.kind == "cpu":
        return plan.constants.held * tokens * _compute_widest(plan.shape)
    return plan.constants.reserved * activations


def estimate_block_bytes(plan: MemoryPlan) -> float:
    """Return the bytes per token that a decoder block keeps for its backward pass, without
    adapters.

    A norm keeps its input, usually in 32-bit, since most norms compute in it. Attention (Dao 2023)
    keeps queries, keys, values and its result, and one 32-bit number per head. A gated MLP keeps
    both inner results and, unless it is like Llama's, the activation of one. A frozen linear layer
    doesn't keep its input.
    """
    size, shape = plan.bytes_each, plan.shape
    norms = (size if shape.plain_norms and not plan.has_fp32_weights else 4) * shape.norm_width
    attention = size * 2 * (shape.query_width + shape.key_width) + 4 * shape.heads
    if _repeats_keys(plan):
        attention += size * 2 * (shape.query_width - shape.key_width)
    if shape.fused_attention:  # values are a view of the fused result, which is kept whole
        attention += size * (shape.query_width + shape.key_width)
    inner = shape.intermediate_size if not shape.experts_per_token else 0
    # A 4-bit layer returns 32-bit results for 32-bit inputs, an 8-bit one does not.
    result_bytes = 4 if plan.has_fp32_weights and plan.precision == "4bit" else size
    mlp = result_bytes * inner * (1 if not shape.gated else 2 if shape.plain_gates else 3)
    routed = shape.experts_per_token * (3 * shape.expert_size + plan.inspected.hidden_size)
    return norms + attention + mlp + size * routed


def _repeats_keys(plan: MemoryPlan) -> bool:
    """Return whether keys and values are copied for each query head, as all kernels of a GPU but
    FlashAttention need it. That one takes no mask, which padded rows have.
    """
    has_mask = not plan.training.packing and plan.micro_batch > 1
    return plan.kind == "cuda" and (has_mask or not plan.has_flash_attention)


def _keeps_result(plan: MemoryPlan) -> bool:
    """Return whether attention keeps its result in the layout that the next layer reads.

    Packed rows are computed one by one without FlashAttention, and their results are joined in a copy.
    """
    return plan.kind == "cuda" and (plan.has_flash_attention or not plan.training.packing)


def estimate_dora_bytes(plan: MemoryPlan) -> int:
    """Return the transient bytes of the norms of DoRA's updated weights, for the layer that needs the most.

    PEFT multiplies B and A by an identity matrix as wide as the inputs, in 32-bit, which autocast copies in
    the compute format. The weights, their update, and the sum are in memory with it.
    """
    if not plan.lora.use_dora:
        return 0
    size = plan.bytes_each
    identity = 4 + (size if size < 4 else 0)
    layers = list_adapted_layers(plan)
    return max((x.inputs * (identity * x.inputs + 3 * size * x.outputs) for x in layers), default=0)


def estimate_capped_attention_bytes(plan: MemoryPlan) -> int:
    """Return the transient bytes of attention with a cap in the backward pass: the largest block of scores, and four
    32-bit tensors as wide as keys or values beside the gradient of the queries. Packed rows come one by one.
    """
    if not plan.shape.caps_scores:
        return 0
    longest = min(plan.rows.longest, plan.limit)
    if TASKS[plan.rows.task].writes_rollouts:
        longest += plan.training.rollout_tokens
    tokens = longest if plan.training.packing else plan.tokens
    at_once = min(CAPPED_SCORES[plan.kind], plan.shape.heads * longest * tokens)
    widths = 4 * 4 * plan.shape.key_width + plan.bytes_each * plan.shape.query_width
    return 4 * _SCORE_COPIES * at_once + tokens * widths


def estimate_adapter_bytes(plan: MemoryPlan) -> float:
    """Return the bytes per token that the adapters of one block keep.

    Matrix A keeps its input, matrix B the output of A. Layers that read the same tensor keep it
    once; dropout makes a copy for each, and keeps its mask. MiSS adds up its input, which keeps nothing
    of it but the mask.
    """
    size, lora = plan.bytes_each, plan.lora
    mask = 1 if plan.kind == "cuda" else size
    keeps_result = _keeps_result(plan)
    ranks, shared, per_adapter = lora.rank_pattern, {}, 0.0
    per_layer = max(1, plan.inspected.layers)
    for layer in list_adapted_layers(plan):
        share = layer.count / per_layer
        per_adapter += size * share * ranks.get(layer.name, lora.rank)
        if lora.adapter_type == "miss":
            per_adapter += (mask * share * layer.inputs) if lora.dropout else 0
        elif plan.has_fp32_weights and not lora.dropout:
            per_adapter += size * share * layer.inputs  # each casts the 32-bit input separately
        elif lora.dropout:
            per_adapter += (size + mask) * share * layer.inputs
        elif not (keeps_result and layer.is_attention_output):
            # Separate experts count more than once per block, but each sees only some of the
            # tokens.
            shared[layer.reads] = size * min(share, 1.0) * layer.inputs
        if lora.use_dora:
            per_adapter += 2 * size * share * layer.outputs
    return per_adapter + sum(shared.values())


def list_adapted_layers(plan: MemoryPlan) -> Sequence[LinearLayers]:
    """Return the linear layers that get an adapter."""
    adapter = plan.inspected.adapter
    names = {name.rpartition(".")[2] for name in adapter.targets} if adapter else set()
    return [layer for layer in plan.shape.linear if layer.adaptable and layer.name in names]


def estimate_expert_bytes(plan: MemoryPlan) -> int:
    """Return the bytes of adapted stacked experts, whose updated weights are computed and kept."""
    adapter = plan.inspected.adapter
    names = {layer.name for layer in plan.shape.linear}
    stacked = plan.lora.adapt_experts or (
        any(name.rpartition(".")[2] not in names for name in adapter.targets) if adapter else False
    )
    return plan.bytes_each * plan.shape.expert_parameters if stacked else 0


def _find_adapted_blocks(plan: MemoryPlan) -> tuple[int, int]:
    """Return the index of the first block with adapters and the number of such blocks.

    Nothing is kept for the blocks before the first one.
    """
    chosen = plan.lora.block_numbers
    if not chosen or plan.lora.modules_to_save:
        return 0, len(chosen) if chosen else plan.inspected.layers
    return chosen[0], len(chosen)


def _estimate_logits(plan: MemoryPlan, tokens: int) -> float:
    """Return the bytes of the logits.

    One chunk, which its gradient overwrites, and on a GPU the 32-bit softmax of a part of it (two in a
    distillation), or three copies for the gradient of a cap. If the output layer trains: all logits and their
    gradient.
    """
    if not plan.training.trains_generative_model(plan.rows.task):
        return 0.0  # they have a vector per text, or a few scores per row
    trained = plan.rows.trained * tokens
    if TASKS[plan.rows.task].writes_rollouts:
        trained = plan.micro_batch * plan.training.rollout_tokens
    whole = trained * plan.inspected.vocabulary
    size = plan.bytes_each
    # Layers spread over GPUs have the memory of all, and the output layer that of one.
    memory = plan.device.total_bytes // (plan.gpus if plan.spread else 1)
    chunk = min(whole, count_logits_at_once(plan.kind, memory))
    copies = 2 if plan.training.distills(plan.rows.task) else 1
    softmax = 0 if plan.kind == "cpu" else copies * 4 * min(whole, SOFTMAX_ON_GPU)
    if plan.lora.new_tokens or any("head" in name for name in plan.lora.modules_to_save):
        return 2 * size * whole + softmax
    capped = 3 * size * chunk if plan.shape.caps_logits else 0
    return plan.constants.logit * size * chunk + max(softmax, capped)


def estimate_seconds(plan: MemoryPlan) -> float | None:
    """Return the duration of the whole training at the speed of earlier single-device runs."""
    if not plan.tokens_per_s or not plan.rows.tokens or plan.processes > 1:
        return None
    if TASKS[
        plan.rows.task
    ].writes_rollouts:  # most of the time goes into writing answers, whose lengths aren't known
        return None
    tokens = plan.rows.tokens * plan.training.epochs
    if plan.training.max_steps:
        per_step = plan.rows.tokens / max(1, plan.rows.count) * plan.training.effective_batch
        tokens = min(tokens, plan.training.max_steps * per_step)
    seconds = tokens / plan.tokens_per_s * (RECOMPUTING if plan.checkpoints else 1.0)
    return seconds + estimate_teacher_seconds(plan)


#: 32-bit copies of a chunk of logits, for the softmax.
_COPIES = 2

#: Intermediate results of a layer in memory at a time, of its hidden size and of its widest product.
_HIDDEN, _WIDEST = 6, 3


def has_teacher(plan: MemoryPlan) -> bool:
    """Return whether a training learns from a teacher whose size is known."""
    return plan.teacher is not None and plan.training.distills(plan.rows.task)


def estimate_teacher_bytes(plan: MemoryPlan) -> int:
    """Return the peak memory of the teacher's passes; 0 without a teacher."""
    if plan.teacher is None or not has_teacher(plan):
        return 0
    spec = plan.training.make_teacher_spec(plan.model)
    own = replace(plan, inspected=plan.teacher, model=spec, teacher=None, ranks=1)
    tokens = plan.rows.count_padded_tokens(plan.training.micro_batch, plan.limit)
    shape, size = own.shape, own.bytes_each
    widest = max(shape.intermediate_size, shape.expert_size * shape.experts_per_token)
    states = tokens * size * (_HIDDEN * own.inspected.hidden_size + _WIDEST * widest)
    whole = round(plan.rows.trained * tokens * own.inspected.vocabulary)
    logits = (size + _COPIES * BYTES["fp32"]) * min(
        whole, count_logits_at_once(own.kind, own.device.total_bytes)
    )
    weights = estimate_process_bytes(own) + estimate_dequantized_bytes(own)
    return weights + states + logits + plan.fixed_bytes


def estimate_teacher_seconds(plan: MemoryPlan) -> float:
    """Return the time of the teacher's passes at the speed of earlier trainings; 0 if that is unknown.

    A forward pass is half of a training step's work: the frozen weights need no gradient.
    """
    if plan.teacher is None or not has_teacher(plan) or not plan.tokens_per_s:
        return 0.0
    ratio = plan.teacher.parameters / max(1, plan.inspected.parameters)
    return plan.rows.tokens / plan.tokens_per_s * ratio / 2


def estimate_cache_bytes(plan: MemoryPlan) -> int:
    """Return the disk space of the teacher's probabilities of all training rows; 0 without a teacher."""
    if plan.teacher is None or not has_teacher(plan):
        return 0
    trained = plan.rows.trained * plan.rows.tokens
    return plan.training.estimate_cache_bytes(trained, plan.inspected.vocabulary)
