"""Secrets stay out of what is shown, recorded, and logged."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.network.secrets import (
    print_exception,
    split_credentials,
    without_secrets,
    without_secrets_in,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://pim:pa55@host/api", "at https://***@host/api"),
        ("https://pim:p@55@host", "https://***@host"),
        ("https://hf_tokenonly@host/x", "https://***@host/x"),
        ("https://host/x@y", "https://host/x@y"),
        ("https://host/a?n=1&api_key=abc&b=2", "https://host/a?n=1&api_key=***&b=2"),
        ("https://host/?X-Amz-Signature=abc", "https://host/?X-Amz-Signature=***"),
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer ***"),
        ('{"a":"http://host","b":"c@d"}', '{"a":"http://host","b":"c@d"}'),
        ("file:///home/pim/a", "file:///home/pim/a"),
        ("mail pim@host.example", "mail pim@host.example"),
    ],
)
def test_passwords_and_tokens_are_removed(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


@pytest.mark.parametrize(
    ("variable", "value", "secret"),
    [
        ("HF_TOKEN", "plain-secret", "plain-secret"),
        ("OPENAI_API_KEY", "plain-secret", "plain-secret"),
        ("MLFLOW_TRACKING_URI", "https://pim:plain%2Dsecret@host", "plain-secret"),
        ("HTTPS_PROXY", "http://pim:plain-secret@proxy:3128", "plain-secret"),
    ],
)
def test_secrets_of_the_environment_are_removed_anywhere(
    variable: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert secret not in without_secrets(f"refused '{secret}', try again")


def test_short_values_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "step")
    assert without_secrets("step 3") == "step 3"


def test_json_keeps_its_form() -> None:
    value: Any = {"code": "a.b", "values": {"reason": ["x http://a:b@h/", 3, None]}}
    cleaned = {"code": "a.b", "values": {"reason": ["x http://***@h/", 3, None]}}
    assert without_secrets_in(value) == cleaned


def test_traceback_has_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise ValueError("first http://pim:pa55@host/")
        except ValueError as error:
            raise OSError("second http://pim:pa55@host/") from error
    except OSError as error:
        print_exception(error)
    printed = capsys.readouterr().err
    assert "pa55" not in printed
    assert "ValueError: first http://***@host/" in printed
    assert "OSError: second http://***@host/" in printed


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://pim:p%40s@host:5000/a?b", ("https://host:5000/a?b", "pim", "p@s")),
        ("https://pim:p@s@host", ("https://host", "pim", "p@s")),
        ("https://token@host", ("https://host", "token", "")),
        ("https://host", ("https://host", "", "")),
        ("databricks", ("databricks", "", "")),
        ("file:///srv/a@b", ("file:///srv/a@b", "", "")),
    ],
)
def test_credentials_are_split_from_an_address(address: str, expected: tuple[str, ...]) -> None:
    assert split_credentials(address) == expected
