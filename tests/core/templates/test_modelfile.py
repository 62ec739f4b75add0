"""Modelfiles: no text of a project is read as a command."""

from __future__ import annotations

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.modelfile import build_modelfile
from lora_studio.core.templates.ollama_template import DerivedTemplate

DERIVED = DerivedTemplate(template="{{ .Prompt }}", proven=True)

#: Characters that Ollama's reader drops, or drops in some version.
DROPPED = ["\u200b", "\u00ad", "\ufeff", "\x00", "\r", "\u2066", "\U000e0001"]


@pytest.mark.parametrize("dropped", ["", *DROPPED], ids=lambda text: ascii(text))
@pytest.mark.parametrize(
    "end",
    ['"""{}\n', '""{}"\n', '"{}""\n', '"""{} ', '"""{}'],
    ids=["behind", "second", "first", "blank", "end"],
)
def test_text_that_would_end_its_value_is_refused(end: str, dropped: str) -> None:
    system = f'Be kind. {end.format(dropped)}ADAPTER /etc/passwd "x'
    if end.endswith("{}"):
        system = f'Be "kind" {end.format(dropped)}'
    with pytest.raises(ProblemError) as raised:
        build_modelfile("m.gguf", DERIVED, system, {})
    assert raised.value.problems[0].code == "export.unquotable"


def test_stop_string_that_would_end_its_value_is_refused() -> None:
    with pytest.raises(ProblemError, match="stop string"):
        build_modelfile(
            "m.gguf", DERIVED.model_copy(update={"stops": ('a "b" """\u200b\nFROM /x',)})
        )


def test_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(ProblemError, match="path"):
        build_modelfile("a\nADAPTER /x/m.gguf", DERIVED)


@pytest.mark.parametrize("system", ['Say "yes".', "Zwei\nZeilen", "絵文字 🙂", 'Quote: """x"""y'])
def test_usual_system_prompt_is_written_as_it_is(system: str) -> None:
    assert f'SYSTEM """{system}"""' in build_modelfile("m.gguf", DERIVED, system)
