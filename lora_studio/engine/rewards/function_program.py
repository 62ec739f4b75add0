"""Program that calls a Python function of the user's for each answer, in a process with limits.

`function.FunctionReward` starts it by its path. It imports nothing of the package: its first line of input
is JSON with the source and the limits, each further one an answer to rate; it replies to each with a line.
Without network: in a network namespace of its own where Linux allows one, and by an audit hook that refuses
connections and further programs everywhere.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

#: Events of Python's runtime that the function must not cause.
_REFUSED = (
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
    "socket.sendmsg", "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
    "os.spawn", "os.startfile", "os.system",
)  # fmt: skip

#: Flags of Linux's unshare: a user namespace, which needs no rights, and an empty network in it.
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000

#: Bytes of memory that are mapped at once without a file.
_MOST_MAPPED = 16_000_000

#: Characters of an error that are passed on.
_MOST = 300


def _leave_network() -> None:
    """Enter an empty network namespace; where that isn't possible, the audit hook remains."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REFUSED:
        raise PermissionError(f"a reward can't use {event}")
    # The limit of memory doesn't count maps that are shared, as those without a file are by default.
    if event == "mmap.__new__" and arguments[0] == -1 and arguments[1] > _MOST_MAPPED:
        raise MemoryError("a reward can't map so much memory")


def _limit_memory(memory: int) -> None:
    """Limit this process to `memory` bytes; not on Windows."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _load(request: dict[str, Any]) -> Callable[..., Any]:
    """Run the source, and return the function with the requested name."""
    name = request["function"]
    namespace: dict[str, Any] = {"__name__": "reward", "__file__": request["file"]}
    exec(compile(request["source"], request["file"], "exec"), namespace)
    function = namespace.get(name)
    if not callable(function):
        raise NameError(f"the file has no function named {name}")
    return function  # type: ignore[no-any-return]  # any callable


def _select(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a function takes, all if it takes any."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return values
    return {name: value for name, value in values.items() if name in parameters}


def _call(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    try:
        result = function(**_select(function, values))
        if result is None:
            return {"error": "it returned None"}
        return {"value": float(result)}
    except BaseException as error:
        return {"error": _describe(error)}


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_MOST].rstrip(".: ")


def _read_lines(lines: queue.SimpleQueue[bytes]) -> None:
    """Pass on lines until the parent closes its end or has ended; then end, whatever still runs."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


def _main() -> None:
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the function prints isn't a reply
    request = json.loads(sys.stdin.buffer.readline())
    _leave_network()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    _limit_memory(request["memory"])
    sys.addaudithook(_refuse)
    try:
        function = _load(request)
        reply: dict[str, Any] = {"ready": True}
    except BaseException as error:
        reply = {"error": _describe(error)}
    replies.write(json.dumps(reply).encode() + b"\n")
    while "ready" in reply:
        values = json.loads(lines.get())
        replies.write(json.dumps(_call(function, values)).encode() + b"\n")


if __name__ == "__main__":
    _main()
