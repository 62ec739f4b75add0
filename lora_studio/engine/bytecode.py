"""`python bytecode.py SITE_PACKAGES`: compile the modules that jobs import, in their import order.

Runs during a set-up in the new engine's own Python, with nothing but the standard library. A line
on stdin says that more packages are there, the line `end` that they were the last; when stdin ends
earlier, the program stops at once. A module's imports are read from its top-level statements as it
is compiled; Python compiles what they don't show when it is first imported. Nothing else is lost
when this process is killed, since each file is written under a temporary name and renamed.
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

#: What a training imports, in the order of the trial, then what it imports only where it is needed.
ROOTS = (
    "torch", "torch.onnx", "transformers", "transformers.models.auto.modeling_auto", "peft", "accelerate",
    "datasets", "dateutil.tz", "dateutil.parser", "safetensors", "sentencepiece", "pyarrow", "gguf", "ollama",
    "orjson", "httpx", "huggingface_hub", "bitsandbytes", "schedulefree", "pydantic", "platformdirs", "psutil",
    "tomlkit", "jinja2", "ftfy", "lora_studio.engine.worker", "lora_studio.engine.dataset.rows.mixture",
    "lora_studio.engine.dataset.prepare", "lora_studio.engine.training.train_run", "lora_studio.engine.training.trainer",
    "lora_studio.engine.backends.peft", "lora_studio.engine.backends.choice", "pydantic.main",
    "transformers.generation.utils", "transformers.models.llama.modeling_llama", "torch._dynamo", "unsloth",
)  # fmt: skip
#: Where torch.compile alone leads to: modules that a training imports name these, but not as they are imported.
COMPILERS = ("functorch.compile", "torch._inductor.compile_fx")

_NAME, _IMPORT = opmap["LOAD_NAME"], opmap["IMPORT_NAME"]
_CONSTANT, _EXTENDED = opmap["LOAD_CONST"], opmap["EXTENDED_ARG"]
_JUMPS = {number for number, name in enumerate(opname) if name.endswith("IF_FALSE")}
#: Instructions between a name that is asked about and the jump, at most.
_NEAR = 3


class BytecodeCompiler:
    """Follow imports from the roots through a folder of packages that may still be filled.

    Another process that imports the same modules at the same time, such as the trial of a new
    engine, goes through them in the same order and compiles those that aren't compiled yet. Where
    it has been already, the next root comes first; otherwise both would compile everything.
    """

    def __init__(self, site: Path) -> None:
        """Start in the folder `site`, with nothing compiled."""
        self._site = site
        self._met = set(COMPILERS)
        # What each root still leads to, the next one last.
        self._waiting = deque([root] for root in ROOTS)
        self.compiled = 0

    def compile_reachable(self) -> None:
        """Compile all modules that can be reached now; missing ones are looked up again next time."""
        absent: list[str] = []
        while self._waiting:
            ahead = self._follow(self._waiting[0], absent)
            begun = self._waiting.popleft()
            if ahead:
                self._waiting.append(begun)
        self._met.difference_update(absent)
        self._waiting.extend([one] for one in absent)

    def _follow(self, waiting: list[str], absent: list[str]) -> bool:
        """Compile what one root imports; return whether another process works there too."""
        while waiting:
            module = waiting.pop()
            package = module.rpartition(".")[0]
            if module in self._met:
                continue
            if package and package not in self._met:
                waiting += [module, package]
                continue
            top = self._site / module.partition(".")[0]
            if not top.exists() and not top.with_suffix(".py").exists():
                absent.append(module)
            self._met.add(module)
            modules, there_before = self.compile_module(module, package)
            waiting += reversed(modules)
            if there_before:
                return True
        return False

    def compile_module(self, module: str, package: str) -> tuple[list[str], bool]:
        """Return the modules that a module imports, and whether it was compiled before."""
        path = self._site.joinpath(*module.split("."))
        inside, beside = path / "__init__.py", path.with_name(f"{path.name}.py")
        file = inside if inside.is_file() else beside
        if not file.is_file():
            return [], False
        there_before = Path(cache_from_source(file)).exists()
        package = module if file == inside else package
        try:
            # As an import does it: taken from what is compiled already, else compiled and written.
            code = SourceFileLoader(module, str(file)).get_code(module)
        except (SyntaxError, ValueError, OSError):
            return [], False  # some packages carry files for other Pythons on purpose
        self.compiled += 1
        names = iter_imports(code, package) if code else ()
        return [name for name in names if name not in self._met], there_before


def iter_imports(code: CodeType, package: str) -> Iterator[str]:
    """Yield what a module's code imports when it runs; imports for types only are left out."""
    content = code.co_code
    before: tuple[object, object] = (0, None)
    wide, asked, until = 0, -_NEAR - 1, -1
    for position, (operation, low) in enumerate(zip(content[::2], content[1::2], strict=True)):
        if operation == _EXTENDED:
            wide = (wide | low) << 8
            continue
        argument, wide = wide | low, 0
        if operation == _CONSTANT:
            before = (before[1], code.co_consts[argument])
        elif operation == _NAME and code.co_names[argument] == "TYPE_CHECKING":
            asked = position
        elif operation in _JUMPS and position - asked <= _NEAR:
            until = position + argument
        elif operation == _IMPORT and position > until:
            yield from _iter_module_names(code.co_names[argument], before, package)


def _iter_module_names(name: str, before: tuple[object, object], package: str) -> Iterator[str]:
    level, taken = before
    if isinstance(level, int) and level:
        base = package.split(".")
        base = base[: len(base) - level + 1]
        name = ".".join([*base, name] if name else base)
    if name:
        yield name
        for one in taken if isinstance(taken, tuple) else ():
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
