"""Candidate base models: facts about each that are known without loading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from lora_studio.core.messages import NO_TEXT, Template, Text, text

#: Where a model is: one of the user's folders, the shared Hugging Face cache, the models of Ollama
#: or LM Studio, or the Hub.
ModelLocation = Literal["folder", "cache", "ollama", "lm_studio", "hub"]
LOCAL: tuple[ModelLocation, ...] = ("folder", "cache", "ollama", "lm_studio")


class ModelOutline(BaseModel):
    """Dimensions in a decoder's configuration; 0 if missing there."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    layers: int = 0
    hidden_size: int = 0
    intermediate_size: int = 0
    heads: int = 0
    kv_heads: int = 0
    vocabulary: int = 0
    context: int = 0


class ModelEntry(BaseModel):
    """One model in a list. `source` and `revision` are the values for `ModelSpec`.

    `bytes` is its size on disk, or its download size on the Hub. `stored` is the number format or
    quantization of its weights. `refusal` is one sentence on why it can't be a base model, "" if it
    can; `missing` is the number of files not downloaded yet. `updated` is a date, ISO 8601. `why` says
    what a recommended model is good for.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    source: str
    title: str
    location: ModelLocation = Field(validation_alias=AliasChoices("location", "place"))
    revision: str = "main"
    bytes: int | None = None
    parameters: int | None = None
    architecture: str = ""
    stored: str = ""
    license: str = Field("", validation_alias=AliasChoices("license", "licence"))
    outline: ModelOutline = ModelOutline()
    gated: bool = False
    missing: int = 0
    refusal: Text = NO_TEXT
    downloads: int | None = None
    likes: int | None = None
    updated: str = ""
    why: Text = NO_TEXT

    @property
    def is_usable(self) -> bool:
        """Whether it can be trained once it is complete."""
        return not self.refusal


#: Suffixes of architecture names that aren't causal language models, and why each is refused.
_OTHERS: tuple[tuple[re.Pattern[str], Template], ...] = (
    (
        re.compile(
            r"(ForMaskedLM|ForPreTraining|ForSequenceClassification|ForTokenClassification|"
            r"ForQuestionAnswering|ForMultipleChoice|ForNextSentencePrediction|EncoderModel|"
            r"(?:Bert|Roberta|Electra|Deberta|DebertaV2|MPNet|Albert|DistilBert|Camembert)Model)\Z"
        ),
        "{name} is an encoder or a classifier: it can't generate text.",
    ),
    (
        re.compile(
            r"(ForImageClassification|ForObjectDetection|ForSemanticSegmentation|"
            r"ForDepthEstimation|ForMaskGeneration|CLIPModel|CLIPVisionModel|SiglipModel|"
            r"ViTModel|Dinov\w*Model|SamModel)\Z"
        ),
        "{name} is a vision model: it can't generate text.",
    ),
    (
        re.compile(
            r"(ForCTC|ForAudioClassification|ForSpeechSeq2Seq|Wav2Vec2\w*|"
            r"Whisper\w*|ForTextToWaveform)\Z"
        ),
        "{name} is a speech model.",
    ),
    (
        re.compile(
            r"^(T5|MT5|UMT5|Bart|MBart|Pegasus|Marian|BlenderBot|LongT5)\w*"
            r"(ForConditionalGeneration|MTModel|Model)\Z"
        ),
        "{name} is an encoder-decoder model. LoRA Studio trains decoder-only models.",
    ),
)


def explain_refusal(architectures: object) -> Text:
    """Return why a model of these architectures can't be a base model, empty if it may be one.

    `architectures` is the list in config.json. Unknown names are accepted; the loader decides about
    them.
    """
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    for name in names:
        for pattern, template in _OTHERS:
            if pattern.search(name):
                return text(template, name=name)
    return NO_TEXT


def explain_quantization(method: str) -> Text:
    """Return why weights that are stored with a quantization method can't be trained on, empty if they can.

    PEFT's adapters would fit GPTQ and AWQ layers, but their kernels for training depend on the GPU and the
    release, and the merged model needs the original weights anyway.
    """
    if method.lower() in ("", "bitsandbytes", "4bit", "8bit"):
        return NO_TEXT
    return text(
        "The model is stored with {method} quantization, which can't be trained on.",
        method=method.upper(),
    )


def get_architecture(config: Mapping[str, Any]) -> str:
    """Return the architecture that a config.json names, else its model type; "" if it names neither."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else config.get("model_type")
    return first if isinstance(first, str) else ""


def read_outline(config: Mapping[str, Any]) -> ModelOutline:
    """Return the dimensions in a config.json, those of its text part if it has several."""
    decoder = config.get("text_config")
    merged = {**config, **decoder} if isinstance(decoder, Mapping) else dict(config)

    def number(*names: str) -> int:
        for name in names:
            value = merged.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return 0

    heads = number("num_attention_heads", "n_head")
    return ModelOutline(
        layers=number("num_hidden_layers", "n_layer"),
        hidden_size=number("hidden_size", "n_embd"),
        intermediate_size=number("intermediate_size", "n_inner"),
        heads=heads,
        kv_heads=number("num_key_value_heads") or heads,
        vocabulary=number("vocab_size"),
        context=number("max_position_embeddings", "n_positions"),
    )


def _make_entry(
    source: str,
    parameters: int,
    size: int,
    license_name: str,
    architecture: str,
    dimensions: tuple[int, int, int, int, int, int],
    why: Template,
    *,
    gated: bool = False,
) -> ModelEntry:
    names = ("layers", "hidden_size", "intermediate_size", "heads", "kv_heads", "vocabulary")
    return ModelEntry(
        source=source,
        title=source.partition("/")[2],
        location="hub",
        bytes=size,
        parameters=parameters,
        architecture=architecture,
        license=license_name,
        outline=ModelOutline(**dict(zip(names, dimensions, strict=True))),
        gated=gated,
        why=text(why),
    )


#: Sizes and dimensions as in the models' configurations and safetensors files on the Hub; parameters
#: without those of an output layer that is stored but tied.
RECOMMENDED: tuple[ModelEntry, ...] = (
    _make_entry(
        "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, 723_674_912, "apache-2.0",
        "LlamaForCausalLM", (32, 960, 2560, 15, 5, 49_152),
        "For trying out; trains without a GPU. English.",
    ),
    _make_entry(
        "Qwen/Qwen3-0.6B", 596_049_920, 1_503_300_328, "apache-2.0", "Qwen3ForCausalLM",
        (28, 1024, 3072, 16, 8, 151_936),
        "One narrow task: labels, fields, short answers.",
    ),
    _make_entry(
        "meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, 2_471_645_608, "llama3.2",
        "LlamaForCausalLM", (16, 2048, 8192, 32, 8, 128_256),
        "A tone or a format on a laptop. Eight languages.",
        gated=True,
    ),
    _make_entry(
        "Qwen/Qwen3-1.7B", 1_720_574_976, 4_063_515_640, "apache-2.0", "Qwen3ForCausalLM",
        (28, 2048, 6144, 16, 8, 151_936),
        "Most tasks on 8 GB of GPU memory. Many languages.",
    ),
    _make_entry(
        "Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096, 8_044_982_000, "apache-2.0",
        "Qwen3ForCausalLM", (36, 2560, 9728, 32, 8, 151_936),
        "Chat, support, and tool calls. Many languages.",
    ),
    _make_entry(
        "microsoft/Phi-4-mini-instruct", 3_836_021_760, 7_672_059_000, "mit", "Phi3ForCausalLM",
        (32, 3072, 8192, 24, 8, 200_064),
        "Reasoning and mathematics for its size. English.",
    ),
    _make_entry(
        "mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552, 14_496_078_512, "apache-2.0",
        "MistralForCausalLM", (32, 4096, 14_336, 32, 8, 32_768),
        "Writing and long answers. European languages.",
    ),
    _make_entry(
        "Qwen/Qwen2.5-Coder-7B-Instruct", 7_615_616_512, 15_231_271_864, "apache-2.0",
        "Qwen2ForCausalLM", (28, 3584, 18_944, 28, 4, 152_064),
        "Code in your own style.",
    ),
    _make_entry(
        "Qwen/Qwen3-8B", 8_190_735_360, 16_381_516_776, "apache-2.0", "Qwen3ForCausalLM",
        (36, 4096, 12_288, 32, 8, 151_936),
        "The best answers on one GPU. Many languages.",
    ),
)  # fmt: skip


_ATTENTION = re.compile(r"attn|attention|mixer", re.IGNORECASE)


class LinearLayers(BaseModel):
    """All linear layers with one name: `inputs` and `outputs` are widths, `count` is their number.

    Layers with the same `reads` share an input tensor, as q, k and v do. `adaptable`: they can have an adapter.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    inputs: int
    outputs: int
    count: int
    reads: str
    adaptable: bool = True

    @property
    def parameters(self) -> int:
        """Number of weights in all of them together."""
        return self.inputs * self.outputs * self.count

    @property
    def is_in_attention(self) -> bool:
        """Whether it is part of attention, judged by the name of its parent module."""
        return bool(_ATTENTION.search(self.reads.removesuffix(f".{self.name}")))

    @property
    def is_attention_output(self) -> bool:
        """Whether its input is the attention output, as for o_proj."""
        return self.is_in_attention and self.reads.endswith(f".{self.name}")


class ModelShape(BaseModel):
    """Widths and counts of a decoder; 0 if a model lacks that component.

    With `fused_attention`, one layer computes queries, keys and values.

    `norm_width` is the sum of the widths of one block's norms, `plain_norms` whether these are RMS
    norms like Llama's, `plain_gates` whether its gated layers are like Llama's. `expert_size` is
    the inner width of one expert, `expert_parameters` counts the stacked weights of all experts in
    all blocks. `caps_scores` and `caps_logits` are whether attention and output have a cap, as
    Gemma 2's.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    norm_width: int
    plain_norms: bool = True
    gated: bool = True
    plain_gates: bool = False
    fused_attention: bool = False
    caps_scores: bool = False
    caps_logits: bool = False
    tied: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_size: int = 0
    expert_parameters: int = 0
    linear: tuple[LinearLayers, ...] = ()

    @property
    def query_width(self) -> int:
        """Total width of a token's queries."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Total width of a token's keys, or of its values."""
        return self.kv_heads * self.head_size
