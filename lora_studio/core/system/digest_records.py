"""Digests of what this user has started or allowed, one list a file in the user's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from lora_studio.core import limits
from lora_studio.core.system import paths
from lora_studio.core.system.damaged_files import raise_unless_damaged
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import read_json


@dataclass(frozen=True)
class DigestRecord:
    """A list of digests in a file of the user's configuration; the oldest are forgotten."""

    name: str

    def add(self, digest: str) -> bool:
        """Add a digest; return False if it can't be stored."""
        try:
            known = self._read(raise_unless_damaged)
            if digest not in known:
                known = [*known, digest][-limits.KNOWN_PROJECTS :]
                write_atomic(
                    paths.get_config_folder() / self.name, json.dumps(known, indent=1) + "\n"
                )
        except OSError:
            return False
        return True

    def __contains__(self, digest: str) -> bool:
        """Return whether a digest was added."""
        return digest in self._read()

    def _read(self, on_error: Callable[[Exception], None] = lambda _: None) -> list[str]:
        """Return the digests; `on_error` gets the error of a file that exists but can't be read."""
        try:
            content = read_json(paths.get_config_folder() / self.name)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            on_error(error)
            return []
        if not isinstance(content, list):
            return []
        return [each for each in content if isinstance(each, str)]
