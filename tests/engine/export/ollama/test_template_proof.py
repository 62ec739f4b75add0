"""Chat templates rendered for users, and compared with their TEMPLATE and with llama-server."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands
from lora_studio.core.templates.chat_template import TemplateSource
from lora_studio.core.templates.server.prompt_proof import ProbeKind
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.export.ollama import template_proof, template_sandbox
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("proof") / "llama3")


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


HELLO = {"role": "user", "content": "Hello"}


def test_conversation_is_rendered_with_token_ids(folder: Path) -> None:
    command = commands.RenderChat(path=str(folder), messages=(HELLO,))
    (rendering,) = template_proof.render(command).renderings
    assert rendering.text.startswith("<|begin_of_text|><|start_header_id|>system")
    assert rendering.text.endswith(
        "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert rendering.ids is not None
    assert len(rendering.ids) > 10


def test_probe_conversations_are_rendered_by_default(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "utf-8")
    renderings = template_proof.render(commands.RenderChat(path=str(file))).renderings
    assert {one.probe for one in renderings} >= {ProbeKind.PLAIN, ProbeKind.TURNS}
    assert renderings[0].text == "user: Hello\n"
    assert renderings[0].ids is None


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{% for m in messages %}", id="does not compile"),
        pytest.param("{{ raise_exception('No.') }}", id="refuses"),
    ],
)
def test_template_that_cannot_be_rendered_is_a_problem(source: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(source, "utf-8")
    with pytest.raises(ProblemError) as caught:
        template_proof.render(commands.RenderChat(path=str(file), messages=(HELLO,)))
    assert caught.value.problems[0].code == "template.chat_refused"


@pytest.mark.slow  # derives a TEMPLATE
@pytest.mark.usefixtures("no_server")
def test_missing_llama_server_is_named_and_nothing_proven(folder: Path) -> None:
    job, _ = recorded_job()
    proven = template_proof.prove_template(commands.ProveTemplate(path=str(folder)), job)
    assert proven.derived.proven
    assert proven.outcome == "not_proven"
    assert "no llama-server on PATH" in str(proven.unasked)
    # A TEMPLATE gets neighbors of one role as one message.
    assert {one.difference.kind for one in proven.differences} == {ProbeKind.NEIGHBORS}
    assert all(one.by == "template" and one.line for one in proven.differences)


def test_path_without_llama_server_is_refused(folder: Path, tmp_path: Path) -> None:
    job, _ = recorded_job()
    command = commands.ProveTemplate(path=str(folder), llama_server=str(tmp_path))
    with pytest.raises(ProblemError) as caught:
        template_proof.prove_template(command, job)
    assert caught.value.problems[0].code in ("template.no_llama_server", "export.code_not_trusted")


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
