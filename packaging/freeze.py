"""Freezes the window and the command line: `python packaging/freeze.py OUT`, on each system for itself.

Needs what `pip install ".[packaging]"` installs, best in an environment of its own: the bundle takes
its libraries from there. OUT/lora-studio is the result, on macOS "OUT/LoRA Studio.app" as well.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import icons
from PySide6.QtGui import QGuiApplication

PACKAGING = Path(__file__).resolve().parent
CHECKOUT = PACKAGING.parent

#: Distributions in the bundle that aren't requirements of this one.
ALSO_CARRIED = ("pyinstaller", "uv")


def carried() -> Iterator[metadata.Distribution]:
    """Return every distribution in the bundle: this one's requirements, their requirements, and so on."""
    waiting, visited = ["lora-studio", *ALSO_CARRIED], set()
    while waiting:
        name = waiting.pop(0)
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in visited:
            continue
        visited.add(key)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # required only on another system or Python version
        if key not in ALSO_CARRIED:
            for line in distribution.requires or ():
                if "extra ==" not in line:
                    match = re.match(r"[\w.-]+", line)
                    assert match is not None
                    waiting.append(match.group())
        if key != "lora-studio":
            yield distribution


def licence_texts() -> str:
    """Return the licenses of everything in the bundle, from the metadata of the distributions."""
    parts = [
        "LoRA Studio is under the Apache License 2.0. It carries the following with it.\n"
        "Qt and PySide6 are used under the GNU Lesser General Public License, version 3: their\n"
        "libraries lie beside the program as files of their own, and you may replace them.\n"
        f"Python {sys.version.split()[0]} is under the licence of the Python Software Foundation,\n"
        "https://docs.python.org/3/license.html.\n"
    ]
    for distribution in carried():
        facts = distribution.metadata
        licence = facts.get("License-Expression") or facts.get("License", "").split("\n")[0]
        parts.append(
            f"{'=' * 78}\n{facts['Name']} {distribution.version}: {licence or 'see below'}\n"
        )
        for file in distribution.files or ():
            if ".dist-info" in str(file.parent) and re.match(
                r"(?i)licen[cs]e|copying|notice", file.name
            ):
                text = Path(str(distribution.locate_file(file)))
                parts.append(text.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(parts)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this version for the engine's environment, and return its path."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            folder,
            CHECKOUT,
        ],
        check=True,
    )
    (wheel,) = folder.glob("lora_studio-*.whl")
    store(wheel)
    return wheel


def store(archive: Path) -> None:
    """Rewrite a ZIP file without compression: the packages compress it better."""
    with zipfile.ZipFile(archive) as packed:
        contents = [(entry, packed.read(entry)) for entry in packed.infolist()]
    with zipfile.ZipFile(archive, "w") as stored:
        for entry, content in contents:
            stored.writestr(entry, content, zipfile.ZIP_STORED)


def draw_icons(folder: Path) -> None:
    """Write the icon files for PyInstaller and the Windows installer."""
    application = QGuiApplication.instance() or QGuiApplication([])
    for name in ("lora-studio", "lora-studio-project"):
        for ending in ("ico", "icns"):
            icons.write(PACKAGING / f"{name}.svg", folder / f"{name}.{ending}")
    del application


def tidy(bundle: Path) -> None:
    """Strip symbols, library search paths, and the executable permission of libraries (Linux).

    The starter sets the library search path. Debian packages must not contain search paths or
    executable libraries.
    """
    programs = [bundle / "lora-studio", bundle / "_internal" / "resources" / "bin" / "uv"]
    for file in [*programs, *bundle.rglob("*.so*")]:
        if not file.is_file() or file.is_symlink():
            continue
        package = file.relative_to(bundle / "_internal").parts[0] if file not in programs else ""
        # WORKAROUND: NumPy's wheel was modified by patchelf, and strip leaves such libraries with
        # segments that no loader accepts ("ELF load command address/offset not page-aligned").
        # The starter has the whole program appended, which strip would remove.
        if package not in ("numpy", "numpy.libs") and file != programs[0]:
            subprocess.run(["strip", "--strip-unneeded", file], check=True)
        if file not in programs:
            subprocess.run(["patchelf", "--remove-rpath", file], check=True)
            file.chmod(0o644)


def list_missing_modules(bundled: Iterable[str]) -> list[str]:
    """Return the modules of this program, except those of the engine, that aren't among `bundled`."""
    files = (CHECKOUT / "lora_studio").rglob("*.py")
    names = (
        ".".join(file.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
        for file in files
    )
    expected = {name for name in names if name.split(".")[1:2] != ["engine"]}
    return sorted(expected - set(bundled))


def require_all_modules(program: Path) -> None:
    """Exit with the names of the modules that the frozen program lacks, if any."""
    from PyInstaller.archive.readers import CArchiveReader

    archive = CArchiveReader(str(program)).open_embedded_archive("PYZ.pyz")
    if missing := list_missing_modules(archive.toc):
        sys.exit(f"{program.name} lacks {len(missing)} modules: {', '.join(missing)}")


def main(out: Path) -> None:
    """Freeze the program into the new folder `out`."""
    shutil.rmtree(out, ignore_errors=True)
    work = out / "work"
    work.mkdir(parents=True)
    wheel = build_wheel(work)
    licences = work / "THIRD-PARTY-LICENCES.txt"
    licences.write_text(licence_texts(), encoding="utf-8")
    draw_icons(work)
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN",
         "--distpath", out, "--workpath", work, PACKAGING / "lora-studio.spec",
         "--", "--wheel", wheel, "--licences", licences, "--icons", work],
        check=True,
        # Modules aren't compressed in the program either, for the same reason as the wheel.
        env=os.environ | {"PYINSTALLER_ZLIB_COMPRESSION_LEVEL": "0"},
    )  # fmt: skip
    suffix = ".exe" if sys.platform == "win32" else ""
    require_all_modules(out / "lora-studio" / f"lora-studio{suffix}")
    if sys.platform == "linux":
        tidy(out / "lora-studio")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
