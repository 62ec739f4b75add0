"""The program that runs llama.cpp's converter without writing a weight: a GGUF file's outline.

Header, vocabulary, names, shapes and types are those of the converted model; where the weights
would be the file has a hole, which takes no disk space where the file system knows sparse files.
The quantiser's dry run asks for no more.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def _write_outline(writer: Any, *, progress: bool = False) -> None:
    """In the place of GGUFWriter.write_tensors_to_file: a hole as long as the tensors are."""
    writer.write_ti_data_to_file()
    for file, tensors in zip(writer.fout, writer.tensors, strict=True):
        writer.write_padding(file, file.tell())
        length = sum(
            writer.ggml_pad(item.nbytes, writer.data_alignment) for item in tensors.values()
        )
        file.truncate(file.tell() + length)
        file.seek(0, 2)


def _main() -> None:
    """The child: SCRIPT and its arguments."""
    script = sys.argv[1]
    folder = Path(script).resolve().parent
    # As the script itself does: its own gguf package comes before an installed one.
    sys.path[:0] = [str(folder)]
    if (folder / "gguf-py").is_dir():
        sys.path.insert(1, str(folder / "gguf-py"))
    import gguf

    gguf.GGUFWriter.write_tensors_to_file = _write_outline
    sys.argv = sys.argv[1:]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _main()
