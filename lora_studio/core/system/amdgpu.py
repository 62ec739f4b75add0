"""What Linux's driver for AMD GPUs reports in sysfs: memory, load and temperature, without any library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
