"""Uploads: what arrives in the repository, the card, and that the token shows nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import model_card
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.model_card import CardFacts
from lora_studio.engine import jobs
from tests.helpers.hub_uploads import TOKEN, Uploads, upload_server
from tests.helpers.recorded_job import Recorder, recorded_job
from tests.helpers.tiny_run import tiny_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = tiny_run("llama3", tmp_path_factory.mktemp("run"))
    run.gguf.mkdir()
    (run.gguf / "Harbour-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(2000))
    (run.gguf / "notes.txt").write_text("not for others", "utf-8")
    return run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    from huggingface_hub import constants

    with upload_server() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        # Its newer way of sending needs a store of its own behind the hub; this is the other one.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def push(run: RunFolder, repository: str = "someone/harbour", **settings: object) -> Recorder:
    job, recorder = recorded_job()
    command = commands.Push.model_validate(
        {"run": str(run.path), "repository": repository, **settings}
    )
    jobs.run_command(command, job)
    return recorder


def refused(run: RunFolder, repository: str = "someone/harbour", **settings: object) -> Problem:
    with pytest.raises(ProblemError) as caught:
        push(run, repository, **settings)
    return caught.value.problems[0]


def front_matter(text: str) -> dict[str, object]:
    _, block, _ = text.split("---\n", 2)
    found: dict[str, object] = yaml.safe_load(block)
    return found


def test_an_adapter_arrives_whole_and_private_with_a_card(made: RunFolder, hub: Uploads) -> None:
    recorder = push(made)
    held = hub.repositories["someone/harbour"]
    assert held.private
    names = {file.name for file in made.adapter.iterdir()} | {"README.md"}
    assert held.files.keys() == names
    weights = "adapter_model.safetensors"
    assert held.files[weights] == (made.adapter / weights).read_bytes()
    (pushed,) = recorder.of(events.Pushed)
    assert pushed.url == f"{hub.address}/someone/harbour"
    assert pushed.files == len(names)
    assert held.messages == ["Upload adapter by LoRA Studio"]


def test_a_gguf_repository_holds_the_files_and_nothing_else(made: RunFolder, hub: Uploads) -> None:
    push(made, "someone/harbour-gguf", what="gguf")
    held = hub.repositories["someone/harbour-gguf"]
    assert held.files.keys() == {"Harbour-Q4_K_M.gguf", "README.md"}
    card = held.files["README.md"].decode()
    assert front_matter(card)["library_name"] == "gguf"
    assert "| Harbour-Q4_K_M.gguf | 2" in card


def test_nothing_of_this_computer_is_uploaded(made: RunFolder, hub: Uploads) -> None:
    push(made)
    held = hub.repositories["someone/harbour"].files
    config = json.loads(held["adapter_config.json"])
    assert config["base_model_name_or_path"] == "base"
    for name in ("README.md", "adapter_config.json"):
        assert str(made.path.parents[1]) not in held[name].decode()


def test_what_is_there_already_is_not_sent_again(made: RunFolder, hub: Uploads) -> None:
    push(made)
    sent = [line for line in hub.asked if line.startswith("PUT")]
    assert len(sent) == 1
    push(made)
    assert [line for line in hub.asked if line.startswith("PUT")] == sent


def test_a_public_repository_is_warned_of_and_used(made: RunFolder, hub: Uploads) -> None:
    push(made, private=False)
    assert not hub.repositories["someone/harbour"].private
    recorder = push(made)
    (warning,) = recorder.of(events.Warned)
    assert warning.problem.code == "hub.public"


def test_without_a_token_nothing_is_asked_of_the_hub(
    made: RunFolder, hub: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(made.path / "no token"))
    assert refused(made).code == "hub.no_token"
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "code"), [(403, "hub.not_allowed"), (401, "hub.not_allowed"), (500, "hub.failed")]
)
def test_what_the_hub_refuses_is_a_problem_in_plain_words(
    status: int, code: str, made: RunFolder, hub: Uploads
) -> None:
    hub.refuse = status
    problem = refused(made)
    assert problem.code == code
    assert TOKEN not in problem.model_dump_json()


def test_a_name_that_cannot_be_one_is_refused(made: RunFolder, hub: Uploads) -> None:
    assert refused(made, "a/b/c").code == "hub.bad_name"


def test_a_hub_that_cannot_be_reached_is_a_problem(
    made: RunFolder, hub: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused(made).code == "hub.interrupted"


def test_what_has_not_been_made_cannot_be_uploaded(made: RunFolder, hub: Uploads) -> None:
    problem = refused(made, what="merged")
    assert problem.code == "hub.no_merged"
    assert str(problem.remedy) == "Merge first."


def test_the_token_is_in_no_event(
    made: RunFolder, hub: Uploads, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = push(made)
    assert all(TOKEN not in events.to_line(event) for event in recorder.events)
    out, err = capfd.readouterr()
    assert TOKEN not in out + err


# --- the card ---------------------------------------------------------------------------------


def facts(run: RunFolder) -> CardFacts:
    project = run.load_project()
    project = project.model_copy(
        update={
            "model": project.model.model_copy(update={"source": "maker/base-1B"}),
            "dataset": project.dataset.model_copy(
                update={
                    "sources": (
                        DataSource(path="maker/rows"),
                        DataSource(path="/home/me/own.jsonl"),
                    )
                }
            ),
        }
    )
    stage = {"stage": "merged", "top1": 0.995, "kl": 0.0001, "passed": True, "verdict": "passed"}
    return CardFacts(
        project=project,
        manifest={
            "dataset": {"rows_train": 90, "rows_validation": 10},
            "parameters": {"trainable": 1_000_000, "total": 1_000_000_000, "targets": ["q_proj"]},
        },
        events=[events.Evaluated(step=step, loss=3 - step / 10) for step in range(1, 21)],
        selftest={"conversations": 32, "positions": 1000, "stages": [stage]},
        license_name="apache-2.0",
    )


def test_a_card_says_what_the_hub_reads(made: RunFolder) -> None:
    found = front_matter(model_card.card("adapter", "me/harbour", facts(made)))
    assert found == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": ["maker/base-1B"],
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "datasets": ["maker/rows"],
        "tags": ["lora", "lora-studio"],
    }


def test_a_card_tells_of_data_parameters_curve_and_self_test(made: RunFolder) -> None:
    card = model_card.card("merged", "me/harbour", facts(made))
    assert "| Data | maker/rows, own.jsonl |" in card
    assert "/home/me" not in card
    assert "| Rows trained on | 90 |" in card
    assert "| Trainable parameters | 1 M of 1 B |" in card
    assert "2.9000 at step 1, 1.0000 at the end, best 1.0000 at step 20." in card
    assert card.count("| 1") < 20  # a table that is read, not a log
    assert "| merged | 99.5 % | 0.0001 | passed |" in card
    assert "is licensed under: apache-2.0." in card
    assert 'AutoModelForCausalLM.from_pretrained("me/harbour")' in card


def test_an_unknown_licence_is_said_to_be_unknown(made: RunFolder) -> None:
    from dataclasses import replace

    card = model_card.card("gguf", "me/harbour", replace(facts(made), license_name=None))
    assert front_matter(card)["license"] == "other"
    assert "don't name a license" in card


def test_a_local_base_is_named_without_its_folder(made: RunFolder, tmp_path: Path) -> None:
    plain = CardFacts(made.load_project(), {}, (), {})
    card = model_card.card("adapter", "me/harbour", plain)
    assert "base_model" not in front_matter(card)
    assert str(made.path.parents[1]) not in card
