"""Python processes that start quickly: forks of one that has already imported torch and transformers.

llama.cpp's converter needs eight seconds of processor time to import both for each tiny model, and
half a second to convert it; a worker needs six for its imports, and often less for its work.
`PreloadedPython.command` gives a command that behaves as
`python -m lora_studio.engine.runtime.child_process …` does, `module_command` one that behaves as
`python -m …`, and `code_command` as `python -c …`: same program, arguments, working folder, environment,
standard streams, and exit status; if it is killed, so is the program. Not for what Python or a
library reads from the environment when it is imported, such as the address of the Hub.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lora_studio.engine.runtime import child_process

#: What the server that tests share imports as well.
_MODULES = (
    "lora_studio.cli.app",
    "lora_studio.engine.worker",
    "lora_studio.engine.training.train_run",
)

#: First arguments of programs that are run as `python -m` and `python -c` do, not as a watched child.
_MODULE, _CODE = "--module", "--code"

#: The client of the server below: it hands over its streams and waits for the exit status.
_CLIENT = """
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
request = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
server.sendmsg([len(request).to_bytes(4, "big")], [streams])
server.sendall(request)
status = int(server.recv(16) or b"1")
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class PreloadedPython:
    """A server process that forks; it starts with the first command, and ends with `close` or with this process."""

    def __init__(self, folder: Path, modules: Sequence[str] = ()) -> None:
        """Create it; the server's socket is created in `folder`, and it imports more `modules`."""
        self._address, self._modules = str(folder / "preloaded"), modules
        self._server: subprocess.Popen[bytes] | None = None

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a module or a script in a fork of the server."""
        if self._server is None:
            self.start()
        return [sys.executable, "-I", "-S", "-c", _CLIENT, self._address, program, *arguments]

    def module_command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that does what `python -m module …` does, in a fork of the server."""
        return self.command(_MODULE, module, *arguments)

    def code_command(self, code: str, *arguments: str) -> list[str]:
        """Return the command that does what `python -c code …` does, in a fork of the server."""
        return self.command(_CODE, code, *arguments)

    def engine_variable(self) -> dict[str, str]:
        """Return the environment variable with which workers start in forks of the server."""
        return {"LORA_STUDIO_ENGINE": shlex.join(self.module_command("lora_studio.engine"))}

    def run_converters(self, set_attribute: Callable[[object, str, object], None]) -> None:
        """Let llama.cpp's converter and quantizer run here: replaces a function of the program with
        `set_attribute`.
        """
        fresh = child_process.get_python_command

        def get_command(program: str, *arguments: str) -> list[str]:
            is_ours = "convert" in program.rpartition("/")[2] or program.endswith(".quantizer")
            return (self.command if is_ours else fresh)(program, *arguments)

        set_attribute(child_process, "get_python_command", get_command)

    def start(self) -> None:
        """Start the server now, so that forks of this process share it."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.faults.preloaded", self._address, *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End the server."""
        if self._server is None:
            return
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


_shared: PreloadedPython | None = None


@contextlib.contextmanager
def share(folder: Path) -> Iterator[PreloadedPython]:
    """Yield the server that `get_shared` returns inside the block; it starts with its first command.

    It has the imports of the command line and of workers.
    """
    global _shared
    _shared = PreloadedPython(folder, _MODULES)
    try:
        yield _shared
    finally:
        _shared.close()


def get_shared() -> PreloadedPython:
    """Return the server that the tests of this process share."""
    assert _shared is not None
    return _shared


def main(address: str, *modules: str) -> None:
    """Serve until stdin closes."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoTokenizer

    from lora_studio.engine.export.gguf import converter_program

    assert all((transformers, AutoConfig, AutoTokenizer, converter_program))
    for module in modules:
        importlib.import_module(module)
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a fork would copy the pages of all these objects
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)  # to finalize all that was imported takes seconds on a busy machine
            client, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _serve(client)
            client.close()


def _serve(client: socket.socket) -> None:
    """Run one program in a fork of this fork, which waits and reports how it ended."""
    head, ancillary, _, _ = client.recvmsg(4, socket.CMSG_SPACE(12))
    streams = array.array("i")
    streams.frombytes(ancillary[0][2])
    with client.makefile("rb") as reader:
        arguments, folder, environment = json.loads(reader.read(int.from_bytes(head, "big")))
    program = os.fork()
    if program == 0:
        client.close()
        os.setsid()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _run(arguments)
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    ended = os.pidfd_open(program)
    ready, _, _ = select.select([ended, client], [], [])
    if ended not in ready:
        # With what it has started, once it has a group of its own.
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                end(program, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    if ended in ready:
        client.sendall(str(status).encode())
    os._exit(0)


def _run(arguments: list[str]) -> None:
    """Run the program as a fresh interpreter does, and end this process."""
    status: object = 0
    # llama.cpp's scripts include their own gguf package.
    assert "gguf" not in sys.modules
    # The standard streams may have been pipes before, and are different now.
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", write_through=True)
        for number in (1, 2)
    )
    # WORKAROUND: a fork replaces PyTorch's thread pool at its first use, and fails with “Invalid thread pool!” if
    # two threads use it at once (torch 2.13, aten/src/ATen/ParallelOpenMP.cpp). Here is one thread.
    sys.modules["torch"].set_num_threads(1)
    kind = arguments[0]
    program, *rest = (
        arguments[1:] if kind in (_MODULE, _CODE) else [child_process.__name__, *arguments]
    )
    if program == child_process.__name__:
        for name in (program, rest[0]):  # both run as __main__, as in a new process
            sys.modules.pop(name, None)
    sys.argv = ["-c" if kind == _CODE else program, *rest]
    try:
        if kind == _CODE:
            main_module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(program, main_module.__dict__)
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        status = exit_.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else bool(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
