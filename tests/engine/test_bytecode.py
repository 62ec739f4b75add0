"""Byte-compilation during engine setup: which modules are compiled, and that it ends with the setup."""

from __future__ import annotations

import py_compile
import subprocess
import sys
import time
from pathlib import Path

from lora_studio.engine import bytecode


def imports(text: str, package: str = "a.b") -> list[str]:
    """Return the modules that a source text of a package imports."""
    return list(bytecode.iter_imports(compile(text, "m.py", "exec"), package))


def write(site: Path, files: dict[str, str]) -> None:
    """Write modules by path."""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


def compiled(site: Path) -> set[str]:
    """Return the names of the compiled modules."""
    return {file.name.partition(".")[0] for file in site.rglob("*.pyc")}


def test_every_import_form_yields_its_modules() -> None:
    assert imports("import x.y as z, w") == ["x.y", "w"]
    assert imports("from x import y, z") == ["x", "x.y", "x.z"]
    assert imports("from x import *") == ["x"]
    assert imports("from . import c") == ["a.b", "a.b.c"]
    assert imports("from .c import d") == ["a.b.c", "a.b.c.d"]
    assert imports("from ..c import d") == ["a.c", "a.c.d"]
    assert imports("try:\n    import x\nexcept ImportError:\n    import y") == ["x", "y"]


def test_imports_in_functions_and_for_typing_are_ignored() -> None:
    assert imports("def f():\n    import x") == []
    assert imports("if TYPE_CHECKING:\n    import x\n    from y import z\nimport w") == ["w"]
    assert imports("if TYPE_CHECKING:\n    import x\nelse:\n    import y") == ["y"]
    assert imports("if not TYPE_CHECKING:\n    import x") == ["x"]
    assert imports("if other:\n    import x") == ["x"]


def test_imports_after_many_names_are_collected() -> None:
    many = "\n".join(f"name_{number} = {number + 1000}" for number in range(400))
    assert imports(f"{many}\nfrom .c import d") == ["a.b.c", "a.b.c.d"]
    assert imports(f"if TYPE_CHECKING:\n    import x\n{many}\nimport y") == ["y"]


def test_packages_added_later_are_compiled(tmp_path: Path) -> None:
    compiler = bytecode.BytecodeCompiler(tmp_path)
    write(tmp_path, {"torch/__init__.py": "import os, late.inner", "torch/unused.py": ""})
    compiler.compile_reachable()
    assert compiler.compiled == 1
    write(tmp_path, {"late/__init__.py": "", "late/inner.py": "import single", "single.py": ""})
    compiler.compile_reachable()
    assert compiler.compiled == 4
    compiler.compile_reachable()
    assert compiler.compiled == 4


def test_file_for_other_python_version_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"torch/__init__.py": "import odd, even", "odd.py": "print 1", "even.py": ""})
    compiler = bytecode.BytecodeCompiler(tmp_path)
    compiler.compile_reachable()
    assert compiler.compiled == 2


def start(site: Path) -> subprocess.Popen[bytes]:
    """Start the program and report new packages in the folder."""
    program = [sys.executable, "-I", bytecode.__file__, str(site)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"more\n")
    process.stdin.flush()
    return process


def test_program_writes_valid_bytecode_and_ends_on_request(tmp_path: Path) -> None:
    write(tmp_path, {"torch/__init__.py": "import late", "late.py": "import sys"})
    process = start(tmp_path)
    assert process.stdin is not None
    process.stdin.write(b"more\nend\n")
    process.stdin.flush()
    assert process.wait(600) == 0
    assert process.communicate()[0] == b"byte-compiled 2 modules\n"
    assert compiled(tmp_path) == {"__init__", "late"}
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import late"
    command = [sys.executable, "-v", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"matches {tmp_path / 'late.py'}" in done.stderr


def test_program_stops_when_its_parent_exits(tmp_path: Path) -> None:
    many = {f"m{number}.py": "a = [\n" + "1,\n" * 2000 + "]" for number in range(3000)}
    top = "\n".join(f"import m{number}" for number in range(3000))
    write(tmp_path, many | {"torch/__init__.py": top})
    process = start(tmp_path)
    while not list(tmp_path.glob("__pycache__/*.pyc")):
        assert process.poll() is None
        time.sleep(0.01)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert len(compiled(tmp_path)) < 3000


def test_root_compiled_by_another_process_is_deferred(
    tmp_path: Path,
) -> None:
    first, second = bytecode.ROOTS[:1] + bytecode.ROOTS[2:3]
    write(
        tmp_path,
        {
            f"{first}/__init__.py": "from . import near",
            f"{first}/near.py": "from . import far",
            f"{first}/far.py": "",
            f"{second}/__init__.py": "",
        },
    )
    py_compile.compile(str(tmp_path / first / "near.py"))  # like an import in another process
    order: list[str] = []

    class RecordingCompiler(bytecode.BytecodeCompiler):
        """Records the order of the modules."""

        def compile_module(self, module: str, package: str) -> tuple[list[str], bool]:
            imported, there_before = super().compile_module(module, package)
            order.append(module)
            return imported, there_before

    compiler = RecordingCompiler(tmp_path)
    compiler.compile_reachable()
    ours = [first, f"{first}.near", second, f"{first}.far"]
    assert [name for name in order if name in ours] == ours
    assert compiler.compiled == 4
