"""Log-probabilities of the trained tokens of a batch, which all objectives are computed from."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from transformers import PreTrainedModel

from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Where, fail
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.generation.batched import use_mask
from lora_studio.engine.generation.direct_decoder import can_decode_directly
from lora_studio.engine.kernels import (
    chunked_logprobs,
    fused,
    inductor,
    liger,
    numerical_equivalence,
    sequence_packing,
)
from lora_studio.engine.kernels.chunked_logprobs import (
    OutputHead,
    TokenLogprobs,
    TokenLoss,
    compute_cross_entropy,
    find_decoder,
    find_frozen_head,
)
from lora_studio.engine.kernels.distillation import (
    ChunkedDistillation,
    DistillationLoss,
    LogitDistillation,
    TeacherTokens,
)
from lora_studio.engine.kernels.fused import KernelLibrary, KernelRecord
from lora_studio.engine.tokens.batches import Batch

#: The kind under which a record names Liger's loss.
_LIGER_SCORES = "liger_scores"


#: PEFT's tasks of models that write no text.
_WITHOUT_LOGITS = (peft.TaskType.SEQ_CLS, peft.TaskType.FEATURE_EXTRACTION)


class LogprobModel:
    """Computes the log-probabilities of trained tokens with one model.

    `packed` says whether rows are packed end to end, `chunked` whether logits are computed in chunks,
    `shared` whether rows with the same prompt share it (`create`). Without them, rows are padded and logits
    come from the model's own output layer, at the trained positions.
    `writes_directly`: answers can be written by `DirectDecoder`.
    """

    def __init__(
        self, model: peft.PeftModel, start: Path | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Take a model, to be computed as it is; `start` and `dtype` are those of `create`."""
        self.model, self._start = model, start
        self._dropout_layers: list[torch.nn.Module] = []
        self.base: PreTrainedModel = model.get_base_model()
        self.dtype = dtype or self.base.dtype
        self.device = next(model.parameters()).device
        self._decoder = find_decoder(self.base)
        self.lengths: tuple[int, ...] = (1,)  # of the current rows, in tokens
        self.will_repeat = False  # whether the current rows are computed again, with gradients
        self.packed = self.shared = self.writes_directly = False
        self._head: OutputHead | None = None
        self.library: KernelLibrary | None = None  # whose kernels were tried
        #: What logits are divided by, the temperature of the distribution that answers are sampled from.
        self.temperature = 1.0
        self.fused = fused.FusedLayers()  # computed in fewer passes over memory
        self._allows_flash = True  # for all rows at once

    @classmethod
    def create(
        cls,
        model: peft.PeftModel,
        start: Path | None = None,
        *,
        packing: bool = True,
        sharing: bool = False,
        dtype: torch.dtype | None = None,
        with_liger: bool = True,
        with_inductor: bool = False,
        compiled: bool = False,
        record: KernelRecord | None = None,
    ) -> LogprobModel:
        """Return the one that computes a model the fastest way, found by passing a handful of tokens through it.

        `start` is the folder of the initial adapter, where that isn't the identity. Without `packing`
        rows are padded even where they could be packed; with `sharing`, rows may share their prompt, in
        training and while answers are written. `with_liger` allows Liger's kernels, `with_inductor` those that
        are compiled for a CPU. With `compiled`, torch.compile fuses the gates. `dtype` is the base's by default.
        What `record` says wasn't used isn't tried. Replaces the forward of layers for which a faster one agrees.
        """
        found, record = cls(model, start, dtype), record or KernelRecord()
        found._allows_flash = record.flash is not False
        if (decoder := found._decoder) is None:
            return found
        if with_liger and liger.is_installed(found.device):
            found.library = liger
        elif with_inductor:
            found.library = inductor
        with found._autocast():
            if packing and record.packed is not False:
                found.packed = sequence_packing.enable_packing(found.base, decoder)
            if record.chunked is not False:
                found._head = find_frozen_head(found.base, decoder)
        found.fused = fused.fuse_layers(
            model, found._run_few_tokens, library=found.library, gates_by_library=not compiled, record=record
        )  # fmt: skip
        if (
            found.library is liger
            and found._head is not None
            and record.allows_kind("", _LIGER_SCORES)
        ):
            found._head = found._with_liger_loss(found._head)
        if sharing:
            found._choose_sharing(decoder, record)
        return found

    @property
    def chunked(self) -> bool:
        """Return whether logits are computed in chunks."""
        return self._head is not None

    def _choose_sharing(self, decoder: torch.nn.Module, record: KernelRecord) -> None:
        """Try to share prompts, and to write answers without the model's modules."""
        self.shared = record.shared is not False and self._can_share_prompts(decoder)
        if record.direct_writing is not False:
            with self._autocast():
                self.writes_directly = can_decode_directly(self.model)

    def _can_share_prompts(self, decoder: torch.nn.Module) -> bool:
        """Return whether rows can share prompts: tried on a CPU only, where it is known to be faster.

        Dropout would drop the same parts of a prompt for all its rows.
        """
        if self.device.type != "cpu" or not (self.packed and self.chunked):
            return False
        if any(is_dropping(layer) for layer in self.model.modules()):
            return False
        with self._autocast():
            return sequence_packing.can_share_prompts(self.base, decoder)

    def load_reference(self) -> None:
        """Prepare for `switch_to_reference`; raises ProblemError where the model can't serve as its own reference."""
        if self.model.peft_config["default"].bias != "none":
            raise fail(
                "training.reference_has_biases",
                "The reference model isn't available if biases are trained, because training "
                "changes the biases of the base model.",
                "Don't train biases, or choose ORPO or SimPO, which need no reference model.",
                where=Where(step="lora", field="bias"),
            )
        if self._start is not None:
            with warnings.catch_warnings():
                # The warning doesn't apply: PiSSA and OLoRA have changed the base already, and loading a
                # second adapter doesn't change it again.
                warnings.filterwarnings("ignore", message=".*changes the base weights")
                self.model.load_adapter(str(self._start), "reference", torch_device="cpu")
            self.model.base_model.set_adapter("default")
        self._dropout_layers = [layer for layer in self.model.modules() if is_dropping(layer)]

    @contextmanager
    def switch_to_reference(self) -> Iterator[None]:
        """Switch to the reference model: without the adapter, or with the one that training started from.

        Dropout is off, so that the reference is the same model each time.
        """
        # Only these layers: visiting every module takes longer than a pass over a short row on a GPU.
        for layer in self._dropout_layers:
            layer.training = False
        try:
            if self._start is None:
                with self.model.disable_adapter():
                    yield
            else:
                self.model.base_model.set_adapter("reference", inference_mode=True)
                yield
        finally:
            if self._start is not None:
                self.model.base_model.set_adapter("default")
            for layer in self._dropout_layers:
                layer.training = self.model.training

    def describe(self) -> Text:
        """Return how rows, logits and layers are computed."""
        if not self.packed:
            rows = text("Rows are padded to the longest in their micro-batch.")
        elif self.uses_flash:
            rows = text("Rows are packed; FlashAttention computes all of them at once.")
        else:
            rows = text("Rows are packed; attention is computed row by row.")
        sentences = [rows]
        if self.shared:
            sentences.append(text("A prompt is computed once for several answers."))
        if self.model.peft_config["default"].task_type not in _WITHOUT_LOGITS:
            sentences.append(
                text("Logits are computed for trained tokens only, in chunks.")
                if self.chunked
                else text("Logits are computed for trained tokens only, all at once.")
            )
        if layers := self.fused.layers:
            sentences.append(counted(layers, "{n} layer is fused.", "{n} layers are fused."))
        return functools.reduce(
            lambda before, after: text("{before} {after}", before=before, after=after), sentences
        )

    @property
    def uses_flash(self) -> bool:
        """Return whether FlashAttention computes all packed rows at once."""
        is_possible = self.packed and self._allows_flash
        return is_possible and sequence_packing.should_use_varlen_kernel(self.base, self.dtype)

    @property
    def record(self) -> KernelRecord:
        """Return the kernels in use."""
        return KernelRecord(
            liger=self.uses_liger,
            packed=self.packed,
            chunked=self.chunked,
            flash=self.uses_flash,
            shared=self.shared,
            direct_writing=self.writes_directly,
            kinds=self.fused.kinds | ({_LIGER_SCORES} if self.scored_by_liger else set()),
            exceptions=self.fused.exceptions,
        )

    @property
    def fills(self) -> bool:
        """Return whether packed rows are padded to a round number of tokens."""
        return self.packed and chunked_logprobs.should_round_up_tokens(self.device, self.base.dtype)

    @property
    def uses_liger(self) -> bool:
        """Return whether Liger's kernels compute any part of the model."""
        return self.scored_by_liger or (self.library is liger and self.fused.by_library > 0)

    @property
    def scored_by_liger(self) -> bool:
        """Return whether Liger's kernel computes the loss from the logits."""
        return self._head is not None and self._head.loss is liger.cross_entropy

    def _with_liger_loss(self, head: OutputHead) -> OutputHead:
        """Return the same output layer with Liger's loss, if values and gradients agree."""

        def compute(loss: TokenLoss) -> list[torch.Tensor]:
            with torch.no_grad(), self._autocast():
                logits = head(self._run_few_tokens()[0])
            targets = torch.arange(len(logits), device=logits.device) * 7 % logits.shape[1]
            return [loss(logits, targets, True), logits]

        comparison = numerical_equivalence.compare_results(
            lambda: (compute(liger.cross_entropy), compute(compute_cross_entropy))
        )
        if comparison.agrees:
            return replace(head, loss=liger.cross_entropy)
        self.fused.reasons["scores"] = comparison.reason
        return head

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return log p(x_t | x_<t) of each trained token, [targets] float32, differentiable."""
        if self.fills:
            batch = batch.pad_to_tokens(chunked_logprobs.round_up_tokens(batch.tokens))
        self.lengths = batch.lengths
        targets = copy_to_device(batch.targets, self.device)
        if self._head is not None:
            head = self._head.with_temperature(self.temperature)
            return chunked_logprobs.compute_chunked_logprobs(
                self.compute_hidden_states(batch), targets, head
            )
        logits = self._compute_model_logits(batch)
        if self.temperature != 1:
            logits = logits / self.temperature
        logprobs: torch.Tensor = TokenLogprobs.apply(logits, targets.to(logits.device))
        return logprobs

    def compute_distillation(
        self, batch: Batch, teacher: TeacherTokens, loss: DistillationLoss
    ) -> torch.Tensor:
        """Return loss, cross-entropy and KL divergence of each trained token, [targets, 3] float32.

        Only the loss is differentiable.
        """
        count = len(batch.targets)
        if self.fills:
            batch = batch.pad_to_tokens(chunked_logprobs.round_up_tokens(batch.tokens))
        self.lengths = batch.lengths
        targets, teacher = copy_to_device(batch.targets, self.device), teacher.to(self.device)
        if self._head is None:
            logits = self._compute_model_logits(batch)
            tokens = teacher.to(logits.device)
            return LogitDistillation.apply(logits, targets.to(logits.device), tokens, loss)  # type: ignore[no-any-return]  # torch doesn't type it
        hidden = self.compute_hidden_states(batch)
        if chunked_logprobs.should_round_up_tokens(hidden.device, hidden.dtype):
            more = chunked_logprobs.round_up_tokens(count) - count
            hidden, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(targets, (0, more))
            teacher = teacher.pad(more)
        values: torch.Tensor = ChunkedDistillation.apply(
            hidden,
            targets,
            teacher,
            self._head,
            loss,
            chunked_logprobs.get_chunk_size(self._head),
        )
        return values[:count]

    def _run_few_tokens(self) -> torch.Tensor:
        """Return the hidden states of a few tokens, computed as in training."""
        assert self._decoder is not None
        ids = torch.arange(3, 17, device=self.device)[None]
        with self._autocast():
            hidden: torch.Tensor = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
        return hidden

    def _autocast(self) -> torch.autocast:
        """Return training's autocast: parts of a 16-bit base may train in 32-bit."""
        half = self.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def compute_hidden_states(self, batch: Batch) -> torch.Tensor:
        """Return the hidden states that predict the trained tokens, [targets, size]."""
        assert self._decoder is not None
        if not self.packed:
            ids, known_mask = batch.to_padded()
            with use_mask(known_mask, self.device) as mask:
                hidden = self._decoder(
                    input_ids=copy_to_device(ids, self.device), attention_mask=mask, use_cache=False
                ).last_hidden_state
            return hidden.flatten(0, 1)[copy_to_device(batch.get_padded_sources(), hidden.device)]
        with sequence_packing.use_packed_rows():
            hidden = self._decoder(
                input_ids=copy_to_device(batch.ids[None], self.device),
                position_ids=sequence_packing.build_position_ids(
                    batch.lengths, self.device, batch.parents
                ),
                documents=batch.lengths,
                allows_flash=self._allows_flash,
                use_cache=False,
                **({"parents": batch.parents} if batch.parents else {}),
            ).last_hidden_state
        return hidden[0][copy_to_device(batch.sources, hidden.device)]

    def compute_last_states(self, batch: Batch) -> torch.Tensor:
        """Return the hidden state of the last token of each row, [rows, size]."""
        lengths = torch.tensor(batch.lengths)
        rows = replace(batch, sources=lengths.cumsum(0) - 1, owners=torch.arange(len(lengths)))
        if self.fills:
            rows = rows.pad_to_tokens(chunked_logprobs.round_up_tokens(rows.tokens))
        self.lengths = rows.lengths
        return self.compute_hidden_states(rows)

    def _compute_model_logits(self, batch: Batch) -> torch.Tensor:
        """Return the logits of the trained tokens by the model's own output layer, [targets, ids]."""
        if self.packed:
            with sequence_packing.use_packed_rows():
                logits = self.model(
                    input_ids=copy_to_device(batch.ids[None], self.device),
                    position_ids=sequence_packing.build_position_ids(batch.lengths, self.device),
                    documents=batch.lengths,
                    allows_flash=self._allows_flash,
                    use_cache=False,
                    **self._logits_to_keep(batch.sources),
                ).logits[0]
            is_selected = self._can_select_logits()
            return logits if is_selected else logits[copy_to_device(batch.sources, logits.device)]
        (ids, known_mask), sources = batch.to_padded(), batch.get_padded_sources()
        columns = (sources % ids.shape[1]).unique()
        with use_mask(known_mask, self.device) as mask:
            logits = self.model(
                input_ids=copy_to_device(ids, self.device),
                attention_mask=mask,
                use_cache=False,
                **self._logits_to_keep(columns),
            ).logits
        # Indices in main memory would be copied as well, but the copy would wait for the device.
        if self._can_select_logits():
            column = torch.searchsorted(columns, sources % ids.shape[1])
            row = copy_to_device(sources // ids.shape[1], logits.device)
            return logits[row, copy_to_device(column, logits.device)]
        return logits.flatten(0, 1)[copy_to_device(sources, logits.device)]

    def _logits_to_keep(self, columns: torch.Tensor) -> dict[str, Any]:
        return (
            {"logits_to_keep": copy_to_device(columns, self.device)}
            if self._can_select_logits()
            else {}
        )

    def _can_select_logits(self) -> bool:
        """Return whether the model can compute logits at chosen positions only."""
        return "logits_to_keep" in inspect.signature(self.base.forward).parameters


def is_dropping(layer: torch.nn.Module) -> bool:
    """Return whether a layer applies dropout in training mode.

    It is a dropout layer, has one as a child (attention reads its rate), or has an attribute with "drop"
    in its name.
    """
    parts = (layer, *layer.children())
    rates = [part.p for part in parts if isinstance(part, torch.nn.Dropout)]
    rates += [value for name, value in vars(layer).items() if "drop" in name]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
