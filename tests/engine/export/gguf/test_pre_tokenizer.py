"""What llama.cpp's converter knows of a tokenizer."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
from transformers import AutoTokenizer

from lora_studio.core.export import (
    BITS_PER_WEIGHT,
    COMMON,
    QUANTIZATIONS,
    ExportSpec,
    Quantization,
    should_use_imatrix,
)
from lora_studio.core.gguf_sizes import estimate_bytes
from lora_studio.core.llama_cpp import CONVERTER
from lora_studio.core.model.catalog import LinearLayers, ModelShape
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol.events import ModelInspected
from lora_studio.engine.export.gguf import adapter_gguf, converter, quantizer
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
from tests.helpers.models import model_facts
from tests.helpers.models.llama_cpp_folder import packaged_llama_cpp
from tests.helpers.models.tiny_models import FAMILIES, tiny_model
from tests.helpers.runs.jobs import recorded_job

LIST = packaged_llama_cpp() / "conversion" / "base.py"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("llama3"))


def find(folder: Path, llama_cpp: str = "") -> Problem | None:
    return converter.find_unknown_pre_tokenizer(folder, llama_cpp, trust=False)


def folder_that_knows(target: Path, model: Path, *, layout: str) -> str:
    """Write a llama.cpp folder whose list has this model's tokenizer; nothing of it may run."""
    (line,) = re.findall(r"^ *chktxt = .*$", LIST.read_text("utf-8"), re.MULTILINE)
    scope: dict[str, str] = {}
    exec(line.strip(), scope)  # the packaged converter's own text
    ids = AutoTokenizer.from_pretrained(model).encode(scope["chktxt"])
    digest = hashlib.sha256(str(ids).encode()).hexdigest()
    source = (
        f'raise SystemExit\n{line}\n        if chkhsh == "{digest}":\n            res = "own"\n'
    )
    (target / layout).parent.mkdir(parents=True, exist_ok=True)
    (target / "convert_hf_to_gguf.py").write_text("raise SystemExit\n", "utf-8")
    (target / layout).write_text(source, "utf-8")
    return str(target)


def test_tokenizer_that_is_not_listed_is_a_warning_at_the_source(llama: Path) -> None:
    problem = find(llama)
    assert problem is not None
    assert (problem.code, problem.severity) == ("model.unknown_pre_tokenizer", "warning")
    assert (problem.where.step, problem.where.field) == ("model", "source")


@pytest.mark.parametrize("layout", ["conversion/base.py", "convert_hf_to_gguf.py"])
def test_list_of_the_users_llama_cpp_counts(llama: Path, tmp_path: Path, layout: str) -> None:
    assert find(llama, folder_that_knows(tmp_path, llama, layout=layout)) is None


def test_list_in_an_unknown_form_is_no_warning(llama: Path, tmp_path: Path) -> None:
    (tmp_path / CONVERTER).write_text("from conversion import main\n", "utf-8")
    assert find(llama, str(tmp_path)) is None


def test_vocabulary_of_sentencepiece_needs_no_list(llama: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    (model / "tokenizer.model").write_bytes(b"")
    assert find(model) is None


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_converter_agrees(family: str, tmp_path: Path) -> None:
    model = tiny_model(family, tmp_path / "model")
    code = ""
    try:
        converter.convert(
            model, tmp_path / "v.gguf", "v", "", recorded_job()[0], vocabulary_only=True
        )
    except ProblemError as error:
        code = error.problems[0].code
    assert code in ("", "gguf.unknown_tokenizer")
    assert (find(model) is not None) is (code == "gguf.unknown_tokenizer")


def test_packaged_list_is_read(llama: Path) -> None:
    known = converter._read_known(LIST.parents[1], 0)
    assert known is not None
    text, hashes = known
    assert text.startswith("\n \n\n")
    assert hashes == set(re.findall(r'"([0-9a-f]{64})"', LIST.read_text("utf-8")))


@pytest.mark.slow  # runs the converter
@pytest.mark.parametrize("adds_bos", [True, False])
def test_file_tokenizes_like_a_folder_without_weights(adds_bos: bool, tmp_path: Path) -> None:
    folder = tiny_model("mistral", tmp_path / "mistral")
    (folder / "model.safetensors").unlink()
    job, _ = recorded_job()
    file = adapter_gguf.write_vocabulary(folder, tmp_path, "", job, adds_bos=adds_bos)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = ["[INST]Où est la gare? 🙂[/INST] There.</s>", "  a\n\nb "]
    ids = [tokenizer(prompt, add_special_tokens=adds_bos).input_ids for prompt in prompts]
    assert llama_cpp.tokenize_prompts(file, prompts) == ids
    assert llama_cpp.should_add_bos(file) is adds_bos
    template = gguf_header.read(file).values["tokenizer.chat_template"]
    assert template == tokenizer.get_chat_template()


#: Quantizations for models without experts, except those for models that were trained in them.
GENERAL = [name for name, facts in QUANTIZATIONS.items() if not facts.only_for]

#: Marks of tests with many dry runs.
THOROUGH = [pytest.mark.slow, pytest.mark.thorough]


@dataclass(frozen=True)
class Llama:
    """Dimensions of a model with the layers of a Llama."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False

    @property
    def keys(self) -> int:
        """Return the width of keys, and of values."""
        return self.width // self.heads * self.kv_heads

    def list_rows(self) -> dict[str, tuple[int, int]]:
        """Return outputs and inputs of each layer of a block, by its name in GGUF files."""
        return {
            "attn_q": (self.width, self.width),
            "attn_k": (self.keys, self.width),
            "attn_v": (self.keys, self.width),
            "attn_output": (self.width, self.width),
            "ffn_gate": (self.inner, self.width),
            "ffn_up": (self.inner, self.width),
            "ffn_down": (self.width, self.inner),
        }

    def inspect(self) -> ModelInspected:
        """Return what the inspector reports of such a model."""
        linear = tuple(
            LinearLayers(name=name, inputs=inputs, outputs=outputs, count=self.layers, reads=name)
            for name, (outputs, inputs) in self.list_rows().items()
        )
        embeddings = self.vocabulary * self.width * (1 if self.tied else 2)
        norms = self.width * (2 * self.layers + 1)
        return model_facts.model(
            parameters=embeddings + norms + sum(layers.parameters for layers in linear),
            layers=self.layers,
            hidden_size=self.width,
            vocabulary=self.vocabulary,
            shape=ModelShape(
                intermediate_size=self.inner,
                heads=self.heads,
                kv_heads=self.kv_heads,
                head_size=self.width // self.heads,
                norm_width=2 * self.width,
                tied=self.tied,
                linear=linear,
            ),
        )

    def write_outline(self, file: Path) -> Path:
        """Write the model's GGUF file with a sparse hole instead of weights, and no vocabulary."""
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_block_count(self.layers)
        writer.add_context_length(512)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.inner)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(self.vocabulary)
        shapes: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (self.vocabulary, self.width),
            "output_norm.weight": (self.width,),
        }
        if not self.tied:
            shapes["output.weight"] = (self.vocabulary, self.width)
        for block in range(self.layers):
            rows = self.list_rows() | {"attn_norm": (self.width,), "ffn_norm": (self.width,)}
            shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in rows.items()}
        size = 0
        for name, shape in shapes.items():
            kind = np.dtype(np.float32 if len(shape) == 1 else np.float16)
            length = int(np.prod(shape)) * kind.itemsize
            writer.add_tensor_info(name, shape, kind, length)
            size += length
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        with file.open("r+b") as opened:
            opened.truncate(-(-file.stat().st_size // 32) * 32 + size)
        return file


SMOLLM2_135M = Llama(576, 1536, 30, 9, 3, 49_152, tied=True)
LLAMA_2_7B = Llama(4096, 11_008, 32, 32, 32, 32_000)
QWEN2_7B = Llama(3584, 18_944, 28, 28, 4, 152_064)
LLAMA_3_8B = Llama(4096, 14_336, 32, 32, 8, 128_256)


def compute(model: Llama, names: list[Quantization], folder: Path) -> dict[Quantization, int]:
    """Return the bytes by the quantizer's dry run, without the vocabulary, which the outline lacks."""
    file, spec, job = model.write_outline(folder / "outline.gguf"), ExportSpec(), recorded_job()[0]
    computed: dict[Quantization, int] = {}
    for helped in (False, True):
        group = [name for name in names if should_use_imatrix(spec, name) is helped]
        if group:
            computed |= quantizer.estimate_sizes(file, group, job, imatrix=helped)
    return computed


@pytest.mark.parametrize(
    ("model", "names", "tolerance"),
    [
        pytest.param(SMOLLM2_135M, COMMON, 0.02, id="SmolLM2 135M"),
        pytest.param(LLAMA_2_7B, COMMON, 0.03, marks=pytest.mark.slow, id="Llama 2 7B"),
        pytest.param(SMOLLM2_135M, GENERAL, 0.05, marks=THOROUGH, id="SmolLM2 135M, all"),
        pytest.param(QWEN2_7B, COMMON, 0.03, marks=THOROUGH, id="Qwen2 7B"),
    ],
)
def test_estimate_is_close_to_the_quantizer(
    model: Llama, names: list[Quantization], tolerance: float, tmp_path: Path
) -> None:
    computed = compute(model, list(names), tmp_path)
    vocabulary = 35 * model.vocabulary
    estimated = {name: estimate_bytes(name, model.inspect()) - vocabulary for name in computed}
    assert set(computed) == set(names)
    assert estimated == {
        name: pytest.approx(size, rel=tolerance) for name, size in computed.items()
    }


@pytest.mark.slow
@pytest.mark.thorough
def test_bits_per_weight_are_those_of_llama_3_8b(tmp_path: Path) -> None:
    parameters = LLAMA_3_8B.inspect().parameters
    general = [name for name, facts in QUANTIZATIONS.items() if not facts.needs_experts]
    computed = compute(LLAMA_3_8B, general, tmp_path)
    bits = {name: 8 * size / parameters for name, size in computed.items()}
    assert bits == {name: pytest.approx(BITS_PER_WEIGHT[name], abs=0.006) for name in general}
