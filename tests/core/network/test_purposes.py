"""The catalog of purposes: what each feature would contact with the user's settings."""

from __future__ import annotations

import pytest

from lora_studio.core.network.purposes import (
    TITLES,
    Purpose,
    extract_hosts,
    list_possible_contacts,
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
