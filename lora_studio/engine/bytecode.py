"""`python bytecode.py SITE_PACKAGES`: compile the modules that jobs import, in their import order.

Runs during a set-up in the new engine's own Python, with nothing but the standard library. Each line
on stdin announces more installed packages, the line `end` the last ones; if stdin closes earlier, the
program stops at once. A module's imports are read from its top-level statements as it is compiled;
Python compiles any others when they are first imported. This process can be killed at any time, since
each file is written under a temporary name and renamed.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from opcode import opmap, opname
from pathlib import Path
from types import CodeType

#: Modules that a training imports, in the order of the trial, then those that it imports on demand.
ROOTS = (
    "torch", "torch.onnx", "transformers", "transformers.models.auto.modeling_auto", "peft", "accelerate",
    "datasets", "dateutil.tz", "dateutil.parser", "safetensors", "sentencepiece", "pyarrow", "gguf", "ollama",
    "orjson", "httpx", "huggingface_hub", "bitsandbytes", "schedulefree", "pydantic", "platformdirs", "psutil",
    "tomlkit", "jinja2", "ftfy", "lora_studio.engine.worker", "lora_studio.engine.dataset.rows.mixture",
    "lora_studio.engine.dataset.prepare", "lora_studio.engine.training.train_run", "lora_studio.engine.training.trainer",
    "lora_studio.engine.backends.peft", "lora_studio.engine.backends.choice", "pydantic.main",
    "transformers.generation.utils", "transformers.models.llama.modeling_llama", "torch._dynamo", "unsloth",
)  # fmt: skip
#: Modules that only torch.compile needs. Others name them in top-level imports that don't run on import.
COMPILERS = ("functorch.compile", "torch._inductor.compile_fx")

_NAME, _IMPORT = opmap["LOAD_NAME"], opmap["IMPORT_NAME"]
_CONSTANT, _EXTENDED = opmap["LOAD_CONST"], opmap["EXTENDED_ARG"]
_JUMPS = {number for number, name in enumerate(opname) if name.endswith("IF_FALSE")}
#: Maximum number of instructions between loading TYPE_CHECKING and the jump that tests it.
_NEAR = 3


class BytecodeCompiler:
    """Compile the modules reachable from the roots, in a folder where packages may still be arriving.

    Another process, such as the trial of a new engine, may import the same modules in the same order
    and compile them meanwhile. Where it is ahead, this one moves on to the next root and comes back
    later, so that the two don't compile the same files.
    """

    def __init__(self, site: Path) -> None:
        """Start in the folder `site`, with nothing compiled."""
        self._site = site
        self._met = set(COMPILERS)
        # The modules still to visit for each root, the next one last.
        self._waiting = deque([root] for root in ROOTS)
        self.compiled = 0

    def compile_reachable(self) -> None:
        """Compile all modules that can be reached now; missing ones are looked up again next time."""
        absent: list[str] = []
        while self._waiting:
            is_compiled_elsewhere = self._follow(self._waiting[0], absent)
            modules = self._waiting.popleft()
            if is_compiled_elsewhere:
                self._waiting.append(modules)
        self._met.difference_update(absent)
        self._waiting.extend([one] for one in absent)

    def _follow(self, pending: list[str], absent: list[str]) -> bool:
        """Compile what one root imports; return whether another process is compiling the same modules."""
        while pending:
            module = pending.pop()
            package = module.rpartition(".")[0]
            if module in self._met:
                continue
            if package and package not in self._met:
                pending += [module, package]
                continue
            top = self._site / module.partition(".")[0]
            if not top.exists() and not top.with_suffix(".py").exists():
                absent.append(module)
            self._met.add(module)
            modules, was_compiled = self.compile_module(module, package)
            pending += reversed(modules)
            if was_compiled:
                return True
        return False

    def compile_module(self, module: str, package: str) -> tuple[list[str], bool]:
        """Return the modules that a module imports, and whether it was compiled before."""
        path = self._site.joinpath(*module.split("."))
        package_file, module_file = path / "__init__.py", path.with_name(f"{path.name}.py")
        file = package_file if package_file.is_file() else module_file
        if not file.is_file():
            return [], False
        was_compiled = Path(cache_from_source(file)).exists()
        package = module if file == package_file else package
        try:
            # Like an import: loads the bytecode if it exists, else compiles and writes it.
            code = SourceFileLoader(module, str(file)).get_code(module)
        except (SyntaxError, ValueError, OSError):
            return [], False  # some packages include files for other Python versions
        self.compiled += 1
        names = iter_imports(code, package) if code else ()
        return [name for name in names if name not in self._met], was_compiled


def iter_imports(code: CodeType, package: str) -> Iterator[str]:
    """Yield what a module's code imports when it runs; imports for types only are left out."""
    content = code.co_code
    last_constants: tuple[object, object] = (0, None)
    extended, check_position, skip_end = 0, -_NEAR - 1, -1
    for position, (operation, low) in enumerate(zip(content[::2], content[1::2], strict=True)):
        if operation == _EXTENDED:
            extended = (extended | low) << 8
            continue
        argument, extended = extended | low, 0
        if operation == _CONSTANT:
            last_constants = (last_constants[1], code.co_consts[argument])
        elif operation == _NAME and code.co_names[argument] == "TYPE_CHECKING":
            check_position = position
        elif operation in _JUMPS and position - check_position <= _NEAR:
            skip_end = position + argument
        elif operation == _IMPORT and position > skip_end:
            yield from _iter_module_names(code.co_names[argument], last_constants, package)


def _iter_module_names(name: str, before: tuple[object, object], package: str) -> Iterator[str]:
    level, names = before
    if isinstance(level, int) and level:
        base = package.split(".")
        base = base[: len(base) - level + 1]
        name = ".".join([*base, name] if name else base)
    if name:
        yield name
        for one in names if isinstance(names, tuple) else ():
            if one != "*":
                yield f"{name}.{one}"


def main(site: Path) -> None:
    """Compile each time that packages arrive, until the last."""
    gc.disable()  # a tenth of the time: code has no cycles
    sys.dont_write_bytecode = False
    compiler, arrived, last = BytecodeCompiler(site), threading.Event(), threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "end":
                last.set()
            arrived.set()
        os._exit(0)  # the parent has exited: nothing may be written any more

    threading.Thread(target=listen, daemon=True).start()
    while True:
        arrived.wait()
        arrived.clear()
        ending = last.is_set()
        compiler.compile_reachable()
        if ending:
            break
    print(f"byte-compiled {compiler.compiled} modules", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
