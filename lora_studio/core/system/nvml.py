"""NVIDIA's management library (NVML), which asks the driver.

A query through CUDA creates a context on the card: 200 to 500 MB of its memory for as long as the
process lives. NVML creates none.
"""

from __future__ import annotations

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
