"""NVIDIA's management library (NVML), which asks the driver.

A query through CUDA creates a context on the card: 200 to 500 MB of its memory for as long as the
process lives. NVML creates none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Nvml:
    """NVIDIA's management library; without a GPU or a driver it has no cards.

    What a card doesn't report (a MIG slice has no temperature) is None.
    """

    def __init__(self, library: Any = None) -> None:
        """Load the library once; a failure lasts as long as this object."""
        self.library: Any = None
        try:
            if library is None:
                import pynvml

                library = pynvml
            library.nvmlInit()
        except Exception:  # no package (macOS), no driver, or one of another version
            return
        self.library = library

    def list_cards(self) -> list[Any]:
        """Return the handles of all cards, by slot."""
        count = self.query("nvmlDeviceGetCount") or 0
        cards = [self.query("nvmlDeviceGetHandleByIndex", index) for index in range(count)]
        return [card for card in cards if card is not None]

    def find_card(self, uuid: str) -> Any:
        """Return the handle of a card or a MIG slice by its UUID without prefix, None if unknown."""
        for kind in ("GPU", "MIG"):
            if (card := self.query("nvmlDeviceGetHandleByUUID", f"{kind}-{uuid}")) is not None:
                return card
        return None

    def read_memory(self, card: Any) -> Any:
        """Return the memory of a card in bytes, as `total`, `used` and `free`."""
        return self.query("nvmlDeviceGetMemoryInfo", card)

    def read_utilization(self, card: Any) -> int | None:
        """Return the load of a card in percent."""
        rates = self.query("nvmlDeviceGetUtilizationRates", card)
        return None if rates is None else int(rates.gpu)

    def read_celsius(self, card: Any) -> int | None:
        """Return the temperature of a card in °C."""
        sensor = getattr(self.library, "NVML_TEMPERATURE_GPU", 0)
        celsius = self.query("nvmlDeviceGetTemperature", card, sensor)
        return None if celsius is None else int(celsius)

    def list_processes(self, card: Any) -> dict[int, int]:
        """Return the bytes of each process with memory of a card, by its ID.

        Windows doesn't tell how much, so it has none.
        """
        kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
        found = [each for kind in kinds for each in self.query(kind, card) or ()]
        return {int(each.pid): int(each.usedGpuMemory) for each in found if each.usedGpuMemory}

    def read_text(self, function: str, *arguments: Any) -> str | None:
        """Return a name, a UUID or a version; older libraries return bytes."""
        value = self.query(function, *arguments)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def query(self, function: str, *arguments: Any) -> Any:
        """Return what a function of the library returns, None if it raises an error."""
        try:
            return getattr(self.library, function)(*arguments)
        except Exception:  # an error of the library's own, or no library
            return None


_DRM = Path("/sys/class/drm")


@dataclass(frozen=True)
class AmdGpu:
    """A GPU: memory in bytes, load in percent and the temperature in °C, None if not reported."""

    name: str
    used_bytes: int
    total_bytes: int
    load: int | None = None
    celsius: int | None = None


def list_folders(drm: Path = _DRM) -> list[Path]:
    """Return the folder of each GPU, by slot."""
    cards = {
        card.resolve()
        for card in drm.glob("card*/device")
        if (card / "mem_info_vram_total").is_file()
    }
    return sorted(cards)


def read_gpu(folder: Path) -> AmdGpu | None:
    """Return the state of a GPU; None if its memory can't be read."""
    used, total = (_read_number(folder / f"mem_info_vram_{name}") for name in ("used", "total"))
    if used is None or not total:
        return None
    heat = next(
        (_read_number(file) for file in sorted(folder.glob("hwmon/hwmon*/temp1_input"))), None
    )
    return AmdGpu(
        name=_read_text(folder / "product_name") or "AMD GPU",
        used_bytes=used,
        total_bytes=total,
        load=_read_number(folder / "gpu_busy_percent"),
        celsius=None if heat is None else round(heat / 1000),
    )


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_number(file: Path) -> int | None:
    text = _read_text(file)
    return int(text) if text.isdecimal() else None
