"""The base model: inspect it without its weights, or load it at a precision on a device."""

from __future__ import annotations

import copy
import gc
import importlib.util
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from transformers import (
    AutoConfig,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    core_model_loading,
)
from transformers.utils import logging as transformers_logging

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.memory.weights import DIVIDED_ABOVE
from lora_studio.core.messages import Text, text
from lora_studio.core.model.catalog import explain_quantization, get_architecture
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.devices import cpu_products, devices, grouped_attention, lock
from lora_studio.engine.devices.devices import find_unused_gpu_problem
from lora_studio.engine.model import capped_attention, safetensors_files, sources, text_model
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import tokenizer as tokenizer_module
from lora_studio.engine.model.folder import unreadable_model_error
from lora_studio.engine.model.tokenizer import load_tokenizer as load_tokenizer
from lora_studio.engine.runtime import model_code
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_out_of_memory, translate_library_errors

transformers_logging.disable_progress_bar()

_SOURCE = Where(step="model", field="source")

#: Names of the layers that turn the last hidden state into logits; they are never adapted.
_HEADS = ("lm_head", "embed_out", "output_layer")


@dataclass
class LoadedModel:
    """A base model in memory. `precision` is the format of its linear weights.

    `new_tokens` has the ID of each token that was added, and the IDs that spelled it before.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    device: torch.device
    precision: str
    dtype: torch.dtype
    new_tokens: dict[int, list[int]] = field(default_factory=dict)


def load(
    spec: ModelSpec,
    job: JobContext,
    chat_template: DatasetSpec | None = None,
    *,
    training: bool = False,
    new_tokens: Sequence[str] = (),
) -> LoadedModel:
    """Load model and tokenizer; emits `ModelLoaded`. Raises ProblemError.

    `chat_template` is the dataset spec that chooses the template. `training` turns off the
    key/value cache, which would stop gradients. `new_tokens` are added to tokenizer and model.
    """
    folder = sources.resolve_intact(spec, job)
    device = devices.choose_device(spec.device)
    config, precision = read_trainable_config(folder, spec)
    spread = _should_spread(folder, spec, config, device)
    _prepare_devices(spec, device, job, spread=spread, training=training)
    dtype = devices.get_dtype(spec.precision, device)
    job.report_progress(text("loading the model"), 0, None)
    began = time.monotonic()
    model = _load_weights(
        folder,
        config,
        dtype=dtype,
        trust_remote_code=model_code.is_allowed(folder, requested=spec.trust_remote_code),
        quantization_config=None if precision else _create_quantization_config(spec, dtype),
        **_choose_places(spec, device, training=training, spread=spread),
    )
    job.check()
    _prepare_model(model, dtype, training=training)
    tokenizer = load_tokenizer(folder, chat_template, trust=spec.trust_remote_code)
    loaded = LoadedModel(
        model=model, tokenizer=tokenizer, folder=folder, device=device, dtype=dtype,
        precision=precision or _get_precision(spec, dtype),
        new_tokens=tokenizer_module.extend(model, tokenizer, new_tokens),
    )  # fmt: skip
    emit_model_loaded(loaded, spec, time.monotonic() - began, job)
    return loaded


def read_trainable_config(
    folder: Path, spec: ModelSpec, *, has_weights: bool = True
) -> tuple[PreTrainedConfig, str | None]:
    """Return the configuration and how its weights are quantized; raises ProblemError if that can't be trained."""
    config = read_config(folder, spec)
    method = get_quantization_method(config)
    if method is not None:
        check_prequantized(method)
    if method is not None and has_weights:
        _require_quantized_weights(folder, method)
    return config, method


def _prepare_devices(
    spec: ModelSpec, device: torch.device, job: JobContext, *, spread: bool, training: bool
) -> None:
    """Make devices ready for the weights, and log why a training uses them."""
    if training and (choice := describe_choice(spec, device, spread=spread)):
        job.log(choice)
    prepare_devices(spec, device, spread=spread)


def _prepare_model(model: PreTrainedModel, dtype: torch.dtype, *, training: bool) -> None:
    (require_on_gpus if training else cpu_products.widen_products)(model)
    prepare_quantized_layers(model, dtype)
    keep_special_tokens_only(model)
    capped_attention.enable_attention_softcapping(model)
    if not training:
        grouped_attention.group_queries(model)
    model.config.use_cache = not training


def keep_special_tokens_only(model: PreTrainedModel) -> None:
    """Keep only the special tokens of a model's generation_config.json.

    WORKAROUND: since version 5, transformers fills every setting that a caller of `generate` left out with the
    model's: greedy answers of Qwen2.5 had its repetition penalty, unlike those of llama.cpp.
    """
    if (stored := getattr(model, "generation_config", None)) is not None:
        ends = {"eos_token_id": stored.eos_token_id, "pad_token_id": stored.pad_token_id}
        model.generation_config = GenerationConfig(bos_token_id=stored.bos_token_id, **ends)


def _should_spread(
    folder: Path, spec: ModelSpec, config: PreTrainedConfig, device: torch.device
) -> bool:
    """Return whether the layers have to be spread over several GPUs."""
    dtype = devices.get_dtype(spec.precision, device)
    precision = get_quantization_method(config) or _get_precision(spec, dtype)
    return should_spread(
        spec,
        device,
        lambda: count_weight_bytes(load_on_meta(folder, spec, config), dtype)[precision],
    )


def _load_weights(folder: Path, config: PreTrainedConfig, **settings: Any) -> PreTrainedModel:
    """Load the model of a local folder; raises ProblemError if it can't be read or is incomplete."""
    settings = {name: value for name, value in settings.items() if value is not None}
    with (
        translate_library_errors(lambda reason: _loading_error(folder, reason)),
        raise_lack_of_memory(),
    ):
        model, info = text_model.choose_class(config).from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
            local_files_only=True,
            use_safetensors=True,
            **settings,
        )
    held = dict(chain(model.named_parameters(), model.named_buffers()))
    model_folder.require_all_weights(folder, info, held)
    return model


def prepare_quantized_layers(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Make bitsandbytes layers compute in `dtype`, whatever the model was stored with.

    WORKAROUND: layers of a model that is stored in 4 bits compute in the stored format, and bfloat16 is
    emulated on GPUs before Ampere. 8-bit layers compute in float16 and log a warning about any other
    input, once for each layer and pass.
    """
    layer: Any  # of bitsandbytes
    for layer in model.modules():
        if hasattr(layer, "compute_type_is_set"):
            layer.compute_dtype, layer.compute_type_is_set = dtype, True
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def emit_model_loaded(
    loaded: LoadedModel, spec: ModelSpec, seconds: float, job: JobContext
) -> None:
    """Emit ModelLoaded."""
    job.emit(
        events.ModelLoaded(
            source=spec.source,
            architecture=type(loaded.model).__name__,
            device=str(loaded.device),
            precision=loaded.precision,
            parameters=count_parameters(loaded.model),
            memory_bytes=loaded.model.get_memory_footprint(),
            seconds=seconds,
        )
    )


def read_config(folder: Path, spec: ModelSpec) -> PreTrainedConfig:
    """Return the model's configuration.

    Raises ProblemError when the model needs its own code or has an unknown architecture.
    """
    raw = model_folder.read_config(folder)
    is_allowed = model_code.is_allowed(folder, requested=spec.trust_remote_code)
    if raw.get("auto_map") and not is_allowed and not _has_known_type(raw):
        raise fail(
            "model.remote_code",
            "The model {name} needs its own Python code.",
            "If you trust its author, turn on “Trust remote code”. Otherwise choose another model.",
            where=Where(step="model", field="trust_remote_code"),
            name=folder.name,
        )

    def to_error(reason: Text | str) -> BaseException:
        if not _has_known_type(raw):
            return _unknown_type_error(raw)
        return unreadable_model_error(
            folder, text("{file} ({reason})", file="config.json", reason=reason)
        )

    with translate_library_errors(to_error):
        config = AutoConfig.from_pretrained(
            folder, trust_remote_code=is_allowed, local_files_only=True
        )
        config.get_text_config()
    return config


def _has_known_type(raw: dict[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = raw.get("model_type")
    return isinstance(kind, str) and kind in CONFIG_MAPPING


def _unknown_type_error(raw: dict[str, Any]) -> Exception:
    import transformers

    return fail(
        "model.unknown_architecture",
        "transformers {version} doesn't support the architecture {name} (model_type: {type}).",
        "Update transformers, or choose a model with a supported architecture.",
        where=_SOURCE,
        version=transformers.__version__,
        name=get_architecture(raw) or text("(none)"),
        type=str(raw.get("model_type") or "")[:100] or text("(none)"),
    )


def get_quantization_method(config: PreTrainedConfig) -> str | None:
    """Return how the weights are quantized on disk, such as `gptq`; None when they are not."""
    settings = getattr(config, "quantization_config", None)
    if not settings:
        return None
    about = settings if isinstance(settings, dict) else settings.to_dict()
    method = str(about.get("quant_method") or "unknown").removeprefix("QuantizationMethod.")
    if method.lower() == "bitsandbytes":
        return "4bit" if about.get("load_in_4bit") else "8bit"
    return method.lower()


def check_prequantized(stored: str) -> None:
    """Raise ProblemError for a stored quantization that can't be trained on."""
    if explain_quantization(stored):
        raise fail(
            "model.prequantized",
            "The model is stored with {method} quantization, which can't be trained on.",
            "Choose the unquantized original and 4-bit precision instead.",
            where=_SOURCE,
            method=stored.upper(),
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise fail(
            "model.prequantized",
            "The model is stored with {method} quantization, which needs the package {package}.",
            "Run `pip install {package}`, or choose the unquantized original and 4-bit precision.",
            where=_SOURCE,
            method=stored,
            package="bitsandbytes",
        )


def _require_quantized_weights(folder: Path, stored: str) -> None:
    """Raise ProblemError if config.json states a quantization of bitsandbytes that no weight has."""
    ending = ".absmax" if stored == "4bit" else ".SCB"
    if not any(name.endswith(ending) for name in model_folder.read_safetensors_headers(folder)):
        reason = text(
            "config.json states {method} weights, but they aren't quantized", method=stored
        )
        raise unreadable_model_error(folder, reason)


def _create_quantization_config(spec: ModelSpec, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if spec.precision not in ("4bit", "8bit"):
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise fail(
            "model.no_bitsandbytes",
            "{precision} precision needs the package bitsandbytes, which is not installed.",
            "Run `pip install bitsandbytes`, or choose 16-bit precision.",
            where=Where(step="model", field="precision"),
            precision=spec.precision,
        )
    if spec.precision == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.quant_type,
        bnb_4bit_use_double_quant=spec.double_quant,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=torch.uint8,
    )


def _choose_places(
    spec: ModelSpec, device: torch.device, *, training: bool, spread: bool
) -> dict[str, Any]:
    """Return transformers' arguments for one device for all layers, or several GPUs with a limit each."""
    if training and spec.sharding == "shard":
        # `sharding.py` moves a block at a time to the device.
        return {"device_map": {"": torch.device("cpu")}}
    if spread:
        limits = get_spread_limits(spec, training=training)
        return {"device_map": "auto", "max_memory": limits}
    return {"device_map": {"": device}}


def _get_precision(spec: ModelSpec, dtype: torch.dtype) -> str:
    if spec.precision in ("4bit", "8bit"):
        return spec.precision
    return {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]


def _loading_error(folder: Path, reason: Text | str) -> Exception:
    if "Unrecognized configuration class" in str(reason):
        return fail(
            "model.not_generative",
            "{name} is not a causal language model.",
            "Choose a causal language model; its architecture usually ends in ForCausalLM.",
            where=_SOURCE,
            name=get_architecture(model_folder.read_config(folder)),
        )
    return unreadable_model_error(folder, reason)


# --- without weights --------------------------------------------------------------------------


def load_on_meta(folder: Path, spec: ModelSpec, config: PreTrainedConfig | None = None) -> PreTrainedModel:  # fmt: skip
    """Return the model's layers on the meta device, without memory; raises ProblemError."""
    config = copy.deepcopy(config) if config else read_config(folder, spec)
    is_allowed = model_code.is_allowed(folder, requested=spec.trust_remote_code)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with (
        translate_library_errors(lambda reason: _loading_error(folder, reason)),
        torch.device("meta"),
    ):
        return text_model.create(config, is_allowed=is_allowed, dtype=torch.bfloat16)


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters; shared ones count once, packed ones unpacked."""
    return sum(_count_elements(parameter) for parameter in model.parameters())


def _count_elements(parameter: torch.nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel()) if state is not None else parameter.numel()


def count_weight_bytes(model: PreTrainedModel, exact: torch.dtype) -> dict[str, int]:
    """Return the memory of the weights by precision, in bytes.

    `exact` is the device's unquantized format. 4-bit: half a byte per weight of a linear layer and
    one scale per 64, itself in 8 bits with a 32-bit scale per 256 (Dettmers et al. 2023, section
    3). 8-bit: one byte and a 32-bit scale per row. All other layers, and the output layer, stay in
    the unquantized format.
    """
    total = count_parameters(model)
    linear = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not is_head(model, name, module)
    ]
    quantized_weights = sum(weight.numel() for weight in linear)
    rows = sum(weight.shape[0] for weight in linear)
    rest = exact.itemsize * (total - quantized_weights)
    return {
        "bf16": 2 * total,
        "fp16": 2 * total,
        "fp32": 4 * total,
        "8bit": rest + quantized_weights + 4 * rows,
        "4bit": rest
        + quantized_weights // 2
        + quantized_weights // 64
        + quantized_weights // (64 * 256) * 4,
    }


def is_head(model: PreTrainedModel, name: str, module: torch.nn.Module) -> bool:
    """Return whether a layer turns hidden states into logits."""
    return module is model.get_output_embeddings() or name.rsplit(".", 1)[-1] in _HEADS


def has_chat_template(folder: Path) -> bool:
    """Return whether a model folder has a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return '"chat_template"' in read_text(folder / "tokenizer_config.json")
    except OSError:
        return False


#: The function of transformers that collects errors.
_COLLECT = "log_conversion_errors"


@contextmanager
def raise_lack_of_memory() -> Iterator[None]:
    """Let a lack of memory leave the loading of a model.

    WORKAROUND: transformers collects the errors of all conversions and raises another one at the end. That one
    doesn't say that memory ran out, so a model that is too large would count as unreadable, and nothing would
    fall back to the CPU.
    """
    collect: Any = getattr(core_model_loading, _COLLECT, None)
    if collect is None:  # another version
        yield
        return

    @contextmanager
    def collect_others(*arguments: Any, **named: Any) -> Iterator[None]:
        lack: Exception | None = None
        with collect(*arguments, **named):
            try:
                yield
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                lack = error
        if lack is not None:
            raise lack

    setattr(core_model_loading, _COLLECT, collect_others)
    try:
        yield
    finally:
        setattr(core_model_loading, _COLLECT, collect)


def list_gpus(spec: ModelSpec) -> list[int]:
    """Return the indices of the GPUs that may hold layers of a model: all with "auto", else those it names.

    Several names mean a process each only to a training, whose processes get one name each.
    """
    if spec.device == "auto":
        return devices.list_supported_gpus()
    chosen = dict.fromkeys(devices.choose_device(name) for name in spec.devices)
    return [device.index or 0 for device in chosen if device.type == "cuda"]


def should_spread(spec: ModelSpec, device: torch.device, count_bytes: Callable[[], int]) -> bool:
    """Return whether the layers have to be spread over several GPUs, because one has no room for the model.

    That is slower than one GPU, as only one of them computes at a time. `count_bytes` returns the bytes
    of the weights.
    """
    if device.type != "cuda" or len(list_gpus(spec)) < 2:
        return False
    return count_bytes() > DIVIDED_ABOVE * devices.get_free_gpu_bytes(device.index or 0)


def prepare_devices(spec: ModelSpec, device: torch.device, *, spread: bool) -> None:
    """Lock and limit the GPUs that a model is about to be loaded on: several where layers are spread."""
    if spread:
        if spec.device == "auto":  # named ones are locked already
            lock.hold_every_gpu()
        devices.set_partner_gpus(list_gpus(spec))
        for index in list_gpus(spec):
            devices.limit_device_memory(torch.device("cuda", index))
    devices.set_current_device(device)
    devices.limit_device_memory(device)


def get_spread_limits(spec: ModelSpec, *, training: bool) -> dict[int | str, int]:
    """Return how many bytes of weights each GPU may hold, by index, where layers are spread.

    Without a limit, accelerate would also use GPUs that PyTorch has no code for. Main memory ("cpu") holds the
    rest of a model that only answers.
    """
    limits: dict[int | str, int] = {
        index: int(DIVIDED_ABOVE * devices.get_free_gpu_bytes(index)) for index in list_gpus(spec)
    }
    return limits if training else limits | {"cpu": psutil.virtual_memory().available}


def require_on_gpus(model: torch.nn.Module) -> None:
    """Raise ProblemError if layers of a spread model are in main memory or on disk: they can't train."""
    places = getattr(model, "hf_device_map", None) or {}
    if any(str(place) in ("cpu", "disk") for place in places.values()):
        raise fail(
            "model.too_large",
            "The model doesn't fit on all GPUs together.",
            "Use 4-bit weights, or choose a smaller model. Closing other programs that use the GPUs helps "
            "too.",
            where=Where(step="model", field="precision"),
        )


def describe_choice(spec: ModelSpec, device: torch.device, *, spread: bool) -> Text | None:
    """Return which of this computer's devices are used, and why; None if there is no choice."""
    if device.type == "cpu" and spec.device == "auto" and (problem := find_unused_gpu_problem()):
        return text("{what} {remedy}", what=problem.what, remedy=problem.remedy)
    gpus = devices.list_supported_gpus()
    if device.type != "cuda" or spec.device != "auto" or len(gpus) < 2:
        return None
    if spread:
        return text(
            "The model is too large for one GPU. Its layers are spread over all {count}.",
            count=len(gpus),
        )
    return text(
        "The model fits on one GPU, so it uses {device} ({title}). To train on several at a time, name "
        "them as the device: {names}.",
        device=str(device),
        title=torch.cuda.get_device_properties(device).name,
        names=",".join(f"cuda:{index}" for index in gpus),
    )


# Load a model to read or answer with: on the CPU where a GPU has no room for it.
#
# A 4-bit training needs a quarter of the memory of the 16-bit model that it was made for, so the GPU that
# trained a model may be too small for the model itself.

T = TypeVar("T")

#: Share of a GPU's free memory that weights may use; activations and answers need the rest.
_MAX_SHARE = 0.9


def load_for_inference(
    spec: ModelSpec, job: JobContext, chat_template: DatasetSpec | None = None
) -> LoadedModel:
    """Load model and tokenizer, on the CPU if the GPU is too small; raises ProblemError."""
    return run_where_it_fits(spec, job, lambda placed: load(placed, job, chat_template))


def run_where_it_fits(
    spec: ModelSpec,
    job: JobContext,
    action: Callable[[ModelSpec], T],
    *,
    on_gpu: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> T:
    """Return the result of `action`, which loads and uses the model of a spec.

    It gets the spec with the CPU as device if the weights don't fit on the GPU, or once its memory has
    run out. What this process doesn't need anymore is freed first. `on_gpu` returns a context manager
    that is active while the GPU's free memory is read and `action` uses the GPU, but not on the CPU.
    """
    release_gpu()
    if devices.choose_device(spec.device).type == "cpu":
        return action(widen_on_cpu(spec, job))
    with on_gpu():
        shortage = _describe_memory_shortage(spec, job)
        if shortage is None:
            try:
                return action(spec)
            except Exception as error:  # its traceback keeps tensors until the block ends
                if not is_out_of_memory(error):
                    raise
            release_gpu()
            shortage = text("The GPU ran out of memory. The CPU is used, which takes longer.")
    job.log(shortage)
    on_cpu = widen_on_cpu(spec.model_copy(update={"device": "cpu"}), job)
    if on_cpu.precision == "auto":  # 32 bits may need more memory than there is
        on_cpu = on_cpu.model_copy(update={"precision": "bf16"})
    return action(on_cpu)


def release_gpu() -> None:
    """Free memory before the next model is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _describe_memory_shortage(spec: ModelSpec, job: JobContext) -> Text | None:
    """Return why 16-bit weights don't fit on the GPUs that may hold them, None if they fit."""
    if devices.choose_device(spec.device).type != "cuda" or "bit" in spec.precision:
        return None
    gpus = list_gpus(spec)
    known = [each for each in map(devices.read_free_bytes, gpus) if each is not None]
    if len(known) < len(gpus):
        return None
    size = 4 if spec.precision == "fp32" else 2
    weights = size * safetensors_files.count_parameters(sources.resolve(spec, job), job.check)
    if weights <= _MAX_SHARE * sum(known):
        return None
    return text(
        "The model needs {needed:memory} of GPU memory, but only {free:memory} of {total:memory} is free. The "
        "CPU is used, which takes longer.",
        needed=int(weights / _MAX_SHARE),
        free=sum(known),
        total=sum(torch.cuda.get_device_properties(index).total_memory for index in gpus),
    )


def widen_on_cpu(spec: ModelSpec, job: JobContext) -> ModelSpec:
    """Return the model spec in 32 bits for a CPU with enough memory, where 16 bits aren't faster.

    Every 16-bit weight has its exact value in 32 bits.
    """
    if (
        spec.precision not in ("auto", "bf16", "fp16")
        or devices.choose_device(spec.device).type != "cpu"
    ):
        return spec
    needed = 4 * safetensors_files.count_parameters(sources.resolve(spec, job), job.check)
    if needed > psutil.virtual_memory().available // 2:
        return spec
    return spec.model_copy(update={"precision": "fp32"})
