"""Only a file that passed is created; it has the chat template of training, a Gemma 4 model a name that fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lora_studio.core.export import DIRECT_SOURCE, MERGED_SOURCE
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder, selftest_report
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.ollama_template import derive_from
from lora_studio.core.templates.proof import ConversationKind
from lora_studio.engine.export.ollama import checks
from tests.helpers.models import tiny_gguf

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


def test_name_of_another_gemma4_size_has_a_fix() -> None:
    problem = checks.check_gemma4_name("pim:31b", "gemma4", 8_000_000_000)
    assert problem is not None
    assert problem.code == "ollama.misleading_name"
    assert "Create it as pim:e4b" in str(problem.remedy)
    assert problem.fix is not None
    assert problem.fix.changes == (("export", "ollama_name", "pim:e4b"),)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        pytest.param("pim:e4b", "gemma4", id="right_size"),
        pytest.param("pim", "gemma4", id="no_size"),
        pytest.param("pim:31b", "llama", id="other_architecture"),
    ],
)
def test_fitting_name_has_no_problem(name: str, architecture: str) -> None:
    assert checks.check_gemma4_name(name, architecture, 8_000_000_000) is None


@pytest.mark.parametrize(
    ("source", "stages", "code"),
    [
        pytest.param(DIRECT_SOURCE, {"merged": False, "Q8_0": True}, "", id="direct"),
        pytest.param(
            MERGED_SOURCE, {"merged": False, "Q8_0": True}, "ollama.failed_selftest", id="merged"
        ),
        pytest.param(DIRECT_SOURCE, {"merged": False}, "ollama.untested", id="direct, untested"),
        pytest.param(
            DIRECT_SOURCE,
            {"merged": False, "Q8_0": False},
            "ollama.failed_selftest",
            id="both failed",
        ),
        pytest.param(
            DIRECT_SOURCE,
            {"merged": False, "converted": False, "Q8_0": True},
            "ollama.failed_selftest",
            id="direct, converted failed",
        ),
    ],
)
def test_file_must_pass_with_all_it_was_made_from(
    source: str, stages: dict[str, bool], code: str, tmp_path: Path
) -> None:
    run = folder.create_run(tmp_path / "runs", Project(name="Pim"), tmp_path)
    run.update_manifest(gguf={"from": source, "files": {"Q8_0": {"from": source}}})
    report: dict[str, Any] = {
        "stages": [
            {"stage": stage, "passed": passed, "tokens_equal": passed}
            for stage, passed in stages.items()
        ]
    }
    selftest_report.write(run, report)
    if not code:
        checks.require_passing_selftest(run, "Q8_0", anyway=False)
        return
    with pytest.raises(ProblemError) as caught:
        checks.require_passing_selftest(run, "Q8_0", anyway=True)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert "lora-studio" not in str(problem.remedy), "the window shows it too"


#: Users and answers in turn; every other role is written as it is.
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"
TALKS: dict[str, list[dict[str, Any]]] = {
    "plain": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    "row": [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "there"},
        {"role": "assistant", "content": "Hello"},
    ],
}


def find_differing(names: list[str], where: Path) -> Problem | None:
    run = folder.RunFolder(where)
    lines = [json.dumps({"messages": TALKS[name]}) + "\n" for name in names]
    run.heldout_file.write_text("".join(lines), "utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0})))
    tokenizer.chat_template = PLAIN
    file = tiny_gguf.write(where / "pim.gguf", PLAIN)
    return checks.find_differing_rows(run, tokenizer, file, derive_from(ChatTemplate(PLAIN)))


def test_data_that_the_template_renders_otherwise_is_a_warning(tmp_path: Path) -> None:
    problem = find_differing(["plain", "row", "plain"], tmp_path)
    assert problem is not None
    assert problem.code == "export.template_loses_data"
    assert (problem.what.values["differing"], problem.what.values["rows"]) == (1, 3)
    assert problem.what.values["kinds"] == ConversationKind.USER_ROW.description


def test_data_that_the_template_renders_equally_is_no_problem(tmp_path: Path) -> None:
    assert find_differing(["plain", "plain"], tmp_path) is None
