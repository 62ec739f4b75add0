"""Base models to begin with: small, well-known instruction models, with what each is good for."""

from __future__ import annotations

from lora_studio.core.messages import Template, text
from lora_studio.core.model.catalog import ModelEntry, ModelOutline


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
