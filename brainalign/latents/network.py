"""`Network`: a loaded model with its own transform, the one shape in which `extract` meets every family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainalign.errors import DataError

__all__ = ["Network", "fill", "hub_errors", "load_weights", "precision", "to_numpy", "weights_sha256"]


class Network:
    """Pictures and sentences in, embeddings out.

    The families (`open_clip:`, `timm:`, ...) subclass it; it also wraps a module of one's own.

    Parameters
    ----------
    name : str
        Model id; also the name of the embedding's space.
    module : torch.nn.Module
        What hooks are set on. Put into evaluation mode on `device`.
    image_transform : callable, optional
        PIL image to tensor (channels, height, width). None where the model takes no pictures.
    preprocessing : object
        The transform in plain words or values, for the record.
    info : mapping, optional
        Anything else to record: options, scaling factor.
    device : str

    Examples
    --------
    >>> from torchvision.transforms.functional import to_tensor
    >>> network = Network("mine", nn.Flatten(), to_tensor, preprocessing="to [0, 1]")
    >>> network.encode_image(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 48])
    """

    libraries: tuple[str, ...] = ("torch",)
    reads_text = False

    def __init__(
        self,
        name: str,
        module: nn.Module,
        image_transform: Callable[[Any], Tensor] | None = None,
        *,
        preprocessing: Any = None,
        info: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.name, self.device = name, device
        self.module = module.eval().to(device)
        self.image_transform, self.preprocessing = image_transform, preprocessing
        self.info = dict(info or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def space(self) -> str:
        """Name of the space that pictures are embedded in; texts lie in the space called `name`."""
        return self.name

    @property
    def dimension(self) -> int | None:
        """Length of an embedding, where the model has one fixed length."""
        return None

    @property
    def reads_images(self) -> bool:
        """Whether pictures can be encoded."""
        return self.image_transform is not None

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of every tensor in the state dict, with its name."""
        return weights_sha256(self.module)

    def as_batch(self, images: Tensor | Sequence[Any]) -> Tensor:
        """Transform PIL images into one batch on the device; a tensor is taken as already transformed."""
        if self.image_transform is None:
            raise DataError(f"{self.name} does not take pictures", fix="give captions, or another model")
        if not isinstance(images, Tensor):
            tensors = [self.image_transform(image) for image in images]
            if len(shapes := {tuple(tensor.shape) for tensor in tensors}) > 1:
                raise DataError(
                    f"pictures differ in size after the transform of {self.name}",
                    found=sorted(shapes)[:3],
                    fix="resize to one size in image_transform",
                )
            images = torch.stack(tensors)
        return images.to(self.device)

    def encode_image(self, images: Tensor | Sequence[Any]) -> Tensor:
        """Embed pictures: a transformed batch (n, channels, height, width) or PIL images → (n, \\*space)."""
        batch = self.as_batch(images)
        with torch.inference_mode():
            return self._encode_image(batch)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed sentences → (n, dimension)."""
        if not self.reads_text:
            raise DataError(f"{self.name} does not take text", fix="use an open_clip:, sentence: or offline: model")
        with torch.inference_mode():
            return self._encode_text(list(texts))

    def run(self, images: Tensor | Sequence[Any]) -> Any:
        """The forward pass on which `activations` listens; its output is not used."""
        return self._encode_image(self.as_batch(images))

    def _encode_image(self, batch: Tensor) -> Tensor:
        return self.module(batch)

    def _encode_text(self, texts: list[str]) -> Tensor:
        raise NotImplementedError

    def meta(self) -> dict[str, Any]:
        """What is recorded with every latent made by this model."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing,
            "libraries": {library: version(library) for library in self.libraries},
            **self.info,
        }


def weights_sha256(module: nn.Module) -> str:
    """Hash names, dtypes, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


@contextmanager
def hub_errors(name: str, *, local: str) -> Iterator[None]:
    """Turn whatever a library raises when a model cannot be had into one `DataError` that says what to give instead."""
    from huggingface_hub import errors

    # Which HTTP library stands underneath has changed with the hub's versions.
    network_error = getattr(errors, "HTTPError", OSError)
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, ImportError, network_error) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"cannot load model '{name}': {reason}",
            expected="a known name whose weights are cached or can be downloaded, or local files",
            fix=f"without network, give local files: {local}",
        ) from error


def precision(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """How the diffusers at hand is asked for a dtype: ``dtype=`` where it knows that, ``torch_dtype=`` before."""
    from diffusers.utils import deprecation_utils

    return {"dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype": dtype}


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from a torch file without running its pickle.

    Raises
    ------
    DataError
        When the file is absent, damaged or holds anything but tensors.
    """
    import pickle
    import struct

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError("no weights file here", path=file, expected=".safetensors, .pt or .pth", found="nothing")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        struct.error,
    ) as error:
        raise DataError(f"cannot read weights: {error}", path=file, fix="convert them to safetensors") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError("this file is no state dict", path=file, expected="a mapping of names to tensors")
    return found


def fill(module: nn.Module, weights: Mapping[str, Tensor], *, path: str | Path, part: str = "") -> None:
    """Load a state dict strictly: every tensor found, none left over, all shapes equal.

    Raises
    ------
    DataError
        Listing what is missing, left over or of another shape.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or extra or shapes:
        raise DataError(
            f"these weights do not fit {part or type(module).__name__}",
            path=path,
            expected=f"{len(own)} tensors; missing {missing[:3]}, of another shape {sorted(shapes)[:3]}",
            found=f"{len(weights)} tensors; left over {extra[:3]}",
            fix="name the architecture these weights belong to",
        )
    module.load_state_dict(dict(weights))


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Float tensors as float32 on the CPU."""
    return tensor.detach().float().cpu().numpy()
