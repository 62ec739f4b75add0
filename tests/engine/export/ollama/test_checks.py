"""The chat template in a GGUF file is the training's own, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.ollama import checks
from tests.helpers import tiny_gguf

TRAINED = "{% for m in messages %}\r\n{{ m['content'] }} é\n{% endfor %}\n"


def check(embedded: str, folder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0})))
    tokenizer.chat_template = TRAINED
    file = tiny_gguf.write(folder / "pim.gguf", embedded)
    checks.require_trained_chat_template(tokenizer, file)


def test_equal_chat_template_is_accepted(tmp_path: Path) -> None:
    check(TRAINED, tmp_path)


@pytest.mark.parametrize(
    "embedded",
    [
        pytest.param(TRAINED + " ", id="trailing_blank"),
        pytest.param(TRAINED.replace("\r\n", "\n"), id="line_ends"),
        pytest.param("{{ messages }}", id="another"),
        pytest.param("", id="none"),
    ],
)
def test_other_chat_template_is_refused(embedded: str, tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        check(embedded, tmp_path)
    assert caught.value.problems[0].code == "export.other_chat_template"
