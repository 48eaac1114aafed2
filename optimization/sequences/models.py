"""Encoder-decoders: as Hugging Face makes them, as they are trained, and as the one step that is served."""

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn

from optimization.errors import RecipeError
from optimization.extras import require
from optimization.sequences.pairs import Special
from optimization.sequences.recipe import EncoderDecoder, TeacherStacks

_LAYER = re.compile(r"^(.*\b(encoder|decoder)\.(?:block|layers)\.)(\d+)\.(.*)$")
_COUNTS = (("num_layers", "num_decoder_layers"), ("encoder_layers", "decoder_layers"))
"""What configurations call their numbers of layers: T5's, and BART's and Marian's."""


class Seq2Seq(nn.Module):
    """What is read, its mask and what has been written, of shape [batch, tokens], in; logits of every next word out."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor, written: Tensor) -> Tensor:
        """Logits of shape [batch, written + 1, vocabulary]."""
        start = torch.full_like(input_ids[:, :1], self.body.config.decoder_start_token_id)
        logits: Tensor = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=torch.cat([start, written], dim=1),
            use_cache=False,
        ).logits
        return logits


class Step(nn.Module):
    """One step of greedy writing: logits of the next word, that word, and all that has been written with it."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, written: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of shape [batch, vocabulary], [batch, 1] and [batch, written + 1]."""
        logits = self.model(input_ids, attention_mask, written)[:, -1]
        token = logits.argmax(dim=1, keepdim=True)
        return logits, token, torch.cat([written, token], dim=1)


def build(config: EncoderDecoder, seed: int) -> Seq2Seq:
    """The model, with its weights or freshly initialised; equal seeds give equal weights.

    Raises:
        RecipeError: there is no such model, or its configuration does not know a setting.
    """
    transformers = require("transformers", extra="seq2seq")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = transformers.AutoModelForSeq2SeqLM
    try:
        described = transformers.AutoConfig.from_pretrained(config.name)
        unknown = [name for name in config.overrides if not hasattr(described, name)]
        if unknown:
            raise RecipeError(f"overrides must name settings of {described.model_type}, got {unknown[0]!r}")
        described.update(config.overrides)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body = (
                kind.from_pretrained(config.name, config=described)
                if config.pretrained
                else kind.from_config(described)
            )
    except (OSError, ValueError, TypeError) as error:
        where = "a hub name or a folder of an encoder-decoder"
        raise RecipeError(f"model.name must be {where}, got {config.name!r}: {str(error).splitlines()[0]}") from error
    return Seq2Seq(body.float().eval())


def special(model: Seq2Seq) -> Special:
    """The tokens that begin, end and fill what the model writes.

    Raises:
        RecipeError: its configuration lacks one.
    """
    config, found = model.body.config, {}
    for name, setting in (("start", "decoder_start_token_id"), ("end", "eos_token_id"), ("pad", "pad_token_id")):
        token = getattr(config, setting, None)
        if not isinstance(token, int):
            raise RecipeError(f"model.name must have the token {setting} in its configuration, got {token}")
        found[name] = token
    return Special(**found)


def student(config: EncoderDecoder | TeacherStacks, teacher: Seq2Seq, seed: int) -> Seq2Seq:
    """The student before it is trained.

    Raises:
        RecipeError: the teacher lacks a layer that is to be kept, or words of another vocabulary.
    """
    if isinstance(config, TeacherStacks):
        return from_layers(teacher, config.encoder, config.decoder)
    made = build(config, seed)
    sizes = [each.body.config.vocab_size for each in (teacher, made)]
    if sizes[0] != sizes[1] or special(teacher) != special(made):
        raise RecipeError(f"distill.student must have the teacher's vocabulary of {sizes[0]} tokens, got {sizes[1]}")
    return made


def from_layers(teacher: Seq2Seq, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> Seq2Seq:
    """A smaller model with those of the teacher's layers, in that order; all else is the teacher's.

    Raises:
        RecipeError: the teacher has no such layer.
    """
    config = copy.deepcopy(teacher.body.config)
    kept = {"encoder": encoder, "decoder": decoder}
    names = next((pair for pair in _COUNTS if all(hasattr(config, name) for name in pair)), None)
    if names is None:
        raise RecipeError(f"distill.student.kind must not be teacher_layers for {config.model_type}")
    for name, (side, layers) in zip(names, kept.items(), strict=True):
        if max(layers) >= getattr(config, name):
            last = getattr(config, name)
            raise RecipeError(f"distill.student.{side} must name layers in [0, {last}), got {max(layers)}")
        setattr(config, name, len(layers))
    body = type(teacher.body)(config)
    state = teacher.body.state_dict()

    def origin(name: str) -> str:
        """Where a weight comes from; T5's first layers alone have a table of relative positions."""
        match = _LAYER.match(name)
        if match is None:
            return name
        before, side, number, after = match.groups()
        wanted = f"{before}{kept[side][int(number)]}.{after}"
        return wanted if wanted in state else name

    body.load_state_dict({name: state[origin(name)] for name in body.state_dict()})
    body.generation_config = copy.deepcopy(teacher.body.generation_config)
    return Seq2Seq(body.eval())
