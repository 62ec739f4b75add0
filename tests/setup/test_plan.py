"""Where packages are resolved from when PyTorch's own index can't be reached."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.setup import plan
from lora_studio.setup.detect import Variant
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.plan import STANDARD, AppWheel, Resolver
from lora_studio.setup.tools import SetupLog, StopFlag


@pytest.mark.parametrize(
    ("variant", "platform", "tried"),
    [
        pytest.param("cuda", "linux", ["cu130", STANDARD], id="Linux wheels are for CUDA"),
        pytest.param("cuda", "windows", ["cu130"], id="Windows wheels are for the CPU"),
        pytest.param("cpu", "windows", ["cu130", STANDARD], id="CPU"),
        pytest.param("rocm", "linux", ["cu130"], id="no standard wheels for AMD"),
    ],
)
def test_standard_wheels_are_tried_where_they_support_the_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: Variant,
    platform: str,
    tried: list[str],
) -> None:
    sources: list[str] = []

    def fail(_: Resolver, torch: str, *__: Any) -> tuple[str, None]:
        sources.append(torch)
        return "error: dns error", None

    monkeypatch.setattr(Resolver, "_compile", fail)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path))
    resolver = Resolver(root, cast(Any, None), StopFlag(), log, None, target=(platform, "3.12"))
    with pytest.raises(ProblemError, match="can't be reached"):
        list(resolver.resolve(variant, "cu130"))
    assert sources == tried


@pytest.mark.parametrize(
    ("build", "tried"),
    [
        pytest.param("cu126", ["", "<2.8"], id="CUDA 12.6: 2.7"),
        pytest.param("cu128", ["", "<2.11"], id="CUDA 12.8: 2.8 to 2.10"),
        pytest.param("cu130", ["", ""], id="CUDA 13: newest"),
        pytest.param("cu118", [""], id="CUDA 11.8: none"),
    ],
)
def test_standard_torch_is_for_the_same_cuda_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str, tried: list[str]
) -> None:
    limits: list[str] = []

    def fail_to_connect(_: object, *, cwd: Path, **__: Any) -> tuple[int, str]:
        project = tomllib.loads((cwd / "pyproject.toml").read_text("utf-8"))["project"]
        limits.append(project["dependencies"][1].removeprefix("torch"))
        return 2, "error: dns error"

    monkeypatch.setattr(plan, "run", fail_to_connect)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path))
    wheel = AppWheel(tmp_path / "lora_studio.whl", "")
    resolver = Resolver(root, wheel, StopFlag(), log, None, target=("linux", "3.12"))
    with pytest.raises(ProblemError, match="can't be reached"):
        list(resolver.resolve("cuda", build))
    assert limits == tried


def test_certificates_of_the_system_are_trusted_behind_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, *, environment: dict[str, str], cwd: Path, **__: Any) -> tuple[int, str]:
        if environment.get("UV_SYSTEM_CERTS") != "1":
            return 2, "error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer"
        (cwd / "pylock.toml").write_text(
            '[[packages]]\nname = "torch"\nversion = "2.14.0"\n'
            'wheels = [{ url = "https://a.example/torch.whl", size = 1 }]\n'
        )
        return 0, ""

    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    monkeypatch.setattr(plan, "run", refuse)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path, downloads=tmp_path))
    wheel = AppWheel(tmp_path / "lora_studio.whl", "")
    resolver = Resolver(root, wheel, StopFlag(), log, None, target=("linux", "3.12"))
    assert list(resolver.resolve("cuda", "cu130")) == [], "no other source is needed"
