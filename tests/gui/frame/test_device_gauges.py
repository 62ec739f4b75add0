"""The bar above the pages: the load of devices, recent projects, and what is left out where space is short."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QMenu, QProgressBar, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.messages import text
from lora_studio.core.project import project
from lora_studio.core.protocol import events
from lora_studio.core.system import nvml as nvml_module
from lora_studio.core.system.nvml import Nvml
from lora_studio.gui.frame.device_gauges import (
    DeviceGauges,
    DeviceSample,
    GaugesView,
    GpuSample,
    find_gpu,
    read_amd_gpus,
    read_gpus,
)
from lora_studio.gui.frame.header_bar import HeaderBar
from lora_studio.gui.frame.shell import Actions
from lora_studio.gui.help import palette
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window

GIB = 2**30
CARD = GpuSample("NVIDIA GeForce RTX 4090", "GPU-aa", 18 * GIB, 24 * GIB, 87, 61)
OTHER = GpuSample("NVIDIA GeForce RTX 3090", "GPU-bb", 1 * GIB, 24 * GIB, 3, 40)
DEVICE = events.Device(name="cuda:0", title="RTX 4090", total_bytes=24 * GIB, free_bytes=6 * GIB)
CPU = events.Device(name="cpu", title="Processor", total_bytes=16 * GIB, free_bytes=8 * GIB)


class Driver:
    """A fake NVML; a value of None isn't supported by the GPU."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, cards: int = 1, heat: int | None = 61) -> None:
        self.cards, self.heat = cards, heat

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, card: int) -> Any:
        return SimpleNamespace(used=(card + 1) * GIB, total=24 * GIB)

    def nvmlDeviceGetName(self, card: int) -> str:
        return f"NVIDIA card {card}"

    def nvmlDeviceGetUUID(self, card: int) -> str:
        return f"GPU-{card}"

    def nvmlDeviceGetUtilizationRates(self, card: int) -> Any:
        return SimpleNamespace(gpu=50 + card)

    def nvmlDeviceGetTemperature(self, card: int, _sensor: int) -> int:
        if self.heat is None:
            raise RuntimeError("Not Supported")
        return self.heat


def _read(driver: Driver) -> tuple[GpuSample, ...]:
    nvml = Nvml(driver)
    return read_gpus(nvml, nvml.list_cards())


def test_all_gpus_of_the_driver_are_read() -> None:
    gpus = _read(Driver(cards=2))
    assert [(gpu.name, gpu.load, gpu.celsius) for gpu in gpus] == [
        ("NVIDIA card 0", 50, 61),
        ("NVIDIA card 1", 51, 61),
    ]
    assert gpus[1].used_bytes == 2 * GIB


def test_gpu_without_temperature_sensor_reports_other_values() -> None:
    (gpu,) = _read(Driver(heat=None))
    assert gpu.celsius is None
    assert gpu.load == 50


def test_missing_driver_gives_no_gpus_and_no_error() -> None:
    class NoDriver(Driver):
        def nvmlInit(self) -> None:
            raise RuntimeError("Driver Not Loaded")

    assert _read(NoDriver()) == ()


@pytest.mark.parametrize(
    ("visible", "name", "expected"),
    [
        ("", "cuda:1", OTHER),
        ("1", "cuda:0", OTHER),
        ("GPU-bb", "cuda:0", OTHER),
        ("1,0", "cuda:1", CARD),
        ("", "cpu", None),
    ],
    ids=["all-visible", "second-only", "by-uuid", "reordered", "cpu"],
)
def test_gpu_is_found_by_index_among_visible_devices(
    visible: str, name: str, expected: GpuSample | None
) -> None:
    title = {CARD: "RTX 4090", OTHER: "RTX 3090", None: "Processor"}[expected]
    device = DEVICE.model_copy(update={"name": name, "title": title})
    sample = DeviceSample(10.0, GIB, 16 * GIB, (CARD, OTHER))
    assert find_gpu(device, sample, {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_gpu_is_found_by_identifier_whatever_its_index() -> None:
    device = DEVICE.model_copy(update={"name": "cuda:0", "identifier": OTHER.uuid[4:]})
    assert find_gpu(device, DeviceSample(10.0, GIB, 16 * GIB, (CARD, OTHER)), {}) == OTHER


def test_gauges_show_load_memory_and_temperature_of_the_device(qtbot: QtBot) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    assert view.isHidden()
    view.show_device(DEVICE)
    view.show_sample(DeviceSample(12.4, 7 * GIB, 16 * GIB, (CARD, OTHER)))
    assert view.name.text() == "RTX 4090"
    assert view.load.text() == "87 %"
    assert view.bar.value() == 75
    assert view.heat.text() == "61 °C"
    assert view.machine.text().startswith("CPU 12 %")
    assert "RTX 3090: 3 %" in view.toolTip()
    assert "RTX 3090: 3 %" in view.accessibleName()
    view.set_roomy(False)
    assert view.machine.isHidden()


def test_radeon_is_sampled_through_sysfs(qtbot: QtBot, tmp_path: Path) -> None:
    values = {
        "mem_info_vram_total": 24 * GIB, "mem_info_vram_used": 20 * GIB, "gpu_busy_percent": 97,
        "hwmon/hwmon3/temp1_input": 66_000,
    }  # fmt: skip
    for name, value in values.items():
        file = tmp_path / "card1" / "device" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    (tmp_path / "card2" / "device").mkdir(parents=True)  # another driver's
    gpus = read_amd_gpus(nvml_module.list_folders(tmp_path))
    view = GaugesView()
    qtbot.addWidget(view)
    view.show_device(DEVICE.model_copy(update={"title": "AMD Radeon RX 7900 XTX"}))
    view.show_sample(DeviceSample(12.4, 7 * GIB, 16 * GIB, gpus))
    assert view.name.text() == "AMD Radeon RX 7900 XTX"
    shown = [view.load.text(), view.memory.text(), view.heat.text()]
    assert shown == ["97 %", "20 GiB of 24 GiB", "66 °C"]


@pytest.mark.parametrize("samples", [0, 2], ids=["none", "two alike"])
def test_memory_of_an_earlier_moment_is_not_shown(qtbot: QtBot, samples: int) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    view.show_device(DEVICE)
    radeon = GpuSample("AMD GPU", "", 3 * GIB, 24 * GIB, 97, 66)
    view.show_sample(DeviceSample(12.4, 7 * GIB, 16 * GIB, (radeon,) * samples))
    assert view.name.text() == "RTX 4090"
    assert view.memory.isHidden()
    assert view.bar.isHidden()
    assert view.load.text() == ""


def test_load_of_the_cpu_is_not_shown_as_that_of_an_apple_gpu(qtbot: QtBot) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    view.show_device(CPU.model_copy(update={"name": "mps", "title": "Apple GPU"}))
    view.show_sample(DeviceSample(40.0, 4 * GIB, 16 * GIB))
    assert view.load.text() == ""
    assert view.memory.text() == "4 GiB of 16 GiB"


def test_full_gpu_memory_is_no_error_but_full_ram_is(qtbot: QtBot) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    full = GpuSample(CARD.name, CARD.uuid, 24 * GIB, 24 * GIB, 99, 70)
    sample = DeviceSample(12.4, 16 * GIB, 16 * GIB, (full,))
    view.show_device(DEVICE)
    view.show_sample(sample)
    assert view.bar.property("level") == ""
    view.show_device(CPU)
    assert view.bar.property("level") == "error"


def test_throttling_temperature_has_a_warning_glyph(qtbot: QtBot) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    view.show_device(DEVICE)
    hot = GpuSample(CARD.name, CARD.uuid, CARD.used_bytes, CARD.total_bytes, 99, 91)
    view.show_sample(DeviceSample(12.4, 7 * GIB, 16 * GIB, (hot,)))
    assert view.heat.text() == "▲ 91 °C"


def test_without_a_gpu_gauges_show_cpu_and_ram(qtbot: QtBot) -> None:
    view = GaugesView()
    qtbot.addWidget(view)
    view.show_device(CPU)
    view.show_sample(DeviceSample(40.0, 4 * GIB, 16 * GIB))
    assert view.load.text() == "40 %"
    assert view.bar.value() == 25
    assert view.heat.isHidden()
    assert view.machine.isHidden()


def test_sampling_runs_in_its_own_thread_and_stops_at_once(qtbot: QtBot) -> None:
    where: list[int] = []

    def read() -> DeviceSample:
        where.append(threading.get_ident())
        return DeviceSample(1.0, GIB, 2 * GIB)

    gauges = DeviceGauges(read, every=60)
    with qtbot.waitSignal(gauges.sampled) as signal:
        gauges.start()
    assert signal.args == [DeviceSample(1.0, GIB, 2 * GIB)]
    assert where == [where[0]]
    assert where[0] != threading.get_ident()
    gauges.stop_background_work()
    assert not gauges.isRunning()


def test_narrow_header_shows_the_whole_stop_button(qtbot: QtBot) -> None:
    over = QWidget()
    qtbot.addWidget(over)
    header = HeaderBar(QMenu(over), over)
    header.set_project("support-bot", "", saved="saved")
    header.resize(1200, 48)
    over.show()
    header.show_job(text("Training"), 0.4, 600.0)
    job, progress = header.job, header.job.findChild(QProgressBar)
    assert progress.isVisible()
    header.resize(360, 48)
    assert not progress.isVisible()
    for part in (job.open, job.stop):
        assert part.width() >= part.sizeHint().width()
    header.resize(1200, 48)
    header.show_job(text("Training"), 0.5, 600.0)
    assert job.width() >= job.sizeHint().width(), "laid out at once"
    assert progress.isVisible()


def test_menu_names_projects_and_the_folders_of_namesakes(qtbot: QtBot, tmp_path: Path) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    files = [tmp_path / folder / "bot.lorastudio" for folder in ("one", "two", "three")]
    actions, opened = Actions(window, QUndoStack(window)), list[Path]()
    titles = dict(zip(files, ("Bot: v2", "Pim & Ada", "Bot: v2"), strict=True))
    actions.fill_recent(titles, opened.append)
    assert [action.text() for action in actions.recent.actions()] == [
        f"Bot: v2    {tmp_path / 'one'}",
        "Pim && Ada",
        f"Bot: v2    {tmp_path / 'three'}",
    ]
    actions.recent.actions()[2].trigger()
    assert opened == [files[2]]


def test_titles_are_stored_with_recent_projects(tmp_path: Path) -> None:
    first, second, missing = (tmp_path / f"{name}.lorastudio" for name in ("a", "b", "c"))
    Preferences(recent=[str(second)], recent_titles={str(missing): "Gone"}).save()
    preferences = Preferences.load()
    assert preferences.get_recent_title(second) == "b", "of an older version, without titles"
    preferences.add_recent_project(first, "Bot: v2")
    preferences.set_recent_titles({first: "", second: "Pim", missing: "Gone"})
    loaded = Preferences.load()
    assert loaded.recent_titles == {str(first): "Bot: v2", str(second): "Pim"}
    assert loaded.get_recent_title(first) == "Bot: v2"


def test_menu_shows_titles_without_reading_projects(
    window: Window, tmp_path: Path, qtbot: QtBot
) -> None:
    for name in ("Bot: v2", "Pim: v1"):
        window.state.create(tmp_path / name.replace(":", ""), name)

    def list_menu() -> list[str]:
        return [action.text() for action in window.actions_.recent.actions()]

    def list_palette() -> list[str]:
        entries = palette.list_entries(window)
        return [entry.title for entry in entries if entry.kind == "project"]

    assert list_menu() == ["Pim: v1", "Bot: v2"]
    assert list_palette() == ["Bot: v2"]
    for file in window.preferences.list_recent_projects():
        file.write_text(f'name = "{file.stem}, edited"', "utf-8")
    window.show_project()
    assert list_menu() == ["Pim: v1", "Bot: v2"], "read by a thread only"
    window.show_page("home")
    qtbot.waitUntil(lambda: list_menu() == ["Pim- v1, edited", "Bot- v2, edited"])
    assert list_palette() == ["Bot- v2, edited"]


def test_name_of_several_lines_is_shown_on_one(tmp_path: Path) -> None:
    file = tmp_path / "p.lorastudio"
    file.write_text('name = "one\\ntwo\\tthree"', "utf-8")
    assert project.read_title(file) == "one two three"
