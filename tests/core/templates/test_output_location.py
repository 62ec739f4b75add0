"""The line of a chat template that writes a part of a prompt."""

from __future__ import annotations

import pytest

from lora_studio.core.templates.chat_template import ChatTemplate, find_line

LINES = """\
{{- 'start' }}
{%- for message in messages %}
{{- '<' + message.role + '>' }}
{{- message.content | upper }}
{%- endfor %}
{%- if add_generation_prompt %}
answer:
{%- endif %}"""
TALK = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]


@pytest.mark.parametrize(
    ("part", "line"), [("start", 1), ("<user>", 3), ("ONE", 4), ("TWO", 4), ("answer:", 7)]
)
def test_line_of_each_part_is_located(part: str, line: int) -> None:
    template = ChatTemplate(LINES)
    prompt = template.render(TALK)
    assert abs(find_line(template, prompt.index(part) + 1, TALK) - line) <= (part == "answer:")


def test_template_that_reads_its_output_has_no_line() -> None:
    source = "{% set x %} {{ messages[0].content }}{% endset %}{{ x | length }}"
    assert find_line(ChatTemplate(source), 0, TALK) == 0
