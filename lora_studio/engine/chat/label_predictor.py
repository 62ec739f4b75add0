"""Predict the labels of texts with a trained classifier, which stays in memory for further texts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.system.files import get_folder_state
from lora_studio.engine.devices import lock
from lora_studio.engine.kernels.chunked_logprobs import find_decoder
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import plan
from lora_studio.engine.model import loading
from lora_studio.engine.model.folder import require_same_base
from lora_studio.engine.model.loading import load_for_inference
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import NotFiniteError
from lora_studio.engine.tasks.classification import SCORE_HEAD

#: The most tokens of a batch, padding included.
_BATCH_TOKENS = 4096


def classify(run: RunFolder, texts: Sequence[str], job: JobContext) -> events.TextsClassified:
    """Return the label probabilities of texts; raises ProblemError."""

    def report(done: int) -> None:
        job.report_progress(text("classifying"), done, len(texts), "texts")
        job.check()

    with open_predictor(run, job) as predictor:
        return predictor.predict(texts, report)


@contextmanager
def open_predictor(run: RunFolder, job: JobContext) -> Iterator[LabelPredictor]:
    """Yield the classifier of a run, with the training device held unless it is on the CPU; raises ProblemError."""
    require_classifier(run)
    with ExitStack() as held:
        if not LabelPredictor.is_on_cpu(run):
            model = run.load_project().model
            held.enter_context(lock.hold_devices(model, run, "classification", job))
        predictor = LabelPredictor.open(run, job)
        if predictor.device.type == "cpu":
            held.close()
        yield predictor


@dataclass
class LabelPredictor:
    """A classifier in memory: the base model with its adapter, its head, and the names of its labels."""

    decoder: torch.nn.Module
    head: torch.nn.Module
    labels: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    max_length: int

    #: The classifier that this process has loaded last, and what identifies it.
    _held: ClassVar[tuple[Hashable, LabelPredictor] | None] = None

    @classmethod
    def open(cls, run: RunFolder, job: JobContext) -> LabelPredictor:
        """Return the classifier of a run, loaded unless it already is; raises ProblemError."""
        key = _identify(run)
        if cls._held is None or cls._held[0] != key:
            cls._held = None  # loading frees its memory first
            cls._held = (key, _load(run, run.load_project(), job))
        return cls._held[1]

    @classmethod
    def is_on_cpu(cls, run: RunFolder) -> bool:
        """Return whether the classifier of a run is in memory already, and not on a GPU."""
        if cls._held is None or cls._held[0] != _identify(run):
            return False
        return cls._held[1].device.type == "cpu"

    def predict(
        self, texts: Sequence[str], report: Callable[[int], object]
    ) -> events.TextsClassified:
        """Return the probabilities of all labels for each text, none for a text without tokens.

        `report` is called with the number of texts done before each batch.
        """
        encoded = self.tokenizer(list(texts)).input_ids
        tokens = [ids[: self.max_length] if content.strip() else [] for ids, content in zip(encoded, texts, strict=True)]  # fmt: skip
        probabilities: list[tuple[float, ...]] = [()] * len(texts)
        done = 0
        for batch in _batch_by_length(tokens):
            report(done)
            for number, row in zip(batch, self._compute([tokens[at] for at in batch]), strict=True):
                probabilities[number] = tuple(row)
            done += len(batch)
        cut = sum(len(ids) > self.max_length for ids in encoded)
        return events.TextsClassified(
            labels=self.labels, probabilities=tuple(probabilities), cut=cut
        )

    @torch.inference_mode()
    def _compute(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the probabilities, [rows, labels], of the head's scores at the last token of each row.

        Raises NotFiniteError.
        """
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        hidden = self.decoder(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
        ).last_hidden_state
        last = hidden[torch.arange(len(rows), device=hidden.device), lengths.to(hidden.device) - 1]
        weight: Any = next(self.head.parameters())
        scores: torch.Tensor = self.head(last.to(weight.device, weight.dtype))
        shares = scores.float().softmax(1).cpu()
        if shares.isnan().any():
            raise NotFiniteError
        return shares.tolist()


def _identify(run: RunFolder) -> Hashable:
    """Return what changes with the classifier of a run."""
    model = run.load_project().model
    return str(run.path), get_folder_state(run.adapter), model.model_dump_json()


def _batch_by_length(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the positions of rows that have tokens, in batches of similar lengths."""
    batches: list[list[int]] = []
    for at in sorted((at for at, row in enumerate(rows) if row), key=lambda at: -len(rows[at])):
        if batches and (len(batches[-1]) + 1) * len(rows[batches[-1][0]]) <= _BATCH_TOKENS:
            batches[-1].append(at)
        else:
            batches.append([at])
    return batches


def require_classifier(run: RunFolder) -> None:
    """Raise ProblemError for a run without a trained classifier."""
    task = get_task(run.read_manifest())
    if task is not None and not task.has_classes:
        raise fail(
            "classify.not_a_classifier",
            "This run didn't train a classifier.",
            "Choose a run that was trained on texts with labels. To chat with this one, run `lora-studio chat`.",
            where=Where(file=str(run.path)),
        )
    if task is None or not (run.adapter / adapter_files.CONFIG).is_file():
        raise fail(
            "classify.not_trained",
            "This run has no trained classifier yet.",
            "Train first.",
            where=Where(file=str(run.path)),
        )


def _load(run: RunFolder, project: Project, job: JobContext) -> LabelPredictor:
    """Return the base model of a run with adapter and head; raises ProblemError.

    It is loaded as for training, also with quantized weights; the head is in 32-bit, as in training.
    """
    from lora_studio.engine.lora.adapter_weights import attach_trained

    checksums.require_intact(run, run.adapter)
    adapter = adapter_files.read(run.adapter)
    labels = tuple(plan.read_settings([adapter])["id2label"].values())
    loaded = load_for_inference(project.model, job, project.dataset)
    require_same_base(run, loaded.folder)
    base: Any = loaded.model
    size = base.config.get_text_config().hidden_size
    device = base.get_output_embeddings().weight.device
    base.add_module(SCORE_HEAD, torch.nn.Linear(size, len(labels), bias=False, device=device))
    tuned: Any = attach_trained(base, run.adapter)
    decoder = find_decoder(base)
    assert decoder is not None, "no classifier is trained without one"
    return LabelPredictor(
        decoder=decoder,
        head=tuned.get_base_model().get_submodule(SCORE_HEAD),
        labels=labels,
        tokenizer=loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code),
        device=loaded.device,
        max_length=project.dataset.max_length,
    )
