"""Vectors of texts: the last hidden states, pooled over each text and normalized."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.model.folders import MODULES, POOLING_CONFIG, list_pooling_modes, read_pooling
from lora_studio.core.problems import Where, fail
from lora_studio.core.tasks.embedding import Pooling, PoolingChoice
from lora_studio.engine.backends.backend import EmbeddingOutput
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.kernels.chunked_logprobs import round_up_tokens
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tokens.batches import Batch
from lora_studio.engine.tokens.search_texts import Ids


def resolve_pooling(choice: PoolingChoice, base: Path) -> Pooling:
    """Return the pooling of a recipe: for "auto" that of the base if it is an embedding model, else "last".

    Raises ProblemError for a base that pools in another way.
    """
    if choice != "auto":
        return choice
    described = read_pooling(base)
    if described is None:
        return "last"
    modes = list_pooling_modes(described)
    if (pooling := parse_pooling(modes)) is not None:
        return pooling
    raise fail(
        "training.unknown_pooling",
        "The embedding model pools in a way that can't be trained here: {modes}.",
        "Choose “Last token” or “Mean” as the pooling, or another model.",
        where=Where(step="training", field="pooling"),
        modes=", ".join(modes) or "?",
    )


def parse_pooling(modes: Sequence[str]) -> Pooling | None:
    """Return the pooling that a model's modes combine to, None for one that can't be trained here."""
    match modes:
        case ["lasttoken"]:
            return "last"
        case ["mean_tokens"]:
            return "mean"
    return None


def describe_pooling(pooling: Pooling, width: int) -> dict[str, object]:
    """Return the settings of a pooling module, as sentence-transformers reads them."""
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")  # fmt: skip
    chosen = {"last": "lasttoken", "mean": "mean_tokens"}[pooling]
    return {
        "word_embedding_dimension": width,
        **{f"pooling_mode_{mode}": mode == chosen for mode in modes},
        "include_prompt": True,
    }


def write_modules(folder: Path, output: EmbeddingOutput) -> None:
    """Write the files that let sentence-transformers load a model's folder as an embedding model."""
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    files = {
        MODULES: modules,
        f"1_Pooling/{POOLING_CONFIG}": describe_pooling(output.pooling, output.dimensions),
        "sentence_bert_config.json": {"max_seq_length": output.max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    }  # fmt: skip
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2), "utf-8")


def embed(logprob_model: LogprobModel, texts: Sequence[Ids], pooling: Pooling) -> torch.Tensor:
    """Return the normalized vector of each text, [texts, size] float32, differentiable."""
    lengths = torch.tensor([len(ids) for ids in texts])
    ids = torch.from_numpy(np.concatenate(list(texts)).astype(np.int64))
    owners = torch.arange(len(texts))
    sources = lengths.cumsum(0) - 1
    if pooling == "mean":
        owners, sources = owners.repeat_interleave(lengths), torch.arange(len(ids))
    batch = Batch(ids, tuple(lengths.tolist()), sources, ids[sources], owners)
    if logprob_model.fills:
        batch = batch.pad_to_tokens(round_up_tokens(batch.tokens))
    logprob_model.lengths = batch.lengths
    hidden = logprob_model.compute_hidden_states(batch)
    with torch.autocast(hidden.device.type, enabled=False):
        states = hidden.float()
        if pooling == "mean":
            rows = copy_to_device(owners, states.device)
            sums = states.new_zeros((len(texts), states.shape[1])).index_add(0, rows, states)
            states = sums / copy_to_device(lengths, states.device)[:, None]
        return F.normalize(states, dim=1)
