"""The packages that the program depends on, with the licenses that they state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from lora_studio.core.system.packages import normalize_package_name, resolve_closure

_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_CLASSIFIER = "License :: "
#: Longer texts in the license field are the license itself, not its name.
_LONGEST_NAME = 60


@dataclass(frozen=True)
class LicensedPackage:
    """An installed package; `license_name` is an SPDX expression if the package has one."""

    name: str
    version: str
    license_name: str


def list_packages(root: str = "lora-studio") -> list[LicensedPackage]:
    """Return the package `root` and its installed dependencies, including extras, by name.

    Optional groups for developers are not followed; packages that aren't installed are left out.
    """

    def list_needed(package: metadata.Distribution) -> list[str]:
        is_root = normalize_package_name(package.name) == normalize_package_name(root)
        return [
            match[0]
            for needed in package.requires or []
            if _is_wanted(needed, is_root=is_root) and (match := _NAME.match(needed))
        ]

    licensed = [
        LicensedPackage(package.name, package.version, read_license_name(package.metadata))
        for package in resolve_closure([root], list_needed).values()
    ]
    return sorted(licensed, key=lambda item: item.name.lower())


def read_license_name(about: metadata.PackageMetadata) -> str:
    """Return the license's name, from the newest of three metadata fields that packages use."""
    expression = _read_first_line(about, "License-Expression")
    if expression:
        return expression
    classified = [
        entry.removeprefix(_CLASSIFIER).removeprefix("OSI Approved :: ")
        for entry in about.get_all("Classifier") or []
        if entry.startswith(_CLASSIFIER)
    ]
    plain = _read_first_line(about, "License")
    short_name = plain if plain and "\n" not in plain and len(plain) <= _LONGEST_NAME else ""
    return short_name or "; ".join(entry for entry in classified if entry) or "see the package"


def _read_first_line(about: metadata.PackageMetadata, field: str) -> str:
    return str((about.get_all(field) or [""])[0]).strip()


def _is_wanted(needed: str, *, is_root: bool) -> bool:
    """Return whether a requirement is needed to run the program; optional ones count only for
    the root.
    """
    if "extra ==" not in needed:
        return True
    return is_root and "extra == 'test'" not in needed and 'extra == "test"' not in needed
