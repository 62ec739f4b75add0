"""A llama.cpp folder as it was before the converter became a package: one script beside gguf-py.

The script is made up: it converts Llama models alone, reads weights with safetensors, as scripts did
before gguf had readers of its own, and delays each tensor until it is written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf

from lora_studio.core import llama_cpp
from lora_studio.core.system import consent

_SCRIPT = '''\
"""Convert Llama models; everything is in this file."""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from safetensors import safe_open

if "NO_LOCAL_GGUF" not in os.environ:
    sys.path.insert(1, str(Path(__file__).parent / "gguf-py"))
import gguf

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class LlamaModel:
    def __init__(self, folder, target, kind, name):
        self.folder, self.dtype = folder, TYPES[kind]
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        if self.config["architectures"] != ["LlamaForCausalLM"]:
            raise NotImplementedError(f"Architecture {self.config['architectures'][0]} not supported")
        self.writer = gguf.GGUFWriter(target, "llama")
        self.writer.add_name(name)
        self.writer.add_file_type(gguf.LlamaFileType[
            "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"])

    def set_parameters(self):
        config, writer = self.config, self.writer
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_rope_dimension_count(config["head_dim"])
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_vocab_size(config["vocab_size"])

    def set_vocabulary(self):
        content = json.loads((self.folder / "tokenizer.json").read_text("utf-8"))
        ids = {index: token for token, index in content["model"]["vocab"].items()}
        special = {entry["id"]: entry["content"] for entry in content["added_tokens"]}
        tokens, kinds = [], []
        for index in range(self.config["vocab_size"]):
            kind = gguf.TokenType.CONTROL if index in special else gguf.TokenType.NORMAL
            known = index in special or index in ids
            tokens.append(special.get(index) or ids.get(index) or f"[PAD{index}]")
            kinds.append(kind if known else gguf.TokenType.UNUSED)
        self.writer.add_tokenizer_model("gpt2")
        self.writer.add_tokenizer_pre("llama-bpe")
        self.writer.add_token_list(tokens)
        self.writer.add_token_types(kinds)
        gguf.SpecialVocab(self.folder, load_merges=True).add_to_gguf(self.writer)

    def set_tensors(self):
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, self.config["num_hidden_layers"])
        with safe_open(self.folder / "model.safetensors", "pt") as file:
            for name in file.keys():
                value = self.permute(name, file.get_tensor(name))
                value = value.to(torch.float32 if value.dim() == 1 else self.dtype).contiguous()
                kind = gguf.GGMLQuantizationType[KINDS[value.dtype]]
                raw = value.view(torch.uint8).numpy() if kind.name == "BF16" else value.numpy()
                new = names.get_name(name, try_suffixes=(".weight", ".bias"))
                self.writer.add_tensor(new, raw, raw_dtype=kind)

    def permute(self, name, value):
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        key = next((heads[part] for part in heads if part in name), None)
        if key is None:
            return value
        shape = (self.config[key], 2, value.shape[0] // self.config[key] // 2, *value.shape[1:])
        return value.reshape(shape).swapaxes(1, 2).reshape(value.shape)

    def write(self):
        self.set_parameters()
        self.set_vocabulary()
        self.set_tensors()
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file(progress=True)
        self.writer.close()


parser = argparse.ArgumentParser()
parser.add_argument("model", type=Path)
parser.add_argument("--outfile", type=Path)
parser.add_argument("--outtype")
parser.add_argument("--model-name")
arguments = parser.parse_args()
LlamaModel(arguments.model, arguments.outfile, arguments.outtype, arguments.model_name).write()
'''


def old_llama_cpp_folder(folder: Path) -> Path:
    """Write the folder, allow its programs and return it; its gguf-py can't read weights."""
    own = folder / "gguf-py" / "gguf"
    shutil.copytree(
        Path(gguf.__file__).parent, own, ignore=shutil.ignore_patterns("__pycache__", "scripts")
    )
    utility = own / "utility.py"
    utility.write_text(utility.read_text("utf-8") + "\n\ndel LocalTensor\n", "utf-8")
    (folder / "convert_hf_to_gguf.py").write_text(_SCRIPT, "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    return folder
