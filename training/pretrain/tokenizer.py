"""A CLIP tokenizer (lower-case byte-level BPE) with a vocabulary of a few thousand, trained on captions and prompts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_ad.training.pretrain.architecture import PROMPT_LENGTH
from edge_ad.training.prompts import shipped_texts

START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Iterable[str], vocabulary: int = 4096) -> Any:
    """Train a byte-level BPE on captions and on every prompt this package ships, and return a CLIPTokenizer.

    Args:
        captions: the texts of the training pictures.
        vocabulary: the size aimed at; a small corpus gives fewer entries.

    Returns:
        transformers' CLIPTokenizer, `model_max_length` 32, padding with the end token, as SD 1.x pads.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Every byte has its number before training starts, alone and at a word's end: no text ever becomes an unknown
    # token, and the numbers do not hang on the order of a hash table, which breaks ties between equal pairs.
    ends = [f"{symbol}</w>" for symbol in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END, *ends],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator([*captions, *shipped_texts()], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        (root / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        (root / "tokenizer_config.json").write_text(
            json.dumps(
                {
                    "tokenizer_class": "CLIPTokenizer",
                    "bos_token": START,
                    "eos_token": END,
                    "pad_token": END,
                    "unk_token": END,
                    "model_max_length": PROMPT_LENGTH,
                }
            ),
            encoding="utf-8",
        )
        return CLIPTokenizer.from_pretrained(root)
