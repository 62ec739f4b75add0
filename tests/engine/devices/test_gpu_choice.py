"""Which GPUs a training uses, with made-up cards: other programs, jobs, builds, kinds, and environments."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_studio.core.memory.plan import pick_device
from lora_studio.core.memory.weights import describe_placement, spread_over_gpus
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.commands import InspectDevices
from lora_studio.core.protocol.events import DevicesFound
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import locks, programs
from lora_studio.core.system import nvml as nvml_module
from lora_studio.core.system.locks import LockHolder
from lora_studio.core.training.recipe_checks import check_build_tools
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices import devices, lock
from lora_studio.engine.devices import load as load_module
from lora_studio.engine.devices.oom_capture import MemoryPressureError
from lora_studio.engine.devices.ranks import GradientBucket, ProcessGroup
from lora_studio.engine.jobs import inspect_devices
from lora_studio.engine.kernels import liger
from lora_studio.engine.model import loading
from lora_studio.engine.training.distributed import sharding
from lora_studio.engine.training.distributed.launch import Rendezvous, choose_transport
from lora_studio.engine.training.memory.watch import MemoryWatch
from tests.helpers.models import plans
from tests.helpers.models.fake_gpus import GIB, FakeGpus, Gpu
from tests.helpers.runs.jobs import RecordingChannel, make_job

CUDA0, CUDA1 = torch.device("cuda", 0), torch.device("cuda", 1)

Install = Callable[..., FakeGpus]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Replace the GPUs of this computer."""
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*cards: Gpu, **others: Any) -> FakeGpus:
        return FakeGpus(list(cards), monkeypatch, **others).install()

    return install


def name_auto() -> str:
    devices.choose_gpu.cache_clear()
    return str(devices.choose_device("auto"))


# --- the one that trains --------------------------------------------------------------------------


def test_auto_avoids_a_gpu_that_a_job_has_just_locked(gpus: Install) -> None:
    table = gpus(
        Gpu("4090", "a", free=23), Gpu("4090", "b", free=20), Gpu("4060", "c", total=8, free=7)
    )
    locked = locks.lock_devices([devices.get_gpu_identity(0)], LockHolder("r"), pytest.fail)
    assert name_auto() == "cuda:1"
    assert "only one, currently 4090 (cuda:1)" in _describe_placement()
    table.cards[1].free = 3  # in use by another program: waiting is better
    assert name_auto() == "cuda:0"
    locked[0].release()
    assert name_auto() == "cuda:0"


def _describe_placement() -> str:
    """Return what the memory estimate says about the GPUs of a small model."""
    found = devices.list_devices()
    plan = replace(plans.plan(free=20), device=found.devices[0])
    return str(describe_placement(spread_over_gpus(plan, found)))


def test_full_gpu_counts_as_full(gpus: Install) -> None:
    gpus(Gpu("4090", "a", free=0), Gpu("4070", "b", total=12, free=11))
    assert name_auto() == "cuda:1"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["B"]),
        ("2,0", ["MIG 1g", "A"]),
        ("GPU-bb", ["B"]),
        ("MIG-cc,1", ["MIG 1g", "B"]),
        ("0,9,1", ["A"]),
        ("", []),
    ],
)
def test_only_visible_gpus_are_used(
    gpus: Install, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    gpus(Gpu("A", "aa"), Gpu("B", "bb"), Gpu("MIG 1g", "cc", major=9, minor=0, total=10, free=9))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [device.title for device in devices.list_devices().devices[:-1]]
    assert sorted(map(str, found)) == sorted(expected)
    assert (name_auto() == "cpu") == (not expected)
    if "MIG 1g" in expected:
        slice_index = expected.index("MIG 1g")
        (named,) = lock.get_lockable_devices(ModelSpec(device=f"cuda:{slice_index}"))
        assert named.key == "cuda-cc"
        assert devices.get_free_gpu_bytes(slice_index) == 9 * GIB


@pytest.mark.parametrize(
    ("hip", "names", "card"),
    [
        (None, ("sm_75", "sm_90"), Gpu("GTX 1080", "a", major=6, minor=1)),
        ("7.2", ("gfx1100", "gfx942"), Gpu("Radeon 780M", "a", arch="gfx1103")),
    ],
)
def test_gpu_without_code_in_this_build_is_not_used(
    gpus: Install, hip: str | None, names: tuple[str, ...], card: Gpu
) -> None:
    gpus(card, hip=hip, names=names)
    assert name_auto() == "cpu"
    assert [device.name for device in devices.list_devices().devices] == ["cpu"]
    reason = loading.describe_choice(ModelSpec(), torch.device("cpu"), spread=False)
    assert card.name in str(reason)
    with pytest.raises(ProblemError, match="has no code for"):
        devices.choose_device("cuda:0")


def test_radeon_beside_an_integrated_gpu_trains(gpus: Install, monkeypatch: Any) -> None:
    monkeypatch.delenv("TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL", raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    gpus(
        Gpu("Ryzen", "a", arch="gfx1036", free=30),
        Gpu("RX 7900", "b", arch="gfx1100", major=11),
        hip="7.2",
        names=("gfx1100",),
    )
    assert name_auto() == "cuda:1"
    assert devices.list_supported_gpus() == [1]
    devices.set_current_device(CUDA1)
    assert os.environ["TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"] == "1"


def test_estimate_is_about_the_gpu_of_that_number() -> None:
    # The one with the most free memory comes first.
    names = ("cuda:10", "cuda:1", "cuda:0", "cpu")
    found = DevicesFound(devices=tuple(plans.device(name=name) for name in names), packages={})
    for setting, name in {"auto": "cuda:10", "cuda": "cuda:0", "cuda:1": "cuda:1"}.items():
        device = pick_device(found, setting)
        assert device is not None
        assert device.name == name
    assert pick_device(found, "cuda:2") is None


def test_gpu_with_an_old_driver_leaves_the_cpu(gpus: Install) -> None:
    gpus(Gpu("3090", "a"), old_driver=True)
    assert name_auto() == "cpu"
    assert [device.name for device in devices.list_devices().devices] == ["cpu"]
    said = loading.describe_choice(ModelSpec(), torch.device("cpu"), spread=False)
    assert "Update the GPU driver" in str(said)
    with pytest.raises(ProblemError, match="has no device cuda:0 that PyTorch"):
        devices.choose_device("cuda:0")


def _inspect_devices() -> DevicesFound:
    channel = RecordingChannel()
    inspect_devices(InspectDevices(), make_job(channel))
    return channel.last(DevicesFound)


def test_unused_gpu_is_reported_with_its_reason(gpus: Install, monkeypatch: Any) -> None:
    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: "NVIDIA GeForce RTX 3090",
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    card = Gpu("NVIDIA GeForce RTX 3090", "a")
    gpus(card)
    assert _inspect_devices().unused_gpu is None
    reasons = []
    for others in (
        {"old_driver": True},
        {"names": ("sm_90",)},
        {"hip": "7.2", "names": ("gfx90a",)},
    ):
        gpus(replace(card, arch="gfx1103"), **others)
        problem = _inspect_devices().unused_gpu
        assert problem is not None
        reasons.append(str(problem.what))
    assert "can't use NVIDIA GeForce RTX 3090" in reasons[0]
    assert "has no code for NVIDIA GeForce RTX 3090" in reasons[1]
    assert "has no code for" in reasons[2]
    gpus()  # a build for the CPU sees none
    monkeypatch.setattr(torch.version, "cuda", None)
    problem = _inspect_devices().unused_gpu
    assert problem is not None
    assert "without CUDA. It can't use NVIDIA GeForce RTX 3090" in str(problem.what)
    assert "so training uses the CPU" in str(problem.what)
    gpus(hip="7.2")  # so does one for AMD's
    problem = _inspect_devices().unused_gpu
    assert problem is not None
    assert "without CUDA. It can't use NVIDIA GeForce RTX 3090" in str(problem.what)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # on purpose
    assert _inspect_devices().unused_gpu is None


def test_triton_is_left_out_before_volta(gpus: Install, monkeypatch: Any) -> None:
    monkeypatch.setattr(liger.importlib.util, "find_spec", lambda _: True)
    gpus(Gpu("1080 Ti", "a", major=6, minor=1), Gpu("T4", "b", major=7, minor=5))
    assert [liger.is_installed(device) for device in (CUDA0, CUDA1)] == [False, True]
    gpus(Gpu("MI100", "a", major=6), hip="7.2")
    assert liger.is_installed(CUDA0)


def test_cudnn_attention_is_off_on_gpus(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    torch.backends.cuda.enable_cudnn_sdp(True)
    devices.set_current_device(torch.device("cpu"))
    assert torch.backends.cuda.cudnn_sdp_enabled()
    try:
        devices.set_current_device(CUDA1)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def test_large_tensors_are_copied_to_a_gpu_from_pinned_memory(monkeypatch: Any) -> None:
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for tokens in (8192, 8193):
            copied = devices.copy_to_device(torch.zeros(tokens, dtype=torch.int64), CUDA0)
            assert copied.device == CUDA0
            devices.copy_to_device(copied, CUDA0)
    assert pinned == [8193 * 8]


# --- several --------------------------------------------------------------------------------------


def test_layers_are_spread_over_gpus_with_code_only(gpus: Install) -> None:
    gpus(
        Gpu("A", "a", free=20),
        Gpu("1080", "b", major=6),
        Gpu("2080", "c", major=7, minor=5, free=10),
    )
    assert not loading.should_spread(ModelSpec(), CUDA0, lambda: 13 * GIB)
    assert loading.should_spread(ModelSpec(), CUDA0, lambda: 15 * GIB)
    assert loading.get_spread_limits(ModelSpec(), training=True) == {0: 14 * GIB, 2: 7 * GIB}
    assert loading.get_spread_limits(ModelSpec(), training=False).keys() == {0, 2, "cpu"}
    reason = str(loading.describe_choice(ModelSpec(), CUDA0, spread=True))
    assert "all 2" in reason
    assert "cuda:0,cuda:2" in str(loading.describe_choice(ModelSpec(), CUDA0, spread=False))
    assert loading.describe_choice(ModelSpec(device="cuda:0"), CUDA0, spread=False) is None


def test_model_larger_than_all_gpus_is_refused() -> None:
    model: Any = SimpleNamespace(hf_device_map={"layers.0": 0, "layers.1": "disk"})
    with pytest.raises(ProblemError, match="all GPUs together"):
        loading.require_on_gpus(model)
    model.hf_device_map["layers.1"] = 1
    loading.require_on_gpus(model)


def test_all_gpus_are_locked_only_for_spread_layers(
    gpus: Install, tmp_path: Path, monkeypatch: Any
) -> None:
    gpus(Gpu("A", "a"), Gpu("B", "b"), Gpu("C", "c"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    identities = [devices.get_gpu_identity(index) for index in (0, 1, 2)]

    def held() -> list[bool]:
        return [locks.find_holder(each) is not None for each in identities]

    with lock.hold_devices(ModelSpec(), RunFolder(tmp_path), "training", make_job()):
        assert held() == [True, False, False]
        loading.prepare_devices(ModelSpec(), CUDA0, spread=False)
        assert held() == [True, False, False]
        loading.prepare_devices(ModelSpec(), CUDA0, spread=True)
        assert held() == [True, True, True]
    assert held() == [False, False, False]
    lock.hold_every_gpu()  # without a job
    assert held() == [False, False, False]


def test_named_gpus_share_the_layers_of_a_model_that_answers(
    gpus: Install, tmp_path: Path, monkeypatch: Any
) -> None:
    gpus(*(Gpu(letter, letter, free=20) for letter in "abcd"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    named = ModelSpec(device="cuda:1,cuda:2,cuda:1")
    assert not loading.should_spread(named, CUDA1, lambda: 13 * GIB)
    assert loading.should_spread(named, CUDA1, lambda: 15 * GIB)
    assert loading.get_spread_limits(named, training=False).keys() == {1, 2, "cpu"}
    with lock.hold_devices(named, RunFolder(tmp_path), "evaluation", make_job()):
        loading.prepare_devices(named, CUDA1, spread=True)
        holders = [locks.find_holder(devices.get_gpu_identity(each)) for each in range(4)]
    assert [holder is not None for holder in holders] == [False, True, True, False]
    assert devices.get_partner_gpus() == (1, 2)
    devices.set_partner_gpus(())


def test_dtype_is_one_that_all_gpus_have(gpus: Install) -> None:
    gpus(Gpu("4090", "a"), Gpu("2080", "b", major=7, minor=5))
    assert devices.get_dtype("4bit", CUDA0) == torch.bfloat16
    assert devices.get_dtype("4bit", CUDA1) == torch.float16
    for rank in (0, 1):  # each in a process of its own
        devices.set_partner_gpus(())
        Rendezvous("", "", rank, 2, f"cuda:{rank}", partners=(0, 1)).connect_process_group(
            "replicate"
        )
        assert devices.get_dtype("4bit", torch.device("cuda", rank)) == torch.float16
    assert devices.get_dtype("bf16", CUDA0) == torch.bfloat16  # as the settings say
    devices.set_partner_gpus(())
    devices.avoid_bfloat16(True)
    assert devices.get_dtype("auto", CUDA0) == torch.float16


def test_estimate_of_spread_layers_has_the_common_format(gpus: Install) -> None:
    gpus(Gpu("4090", "a", free=2), Gpu("2080", "b", major=7, minor=5, free=1))
    found = devices.list_devices()
    plan = plans.plan().__class__(**vars(plans.plan()) | {"device": found.devices[0]})
    spread = spread_over_gpus(plan, found)
    assert (spread.device.precision, spread.device.free_bytes, spread.spread) == (
        "fp16",
        3 * GIB,
        True,
    )


@pytest.fixture
def _ten_gib_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("read_config", None), ("get_quantization_method", None), ("load_on_meta", None),
        ("count_weight_bytes", {"bf16": 10 * GIB, "fp16": 10 * GIB}),
    ):  # fmt: skip
        monkeypatch.setattr(loading, name, lambda *_, value=value: value)
    monkeypatch.setattr(loading.sources, "resolve", lambda *_: None)


class _LoadedError(Exception):
    """Ends a loading once its places are known."""


@pytest.mark.usefixtures("_ten_gib_model")
@pytest.mark.parametrize(
    ("free", "places"), [(20, {"device_map": {"": CUDA0}}), (12, {"device_map": "auto"})]
)
def test_weights_are_loaded_on_one_gpu_where_they_fit(
    gpus: Install,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    free: int,
    places: dict[str, Any],
) -> None:
    gpus(Gpu("A", "a", free=free), Gpu("B", "b", free=free))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(loading.sources, "resolve_intact", lambda *_: tmp_path)
    chosen: dict[str, Any] = {}

    def load(*_: Any, **settings: Any) -> None:
        chosen.update(settings)
        raise _LoadedError

    monkeypatch.setattr(loading, "_load_weights", load)
    with pytest.raises(_LoadedError):
        loading.load(ModelSpec(), make_job(), training=True)
    limits = chosen.get("max_memory", {})
    assert {"device_map": chosen["device_map"]} == places
    assert limits.keys() == ({0, 1} if free == 12 else set())


def decide(own: str, *names: str, **spec: Any) -> str:
    group = ProcessGroup(0, 2)
    return sharding.decide_sharding(ModelSpec(device=own, **spec), names, group, make_job())


@pytest.mark.usefixtures("_ten_gib_model")
def test_weights_are_sharded_where_the_fullest_gpu_lacks_room(
    gpus: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    table = gpus(Gpu("A", "a"), Gpu("B", "b"))
    assert decide("cuda:0", "cuda:0", "cuda:1") == "replicate"
    table.cards[1].free = 12  # of 24 GB: another program has the rest
    assert decide("cuda:0", "cuda:0", "cuda:1") == "shard"
    assert decide("cuda:0") == "shard"  # in a cluster: all GPUs of the node
    assert decide("cuda:0", "cuda:0", "cuda:0") == "replicate"
    assert decide("cuda:0", "cuda:0", "cuda:1", sharding="replicate") == "replicate"


@pytest.mark.usefixtures("_ten_gib_model")
def test_other_ranks_follow_the_first_in_sharding(gpus: Install) -> None:
    gpus(Gpu("A", "a"), Gpu("B", "b"))
    follower = Rendezvous("", "", 1, 2, "cuda:1").connect_process_group("shard")
    names = ("cuda:0", "cuda:1")
    assert (
        sharding.decide_sharding(ModelSpec(device="cuda:1"), names, follower, make_job()) == "shard"
    )


@pytest.mark.usefixtures("_ten_gib_model")
@pytest.mark.parametrize("setting", ["auto", "shard"])
def test_sharding_without_nccl_is_refused_with_a_remedy(
    gpus: Install, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    gpus(Gpu("A", "a", free=12), Gpu("B", "b", free=12))
    with pytest.raises(ProblemError, match="NCCL") as raised:
        decide("cuda:0", "cuda:0", "cuda:1", sharding=setting)
    fix = raised.value.problems[0].fix
    assert fix is not None
    assert (fix.field, fix.value) == ("device", "auto")
    assert decide("cuda:0", "cuda:0", "cuda:1", sharding="replicate") == "replicate"
    assert choose_transport("cuda:0") == "gloo"
    assert not devices.list_devices().devices[0].can_shard


@pytest.mark.parametrize(
    ("first", "second", "own", "used"),
    [
        ("NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 4090", None, "1"),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090", "0", "0"),
        ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090", None, None),
        ("NVIDIA RTX 4000 Ada Generation", "NVIDIA H100 PCIe", None, None),
    ],
)
def test_nccl_needs_no_access_between_gpus_without_it(
    gpus: Install,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
    own: str | None,
    used: str | None,
) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    variables = {} if own is None else {"NCCL_P2P_DISABLE": own}
    monkeypatch.setattr(os, "environ", variables)
    gpus(Gpu(first, "a"), Gpu(second, "b"))
    assert choose_transport("cuda:0") == "cpu:gloo,cuda:nccl"
    assert variables.get("NCCL_P2P_DISABLE") == used


@pytest.mark.parametrize(
    ("config", "expected"), [("gloo", ["cpu", "back"]), ("cpu:gloo,cuda:nccl", ["cuda"])]
)
def test_gradients_cross_main_memory_without_nccl(
    monkeypatch: pytest.MonkeyPatch, config: str, expected: list[str]
) -> None:
    """Gloo's builds for Windows take no tensors on GPUs."""
    carried: list[str] = []
    monkeypatch.setattr(dist, "get_backend_config", lambda: config)
    for name in ("all_reduce", "broadcast"):
        monkeypatch.setattr(dist, name, lambda tensor, **_: carried.append(tensor.device.type))
    on_gpu: Any = SimpleNamespace(
        device=CUDA0,
        cpu=lambda: torch.zeros(1),
        copy_=lambda _: carried.append("back"),
    )
    on_gpu.data = on_gpu
    group, bucket = ProcessGroup(0, 2), GradientBucket([], on_gpu)
    monkeypatch.setattr(GradientBucket, "unpack", lambda _: None)
    group.all_reduce_gradients([bucket])
    group.broadcast_tensors([on_gpu])
    assert carried == 2 * expected


# --- memory ---------------------------------------------------------------------------------------


def _write_amd_driver(folder: Path, **cards: tuple[float, float]) -> None:
    """Write what Linux's driver reports: the used and the total memory in GiB, by PCI bus."""
    for number, (bus, memory) in enumerate(cards.items()):
        device = folder / "devices" / f"0000:{bus}:00.0"
        device.mkdir(parents=True)
        for name, size in zip(("used", "total"), memory, strict=True):
            (device / f"mem_info_vram_{name}").write_text(f"{int(size * GIB)}\n")
        card = folder / "drm" / f"card{number}"
        card.mkdir(parents=True)
        (card / "device").symlink_to(device)


@pytest.fixture
def radeons(gpus: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpus:
    """Two equal AMD GPUs and an integrated one, which uses main memory beside its own."""
    list_folders = nvml_module.list_folders
    monkeypatch.setattr(nvml_module, "list_folders", lambda: list_folders(tmp_path / "drm"))
    amd: dict[str, Any] = {"major": 11, "arch": "gfx1100"}
    table = gpus(
        Gpu("RX 7900", "a", **amd), Gpu("RX 7900", "b", **amd), Gpu("8060S", "c", total=60, **amd),
        hip="7.2", names=("gfx1100",),
    )  # fmt: skip
    monkeypatch.setattr(load_module, "get_free_bytes", lambda _: None)
    return table


@pytest.mark.usefixtures("radeons")
def test_free_memory_of_amd_gpus_is_that_of_their_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _write_amd_driver(tmp_path, c1=(3, 24), c2=(0.2, 0.5), c0=(20, 24))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: ((50 + index) * GIB, 60 * GIB))
    assert [devices.get_free_gpu_bytes(index) // GIB for index in range(3)] == [4, 21, 60]
    found = {each.name: each.free_bytes for each in devices.list_devices().devices[:-1]}
    assert found == {"cuda:0": 4 * GIB, "cuda:1": 21 * GIB, "cuda:2": 52 * GIB}


def test_auto_means_the_amd_gpu_with_most_free_memory(radeons: FakeGpus, tmp_path: Path) -> None:
    del radeons.cards[2]
    _write_amd_driver(tmp_path, c0=(20, 24), c1=(3, 24))
    assert name_auto() == "cuda:1"
    assert devices.list_devices().devices[0].name == "cuda:1"  # creates no context


@pytest.mark.usefixtures("radeons")
def test_amd_gpu_without_a_driver_file_counts_as_free() -> None:
    assert [devices.get_free_gpu_bytes(index) // GIB for index in (0, 1)] == [24, 24]


@pytest.mark.parametrize(
    ("system", "release", "limit"),
    [("win32", "11", 10), ("linux", "5.15-microsoft-standard-WSL2", 10), ("linux", "6.8", None)],
)
def test_gpu_on_windows_never_spills_into_main_memory(
    gpus: Install, monkeypatch: pytest.MonkeyPatch, system: str, release: str, limit: int | None
) -> None:
    table = gpus(Gpu("A", "a", total=16, free=8.5, reserved=2))
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "release", lambda: release)
    assert devices.limit_device_memory(CUDA0) == (limit and limit * GIB)
    assert table.limits == ({0: 10 / 16} if limit else {})
    table.cards[0].free = 5.5  # another program has started
    with MemoryWatch(CUDA0):
        assert table.limits == ({0: 7 / 16} if limit else {})


def test_gpus_are_limited_before_weights_are_loaded(
    gpus: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = gpus(Gpu("A", "a"), Gpu("B", "b"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(platform, "release", lambda: "5.15-microsoft-standard-WSL2")
    loading.prepare_devices(ModelSpec(device="cuda:1"), CUDA1, spread=False)
    assert table.limits.keys() == {1}
    loading.prepare_devices(ModelSpec(), CUDA1, spread=True)
    assert table.limits.keys() == {0, 1}


@pytest.mark.parametrize(
    ("available", "free"), [(30, 20), (6, 6)], ids=["GPU's limit", "other programs"]
)
def test_apple_gpu_has_no_more_free_memory_than_the_computer(
    monkeypatch: pytest.MonkeyPatch, available: int, free: int
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 24 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * GIB)
    memory = SimpleNamespace(total=36 * GIB, available=available * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    apple = next(device for device in devices.list_devices().devices if device.name == "mps")
    assert (apple.free_bytes, apple.total_bytes) == (free * GIB, 24 * GIB)


def test_apple_gpu_stops_before_the_system_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    memory = SimpleNamespace(available=10 * GIB, allocated=4 * GIB)
    monkeypatch.setattr(torch.mps, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 24 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: memory.allocated)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    watch = MemoryWatch(torch.device("mps"))
    watch.reset()
    assert shares == [1.0]
    assert watch._limits[0].describe_excess() is None
    memory.available, memory.allocated = GIB, 20 * GIB
    reason = watch._limits[0].describe_excess()
    assert "20 GiB of this computer's 21 GiB" in str(reason)
    watch._exceeded = reason
    with pytest.raises(MemoryPressureError):
        watch.check()


# --- building kernels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "environment", "headers", "expected"),
    [
        ((), {}, True, "compiler"),
        (("clang",), {}, True, None),
        ((), {"CC": "/opt/cc"}, True, None),
        (("gcc",), {}, False, "headers"),
    ],
)
def test_what_triton_lacks_is_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    found: tuple[str, ...],
    environment: dict[str, str],
    headers: bool,
    expected: str | None,
) -> None:
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(programs.sys, "platform", "linux")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(programs.shutil, "which", lambda name: name if name in found else None)
    monkeypatch.setattr(programs.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert programs.find_missing_build_tool() == expected


@pytest.mark.parametrize(
    ("found", "compiler", "headers", "expected"),
    [
        ("g++", "", True, None),
        ("gcc", "", True, "compiler"),
        ("/opt/c++", "/opt/c++", True, None),
        ("g++", "", False, "headers"),
    ],
)
def test_what_inductor_lacks_for_a_cpu_is_found(
    monkeypatch: pytest.MonkeyPatch, found: str, compiler: str, headers: bool, expected: str | None
) -> None:
    missing = None if headers else "headers"
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(programs.shutil, "which", lambda name: name if name == found else None)
    monkeypatch.setattr(programs, "_find_missing_headers", lambda: missing)
    assert programs.find_missing_cpu_build_tool() == expected


def test_missing_headers_are_named_with_their_package() -> None:
    (problem,) = check_build_tools("headers", "cuda:0", TrainingSpec())
    assert "python3-dev" in str(problem.remedy)
    without = TrainingSpec(liger="off", torch_compile="off")
    assert not check_build_tools("headers", "cuda:0", without)
    assert check_build_tools("headers", "cuda:0", without.model_copy(update={"backend": "unsloth"}))
    assert not check_build_tools("headers", "cpu", TrainingSpec())
