"""Where packages are resolved from when PyTorch's own index can't be reached."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.setup.app_wheel import STANDARD
from lora_studio.setup.detect import Variant
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.resolve import Resolver
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
