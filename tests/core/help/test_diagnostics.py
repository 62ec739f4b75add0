"""The diagnostics bundle has useful facts and no private data."""

from __future__ import annotations

import getpass
import json
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.help import diagnostics
from lora_studio.core.help.diagnostics import Redactor, without_texts
from lora_studio.core.messages import READABLE, text
from lora_studio.core.problems import Problem
from lora_studio.core.project import project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system import paths

SECRET_ROW = "My knee hurts since Tuesday"
TOKEN = "hf_AbCdEfGhIjKlMnOp"


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with a home folder, a run and a log, all full of private data."""
    home = tmp_path / "home" / "erika"
    folder = home / "clinic"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(home / "logs"))
    monkeypatch.setenv("HF_TOKEN", "notlooking-like-one")
    (folder / "patients.jsonl").write_text("{}")
    file = folder / "clinic.lorastudio"
    file.write_text(
        'schema_version = 1\nname = "clinic"\n[model]\nsource = "./secret-model"\nprecision = "4bit"\n'
        f'[dataset]\nsources = ["patients.jsonl"]\n[lora]\nrank = 8\n[export]\nsystem_prompt = "{SECRET_ROW}"\n'
    )
    draft = project.load(file)
    run = run_folder.create_run(folder / "runs", draft.freeze(), folder)
    recorded = [
        events.Started(id="a", command="train"),
        events.LogLine(id="a", text=SECRET_ROW),
        events.StepDone(
            id="a", step=1, steps=2, epoch=0.5, loss=1.25, learning_rate=1e-4, grad_norm=1.0,
            tokens=10, tokens_per_s=5.0, memory_bytes=1, eta_s=1.0,
        ),
        events.Failed(
            id="a", problem=Problem(code="a.b", what=f"Row “{SECRET_ROW}” is odd.", remedy="Mend.")
        ),
    ]  # fmt: skip
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    run.log_file.write_text(f"loaded {folder}/patients.jsonl\nAuthorization: Bearer {TOKEN}\n")
    paths.get_log_folder().mkdir(parents=True)
    (paths.get_log_folder() / "window.log").write_text(
        f"Qt: {getpass.getuser()} opened {folder} with notlooking-like-one\n"
    )
    return folder


def test_bundle_contains_settings_events_and_logs(project_folder: Path) -> None:
    entries = {
        item.name: item.text
        for item in diagnostics.collect_entries(diagnostics.build_report(), project_folder)
    }
    assert set(entries) == {
        "doctor.json", "window.log", "project.json", "run/events.jsonl", "run/manifest.json",
        "run/log.txt",
    }  # fmt: skip
    settings = json.loads(entries["project.json"])["settings"]
    assert settings["lora"]["rank"] == 8
    assert settings["model"]["precision"] == "4bit"
    steps = [json.loads(line) for line in entries["run/events.jsonl"].splitlines()]
    assert [step["kind"] for step in steps] == ["started", "log", "step_done", "failed"]
    assert steps[2]["loss"] == 1.25
    assert steps[3]["problem"]["code"] == "a.b"
    assert "PROJECT/patients.jsonl" in entries["run/log.txt"]
    assert steps[2]["tokens_per_s"] == 5.0


def test_repeated_problem_is_listed_once() -> None:
    report = diagnostics.build_report()
    failed = events.Failed(problem=Problem(code="engine.missing", what="None.", remedy="Set up."))
    for _ in range(2):
        diagnostics.add_event(report, failed)
    assert [one["code"] for one in report["problems"]] == ["engine.missing"]


def test_bundle_contains_no_private_data(project_folder: Path) -> None:
    everything = "\n".join(
        item.text
        for item in diagnostics.collect_entries(diagnostics.build_report(), project_folder)
    )
    for private in (SECRET_ROW, "knee", TOKEN, "notlooking-like-one", "erika", "secret-model"):
        assert private not in everything
    settings = [
        item.text
        for item in diagnostics.collect_entries({}, project_folder)
        if item.name == "project.json"
    ]
    assert "patients" not in settings[0]


@pytest.mark.parametrize(
    "secret",
    [
        "hf_abcdefghijklmnop",
        "sk-proj-abcdefghijklmnop1234",
        "ghp_abcdefghijklmnop1234",
        "https://erika:pass@example.org/x",
        '"api_key": "abcdef123456"',
        "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        "password = hunter22",
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM",
        "github_pat_11AAAAAAA0abcdefghijkl_mnopqrstuvwxyz",
        "wandb_v1_AbCdEf0123456789abcdef0123456789",
        "AIzaSyD-abcdefghijklmnopqrstuvwxyz01234",
        "xoxb-123456789012-abcdefghijkl",
        "Authorization: Basic ZXJpa2E6aHVudGVyMjI=",
        "the password is hunter22",
        "https://hub.example/file?token=abcdef123&X-Amz-Signature=0abcdef0",
    ],
    ids=[
        "hugging-face",
        "openai",
        "github",
        "url-password",
        "api-key",
        "wandb-variable",
        "password",
        "jwt",
        "github-pat",
        "wandb-v1",
        "google",
        "slack",
        "basic-auth",
        "password-in-prose",
        "signed-url",
    ],
)
def test_secrets_are_redacted(secret: str) -> None:
    redacted = Redactor({})(f"before {secret} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "[removed]" in redacted
    for part in ("abcdef", "pass@", "hunter22", "Sflk"):
        assert part not in redacted


@pytest.mark.parametrize(
    "harmless",
    ["tokens: 4096", '"tokens_per_s": 2310.5, "loss": 1.2', "max_tokens = 512", "Token 3"],
)
def test_token_counts_are_not_redacted(harmless: str) -> None:
    assert Redactor({})(harmless) == harmless


def test_redaction_removes_names_and_home_folders_of_all_users() -> None:
    redacted = Redactor({}, {"/data/acme": "PROJECT"})(
        "/home/erika/x C:\\Users\\erika\\x erika.m@clinic.example /data/acme/rows.jsonl"
    )
    assert redacted == "/home/USER/x C:\\Users\\USER\\x MAIL PROJECT/rows.jsonl"


def test_invalid_choice_value_is_redacted(project_folder: Path) -> None:
    file = project_folder / "clinic.lorastudio"
    file.write_text(file.read_text().replace('"4bit"', f'"{SECRET_ROW}"'))
    entries = {item.name: item.text for item in diagnostics.collect_entries({}, project_folder)}
    assert SECRET_ROW not in entries["project.json"]
    assert '"precision": "[27 characters]"' in entries["project.json"]


@given(
    st.dictionaries(
        st.sampled_from(["content", "text", "prompt", "raw", "rows"]), st.text(min_size=1)
    )
)
def test_texts_under_unknown_names_are_removed(event: dict[str, str]) -> None:
    redacted = without_texts({"kind": "log", **event})
    assert redacted.pop("kind") == "log"
    assert all(value == f"[{len(event[name])} characters]" for name, value in redacted.items())


def test_messages_keep_their_template_and_lose_their_values() -> None:
    inner = text("the file {name} is damaged", name=SECRET_ROW)
    message = text("{reason}: {version} of {n} rows.", reason=inner, version=SECRET_ROW, n=3)
    for dumped in (message.model_dump(mode="json"), message.model_dump(context=READABLE)):
        redacted = json.dumps(without_texts({"reason": dumped, "template": SECRET_ROW}))
        assert "{reason}: {version} of {n} rows." in redacted
        assert "the file {name} is damaged" in redacted
        assert '"n": 3' in redacted
        assert SECRET_ROW not in redacted


def test_archive_contains_only_the_chosen_entries(project_folder: Path, tmp_path: Path) -> None:
    entries = diagnostics.collect_entries(diagnostics.build_report(), project_folder)
    diagnostics.write_archive(entries[:2], tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [entry.name for entry in entries[:2]]
        assert archive.read(entries[1].name).decode() == entries[1].text


def test_archive_is_written_with_a_clock_before_1980(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(0))
    diagnostics.write_archive(
        [diagnostics.ArchiveEntry("a.txt", "A text.", "a")], tmp_path / "out.zip"
    )
    assert zipfile.ZipFile(tmp_path / "out.zip").read("a.txt") == b"a"


def test_unreadable_project_is_reported_in_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    entries = diagnostics.collect_entries({}, tmp_path)
    assert [item.name for item in entries] == ["doctor.json", "project.txt"]
