"""What llama.cpp's converter knows of a tokenizer."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lora_studio.core.llama_cpp import CONVERTER
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.engine.export.gguf import adapter_gguf, converter
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
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
