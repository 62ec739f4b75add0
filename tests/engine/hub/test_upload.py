"""Uploads: the files in the repository, the model card, and a token that never leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.export import What
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import model_card
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.model_card import CardFacts
from lora_studio.engine import jobs
from lora_studio.engine.hub.client import download_snapshot
from lora_studio.engine.hub.datasets import read_front_matter
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers.hub_uploads import TOKEN, Uploads, upload_server


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
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
        # Xet uploads need a second server; the test server supports the older LFS protocol.
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
    metadata: dict[str, object] = yaml.safe_load(block)
    return metadata


def test_adapter_is_uploaded_whole_and_private_with_a_card(
    exported_run: RunFolder, hub: Uploads
) -> None:
    recorder = push(exported_run)
    held = hub.repositories["someone/harbour"]
    assert held.private
    names = {file.name for file in exported_run.adapter.iterdir()} | {"README.md"}
    assert held.files.keys() == names
    weights = "adapter_model.safetensors"
    assert held.files[weights] == (exported_run.adapter / weights).read_bytes()
    (pushed,) = recorder.of(events.Pushed)
    assert pushed.url == f"{hub.address}/someone/harbour"
    assert pushed.files == len(names)
    assert held.messages == ["Upload adapter by LoRA Studio"]


def test_gguf_repository_holds_only_gguf_files_and_card(
    exported_run: RunFolder, hub: Uploads
) -> None:
    push(exported_run, "someone/harbour-gguf", what="gguf")
    held = hub.repositories["someone/harbour-gguf"]
    assert held.files.keys() == {"Harbour-Q4_K_M.gguf", "README.md"}
    card = held.files["README.md"].decode()
    assert front_matter(card)["library_name"] == "gguf"
    assert "| Harbour-Q4_K_M.gguf | 2" in card


def test_upload_contains_no_local_paths(exported_run: RunFolder, hub: Uploads) -> None:
    push(exported_run)
    held = hub.repositories["someone/harbour"].files
    config = json.loads(held["adapter_config.json"])
    assert config["base_model_name_or_path"] == "base"
    for name in ("README.md", "adapter_config.json"):
        assert str(exported_run.path.parents[1]) not in held[name].decode()


def test_unchanged_files_are_not_uploaded_again(exported_run: RunFolder, hub: Uploads) -> None:
    push(exported_run)
    sent = [line for line in hub.requests if line.startswith("PUT")]
    assert len(sent) == 1
    push(exported_run)
    assert [line for line in hub.requests if line.startswith("PUT")] == sent


def test_public_repository_is_used_with_a_warning(exported_run: RunFolder, hub: Uploads) -> None:
    push(exported_run, private=False)
    assert not hub.repositories["someone/harbour"].private
    recorder = push(exported_run)
    (warning,) = recorder.of(events.Warned)
    assert warning.problem.code == "hub.public"


def test_missing_token_is_refused_without_a_request(
    exported_run: RunFolder, hub: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_TOKEN_PATH", str(exported_run.path / "no token")
    )
    assert refused(exported_run).code == "hub.no_token"
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code"), [(403, "hub.not_allowed"), (401, "hub.not_allowed"), (500, "hub.failed")]
)
def test_hub_refusal_is_reported_without_the_token(
    status: int, code: str, exported_run: RunFolder, hub: Uploads
) -> None:
    hub.refuse = status
    problem = refused(exported_run)
    assert problem.code == code
    assert TOKEN not in problem.model_dump_json()


def test_invalid_repository_name_is_refused(exported_run: RunFolder, hub: Uploads) -> None:
    assert refused(exported_run, "a/b/c").code == "hub.bad_name"


def test_unreachable_hub_is_reported(
    exported_run: RunFolder, hub: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused(exported_run).code == "hub.interrupted"


def test_missing_merged_model_is_refused(exported_run: RunFolder, hub: Uploads) -> None:
    problem = refused(exported_run, what="merged")
    assert problem.code == "hub.no_merged"
    assert str(problem.remedy) == "Merge first."


def test_token_appears_in_no_event_or_output(
    exported_run: RunFolder, hub: Uploads, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = push(exported_run)
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


def test_card_metadata_is_what_the_hub_reads(exported_run: RunFolder) -> None:
    metadata = front_matter(model_card.build_card("adapter", "me/harbour", facts(exported_run)))
    assert metadata == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": ["maker/base-1B"],
        "base_model_relation": "adapter",
        "license": "apache-2.0",
        "datasets": ["maker/rows"],
        "tags": ["lora", "lora-studio"],
    }


def test_card_describes_data_parameters_curve_and_self_test(exported_run: RunFolder) -> None:
    card = model_card.build_card("merged", "me/harbour", facts(exported_run))
    assert "| Data | maker/rows, own.jsonl |" in card
    assert "/home/me" not in card
    assert "| Rows trained on | 90 |" in card
    assert "| Trainable parameters | 1 M of 1 B |" in card
    assert "2.9000 at step 1, 1.0000 at the end, best 1.0000 at step 20." in card
    assert card.count("| 1") < 20  # a short table, not every step
    assert "| merged | 99.5 % | 0.0001 | passed |" in card
    assert "is licensed under: apache-2.0." in card
    assert 'AutoModelForCausalLM.from_pretrained("me/harbour")' in card


@pytest.mark.parametrize("what", ["adapter", "merged"])
def test_card_uses_an_attention_that_caps_scores(exported_run: RunFolder, what: What) -> None:
    capped = replace(facts(exported_run), has_capped_scores=True)
    card = model_card.build_card(what, "me/harbour", capped)
    assert 'from_pretrained("me/harbour", attn_implementation="eager")' in card


def test_unknown_license_is_stated(exported_run: RunFolder) -> None:
    card = model_card.build_card(
        "gguf", "me/harbour", replace(facts(exported_run), license_name=None)
    )
    assert front_matter(card)["license"] == "other"
    assert "don't name a license" in card


def test_local_base_is_named_without_its_folder(exported_run: RunFolder, tmp_path: Path) -> None:
    plain = CardFacts(exported_run.load_project(), {}, (), {})
    card = model_card.build_card("adapter", "me/harbour", plain)
    assert "base_model" not in front_matter(card)
    assert str(exported_run.path.parents[1]) not in card


#: Nine aliases in nine lists in nine lists …: gigabytes once they are expanded.
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("---\nlicense: mit\ntags: [a, b]\n---\n# Card", {"license": "mit", "tags": ["a", "b"]}, id="usual"),
        pytest.param("# Card", {}, id="none"),
        pytest.param("---\r\na: b --- c\r\nd: e\r\n---\r\n", {"a": "b --- c", "d": "e"}, id="dashes in a value"),
        pytest.param("text before\n---\nlicense: mit\n---\n", {}, id="not at the top"),
        pytest.param("---\nlicense: mit\n", {}, id="without an end"),
        pytest.param("---\n- a\n---\n", {}, id="a list"),
        pytest.param("---\ndate: 2024-02-30\n---\n", {"date": "2024-02-30"}, id="impossible date"),
        pytest.param("---\na: [\n---\n", {}, id="broken"),
        pytest.param(f"---\n{BOMB}---\n", {}, id="aliases"),
        pytest.param(f"---\na: {'[' * 2_000}\n---\n", {}, id="deep"),
        pytest.param("---\na: !!python/object/apply:os.system [true]\n---\n", {"a": ["true"]}, id="object"),
        pytest.param(f"---\na: {'x' * 2_000_000}\n---\n", {}, id="long"),
    ],
)  # fmt: skip
def test_fields_of_a_card(tmp_path: Path, text: str, fields: dict[str, object]) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_front_matter(tmp_path / "README.md") == fields


def test_leftovers_of_completed_files_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "5", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("a1", "a1.0011aabb.incomplete", "b2.22334455.incomplete"):
        (blobs / name).write_text("x")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    assert download_snapshot("tiny/llama") == snapshot
    assert sorted(file.name for file in blobs.iterdir()) == ["a1", "b2.22334455.incomplete"]
