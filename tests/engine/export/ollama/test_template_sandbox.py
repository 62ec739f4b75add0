"""Chat templates and Ollama TEMPLATEs that never end or fill the memory."""

from __future__ import annotations

from datetime import date

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.chat_template import TemplateSource
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.export.ollama import template_sandbox
from tests.helpers.runs.recorded_job import recorded_job

LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLES = "{% set n = namespace(x='x' * 99) %}{% for _ in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"


@pytest.mark.slow
def test_looping_chat_template_is_stopped_at_its_time_limit() -> None:
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match=r"it ran for more than [14] s"):
        template_sandbox.derive(TemplateSource(LOOPS), job, seconds=1)


@pytest.mark.slow
def test_memory_filling_chat_template_is_not_proven() -> None:
    job, _ = recorded_job()
    result = template_sandbox.derive(TemplateSource(DOUBLES), job).derived
    assert result is not None
    assert not result.proven
    assert "rejects a single user message" in str(result.reason)


def test_self_recursive_template_is_stopped() -> None:
    job, _ = recorded_job()
    source = '{{define "a"}}{{template "a"}}{{end}}{{template "a"}}'
    with pytest.raises(ProblemError) as caught:
        template_sandbox.render(
            source, RenderRequest(prompt="Hi"), date(2026, 1, 1), job, seconds=1
        )
    assert caught.value.problems[0].code in ("template.refused", "template.limit")
