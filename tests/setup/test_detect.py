"""GPU detection and the matching build of PyTorch."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lora_studio.setup import detect, plan
from lora_studio.setup.detect import Accelerator, choose_cuda_build, format_gfx_name
from lora_studio.setup.tools import find_uv

ROOT = Path(__file__).parents[2]


def use_nvidia(
    monkeypatch: pytest.MonkeyPatch,
    *gpus: tuple[str, int, float],
    driver: str = "590.10",
    cuda: Any = (13, 0),
) -> Accelerator:
    """Detect GPUs of NVIDIA: name, MiB of memory, compute capability."""
    found = [(name, memory << 20, (int(one), round(one % 1 * 10))) for name, memory, one in gpus]
    summary = detect._summarize_nvidia(found, driver, cuda)
    monkeypatch.setattr(detect, "_query_nvml", lambda: summary)
    return detect.detect_accelerator()


@pytest.mark.parametrize(
    ("driver", "capability", "build"),
    [
        ((13, 0), (8, 9), "cu130"),
        ((12, 8), (12, 0), "cu128"),  # Blackwell
        ((12, 6), (8, 6), "cu126"),
        ((12, 2), (9, 0), "cu126"),  # minor versions of CUDA 12 run on each other's drivers
        ((13, 0), (6, 1), "cu126"),  # Pascal: later builds have no code for it
        ((12, 8), (7, 0), "cu126"),  # Volta: the newest for CUDA 12.8 has no code for it
        ((12, 4), (12, 0), None),  # Blackwell with a driver too old for it
        ((11, 8), (8, 0), "cu118"),
        ((11, 4), (8, 0), None),
    ],
    ids=[
        "cuda-13",
        "blackwell",
        "cuda-12.6",
        "newer-minor-version",
        "pascal",
        "volta",
        "blackwell-old-driver",
        "cuda-11.8",
        "cuda-11.4",
    ],
)
def test_cuda_build_supports_the_gpu_and_the_driver(
    driver: tuple[int, int], capability: tuple[int, int], build: str | None
) -> None:
    assert choose_cuda_build(driver, [capability]) == build


def test_oldest_allowed_torch_shards_and_has_a_cuda_11_build() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    engine = map(Requirement, content["project"]["optional-dependencies"]["engine"])
    allowed = next(each.specifier for each in engine if each.name == "torch")
    assert "2.6.0" not in allowed, "fully_shard has `ignored_params` since 2.7 (sharding.py)"
    assert "2.7.1" in allowed, "the last with a build for CUDA 11.8"


@pytest.mark.parametrize(
    ("driver", "capabilities", "build"),
    [
        pytest.param((12, 8), [(8, 9), (6, 1)], "cu126", id="a build has code for both"),
        pytest.param((13, 0), [(6, 1), (12, 0)], "cu130", id="Pascal and Blackwell"),
        pytest.param((13, 0), [(12, 0), (6, 1), (6, 1)], "cu130", id="two Pascals and Blackwell"),
        pytest.param((13, 0), [(8, 6), (12, 0)], "cu130", id="all builds' GPUs"),
        pytest.param((12, 4), [(8, 6), (12, 0)], "cu126", id="driver too old for one"),
    ],
)
def test_build_has_code_for_the_best_of_several_gpus(
    driver: tuple[int, int], capabilities: list[tuple[int, int]], build: str
) -> None:
    assert choose_cuda_build(driver, capabilities) == build


def test_gpu_without_code_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = use_nvidia(
        monkeypatch,
        ("NVIDIA GeForce GTX 1080", 8192, 6.1),
        ("NVIDIA GeForce RTX 5090", 32768, 12.0),
    )
    assert (accelerator.variant, accelerator.torch) == ("cuda", "cu130")
    assert "has no code for 1 " in str(accelerator.note)
    described = str(accelerator.describe())
    assert described.startswith("NVIDIA GeForce RTX 5090 + NVIDIA GeForce GTX 1080, 32")
    assert described.endswith(f"13.0. {accelerator.note}")


def test_gpus_are_summarized_best_first_and_equal_ones_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = ("NVIDIA TITAN X (Pascal)", 12288, 6.1)
    gpu = use_nvidia(monkeypatch, old, ("NVIDIA GeForce RTX 4090", 24564, 8.9), cuda=(12, 8))
    assert gpu.title == "NVIDIA GeForce RTX 4090 + NVIDIA TITAN X (Pascal)"
    assert (gpu.capabilities, gpu.memory) == (((8, 9), (6, 1)), 24564 << 20)
    gpu = use_nvidia(monkeypatch, *[("Tesla T4", 15360, 7.5)] * 4, cuda=(12, 4))
    assert (gpu.title, gpu.memory) == ("4 × Tesla T4", 15360 << 20)


@pytest.mark.parametrize(
    ("vendor", "kind", "is_named"),
    [
        pytest.param("0x10de", "0x030000", True, id="GeForce"),
        pytest.param("0x10de", "0x030200", True, id="without display outputs"),
        pytest.param("0x10de", "0x020700", False, id="network adapter of NVIDIA"),
        pytest.param("0x8086", "0x030000", False, id="Intel graphics"),
    ],
)
def test_nvidia_gpu_without_driver_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, kind: str, is_named: bool
) -> None:
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    found = detect.has_nvidia_gpu(tmp_path)
    assert found == is_named
    for query in ("_query_nvml", "detect_amd"):
        monkeypatch.setattr(detect, query, lambda: None)
    monkeypatch.setattr(detect, "has_nvidia_gpu", lambda: found)
    accelerator = detect.detect_accelerator()
    assert accelerator.variant in ("cpu", "mps")
    assert ("driver isn't installed" in str(accelerator.note)) == is_named


@pytest.mark.parametrize(
    ("gpu", "driver", "cuda", "reason"),
    [
        (("A100", 40960, 8.0), "450.10", (11, 0), "too old for PyTorch, which needs a driver for CUDA 11.8"),
        (("RTX 5090", 32768, 12.0), "550.54", (12, 4), "needs a driver for CUDA 12.8 or newer on this GPU"),
        (("Tesla K80", 11441, 3.7), "470.10", (11, 4), "PyTorch has no code for Tesla K80"),
        (("Tesla K80", 11441, 3.7), "470.10", None, "PyTorch has no code for Tesla K80"),
        (("RTX 4090", 24564, 8.9), "590.10", None, "RTX 4090 (590.10) doesn't report a CUDA version"),
    ],
    ids=["old driver", "older than the GPU", "no driver helps", "of any version", "no CUDA library"],
)  # fmt: skip
def test_driver_that_runs_no_build_is_reported_and_cpu_is_used(
    monkeypatch: pytest.MonkeyPatch, gpu: Any, driver: str, cuda: Any, reason: str
) -> None:
    accelerator = use_nvidia(monkeypatch, gpu, driver=driver, cuda=cuda)
    assert accelerator.variant == "cpu"
    assert reason in str(accelerator.note)


def test_amd_gpus_are_detected_from_kernel_files(tmp_path: Path) -> None:
    for number, (vendor, simd) in enumerate([(0, 0), (0x1002, 192)]):
        bank = tmp_path / str(number) / "mem_banks" / "0"
        bank.mkdir(parents=True)
        (tmp_path / str(number) / "properties").write_text(
            f"simd_count {simd}\nvendor_id {vendor}\ngfx_target_version 110000\n"
        )
        (bank / "properties").write_text("heap_type 1\nsize_in_bytes 25753026560\n")
    interface = tmp_path / "kfd"
    interface.write_text("")
    accelerator = detect.detect_amd(tmp_path, interface)
    assert accelerator is not None
    assert (accelerator.variant, accelerator.memory) == ("rocm", 25753026560)
    assert accelerator.title == "AMD GPU (gfx1100)"
    assert not accelerator.note
    locked = detect.detect_amd(tmp_path, tmp_path / "no access")
    assert locked is not None
    assert "sudo usermod -aG render,video $USER" in str(locked.note)
    assert accelerator.torch.startswith("rocm")


def test_integrated_amd_gpu_without_code_in_pytorch_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "properties").write_text(
        "simd_count 4\nvendor_id 4098\ngfx_target_version 100306\n"
    )
    accelerator = detect.detect_amd(tmp_path)
    assert accelerator is not None
    assert accelerator.variant == "cpu"
    assert "gfx1036" in str(accelerator.note)


def test_installer_knows_every_build() -> None:
    command = [find_uv(), "pip", "compile", "--torch-backend", "none", "-"]
    refused = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    known = refused.stderr.partition("[possible values: ")[2].partition("]")[0].split(", ")
    assert {*(build[0] for build in detect._CUDA_BUILDS), detect.ROCM_BUILD} <= {*known}


def test_amd_build_is_one_with_code_for_its_newest_gpus() -> None:
    """Builds for ROCm 6 have none for the Instinct MI350 (gfx950), and PyTorch makes them no more."""
    assert "gfx950" in detect._ROCM_GPUS
    assert Version(detect.ROCM_BUILD.removeprefix("rocm")) >= Version("7.0")


def test_amd_generations_have_gfx_names() -> None:
    assert [format_gfx_name(one) for one in (110000, 90010, 90402, 100302)] == [
        "gfx1100", "gfx90a", "gfx942", "gfx1032",
    ]  # fmt: skip


def test_local_torch_wheel_must_match_device_and_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(plan.VARIABLE, raising=False)
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").write_text("")
    environ = {"UV_FIND_LINKS": f"/nowhere,{tmp_path}"}
    processor = detect.get_cpu()
    graphics = processor.model_copy(update={"variant": "cuda", "torch": "cu128"})

    def source(accelerator: detect.Accelerator, tag: str = "cp311") -> str:
        return plan.choose_torch_source(accelerator, None, environ, tag)

    assert source(processor) == plan.STANDARD
    assert source(processor, "cp313") == "cpu"
    assert source(graphics) == "cu128"
    (tmp_path / "torch-2.13.0+cu128-cp311-cp311-linux_x86_64.whl").write_text("")
    assert source(graphics) == plan.STANDARD
    environ[plan.VARIABLE] = "https://mirror.example/whl/cu128"
    assert source(processor) == "https://mirror.example/whl/cu128"
