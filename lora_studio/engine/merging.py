"""The merging step: adapter into base, W' = W + scale · B·A, as a Hugging Face folder.

Tensor by tensor from disk to disk on the CPU; a model is loaded only where PEFT has to do it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.core import events
from lora_studio.core.files import write_atomic
from lora_studio.core.merging import MergingSpec
from lora_studio.core.problems import Problem, Where, fail
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine import adapters, chat, disk, model, weights
from lora_studio.engine.adapters import Adapter, Update
from lora_studio.engine.channel import Job
from lora_studio.engine.weights import Planned, Stored

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

#: Files of a tokenizer. With one of its own in the adapter, the base's are not mixed into it.
_TOKENIZER = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")

#: Files of an adapter that do not belong to a model.
_ADAPTER_ONLY = (adapters.CONFIG, adapters.WEIGHTS, "README.md", "training_args.bin")


def merge(run: RunFolder, job: Job) -> None:
    """Merges the adapter of a run into its base model; raises ProblemError.

    The base is the original, whatever precision it was trained in.
    """
    project = run.load_project()
    adapter = adapters.read(run.adapter)
    base = model.resolve(project.model, job)
    scratch = run.temporary / "merge"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        merged = scratch / "merged"
        merged.mkdir()
        dtype, changed = merge_folders(base, adapter, merged, project.merging, job)
        _stop_at_turn_end(merged, trust=project.model.trust_remote_code)
        _swap_in(merged, run.merged, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(file.stat().st_size for file in run.merged.iterdir() if file.is_file())
    job.emit(
        events.Merged(folder=str(run.merged), bytes=size, dtype=dtype, tensors_changed=changed)
    )


def merge_folders(
    base: Path, adapter: Adapter, target: Path, spec: MergingSpec, job: Job
) -> tuple[str, int]:
    """Writes the merged model into the empty folder `target`; returns its data type and how many
    tensors changed. Raises ProblemError.
    """
    tensors = weights.index(base)
    dtype = _DTYPES.get(spec.dtype)
    stored = _common_dtype(tensors)
    width = dtype.itemsize if dtype else stored.itemsize
    disk.require(target, _size(tensors, width), "The merged model")
    quantised = _quantised(base, job)
    reason = adapter.complication or quantised
    plan = None
    if reason is None:
        try:
            plan = _plan(tensors, adapter, dtype)
        except _NeedsPeftError as error:
            reason = str(error)
    if plan is None:
        from lora_studio.engine.backends import peft_merge

        job.emit(events.Log(text=f"PEFT merges this adapter with the model in memory: {reason}."))
        limit = f"{spec.shard_size_gb}GB"
        changed = peft_merge.merge(base, adapter, target, dtype or stored, limit, job)
    else:
        _write(plan, target, int(spec.shard_size_gb * 1e9), job)
        changed = sum(output.changed for output in plan)
    _copy_files(base, adapter.folder, target)
    apart = plan is not None and any(o.changed for o in plan if o.name in (_HEAD, _EMBEDDING))
    _write_config(base, target, dtype, untied=apart)
    return str(dtype or stored).removeprefix("torch."), changed


class _NeedsPeftError(Exception):
    """The base does not hold a tensor under the name that the adapter uses."""


@dataclass(frozen=True)
class _Output:
    """One tensor of the merged model: its source, and what is done to it."""

    name: str
    source: Stored
    dtype: torch.dtype
    update: Update | None = None
    replacement: Stored | None = None

    @property
    def changed(self) -> bool:
        return self.update is not None or self.replacement is not None

    @property
    def planned(self) -> Planned:
        return Planned(self.name, weights.name_of(self.dtype), self.source.shape)

    def value(self) -> torch.Tensor:
        """The tensor as it is written."""
        if self.replacement is not None:
            return self.replacement.read().to(self.dtype)
        # First into the data type it will have: so does a model that is loaded in it and merged.
        tensor = self.source.read().to(self.dtype)
        return self.update.apply(tensor) if self.update is not None else tensor


_HEAD = "lm_head.weight"
_EMBEDDING = "model.embed_tokens.weight"


def _plan(tensors: dict[str, Stored], adapter: Adapter, dtype: torch.dtype | None) -> list[_Output]:
    """Every tensor of the merged model in the order of the base's files.

    Each tensor of the adapter is used exactly once, or this raises.
    """
    updates = {_tensor_name(f"{name}.weight", tensors): u for name, u in adapter.updates.items()}
    replacements = {_tensor_name(name, tensors): new for name, new in adapter.replacements.items()}
    targets = dict(tensors)
    if _HEAD not in tensors and {_HEAD, _EMBEDDING} & (updates.keys() | replacements.keys()):
        # Head and embedding were one tensor; trained apart they are two from now on.
        targets[_HEAD] = tensors[_EMBEDDING]
    for name, update in updates.items():
        _check_shape(adapter, name, targets[name], (update.b.shape[0], update.a.shape[1]))
    for name, replacement in replacements.items():
        _check_shape(adapter, name, targets[name], replacement.shape)
    return [
        _Output(
            name,
            source,
            dtype if dtype and source.floating else weights.DTYPES[source.dtype],
            updates.get(name),
            replacements.get(name),
        )
        for name, source in targets.items()
    ]


def _tensor_name(name: str, tensors: dict[str, Stored]) -> str:
    """The name in the base's files of a tensor of the model in memory."""
    if name in tensors or (name == _HEAD and _EMBEDDING in tensors):
        return name
    # A checkpoint of the bare transformer lacks the prefix that its model with a head has.
    if (bare := name.removeprefix("model.")) in tensors:
        return bare
    raise _NeedsPeftError(f"the base model's files hold no {name}")


def _check_shape(adapter: Adapter, name: str, stored: Stored, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise adapters.foreign(
            adapter.folder, f"{name} is {_shape(stored.shape)} there and {_shape(shape)} here"
        )
    if not stored.floating:
        raise _NeedsPeftError(f"{name} is stored as {stored.dtype}")


def _write(plan: list[_Output], folder: Path, limit: int, job: Job) -> None:
    """Writes the shards, and the index if there are several."""
    shards = weights.shards([output.planned for output in plan], limit)
    names = weights.shard_names(len(shards))
    outputs = iter(plan)
    done = 0
    for file, shard in zip(names, shards, strict=True):
        with weights.writing(folder / file, shard) as opened:
            for output in (next(outputs) for _ in shard):
                job.progress("merging", done, len(plan), "tensors")
                if not output.changed and output.source.dtype == output.planned.dtype:
                    output.source.copy_to(opened)
                else:
                    weights.append(opened, _finite(output))
                done += 1
    job.progress("merging", done, len(plan), "tensors")
    if len(shards) > 1:
        placed = {t.name: file for file, shard in zip(names, shards, strict=True) for t in shard}
        total = sum(output.planned.bytes for output in plan)
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        write_atomic(folder / weights.INDEX, json.dumps(index, indent=2) + "\n")


def _finite(output: _Output) -> torch.Tensor:
    value = output.value()
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise adapters.not_finite(output.name, output.dtype)
    return value


def _quantised(base: Path, job: Job) -> str | None:
    """Why a base that exists only quantised needs its model in memory; warns what that costs."""
    settings = _config(base).get("quantization_config")
    if not settings:
        return None
    method = settings.get("quant_method", "an unknown method")
    if method != "bitsandbytes":
        raise fail(
            "merging.quantised_base",
            f"The base model exists only quantised with {method}, which cannot be merged into.",
            "Choose the original 16-bit model as the base of the merge.",
            where=Where(step="model", field="source", file=str(base)),
        )
    job.emit(
        events.Warned(
            problem=Problem(
                code="merging.dequantised_base",
                what="The base model exists only quantised with bitsandbytes: it is turned back "
                "into 16 bits, with the rounding that it has lost for good.",
                remedy="With the original 16-bit model as base the merged model is better.",
                where=Where(step="model", field="source", file=str(base)),
                severity="warning",
            )
        )
    )
    return "the base model is quantised"


def _copy_files(base: Path, adapter: Path, target: Path) -> None:
    """Everything but the weights: settings and code from the base, tokenizer from the adapter."""
    own_tokenizer = (adapter / "tokenizer_config.json").is_file()
    for file in _small_files(base):
        of_tokenizer = file.name.startswith(_TOKENIZER) and file.suffix != ".model"
        if not (own_tokenizer and of_tokenizer) and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
    if own_tokenizer:
        for file in _small_files(adapter):
            if file.name not in _ADAPTER_ONLY:
                shutil.copyfile(file, target / file.name)


def _small_files(folder: Path) -> Iterator[Path]:
    wanted = {".json", ".jinja", ".txt", ".model", ".py", ".tiktoken"}
    for file in sorted(folder.iterdir()):
        plain = not file.name.endswith(".index.json") and file.name != "config.json"
        if file.is_file() and plain and (file.suffix in wanted or file.name.startswith("LICENSE")):
            yield file


def _write_config(base: Path, target: Path, dtype: torch.dtype | None, *, untied: bool) -> None:
    file = target / "config.json"
    config = _config(target if file.is_file() else base)
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        for part in (config, config.get("text_config")):
            if isinstance(part, dict):
                key = "torch_dtype" if "torch_dtype" in part else "dtype"
                part[key] = name
    if untied:
        config["tie_word_embeddings"] = False
    write_atomic(file, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _stop_at_turn_end(merged: Path, *, trust: bool) -> None:
    """Lets generation stop at the token that ends an answer, which a base model does not know of.

    A base model trained with ChatML learns to write <|im_end|>; its own settings end at its
    end-of-text token alone, so that whoever loads the merged model would see it talk on.
    """
    if not (merged / "tokenizer_config.json").is_file():
        return
    tokenizer = model.load_tokenizer(merged, trust=trust)
    if not tokenizer.is_fast:
        return
    file = merged / "generation_config.json"
    known = _config(merged)
    settings = {name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if known.get(name) is not None}  # fmt: skip
    if file.is_file():
        settings = json.loads(file.read_text("utf-8"))
    before = settings.get("eos_token_id")
    ids = list(before) if isinstance(before, list) else [] if before is None else [before]
    missing = [end for end in chat.turn_end(tokenizer).ids if end not in ids]
    if missing:
        settings["eos_token_id"] = ids + missing
        write_atomic(file, json.dumps(settings, indent=2) + "\n")


def _swap_in(merged: Path, target: Path, scratch: Path) -> None:
    """Puts the finished folder in the place of an older one."""
    if target.exists():
        os.replace(target, scratch / "old")  # noqa: PTH105
    os.replace(merged, target)  # noqa: PTH105


def _config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return content


def _common_dtype(tensors: dict[str, Stored]) -> torch.dtype:
    """The data type that most bytes of a model are stored in."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.floating:
            sizes[tensor.dtype] += tensor.end - tensor.start
    return weights.DTYPES[sizes.most_common(1)[0][0]] if sizes else torch.bfloat16


def _size(tensors: dict[str, Stored], width: int) -> int:
    return sum(max(t.end - t.start, _values(t) * width) for t in tensors.values())


def _values(tensor: Stored) -> int:
    count = 1
    for length in tensor.shape:
        count *= length
    return count


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape)
