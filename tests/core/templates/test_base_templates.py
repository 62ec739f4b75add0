"""The chat templates for base models: each has a proven Ollama template."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.system import paths
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.ollama_template import derive

FOLDER = paths.get_resources_folder() / "chat_templates"
TALK = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.jinja")), ids=lambda file: file.stem)
def test_ollama_template_of_every_base_template_is_proven(file: Path) -> None:
    source = file.read_text("utf-8").replace("set begin = ''", "set begin = '<s>'")
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    derivation = derive(template.render, bos="<s>", server_adds_bos=True, eos=["</s>"])
    assert (derivation.proven, derivation.first_difference, str(derivation.reason)) == (
        True,
        None,
        "",
    )
    assert derivation.system == "used"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.jinja")), ids=lambda file: file.stem)
def test_answered_conversation_starts_with_its_prompt(file: Path) -> None:
    template = ChatTemplate(file.read_text("utf-8"))
    prompt = template.render(TALK[:1], add_generation_prompt=True)
    assert template.render(TALK, add_generation_prompt=False).startswith(prompt)
