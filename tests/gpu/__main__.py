"""Run the GPU tier: each check in a process of its own, then a table and `results.json`.

Without a GPU, everything is reported as skipped, and the exit status is 0. `--device cpu` runs the checks that
have a meaning on the CPU, so that the tier itself is known to run. Each check has its share of ten minutes on
an H100; one that takes much longer has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.gpu import checks as _checks  # noqa: F401 - they register themselves
from tests.gpu.registry import CHECKS, Check

_CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "triton", "liger-kernel", "unsloth")
_SMI_FIELDS = (
    "name,uuid,driver_version,memory.total,compute_cap,clocks.sm,clocks.max.sm,power.limit"
)

#: Times the seconds on an H100 after which a check is ended: other GPUs are slower, and so are busy computers.
_PATIENCE = 6

Result = dict[str, Any]


def main() -> int:
    """Run the chosen checks; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json")
    parser.add_argument(
        "--only", action="append", help="name of a check, such as T1; may be repeated"
    )
    parser.add_argument("--device", default="cuda:0", help="device to run on")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(chosen.device)
    reason = "" if chosen.device == "cpu" or machine["gpu"] else "this computer has no NVIDIA GPU"
    results = [
        run_check(check, chosen.device, reason)
        for name, check in sorted(CHECKS.items(), key=lambda item: int(item[0][1:]))
        if not chosen.only or name in chosen.only
    ]
    report = {"machine": machine, "device": chosen.device, "results": results}
    (chosen.out / "results.json").write_text(json.dumps(report, indent=2), "utf-8")
    table = format_table(report)
    (chosen.out / "results.txt").write_text(table, "utf-8")
    sys.stdout.write(table)
    return int(any(result["status"] == "failed" for result in results))


def describe_machine(device: str) -> dict[str, Any]:
    """Return the card with its clocks, and the versions of the packages."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"gpu": read_smi(device), "python": sys.version.split()[0], "versions": versions}


def read_smi(device: str) -> dict[str, str]:
    """Return what nvidia-smi says about a device; {} without it."""
    program = shutil.which("nvidia-smi")
    if program is None or device == "cpu":
        return {}
    index = device.partition(":")[2] or "0"
    done = subprocess.run(
        [program, f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader", "-i", index],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    values = [value.strip() for value in done.stdout.strip().split(",")]
    names = _SMI_FIELDS.split(",")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else {}


def run_check(check: Check, device: str, reason: str) -> Result:
    """Run a check in a process of its own, unless there is a reason to skip it."""
    entry: Result = {
        "name": check.name, "title": check.title, "status": "skipped", "figures": {},
        "budget": check.seconds,
    }  # fmt: skip
    if not reason and check.needs_gpu and device == "cpu":
        reason = "needs a GPU"
    if reason:
        return entry | {"reason": reason, "seconds": 0.0}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.gpu.checks", check.name, device, folder]
        # The user's own runs, calibration, and caches stay as they are.
        environment = os.environ | {
            "LORA_STUDIO_DATA": f"{folder}/data",
            "LORA_STUDIO_CACHE": f"{folder}/cache",
        }
        limit = _PATIENCE * check.seconds
        try:
            done = subprocess.run(
                command, cwd=_CHECKOUT, env=environment, timeout=limit,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            error = done.stderr.strip()[-3000:] if done.returncode else ""
        except subprocess.TimeoutExpired:
            error = f"took longer than {limit} s"
        entry["seconds"] = round(time.monotonic() - started, 1)
        return entry | judge(read_report(Path(folder) / "report.json"), error)


def read_report(file: Path) -> dict[str, Any]:
    """Return what a check reported; {} if it was ended before."""
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def judge(report: dict[str, Any], error: str) -> Result:
    """Return the figures and the status of a check; `error` is what its process failed with."""
    failures = [*report.get("failures", ()), *([error] if error else [])]
    status = "failed" if failures else "skipped" if report.get("unavailable") else "passed"
    reason = "\n".join(failures) or report.get("unavailable", "")
    return {"figures": report.get("figures", {}), "status": status, "reason": reason}


def format_table(report: dict[str, Any]) -> str:
    """Return the results as text: the machine, and a line for each check."""
    machine = report["machine"]
    lines = [", ".join(machine["gpu"].values()) or "no GPU", json.dumps(machine["versions"])]
    for result in report["results"]:
        lines.append(
            f"{result['name']:4} {result['status']:8} {result['seconds']:6.1f} of {result['budget']:2} s"
            f"  {result['title']}"
        )
        lines += [f"       {name}: {value}" for name, value in result["figures"].items()]
        if result["reason"]:
            lines.append(f"       {result['reason'].splitlines()[-1]}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
