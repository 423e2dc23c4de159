"""Prompts to text states: a tokenizer and umT5's encoder behind one small class.

The bundled tiny encoder and umT5-XXL differ only in their files (``text_encoder/`` and ``tokenizer/``, diffusers'
layout). Loading and encoding do not import transformers, which takes longer to load than the bundled model.

As in Wan, the states of a prompt always have ``max_tokens`` rows, zero beyond the prompt's own tokens. Cross-attention
sees the zeros too: their number is part of what a model was trained on.

Shape suffixes: B prompts, T tokens, E width.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickchange.errors import InputError, ModelError
from quickchange.files import reading_model, write_json_atomic, write_text_atomic
from quickchange.model.umt5 import UMT5Encoder, UMT5EncoderConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
WAN_MAX_TOKENS = 512
PAD, EOS = "<pad>", "</s>"
PAD_ID, EOS_ID = 0, 1
BYTES = 256


class Tokens(NamedTuple):
    """A batch of prompts, padded at the end to the longest: ``ids_BT`` int64, ``mask_BT`` bool (True = a token)."""

    ids_BT: Tensor
    mask_BT: Tensor


class PromptEmbedding(NamedTuple):
    """``hidden_BTE`` with zeros where ``mask_BT`` (bool) is False; T is the encoder's ``max_tokens``."""

    hidden_BTE: Tensor
    mask_BT: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PromptEmbedding:
        """Convert the states; the mask only moves."""
        return PromptEmbedding(self.hidden_BTE.to(device=device, dtype=dtype), self.mask_BT.to(device=device))


def clean(prompt: str) -> str:
    """One line without outer or repeated white space. Half surrogate pairs, which no tokenizer takes, become ``?``."""
    return " ".join(prompt.encode("utf-8", "replace").decode("utf-8").split())


class PromptTokenizer:
    """Texts to token ids: a tokenizer of the ``tokenizers`` library and transformers' settings for it.

    Attributes:
        backend: does the work.
        settings: values of ``tokenizer_config.json``, kept as they are found.
        pad_token_id: fills a batch's shorter prompts.
        eos_token_id: the last token of every text.
        model_max_length: tokens that the encoder takes; very large where the settings name no limit.

    Raises:
        ValueError: a special token is not in the vocabulary, or texts do not end with the end-of-text token.
    """

    def __init__(self, backend: Tokenizer, settings: dict[str, Any]) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.settings = backend, settings
        self.pad_token_id, self.eos_token_id = self._special("pad_token", PAD), self._special("eos_token", EOS)
        self.model_max_length = int(settings.get("model_max_length") or 10**30)
        last = self([""])[0][-1:]
        if last != [self.eos_token_id]:
            raise ValueError(f"the tokenizer ends a text with {last}; expected [{self.eos_token_id}], its eos_token")

    def _special(self, name: str, default: str) -> int:
        token = self.settings.get(name) or default
        text = token["content"] if isinstance(token, dict) else token
        number = self.backend.token_to_id(text)
        if number is None:
            raise ValueError(f"{name} of the tokenizer is {text!r}, which is not in its vocabulary")
        return int(number)

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, the end-of-text token included."""
        return [encoding.ids for encoding in self.backend.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(self.backend.decode(list(ids), skip_special_tokens=True))

    @staticmethod
    def from_pretrained(folder: Path | str) -> PromptTokenizer:
        """Read ``tokenizer.json`` and ``tokenizer_config.json``; without the first, ask transformers to convert.

        Raises:
            FileNotFoundError: a file is missing.
            ModelError: a file is damaged.
            ValueError: as the class.
        """
        folder = Path(folder)
        if not (folder / TOKENIZER).is_file():
            return _converted_tokenizer(folder)
        from tokenizers import Tokenizer

        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        try:
            backend = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises no narrower class
            raise ModelError(f"{folder / TOKENIZER} cannot be read as a tokenizer: {error}") from error
        return PromptTokenizer(backend, settings)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write both files, each complete or not at all; transformers' ``AutoTokenizer`` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / TOKENIZER, self.backend.to_str(pretty=True))
        write_json_atomic(folder / SETTINGS, self.settings)


def _settings(pad: str, eos: str, max_tokens: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": pad,
        "eos_token": eos,
        "model_max_length": max_tokens,
        "padding_side": "right",
    }


def _converted_tokenizer(folder: Path) -> PromptTokenizer:
    """An older format than ``tokenizer.json``, by way of transformers."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not hasattr(found, "backend_tokenizer"):
        raise ValueError(f"{folder} has no {TOKENIZER}, and transformers cannot make one of its files")
    settings = _settings(str(found.pad_token), str(found.eos_token), found.model_max_length)
    return PromptTokenizer(found.backend_tokenizer, settings)


class PromptEncoder:
    """Turns prompts into the states that cross-attention reads.

    Attributes:
        module: the encoder, for training it together with the network: (ids, mask) to states, as ``UMT5Encoder``.
        tokenizer: texts to token ids.
        max_tokens: rows of an embedding, the end-of-text token included.
    """

    def __init__(self, module: nn.Module, tokenizer: PromptTokenizer, max_tokens: int) -> None:
        if max_tokens < 2:
            raise ValueError(f"max_tokens is {max_tokens}; expected at least 2 (one token and the end of text)")
        self.module, self.tokenizer, self.max_tokens = module, tokenizer, max_tokens

    @property
    def dim(self) -> int:
        """E, the width of the states."""
        return self._embedding.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the encoder's weights lie."""
        return self._embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the embedding's weights."""
        return self._embedding.dtype

    @property
    def _embedding(self) -> Tensor:
        return next(self.module.parameters())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PromptEncoder:
        """Moves the encoder in place and returns it."""
        self.module.to(device=device, dtype=dtype)
        return self

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Cleans and tokenizes, on the CPU; too long a prompt loses its end, with a warning. ``""`` is legal.

        Raises:
            InputError: no prompts, or a single string where a list is expected.
        """
        if isinstance(prompts, str) or not prompts:
            raise InputError(f"prompts is {prompts!r}; expected a list with at least one string, e.g. ['she turns']")
        rows = self.tokenizer([clean(p) for p in prompts])
        for i, row in enumerate(rows):
            if len(row) > self.max_tokens:
                logger.warning(
                    "prompt of %d tokens cut to the %d that this text encoder takes: %.60r...",
                    len(row), self.max_tokens, prompts[i],
                )  # fmt: skip
                rows[i] = [*row[: self.max_tokens - 1], row[-1]]
        lengths = torch.tensor([len(row) for row in rows])
        mask_BT = torch.arange(int(lengths.max())) < lengths[:, None]
        ids_BT = torch.full(mask_BT.shape, self.tokenizer.pad_token_id, dtype=torch.long)
        ids_BT[mask_BT] = torch.tensor([token for row in rows for token in row])
        return Tokens(ids_BT, mask_BT)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> PromptEmbedding:
        """Encode token ids. Differentiable.

        The encoder does not attend to padding, whose states become zeros up to ``max_tokens`` rows. So the result does
        not depend on how far a batch is padded.

        Args:
            ids_BT: token ids, int64, T <= ``max_tokens``.
            mask_BT: bool, True where a token is.

        Raises:
            ValueError: more tokens than ``max_tokens``, or shapes that differ.
        """
        if ids_BT.shape != mask_BT.shape or ids_BT.shape[1] > self.max_tokens:
            raise ValueError(
                f"ids are {tuple(ids_BT.shape)}, mask {tuple(mask_BT.shape)}; expected equal shapes [B, T] "
                f"with T <= {self.max_tokens}"
            )
        hidden_BTE = self.module(ids_BT, mask_BT)
        missing = self.max_tokens - ids_BT.shape[1]
        hidden_BTE = hidden_BTE.masked_fill(~mask_BT[..., None], 0)
        return PromptEmbedding(F.pad(hidden_BTE, (0, 0, 0, missing)), F.pad(mask_BT, (0, missing)))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Prompts -> states on the encoder's device. Raises InputError as ``tokenize`` does."""
        ids_BT, mask_BT = self.tokenize(prompts)
        return self.forward(ids_BT.to(self.device), mask_BT.to(self.device))

    @staticmethod
    def create(
        corpus: Iterable[str],
        dim: int = 128,
        layers: int = 2,
        heads: int = 4,
        vocab: int = 512,
        max_tokens: int = 48,
        seed: int = 0,
    ) -> PromptEncoder:
        """A small tokenizer trained on ``corpus`` and a small untrained encoder; the same seed gives the same one.

        Raises:
            ValueError: ``dim`` is not a multiple of ``heads``, or ``vocab`` cannot hold every byte.
        """
        from transformers import UMT5Config, UMT5EncoderModel  # for its initial values

        if dim % heads:
            raise ValueError(f"dim is {dim}; expected a multiple of heads ({heads})")
        tokenizer = _train_tokenizer(corpus, vocab, max_tokens)
        buckets = 32
        config = UMT5EncoderConfig(
            vocab_size=len(tokenizer), d_model=dim, d_kv=dim // heads, d_ff=2 * dim, num_layers=layers, num_heads=heads,
            relative_attention_num_buckets=buckets, relative_attention_max_distance=max(max_tokens, buckets // 4 + 1),
            pad_token_id=PAD_ID, eos_token_id=EOS_ID,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = UMT5EncoderModel(UMT5Config(**asdict(config)))  # its final norm gives the states unit scale
        return PromptEncoder(UMT5Encoder.from_state(config, drawn.state_dict()), tokenizer, max_tokens)

    @staticmethod
    def from_pretrained(
        directory: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> PromptEncoder:
        """Reads ``text_encoder/`` and ``tokenizer/`` of a local model directory; safetensors only, frozen.

        Raises:
            FileNotFoundError: a folder or a file in it is missing.
            ModelError: a file is damaged, or the files do not fit together.
        """
        directory = Path(directory)
        for part in ("text_encoder", "tokenizer"):
            if not (directory / part).is_dir():
                raise FileNotFoundError(f"{directory} has no {part}/; expected a model directory in diffusers' layout")
        with reading_model(directory / "tokenizer"):
            tokenizer = PromptTokenizer.from_pretrained(directory / "tokenizer")
        with reading_model(directory / "text_encoder"):
            module = UMT5Encoder.from_pretrained(directory / "text_encoder", dtype).requires_grad_(False)
        # umT5's own tokenizer declares no limit; Wan reads 512 tokens of it
        max_tokens = min(tokenizer.model_max_length, WAN_MAX_TOKENS)
        return PromptEncoder(module, tokenizer, max_tokens).to(device)

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes ``text_encoder/`` and ``tokenizer/``, every file atomically."""
        module: Any = self.module
        module.save_pretrained(Path(directory, "text_encoder"))
        self.tokenizer.save_pretrained(Path(directory, "tokenizer"))


def _train_tokenizer(corpus: Iterable[str], vocab: int, max_tokens: int) -> PromptTokenizer:
    """Byte-level BPE, so that every text has tokens and no word is unknown; blind to case and width of letters."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    specials = [PAD, EOS]
    if vocab < BYTES + len(specials):
        raise ValueError(f"vocab is {vocab}; expected at least {BYTES + len(specials)}: every byte and {specials}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(clean, corpus), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, EOS_ID)])
    return PromptTokenizer(tokenizer, _settings(PAD, EOS, max_tokens))
