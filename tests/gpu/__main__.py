"""Run the GPU tier: each check in a process of its own, then a table and `results.json`.

On Linux these processes are forks of one that has imported PyTorch and transformers, and hasn't used a GPU.

Without a GPU, everything is reported as skipped, and the exit status is 0. `--device cpu` runs the checks that
have a meaning on the CPU, so that the tier itself is known to run. Each check has its share of ten minutes on
an H100; one that takes much longer has failed. T19, which compares with Unsloth and TRL, and T20, which
compares two GPUs with one, run only if they are named: `--only T19`.
"""

from __future__ import annotations

import argparse
import contextlib
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

import psutil

from lora_studio.engine.runtime.torch_settings import set_torch_defaults
from tests.gpu import checks as _checks  # noqa: F401 - they register themselves
from tests.gpu.registry import CHECKS, MOST_SECONDS, Check, get_smi_name
from tests.helpers.faults.preloaded import PreloadedPython

_CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "triton", "liger-kernel", "unsloth")
_SMI_FIELDS = (
    "name,uuid,driver_version,memory.total,compute_cap,clocks.sm,clocks.max.sm,power.limit,"
    "mig.mode.current"
)

#: Times the seconds on an H100 after which a check is ended: other GPUs are slower, and so are busy computers.
_PATIENCE = 6

#: Files that exist where a driver of NVIDIA or AMD is loaded, on Linux and in the Linux subsystem of Windows.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))

#: Prints what PyTorch says about a GPU, for AMD's and for computers without nvidia-smi, as many containers are.
_ASK_PYTORCH = """
import json, sys, torch
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(sys.argv[1])
    about = {"name": card.name, "memory.total": f"{card.total_memory >> 20} MiB",
             "compute_cap": f"{card.major}.{card.minor}"}
    print(json.dumps(about))
"""

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
    set_torch_defaults()  # as in a worker, for the processes of the checks
    chosen.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(chosen.device)
    reason = (
        ""
        if chosen.device == "cpu" or machine["gpu"]
        else "this computer has no GPU that the checks can use"
    )
    report: dict[str, Any] = {"machine": machine, "device": chosen.device, "results": []}
    table = write_report(chosen.out, report)
    with contextlib.ExitStack() as stack:
        preloaded = None if reason else start_preloaded(stack)
        for name, check in sorted(CHECKS.items(), key=lambda item: int(item[0][1:])):
            if chosen.only and name not in chosen.only:
                continue
            unasked = (
                f"runs only with --only {name}" if check.on_request and not chosen.only else ""
            )
            result = run_check(check, chosen.device, reason or unasked, preloaded)
            report["results"].append(result)
            # After each check, so that the others' results are there if this program is ended.
            table = write_report(chosen.out, report)
            if not reason:
                sys.stderr.write(f"{name} {result['status']} after {result['seconds']:.0f} s\n")
    sys.stdout.write(table)
    return int(any(result["status"] == "failed" for result in report["results"]))


def start_preloaded(stack: contextlib.ExitStack) -> PreloadedPython | None:
    """Return a server of processes that ends with `stack`; None where they couldn't use a GPU."""
    if sys.platform != "linux":
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-tier-"))
    preloaded = PreloadedPython(Path(folder))
    preloaded.start()
    stack.callback(preloaded.close)
    command = preloaded.command("tests.gpu.fork_probe")
    # It would end with its standard input.
    with subprocess.Popen(command, cwd=_CHECKOUT, stdin=subprocess.PIPE) as probe:
        return preloaded if probe.wait() == 0 else None


def write_report(folder: Path, report: dict[str, Any]) -> str:
    """Write `results.json` and `results.txt`; return the latter's text."""
    (folder / "results.json").write_text(json.dumps(report, indent=2), "utf-8")
    table = format_table(report)
    (folder / "results.txt").write_text(table, "utf-8")
    return table


def describe_machine(device: str) -> dict[str, Any]:
    """Return the card with its clocks, and the versions of the packages."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    gpu = read_smi(device)
    # nvidia-smi describes the whole card even if the device is a slice of it.
    is_slice = gpu.pop("mig.mode.current", "") == "Enabled"
    if is_slice or not gpu:
        gpu |= ask_pytorch(device)
    return {
        "gpu": gpu,
        "python": sys.version.split()[0],
        "versions": versions,
    }


def read_smi(device: str) -> dict[str, str]:
    """Return what nvidia-smi says about a device; {} without it, or if it knows other fields."""
    program = shutil.which("nvidia-smi")
    if program is None or device == "cpu":
        return {}
    query = [f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader", "-i", get_smi_name(device)]
    done = subprocess.run([program, *query], capture_output=True, text=True, check=False)
    values = [value.strip() for value in done.stdout.strip().split(",")]
    names = _SMI_FIELDS.split(",")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else {}


def ask_pytorch(device: str) -> dict[str, str]:
    """Return what PyTorch says about a device; {} without a driver, or with a build for CPUs."""
    if device == "cpu" or not any(driver.exists() for driver in _DRIVERS):
        return {}
    command = [sys.executable, "-c", _ASK_PYTORCH, device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])) if done.returncode == 0 and lines else {}


def run_check(
    check: Check, device: str, reason: str, preloaded: PreloadedPython | None = None
) -> Result:
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        error = run_process(check, device, Path(folder), preloaded)
        entry["seconds"] = round(time.monotonic() - started, 1)
        return entry | judge(read_report(Path(folder) / "report.json"), error)


def run_process(check: Check, device: str, folder: Path, preloaded: PreloadedPython | None) -> str:
    """Run a check in a process; return why it failed, "" if it didn't."""
    environment = os.environ | {
        # The user's own runs, calibration, and caches stay as they are.
        "LORA_STUDIO_DATA": f"{folder}/data",
        "LORA_STUDIO_CACHE": f"{folder}/cache",
        # CUDA's numbers are then those of nvidia-smi.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    arguments = "tests.gpu.checks", check.name, device, str(folder)
    command = [sys.executable, "-m", *arguments]
    if preloaded is not None:
        command = preloaded.command(*arguments)
    limit = _PATIENCE * check.seconds
    with (folder / "output.txt").open("w+b") as output:
        # Into a file: processes that a check leaves behind would keep a pipe open.
        process = psutil.Popen(
            command, cwd=_CHECKOUT, env=environment, stdin=subprocess.PIPE, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            status = process.wait(limit)
        except psutil.TimeoutExpired:
            return f"took longer than {limit} s"
        finally:
            end_processes(process)
            process.stdin.close()
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip()[-3000:]
    if status:
        return said or f"its process ended with status {status}"
    return "" if (folder / "report.json").is_file() else "its process wrote no report"


def end_processes(process: psutil.Process) -> None:
    """End a process that is still running, and those that it has started."""
    if not process.is_running():
        return
    for each in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def read_report(file: Path) -> dict[str, Any]:
    """Return what a check reported; {} if it was ended before."""
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def judge(report: dict[str, Any], error: str) -> Result:
    """Return the figures and the status of a check; `error` is what its process failed with."""
    failures = [*report.get("failures", ()), *([error] if error else [])]
    status = "failed" if failures else "skipped" if report.get("unavailable") else "passed"
    return {
        "figures": report.get("figures", {}),
        "status": status,
        "reason": "\n".join(failures) or report.get("unavailable", ""),
        "failures": failures,
    }


def format_table(report: dict[str, Any]) -> str:
    """Return the results as text: the machine, a line for each check, and how long they took together."""
    machine = report["machine"]
    lines = [", ".join(machine["gpu"].values()) or "no GPU", json.dumps(machine["versions"])]
    for result in report["results"]:
        lines.append(
            f"{result['name']:4} {result['status']:8} {result['seconds']:6.1f} of {result['budget']:2} s"
            f"  {result['title']}"
        )
        lines += [f"       {name}: {value}" for name, value in result["figures"].items()]
        # Of a traceback, the last line says what happened.
        reasons = result.get("failures") or filter(None, [result["reason"]])
        lines += [f"       {reason.splitlines()[-1]}" for reason in reasons]
    total = sum(result["seconds"] for result in report["results"])
    lines.append(f"total         {total:6.1f} of {MOST_SECONDS} s on an H100")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
