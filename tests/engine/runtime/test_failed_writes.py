"""A file that can't be written is named, also if a library writes it: here one that grows over a limit."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lora_studio.core.system import files
from lora_studio.engine.dataset.rows.store import RowWriter
from lora_studio.engine.runtime import disk, failures
from lora_studio.engine.training.reproduction import script
from tests.engine.conftest import TinyModel

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no limit on file sizes"
)

#: Bytes that a file may have: less than its header.
_LIMIT = 100


@pytest.fixture
def limited() -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_ids(folder: Path) -> None:
    with script._open_array(folder / "ids.npy", np.int32, 3000) as stream:
        stream.write(bytes(12_000))


def write_arrow_rows(folder: Path) -> None:
    with RowWriter(folder / "rows.arrow"):
        pass


def copy_large_file(folder: Path) -> None:
    files.copy_file(sys.executable, folder / "copy")


WRITERS: dict[str, Callable[[Path], object]] = {
    "ids.npy": write_ids,
    "order.npy": lambda folder: script._save(folder / "order.npy", np.zeros(1000)),
    "rows.arrow": write_arrow_rows,
    "copy": copy_large_file,
    "mapped": lambda folder: disk.map_new_file(folder / "mapped", np.float32, (500, 2)),
}


def get_problem_file(error: BaseException) -> Path:
    problem = failures.to_problem(error, "Training")
    assert problem.code == "disk.file_too_large"
    return Path(problem.where.file or "")


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.usefixtures("limited")
def test_file_that_cant_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError) as raised:
        WRITERS[name](tmp_path)
    assert get_problem_file(raised.value) == tmp_path / name


def test_file_of_a_library_is_named(
    tiny: TinyModel, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny("llama3") / "tokenizer.json"))
    request.getfixturevalue("limited")
    with pytest.raises(Exception) as raised, files.name_newest_file(tmp_path):
        tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert get_problem_file(raised.value) == tmp_path / "tokenizer.json"


def test_copy_names_the_file_that_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised:
        files.copy_file("/proc/self/mem", tmp_path / "copy")
    assert raised.value.errno == errno.EIO
    assert raised.value.filename == "/proc/self/mem"
