"""Names of Python packages, and the dependencies of installed ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import metadata


def normalize_package_name(name: str) -> str:
    """Return a package's name as the package index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_closure(
    roots: Iterable[str], list_needed: Callable[[metadata.Distribution], Iterable[str]]
) -> dict[str, metadata.Distribution]:
    """Return packages and what they need, by normalized name; those not installed are left out.

    `list_needed` returns the names of the packages that a package needs.
    """
    packages: dict[str, metadata.Distribution] = {}
    pending = list(roots)
    while pending:
        name = normalize_package_name(pending.pop())
        if name in packages:
            continue
        try:
            packages[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        pending += list_needed(packages[name])
    return packages
