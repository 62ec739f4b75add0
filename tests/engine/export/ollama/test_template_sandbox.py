"""Chat templates and TEMPLATEs that would go on for ever, or fill the memory."""

from __future__ import annotations

from datetime import date

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.core.templates.source import TemplateSource
from lora_studio.engine.export.ollama import template_sandbox
from tests.helpers.recorded_job import recorded_job

LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLES = "{% set n = namespace(x='x' * 99) %}{% for _ in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"


def test_a_chat_template_that_loops_is_ended_and_the_time_it_took_is_told() -> None:
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match=r"it ran for more than [14] s"):
        template_sandbox.derive(TemplateSource(LOOPS), job, seconds=1)


def test_a_chat_template_that_fills_the_memory_is_refused() -> None:
    job, _ = recorded_job()
    found = template_sandbox.derive(TemplateSource(DOUBLES), job).derived
    assert found is not None
    assert not found.proven
    assert "rejects a single user message" in str(found.reason)


def test_a_template_that_calls_itself_for_ever_is_ended() -> None:
    job, _ = recorded_job()
    source = '{{define "a"}}{{template "a"}}{{end}}{{template "a"}}'
    with pytest.raises(ProblemError) as caught:
        template_sandbox.render(
            source, RenderRequest(prompt="Hi"), date(2026, 1, 1), job, seconds=1
        )
    assert caught.value.problems[0].code in ("template.refused", "template.limit")
