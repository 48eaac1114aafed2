"""Tiny encoder-decoders with random weights, and a task they learn in seconds: digits are written in reverse."""

import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import models as words
from tokenizers import pre_tokenizers, processors

from optimization.sequences.models import Seq2Seq
from optimization.sequences.pairs import Special

PAD, END, UNKNOWN, START = range(4)
SPECIAL = Special(start=PAD, end=END, pad=PAD)
_WORDS = ("<pad>", "</s>", "<unk>", "<s>", *"0123456789")
_TINY = {"vocab_size": len(_WORDS), "d_model": 32, "pad_token_id": PAD, "eos_token_id": END, "dropout_rate": 0.0}
CONFIGS = {
    "t5": _TINY
    | {"d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "decoder_start_token_id": PAD},
    "bart": _TINY
    | {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in (("layers", 2), ("ffn_dim", 64))}
    | {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32, "dropout": 0.0}
    | {"bos_token_id": START, "decoder_start_token_id": PAD, "forced_eos_token_id": None},
}
CONFIGS["marian"] = CONFIGS["bart"]


def model(kind: str, seed: int = 0) -> Seq2Seq:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    torch.manual_seed(seed)
    return Seq2Seq(transformers.AutoModelForSeq2SeqLM.from_config(config).eval())


def write_task(folder: Path, num_pairs: int = 600, longest: int = 4) -> None:
    """A configuration, a tokenizer, and pairs such as "1 2 3" and "3 2 1"."""
    model("t5").body.config.save_pretrained(folder)
    tokenizer = tokenizers.Tokenizer(words.WordLevel({word: at for at, word in enumerate(_WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    tokenizer.add_special_tokens(list(_WORDS[:4]))
    tokenizer.save(str(folder / "tokenizer.json"))
    random = np.random.default_rng(0)
    with (folder / "pairs.jsonl").open("w") as file:
        for _ in range(num_pairs):
            digits = [str(digit) for digit in random.integers(0, 10, random.integers(1, longest + 1))]
            file.write(json.dumps({"text": " ".join(digits), "target": " ".join(reversed(digits))}) + "\n")
