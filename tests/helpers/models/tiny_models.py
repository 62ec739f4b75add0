"""Tiny random models of eight families, each with its kind of tokenizer, created in seconds.

The architecture, the kind of tokenizer (type, pre-tokenizer, special tokens) and the chat template are
those of the family; the sizes and weights aren't.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lora_studio.core.system import paths

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor  # a GPU machine may lack it

TEMPLATES = Path(__file__).parent / "chat_templates"

FAMILIES = (
    "llama3", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "granite", "smollm3", "qwen3_moe",
)  # fmt: skip

#: Training text of the tokenizers: words and punctuation from the tests' conversations.
SENTENCES = (
    "The harbour master writes every ship into the blue book before the tide turns.",
    "Which lamp burns longest? The one that is lit last, said the keeper and laughed.",
    "Twelve crates of apples, 3.50 each, come to 42 in all; bring the receipt on 2024-07-31.",
    "User asks, assistant answers: what is your name? My name is Pim, how can I help you?",
    "def area(width, height):\n    return width * height  # in square metres\n",
    "Please answer in one short sentence and end it with a full stop.",
    "Schöne Grüße aus Köln! Où est la gare? ¿Dónde está el río? Привет, 你好, 🙂 and 🚢.",
    "system user assistant model think tool end start instruction question reply yes no maybe",
)

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
}


@dataclass(frozen=True)
class Family:
    """The properties of a model family. `special` tokens are in the order of their ids."""

    config: str
    tokenizer: Callable[[Family], Tokenizer]
    special: tuple[str, ...]
    plain: tuple[str, ...] = ()
    bos: str | None = None
    eos: str = ""
    pad: str | None = None
    unk: str | None = None
    end_of_turn: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    rstrip: tuple[str, ...] = ()
    names_all_special: bool = False


def tiny_model(
    family: str, folder: Path, *, seed: int = 7, stored: str = "bfloat16", tokens_of: str = ""
) -> Path:
    """Write the model into `folder` with weights drawn by `seed` and stored as dtype `stored`.

    `tokens_of` is another family whose tokenizer and template it gets. Returns `folder`. Raises KeyError for
    an unknown family.
    """
    shape, about = _FAMILIES[family], _FAMILIES[tokens_of or family]
    folder.mkdir(parents=True, exist_ok=True)
    backend = about.tokenizer(about)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=about.bos,
        eos_token=about.eos,
        pad_token=about.pad,
        unk_token=about.unk,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        **({"extra_special_tokens": list(about.special)} if about.names_all_special else {}),
    )
    tokenizer.chat_template = _chat_template(tokens_of or family)
    tokenizer.save_pretrained(folder)
    if about.tokenizer in (_sentencepiece_prefixed, _sentencepiece_gemma):
        (folder / "tokenizer.model").write_bytes(_train_sentencepiece(about))
    ids = backend.get_vocab()
    end = [ids[token] for token in about.end_of_turn]
    config = AutoConfig.for_model(
        shape.config,
        **_SIZES | shape.settings,
        vocab_size=-(-len(ids) // 32) * 32,
        bos_token_id=ids.get(about.bos or ""),
        eos_token_id=end if len(end) > 1 else end[0],
        pad_token_id=ids.get(about.pad or ""),
        dtype=stored,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.to(getattr(torch, stored)).save_pretrained(folder)
    return folder


def _chat_template(family: str) -> str:
    file = TEMPLATES / f"{family}.jinja"
    if not file.is_file():
        file = paths.get_resources_folder() / "chat_templates" / "chatml.jinja"
    return file.read_text("utf-8")


def _byte_level(family: Family) -> Tokenizer:
    """Return a byte-level BPE with the pre-tokenizer of the family."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[family.config]()
    tokenizer.decoder = decoders.ByteLevel()
    if family.config.startswith("qwen"):
        tokenizer.normalizer = normalizers.NFC()
    specials = [_added(family, token) for token in family.special]
    trainer = trainers.BpeTrainer(
        vocab_size=480 - len(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=specials if family.config == "granite" else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in family.plain])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if family.bos and family.config == "llama":
        tokenizer.post_processor = _begin_with(tokenizer, family.bos)
    return tokenizer


def _split_then_bytes(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _digits_then_bytes() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


_PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "llama": lambda: _split_then_bytes(_LLAMA3_SPLIT),
    "smollm3": lambda: _split_then_bytes(_LLAMA3_SPLIT),
    "qwen2": lambda: _split_then_bytes(_QWEN_SPLIT),
    "qwen3": lambda: _split_then_bytes(_QWEN_SPLIT),
    "qwen3_moe": lambda: _split_then_bytes(_QWEN_SPLIT),
    "glm4": lambda: _split_then_bytes(_LLAMA3_SPLIT),
    "granite": _digits_then_bytes,
}


def _sentencepiece_prefixed(family: Family) -> Tokenizer:
    """Return a SentencePiece BPE with byte fallback and a space before every piece of text."""
    tokenizer = Tokenizer(_sentencepiece_bpe(family))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _with_added(tokenizer, family)


def _sentencepiece_gemma(family: Family) -> Tokenizer:
    """Return a SentencePiece BPE with byte fallback and no added space."""
    tokenizer = Tokenizer(_sentencepiece_bpe(family))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _with_added(tokenizer, family)


def _sentencepiece_gemma4(family: Family) -> Tokenizer:
    """Return the same for a family that has a token of its own for a new line, and no `tokenizer.model`."""
    return _sentencepiece_gemma(family)


def _with_added(tokenizer: Tokenizer, family: Family) -> Tokenizer:
    tokenizer.add_special_tokens([_added(family, token) for token in family.special])
    assert family.bos is not None
    tokenizer.post_processor = _begin_with(tokenizer, family.bos)
    return tokenizer


def _sentencepiece_bpe(family: Family) -> models.BPE:
    """Return vocabulary and merges of the trained SentencePiece model, ordered by score."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=_train_sentencepiece(family))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges: list[tuple[str, str]] = []
    plain = [index for index in range(len(pieces)) if _is_plain(processor, index)]
    for index in sorted(plain, key=lambda index: -processor.get_score(index)):
        piece = pieces[index]
        pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known_pairs = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(known_pairs, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    return models.BPE(
        vocab=vocabulary, merges=merges, unk_token=family.unk, fuse_unk=True, byte_fallback=True
    )


def _is_plain(processor: SentencePieceProcessor, index: int) -> bool:
    return not (
        processor.is_byte(index) or processor.is_control(index) or processor.is_unknown(index)
    )


def _train_sentencepiece(family: Family) -> bytes:
    """Return `tokenizer.model` with the special tokens at the ids that their order gives."""
    ids = {token: index for index, token in enumerate(family.special)}
    control = [token for token in family.special if token not in _named(family)]
    written: list[bytes] = []

    class Sink:
        def write(self, data: bytes) -> None:
            written.append(data)

    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_lines()),
        model_writer=Sink(),
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=family.tokenizer is _sentencepiece_prefixed,
        unk_id=ids[family.unk or ""],
        bos_id=ids[family.bos or ""],
        eos_id=ids[_eos_piece(family)],
        pad_id=ids.get("<pad>", -1),
        unk_piece=family.unk,
        bos_piece=family.bos,
        eos_piece=_eos_piece(family),
        pad_piece="<pad>",
        control_symbols=control,
        user_defined_symbols=["\n"] if family.tokenizer is _sentencepiece_gemma4 else [],
        num_threads=1,
        minloglevel=2,
    )
    return b"".join(written)


def _eos_piece(family: Family) -> str:
    return "<eos>" if "<eos>" in family.special else "</s>"


def _named(family: Family) -> set[str]:
    return {family.unk or "", family.bos or "", _eos_piece(family), "<pad>"}


def _lines() -> Iterator[str]:
    for sentence in SENTENCES * 3:
        yield from sentence.splitlines()


def _added(family: Family, text: str) -> AddedToken:
    return AddedToken(text, special=True, normalized=False, rstrip=text in family.rstrip)


def _begin_with(tokenizer: Tokenizer, token: str) -> processors.PostProcessor:
    return processors.TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token}:1 $B:1",
        special_tokens=[(token, tokenizer.token_to_id(token))],
    )


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINK = ("<tool_call>", "</tool_call>", "<think>", "</think>")

_GEMMA3 = Family(
    config="gemma3_text",
    tokenizer=_sentencepiece_gemma,
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    pad="<pad>",
    unk="<unk>",
    end_of_turn=("<eos>", "<end_of_turn>"),
    settings={"query_pre_attn_scalar": 16, "sliding_window": 512},
)

_FAMILIES: dict[str, Family] = {
    "llama3": Family(
        config="llama",
        tokenizer=_byte_level,
        special=(
            "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>",
            "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
        ),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        end_of_turn=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        settings={"rope_theta": 500000.0, "tie_word_embeddings": True},
    ),
    "qwen2": Family(
        config="qwen2",
        tokenizer=_byte_level,
        special=_QWEN,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        end_of_turn=("<|im_end|>", "<|endoftext|>"),
        settings={"tie_word_embeddings": True, "rope_theta": 1000000.0},
    ),
    "qwen3": Family(
        config="qwen3",
        tokenizer=_byte_level,
        special=_QWEN,
        plain=_THINK,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        end_of_turn=("<|im_end|>", "<|endoftext|>"),
        settings={"tie_word_embeddings": True, "rope_theta": 1000000.0},
    ),
    "gemma2": replace(
        _GEMMA3,
        config="gemma2",
        settings={"query_pre_attn_scalar": 16, "sliding_window": 8, "attn_logit_softcapping": 2.0},
    ),
    "gemma3": _GEMMA3,
    "gemma4": replace(
        _GEMMA3,
        tokenizer=_sentencepiece_gemma4,
        special=(
            "<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>",
            "<|image|>", "<|video|>", "<|audio|>", "<|image>", "<image|>",
        ),
        end_of_turn=("<eos>", "<turn|>"),
        names_all_special=True,  # llama.cpp's converter takes the others for words
    ),
    "mistral": Family(
        config="mistral",
        tokenizer=_sentencepiece_prefixed,
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        bos="<s>",
        eos="</s>",
        unk="<unk>",
        end_of_turn=("</s>",),
        settings={"sliding_window": None, "tie_word_embeddings": False},
    ),
    "phi3": Family(
        config="phi3",
        tokenizer=_sentencepiece_prefixed,
        special=("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        bos="<s>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        unk="<unk>",
        end_of_turn=("<|endoftext|>", "<|end|>"),
        rstrip=("</s>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        settings={"tie_word_embeddings": False, "original_max_position_embeddings": 1024},
    ),
    "granite": Family(
        config="granite",
        tokenizer=_byte_level,
        special=("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
        pad="<|end_of_text|>",
        unk="<|end_of_text|>",
        end_of_turn=("<|end_of_text|>",),
        settings={
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.125,
            "logits_scaling": 4.0,
            "tie_word_embeddings": True,
        },
    ),
    "glm4": Family(
        config="glm4",
        tokenizer=_byte_level,
        special=(
            "<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>",
            "<|observation|>",
        ),
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        end_of_turn=("<|endoftext|>", "<|user|>", "<|observation|>"),
    ),
    "smollm3": Family(
        config="smollm3",
        tokenizer=_byte_level,
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"),
        plain=("<think>", "</think>"),
        eos="<|im_end|>",
        pad="<|im_end|>",
        end_of_turn=("<|im_end|>",),
        settings={"tie_word_embeddings": True},
    ),
    "qwen3_moe": Family(
        config="qwen3_moe",
        tokenizer=_byte_level,
        special=_QWEN,
        plain=_THINK,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        end_of_turn=("<|im_end|>", "<|endoftext|>"),
        settings={
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,
            "tie_word_embeddings": False,
        },
    ),
}  # fmt: skip
_FAMILIES["pixtral"] = replace(_FAMILIES["llama3"], plain=("[IMG]", "[IMG_BREAK]", "[IMG_END]"))

#: `FAMILIES`, and those that only have a tokenizer and a template of their own.
ALL_FAMILIES = tuple(_FAMILIES)


def write_config(folder: Path, **changes: Any) -> None:
    """Change entries of a model's config.json, for example to claim another architecture."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def random_adapter(base: Path, folder: Path, *, seed: int = 3, **settings: Any) -> Path:
    """Save an adapter with the tokenizer of its base model; `settings` are those of LoraConfig."""
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **chosen))
        for name, value in wrapped.named_parameters():
            if value.requires_grad:
                scale = 0.1 if "lora_" in name else 0.3
                value.data.copy_(torch.randn_like(value) * scale)
    wrapped.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def make_teacher(student: Path, folder: Path) -> Path:
    """Write a copy of a model with other random weights, and return its folder."""
    shutil.copytree(student, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    model.save_pretrained(folder)
    return folder
