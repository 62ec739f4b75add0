"""A GGUF file with the vocabulary alone tokenizes prompts as the model folder does."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lora_studio.engine.export.gguf import adapter_gguf
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.recorded_job import recorded_job


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
