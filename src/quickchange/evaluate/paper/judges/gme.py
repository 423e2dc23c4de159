"""Text-video similarity: GME, a Qwen2-VL embedding model (Alibaba-NLP/gme-Qwen2-VL-2B-Instruct).

Loaded with transformers' own Qwen2-VL classes; the model's remote code is never run. What that code does is little: a
chat prompt, and the last token's hidden state as the embedding. A video's score is the mean cosine between the prompt
and its frames, each embedded as an image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import Judge, Metric, NotMeasurableError, spread_out, weights_path
from quickchange.evaluate.types import Frames

FOLDER = "gme-Qwen2-VL-2B-Instruct"
ORIGIN = "huggingface.co/Alibaba-NLP/gme-Qwen2-VL-2B-Instruct"
INSTRUCTION = "You are a helpful assistant."  # what images are embedded with
QUERY_INSTRUCTION = "Find an image that matches the given text."
LEAST_TOKENS, MOST_TOKENS = 256, 1280  # per image, of 28x28 pixels


class GmeEmbedder:
    """Unit embeddings of texts and images.

    Args:
        folder: config.json, safetensors, tokenizer and preprocessor_config.json of the model.
        device: torch device.
        least: image tokens.
        most: image tokens.

    Raises:
        InputError: weights that are not Qwen2-VL's, or of which a part is missing.
    """

    def __init__(self, folder: Path, device: str = "cpu", least: int = LEAST_TOKENS, most: int = MOST_TOKENS) -> None:
        from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            model, found = Qwen2VLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **local
            )
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
            self.images: Any = Qwen2VLImageProcessorPil.from_pretrained(
                folder, min_pixels=least * 28 * 28, max_pixels=most * 28 * 28, local_files_only=True
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{folder}: not a Qwen2-VL model directory ({error}); get it from {ORIGIN}") from error
        missing = sorted(key for key in found["missing_keys"] if not key.startswith("lm_head"))
        if missing:
            raise InputError(f"{folder}: {len(missing)} weights are missing, {missing[0]} first; get it from {ORIGIN}")
        self.model: Any = model.model.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self.image_token = int(model.config.image_token_id)

    @torch.inference_mode()
    def text(self, text: str, instruction: str = QUERY_INSTRUCTION) -> Tensor:
        """Embed a text, f32[D]."""
        return self._embed(self._ids(text, instruction))

    @torch.inference_mode()
    def image(self, image: Frames) -> Tensor:
        """Embed a picture u8[H, W, 3], f32[D]."""
        seen = self.images(images=[Image.fromarray(image)], return_tensors="pt")
        grid = seen["image_grid_thw"]
        tokens = int(grid.prod()) // self.images.merge_size**2
        marks = "<|vision_start|>" + "<|image_pad|>" * tokens + "<|vision_end|>"
        return self._embed(
            self._ids(marks, INSTRUCTION),
            pixel_values=seen["pixel_values"].to(self.device, self.model.dtype),
            image_grid_thw=grid.to(self.device),
        )

    def _ids(self, content: str, instruction: str) -> Tensor:
        turns = (("system", instruction), ("user", content))
        chat = "".join(f"<|im_start|>{role}\n{words}<|im_end|>\n" for role, words in turns)
        # The embedding is read at the last token.
        text = chat + "<|im_start|>assistant\n<|endoftext|>"
        return torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]], device=self.device)

    def _embed(self, ids_1T: Tensor, **pictures: Tensor) -> Tensor:
        kinds = (ids_1T == self.image_token).int()
        if pictures:
            pictures["mm_token_type_ids"] = kinds
        out = self.model(input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), use_cache=False, **pictures)
        return F.normalize(out.last_hidden_state[0, -1].float(), dim=0).cpu()


class GmeJudge(Judge):
    """Mean cosine between prompt and up to ``most`` frames."""

    name = "gme"
    metrics = (
        Metric(
            name="text",
            column="text (GME)",
            low=-1.0,
            high=1.0,
            higher_is_better=True,
            source="Zhang et al., GME: Improving Universal Multimodal Retrieval by Multimodal LLMs, 2024",
        ),
    )

    def __init__(self, device: str = "cpu", most: int = 16) -> None:
        super().__init__(device)
        self.embedder, self.most = GmeEmbedder(weights_path(self.name, FOLDER, ORIGIN), device), most

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        if not prompt.strip():
            raise NotMeasurableError("gme: the prompt is empty")
        text = self.embedder.text(prompt)
        looked_at = spread_out(len(frames), self.most)
        return {"text": float(np.mean([float(self.embedder.image(frames[i]) @ text) for i in looked_at]))}
