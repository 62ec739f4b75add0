"""`lora-studio network`: the record of contacted hosts as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord
from lora_studio.core.network.purposes import Purpose


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    contacts = [
        ("huggingface.co", 443, "model_download", 1_000, 270_000_000),
        ("127.0.0.1", 11434, "ollama", 500, 2_000),
        ("api.wandb.ai", 443, "wandb", None, None),
    ]
    connections.write_record(
        ContactRecord(
            session="s",
            pid=1,
            started=1.0,
            contacts=tuple(
                Contact(
                    host=host, port=port, purpose=Purpose(purpose), connections=2,
                    sent=sent, received=received, first=1.0, last=2.0,
                )
                for host, port, purpose, sent, received in contacts
            ),
        )
    )  # fmt: skip
    return tmp_path / "network"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["network", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_contacts_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hf_secret@mirror.example")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    output = run("--json")
    report = json.loads(output)
    by_host = {contact["host"]: contact for contact in report["contacts"]}
    assert by_host["huggingface.co"]["purpose"] == "model_download"
    assert by_host["huggingface.co"]["received"] == 270_000_000
    assert by_host["127.0.0.1"]["local"]
    assert not by_host["api.wandb.ai"]["local"]
    assert by_host["api.wandb.ai"]["sent"] is None
    features = {feature["purpose"]: feature["hosts"] for feature in report["features"]}
    assert features["hub_search"] == ["mirror.example"]
    assert report["offline"] is False
    assert report["since"] == 1.0
    assert "hf_secret" not in output


def test_table_names_host_purpose_and_bytes() -> None:
    output = run()
    line = next(line for line in output.splitlines() if "huggingface.co " in line)
    assert "Model download" in line
    assert "270 MB" in line
    assert "127.0.0.1:11434 (this computer)" in output


def test_cleared_record_is_empty(folder: Path) -> None:
    assert "No host was contacted" in run("--clear")
    assert list(folder.glob("*")) == []
