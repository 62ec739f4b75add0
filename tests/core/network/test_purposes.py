"""The catalog of purposes; and secrets, which stay out of what is shown, recorded, and logged."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.network.purposes import (
    TITLES,
    Purpose,
    extract_hosts,
    list_possible_contacts,
)
from lora_studio.core.network.secrets import (
    print_exception,
    split_credentials,
    without_secrets,
    without_secrets_in,
)


def get_hosts(purpose: Purpose, **environ: str) -> tuple[str, ...]:
    possible = list_possible_contacts(environ, environ.pop("ollama", ""), environ)
    return next(one.hosts for one in possible if one.purpose == purpose)


def test_each_purpose_has_a_title_and_a_feature() -> None:
    assert set(TITLES) == set(Purpose)
    features = [one.purpose for one in list_possible_contacts({}, "", {})]
    assert set(features) == set(Purpose) - {Purpose.UNKNOWN}
    assert len(features) == len(set(features))


@pytest.mark.parametrize(
    ("purpose", "environ", "hosts"),
    [
        pytest.param(Purpose.HUB_SEARCH, {}, ("huggingface.co",), id="hub"),
        pytest.param(
            Purpose.MODEL_DOWNLOAD, {}, ("huggingface.co", "*.hf.co"), id="hub with storage"
        ),
        pytest.param(
            Purpose.MODEL_DOWNLOAD,
            {"HF_ENDPOINT": "https://mirror.example/hub"},
            ("mirror.example",),
            id="hub mirror",
        ),
        pytest.param(Purpose.OLLAMA, {}, ("127.0.0.1:11434",), id="ollama"),
        pytest.param(
            Purpose.OLLAMA,
            {"OLLAMA_HOST": "https://me:secret@box.example:8443/ollama"},
            ("box.example:8443",),
            id="ollama with password",
        ),
        pytest.param(
            Purpose.OLLAMA,
            {"OLLAMA_HOST": "one.example", "ollama": "two.example:11434"},
            ("two.example:11434",),
            id="ollama of the project",
        ),
        pytest.param(Purpose.BUILTIN_MODEL, {}, ("pypi.org", "files.pythonhosted.org"), id="index"),
        pytest.param(
            Purpose.ENGINE_SETUP,
            {
                "UV_DEFAULT_INDEX": "https://token@index.example/simple",
                "UV_INDEX": "own=https://more.example/simple",
                "UV_PYTHON_INSTALL_MIRROR": "file:///srv/python",
            },
            (
                "index.example",
                "more.example",
                "download.pytorch.org",
                "github.com",
                "*.githubusercontent.com",
            ),
            id="index mirrors",
        ),
        pytest.param(
            Purpose.WANDB,
            {"WANDB_BASE_URL": "http://w.example:8080"},
            ("w.example:8080",),
            id="wandb",
        ),
        pytest.param(
            Purpose.MLFLOW, {"MLFLOW_TRACKING_URI": "file:///runs"}, (), id="mlflow files"
        ),
        pytest.param(
            Purpose.RANKS, {"MASTER_ADDR": "10.1.2.3"}, ("127.0.0.1", "10.1.2.3"), id="ranks"
        ),
    ],
)
def test_hosts_follow_the_user_s_settings(
    purpose: Purpose, environ: dict[str, str], hosts: tuple[str, ...]
) -> None:
    assert get_hosts(purpose, **environ) == hosts


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("https://user:hf_secret@host.example:444/path?token=x#y", ("host.example:444",)),
        ("http://[2001:db8::1]:8080", ("[2001:db8::1]:8080",)),
        ("HOST.example", ("host.example",)),
        ("http://[broken", ()),
        ("host:port", ()),
        ("/srv/wheels", ()),
        ("", ()),
    ],
)
def test_host_is_extracted_without_secrets(address: str, hosts: tuple[str, ...]) -> None:
    assert extract_hosts([address]) == hosts


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
