"""Every reason for which this program contacts a host, and the hosts that each feature would contact."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from lora_studio.core.messages import Text, text


class Purpose(StrEnum):
    """Why a host is contacted. Each connection has one; `UNKNOWN` is one that no code declared."""

    HUB_SEARCH = "hub_search"
    HUB_ACCOUNT = "hub_account"
    MODEL_DOWNLOAD = "model_download"
    DATASET_DOWNLOAD = "dataset_download"
    HUB_UPLOAD = "hub_upload"
    OLLAMA = "ollama"
    LLAMA_SERVER = "llama_server"
    MODEL_SERVER = "model_server"
    BUILTIN_MODEL = "builtin_model"
    ENGINE_SETUP = "engine_setup"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    RANKS = "ranks"
    UNKNOWN = "unknown"


TITLES: Mapping[Purpose, Text] = {
    Purpose.HUB_SEARCH: text("Model search"),
    Purpose.HUB_ACCOUNT: text("Hugging Face account"),
    Purpose.MODEL_DOWNLOAD: text("Model download"),
    Purpose.DATASET_DOWNLOAD: text("Dataset download"),
    Purpose.HUB_UPLOAD: text("Upload to the Hub"),
    Purpose.OLLAMA: text("Ollama"),
    Purpose.LLAMA_SERVER: text("llama-server"),
    Purpose.MODEL_SERVER: text("Evaluation of a model on a server"),
    Purpose.BUILTIN_MODEL: text("Built-in model"),
    Purpose.ENGINE_SETUP: text("Engine setup and updates"),
    Purpose.WANDB: text("Weights & Biases"),
    Purpose.MLFLOW: text("MLflow"),
    Purpose.RANKS: text("Training on several devices"),
    Purpose.UNKNOWN: text("Unknown"),
}

_WHEN: Mapping[Purpose, Text] = {
    Purpose.HUB_SEARCH: text("When you search the Hub for models"),
    Purpose.HUB_ACCOUNT: text("When you sign in, and to show your name if you are signed in"),
    Purpose.MODEL_DOWNLOAD: text("When you choose or use a model from the Hub"),
    Purpose.DATASET_DOWNLOAD: text("When you add or use a dataset from the Hub"),
    Purpose.HUB_UPLOAD: text("When you upload an adapter or a model"),
    Purpose.OLLAMA: text(
        "When you open the Export page, export to Ollama, or chat with its models"
    ),
    Purpose.LLAMA_SERVER: text(
        "When you serve a model, or export one and llama-server is installed"
    ),
    Purpose.MODEL_SERVER: text(
        "When you evaluate a model on an OpenAI-compatible server, or let one judge"
    ),
    Purpose.BUILTIN_MODEL: text("When you first use the built-in model"),
    Purpose.ENGINE_SETUP: text("When you install, update, or repair the engine"),
    Purpose.WANDB: text("During training, if you select this tracker"),
    Purpose.MLFLOW: text("During training, if you select this tracker"),
    Purpose.RANKS: text("During training on several devices or computers"),
}

#: The defaults of libraries and tools, used where the user has set nothing else.
_HUB, _HUB_STORAGE = "huggingface.co", "*.hf.co"
_INDEX = ("pypi.org", "files.pythonhosted.org")
_TORCH_INDEX = "download.pytorch.org"
_PYTHON_BUILDS = ("github.com", "*.githubusercontent.com")
_WANDB = ("api.wandb.ai", "storage.googleapis.com")
_LOOPBACK = "127.0.0.1"
_OLLAMA = f"{_LOOPBACK}:11434"


class PossibleContact(BaseModel):
    """The hosts that a feature would contact, and when; a host with `*.` stands for its subdomains."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    purpose: Purpose
    when: Text
    hosts: tuple[str, ...]


def list_possible_contacts(
    indexes: Mapping[str, str], ollama_host: str = "", environ: Mapping[str, str] = os.environ
) -> list[PossibleContact]:
    """Return what each feature would contact with the user's current settings.

    `indexes` are the variables of uv with the user's package indexes, `ollama_host` the address in the
    project's settings.
    """
    hub = extract_hosts([environ.get("HF_ENDPOINT", "")]) or (_HUB, _HUB_STORAGE)
    packages = _list_index_hosts(indexes)
    hosts: dict[Purpose, tuple[str, ...]] = dict.fromkeys(
        (Purpose.MODEL_DOWNLOAD, Purpose.DATASET_DOWNLOAD, Purpose.HUB_UPLOAD), hub
    )
    hosts[Purpose.HUB_SEARCH] = hosts[Purpose.HUB_ACCOUNT] = hub[:1]
    hosts[Purpose.OLLAMA] = extract_hosts(
        [ollama_host or environ.get("OLLAMA_HOST", "") or _OLLAMA]
    )
    hosts[Purpose.LLAMA_SERVER] = (_LOOPBACK,)
    hosts[Purpose.MODEL_SERVER] = ()  # the addresses of an evaluation, which no setting has
    hosts[Purpose.BUILTIN_MODEL] = packages
    hosts[Purpose.ENGINE_SETUP] = _unique(
        [
            *packages,
            *([] if indexes.get("UV_NO_INDEX") else [_TORCH_INDEX]),
            *(extract_hosts([indexes.get("UV_PYTHON_INSTALL_MIRROR", "")]) or _PYTHON_BUILDS),
        ]
    )
    hosts[Purpose.WANDB] = extract_hosts([environ.get("WANDB_BASE_URL", "")]) or _WANDB
    hosts[Purpose.MLFLOW] = extract_hosts([environ.get("MLFLOW_TRACKING_URI", "")])
    hosts[Purpose.RANKS] = _unique([_LOOPBACK, *extract_hosts([environ.get("MASTER_ADDR", "")])])
    return [
        PossibleContact(purpose=purpose, when=when, hosts=hosts[purpose])
        for purpose, when in _WHEN.items()
    ]


def extract_hosts(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts of addresses, with unusual ports, without passwords, paths and queries.

    Addresses may lack a scheme; those of files are left out.
    """
    hosts = []
    for address in addresses:
        address = address.strip()
        if not address or address.startswith(("/", "file:", ".")):
            continue
        try:
            split = urlsplit(address if "://" in address else f"//{address}")
            host, port = split.hostname, split.port
        except ValueError:
            continue
        if host and split.scheme != "file":
            hosts.append(format_address(host, port))
    return _unique(hosts)


def format_address(host: str, port: int | None) -> str:
    """Return a host with its port, unless that is the usual one of the web."""
    if port in (None, 0, 80, 443):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _list_index_hosts(indexes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts of the user's package indexes, else those of the default one."""
    if indexes.get("UV_NO_INDEX"):
        return extract_hosts(_split(indexes.get("UV_FIND_LINKS", "")))
    own = _split(indexes.get("UV_DEFAULT_INDEX", "") or indexes.get("UV_INDEX_URL", ""))
    more = [
        address
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
        for address in _split(indexes.get(name, ""))
    ]
    return _unique([*(extract_hosts(own) or _INDEX), *extract_hosts(more)])


def _split(value: str) -> list[str]:
    """Return the addresses in a variable of uv; a named index is written name=URL."""
    return [re.sub(r"^[\w.-]+=(?=\w+://)", "", part) for part in re.split(r"[\s,]+", value) if part]


def _unique(hosts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hosts))
