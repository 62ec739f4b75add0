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
