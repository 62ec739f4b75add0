"""Exit statuses and texts of proofs."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from lora_studio.cli import ollama, template
from lora_studio.core.messages import text
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.prompt_proof import (
    ProbeDifference,
    ProbeKind,
    PromptPath,
    PromptProof,
    TemplateDifference,
)
from lora_studio.core.templates.server.terms import DerivedTemplate

PROOF = PromptProof(
    by="server",
    version="0.34.2",
    path=PromptPath.CHAT_TEMPLATE,
    reason=text("the model has no TEMPLATE"),
    compared=30,
    equal=30,
    counted=9,
)
NEIGHBORS = ProbeDifference(kind=ProbeKind.NEIGHBORS, question="b", expected="a", actual="b")
OTHER = ProbeDifference(kind=ProbeKind.BLANKS, question="Hi ", expected="Hi <", actual="Hi<")


@pytest.mark.parametrize(
    ("proof", "settings", "status", "phrase"),
    [
        pytest.param({}, (), 0, "Verified by Ollama 0.34.2 on 30 conversations", id="proven"),
        pytest.param(
            {"equal": 29, "differences": (OTHER,)},
            (),
            1,
            "Differs for white space around a message: for “Hi ” it has 'Hi<' instead of 'Hi <'.",
            id="other prompt",
        ),
        pytest.param(
            {"equal": 29, "differences": (NEIGHBORS,)},
            (),
            4,
            "so it isn't known whether the model was trained on such conversations.",
            id="other prompt of a special kind",
        ),
        pytest.param({}, (text("a stop"),), 1, "Differs: a stop.", id="other setting"),
        pytest.param(
            {"counted": 0, "unasked": text("out of memory")},
            (),
            3,
            "It wasn't confirmed that it runs them: out of memory.",
            id="shown and not run",
        ),
        pytest.param({"by": "none"}, (), 3, "Predicted, not asked: Ollama 0.34.2", id="not asked"),
        pytest.param({"by": "counts"}, (), 3, "Predicted for Ollama 0.34.2", id="counts"),
    ],
)
def test_proof_of_a_model_has_status_and_reason(
    proof: dict[str, Any],
    settings: tuple[Any, ...],
    status: int,
    phrase: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = events.OllamaProven(
        host="h", name="pim", folder="f", proof=PROOF.model_copy(update=proof), settings=settings
    )
    monkeypatch.setattr(ollama, "ask", lambda *_: event)
    arguments = ["prove", "pim", "--model", "f"]
    result = CliRunner().invoke(ollama.app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == status
    assert phrase in result.stdout
    as_json = CliRunner().invoke(ollama.app, [*arguments, "--json"])
    assert as_json.exit_code == status


DERIVED = DerivedTemplate(template="{{ .Prompt }}", proven=True, conversations=200)
TOOLS = ProbeDifference(kind=ProbeKind.TOOLS, question="Hi", expected="a", actual="b")


@pytest.mark.parametrize(
    ("fields", "status", "phrase"),
    [
        pytest.param({"program": "p"}, 0, "Verified by llama-server on 30 conv", id="proven"),
        pytest.param(
            {
                "differences": (
                    TemplateDifference(
                        by="llama_server",
                        difference=OTHER,
                        causes=(text("it trims"),),
                        line=2,
                        source="{{ x }}",
                    ),
                )
            },
            1,
            "Line 2 of the chat template: {{ x }}",
            id="plain difference",
        ),
        pytest.param(
            {"differences": (TemplateDifference(by="template", difference=TOOLS),)},
            0,
            "The TEMPLATE differs for tools",
            id="difference with tools",
        ),
        pytest.param({"unasked": text("no GGUF")}, 3, "wasn't asked: no GGUF.", id="not asked"),
        pytest.param({"has_other_template": True}, 1, "another chat template", id="other file"),
        pytest.param(
            {"derived": DerivedTemplate(reason=text("it counts"))},
            1,
            "couldn't be verified: it counts",
            id="no TEMPLATE",
        ),
    ],
)
def test_proof_of_a_chat_template_has_status_and_reason(
    fields: dict[str, Any], status: int, phrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base: dict[str, Any] = {"folder": "f", "conversations": 30, "derived": DERIVED}
    event = events.TemplateProven(**base | fields)
    monkeypatch.setattr(template, "ask", lambda *_: event)
    result = CliRunner().invoke(template.app, ["prove", "f"], env={"COLUMNS": "300"})
    assert result.exit_code == status
    assert phrase in result.stdout
    was_equal = not event.unasked and all(one.by != "llama_server" for one in event.differences)
    assert ("Verified by llama-server" in result.stdout) is was_equal
    assert CliRunner().invoke(template.app, ["prove", "f", "--json"]).exit_code == status
