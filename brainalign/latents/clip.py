"""open_clip models: pictures and captions in one space."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from brainalign.errors import DataError, closest
from brainalign.latents.hooks import activations
from brainalign.latents.network import Network, hub_errors

__all__ = ["OpenClip", "load_open_clip"]


class OpenClip(Network):
    """An open_clip model.

    With ``tokens``, a picture's embedding is every token of the vision transformer's last layer, after its final
    norm and projected like the class token: (n, 1 + n_patches, dimension), the target of MindEye and of
    image-conditioned diffusion.
    """

    libraries = ("torch", "open_clip_torch")
    reads_text = True

    def __init__(self, name: str, module: nn.Module, *, source: str, info: dict[str, Any], device: str) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        config = dict(module.visual.preprocess_cfg)
        transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
        super().__init__(name, module, transform, preprocessing=config, info=info, device=device)
        self._source = source
        if info["tokens"] and (getattr(module.visual, "proj", None) is None or module.visual.attn_pool is not None):
            raise DataError(
                f"{name} has no class and patch tokens to project",
                expected="a vision transformer of open_clip without attention pooling",
                found=type(module.visual).__name__,
                fix="name layers=[...] instead of tokens=True",
            )

    @property
    def space(self) -> str:
        """The joint space, or that of its tokens."""
        return f"{self.name}/tokens" if self.info["tokens"] else self.name

    @cached_property
    def dimension(self) -> int:
        """Width of the joint space."""
        with torch.inference_mode():
            return int(self._encode_text(["a"]).shape[-1])

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        import open_clip

        with hub_errors(self.name, local="put the tokenizer's files into a folder and use open_clip:/folder"):
            return open_clip.get_tokenizer(self._source, **_bpe_file(self._source))

    def _encode_image(self, batch: Tensor) -> Tensor:
        if self.info["tokens"]:
            embedding = self._project_tokens(batch)
        else:
            embedding = self.module.encode_image(batch)
        return unit_length(embedding, dim=-1) if self.info["normalize"] else embedding

    def _project_tokens(self, batch: Tensor) -> Tensor:
        visual = self.module.visual
        last = activations(visual, batch, ["transformer"])["transformer"]
        # Some models norm after pooling: the norm acts token by token, so the class token is the same either way.
        return visual.ln_post(last) @ visual.proj

    def _encode_text(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts).to(self.device)
        tower = getattr(self.module, "text", self.module)
        size = getattr(tower, "vocab_size", None)
        if size is not None and int(tokens.max()) >= size:
            raise DataError(
                f"the tokenizer of {self.name} is not the one it was trained with",
                expected=f"token ids below {size}",
                found=int(tokens.max()),
                fix="name the merges file in the model's JSON: text_cfg.tokenizer_kwargs.bpe_path",
            )
        return self.module.encode_text(tokens, normalize=self.info["normalize"])


def load_open_clip(rest: str, *, device: str, normalize: bool = False, tokens: bool = False) -> OpenClip:
    """``MODEL/TAG``, ``MODEL//abs/weights``, ``/folder``, ``local-dir:/folder`` or ``hf-hub:ORG/REPO``."""
    import open_clip

    name = f"open_clip:{rest}"
    folder = Path(rest).expanduser()
    if folder.is_dir():
        source, pretrained = f"local-dir:{folder}", None
    elif rest.startswith(("hf-hub:", "local-dir:")):
        source, pretrained = rest, None
    else:
        source, pretrained = _architecture_and_weights(rest)
    form = "open_clip:MODEL//path/to/weights.safetensors, or open_clip:/folder with open_clip_config.json and weights"
    with hub_errors(name, local=form):
        module = open_clip.create_model(source, pretrained=pretrained, device="cpu", require_pretrained=True)
    return OpenClip(name, module, source=source, info={"normalize": normalize, "tokens": tokens}, device=device)


def _architecture_and_weights(rest: str) -> tuple[str, str]:
    import open_clip

    source, _, pretrained = rest.partition("/")
    if source not in open_clip.list_models():
        raise DataError(
            f"open_clip knows no model '{source}'.{closest(source, open_clip.list_models())}",
            found=source,
            fix="register your own with open_clip.add_model_config(json), or give open_clip:/folder",
        )
    tags = open_clip.list_pretrained_tags_by_model(source)
    file = Path(pretrained).expanduser()
    if pretrained in tags or (pretrained and file.is_file()):
        return source, pretrained if pretrained in tags else str(file)
    raise DataError(
        f"'open_clip:{rest}' names no weights.{closest(pretrained, tags)}",
        expected=f"one of {tags}, or a file" if tags else "a file",
        found=pretrained or "nothing",
        fix=f"open_clip:{source}/TAG, or open_clip:{source}//path/to/weights.safetensors",
    )


def _bpe_file(source: str) -> dict[str, str]:
    """A merges file named relative to the model's folder, made absolute; open_clip looks in the working folder."""
    import open_clip

    if not source.startswith("local-dir:"):
        return {}
    config = open_clip.get_model_config(source) or {}
    file = config.get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    if file is None or Path(file).is_absolute():
        return {}
    return {"bpe_path": str(Path(source.removeprefix("local-dir:")) / file)}
