"""What a program and its children connect to, as the kernel sees it: with strace, without a route."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: A connection over TCP, or a datagram; system calls that are interrupted have their arguments as well.
_CALL = re.compile(
    r"(?P<call>connect|sendto|sendmsg)\(\d+<(?P<protocol>TCP|UDP)(?:v6)?:.*?"
    r"sin6?_port=htons\((?P<port>\d+)\).*?\"(?P<address>[0-9a-f.:]+)\""
)


@functools.cache
def explain_missing_namespaces() -> str:
    """Return why a program can't run in a network namespace here, "" if it can."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "needs the programs unshare and ip"
    ended = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True)
    return "" if ended.returncode == 0 else f"unshare -rn: {ended.stderr.decode().strip()}"


@functools.cache
def explain_missing_strace() -> str:
    """Return why programs can't be traced here, "" if they can."""
    if not shutil.which("strace"):
        return "needs the program strace"
    ended = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True)
    return "" if ended.returncode == 0 else f"strace: {ended.stderr.decode().strip()}"


def without_route(command: Sequence[str], other: str = "") -> list[str]:
    """Return the command that runs another one with a loopback interface only.

    `other` is an address that the interface also gets.
    """
    more = f"ip address add {other}/32 dev lo && " if other else ""
    return ["unshare", "-rn", "sh", "-c", f'ip link set lo up && {more}exec "$@"', "sh", *command]


def run_traced(
    command: Sequence[str], log: Path, environ: Mapping[str, str], timeout: float = 900
) -> tuple[subprocess.CompletedProcess[str], set[tuple[str, int]]]:
    """Run a program and return how it ended, and the addresses and ports that it contacted.

    Datagram sockets that only connect send nothing. Name servers are left out.
    """
    ended = subprocess.run(
        ["strace", "-f", "-qq", "-yy", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg",
         "-e", "signal=none", "-o", str(log), *command],
        env=dict(environ), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    contacted = set()
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.search(line)
        if match and (match["protocol"] == "TCP") == (match["call"] == "connect"):
            contacted.add((match["address"].removeprefix("::ffff:"), int(match["port"])))
    return ended, {(address, port) for address, port in contacted if port != 53}
