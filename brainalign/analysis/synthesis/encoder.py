"""`PictureEncoder`: pictures to predicted responses, with gradients all the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from brainalign.analysis.captions.units import voxel_weights
from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.latents import extract
from brainalign.latents.network import Network
from brainalign.latents.registry import load_model
from brainalign.stimuli import Stimuli
from brainalign.tables import unit_table

__all__ = ["PictureEncoder", "frozen", "picture_transform"]


class PictureEncoder:
    """A linear voxelwise model behind the network whose embeddings it reads.

    Parameters
    ----------
    model : fitted Ridge
    network : str or Network
        The network that made the latents fitted on.
    units : Trials or DataFrame, optional
        The units fitted on: needed to ask for regions.
    device : str

    Raises
    ------
    DataError
        When the network makes another space than the model was fitted on, weights are not finite, or the units differ.

    Examples
    --------
    >>> from brainalign.voxelwise import Ridge
    >>> rng = np.random.default_rng(0)
    >>> model = Ridge().fit(rng.standard_normal((40, 128)), rng.standard_normal((40, 3)))
    >>> PictureEncoder(model, "mini", device="cpu")(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 3])
    """

    def __init__(self, model: Any, network: str | Network, *, units: Any = None, device: str = "auto") -> None:
        self.model = model
        self.network = load_model(network, device=device) if isinstance(network, str) else network
        self.weights = torch.tensor(voxel_weights(model, self.network.space, what="network"), dtype=torch.float32)
        intercept = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float32))
        check_finite(intercept, name="intercept of the model")
        self.intercept = torch.from_numpy(np.broadcast_to(intercept, len(self.weights)).copy())
        self.units = unit_table(getattr(units, "units", units), len(self.weights))
        names = tuple(getattr(model, "_units", ()))
        if units is not None and names and tuple(self.units["name"]) != names:
            raise DataError("these units are not those fitted on", expected=f"{len(names)} units, {names[:3]} ...",
                            found=f"{len(self.units)} units, {self.units['name'].tolist()[:3]} ...")  # fmt: skip
        self._prepare = picture_transform(self.network)

    @property
    def stimulus_ids(self) -> tuple[str, ...] | None:
        """Stimuli fitted on; None where the model was fitted on arrays."""
        return getattr(self.model, "stimulus_ids_", None)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Responses (n, n_units) to pictures (n, 3, height, width) in [0, 1]; gradients pass."""
        embeddings = self.network._encode_image(self._prepare(pictures.to(self.network.device, torch.float32)))
        return self.respond(embeddings.flatten(1))

    def respond(self, embeddings: Tensor) -> Tensor:
        """Responses (n, n_units) to embeddings (n, n_features)."""
        return embeddings.float() @ self.weights.to(embeddings.device).T + self.intercept.to(embeddings.device)

    def predict(self, pictures: Stimuli, *, cache: Any = False) -> np.ndarray:
        """Responses (n, n_units) to pictures, through the network's own transform; `cache` as `extract` takes it."""
        latents = extract(pictures, self.network, cache=cache)
        return self.respond(torch.tensor(latents.flat())).numpy()


def picture_transform(network: Any) -> Callable[[Tensor], Tensor]:
    """A network's own transform on tensors (n, 3, height, width) in [0, 1], differentiable.

    Resizing is bicubic or bilinear with anti-aliasing, as PIL's; then centre crop, mean and SD.

    Raises
    ------
    DataError
        When the network does not say how pictures are to be prepared.
    """
    plan = network.preprocessing
    if not isinstance(plan, Mapping) or not {"mean", "std"} <= set(plan):
        raise DataError(
            f"the transform of {network.name} is not known as numbers, so that gradients cannot pass",
            expected="a network of open_clip or timm, or one whose `preprocessing` holds size, mean and std",
            found=plan,
        )
    size = plan.get("size", plan.get("input_size", [3, None, None])[-2:])
    height, width = (size, size) if isinstance(size, int) else size
    share = float(plan.get("crop_pct") or 1.0) if "input_size" in plan else 1.0
    squash = plan.get("resize_mode") == "squash" or plan.get("crop_mode") == "squash"
    mode = plan.get("interpolation", "bicubic")
    mean, std = (torch.tensor(plan[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))

    def prepare(pictures: Tensor) -> Tensor:
        if height is not None:
            within = _resized_size(pictures.shape[-2:], (int(height / share), int(width / share)), squash)
            if tuple(pictures.shape[-2:]) != within:
                pictures = interpolate(pictures, within, mode=mode, antialias=True, align_corners=False).clamp(0, 1)
            top, left = (within[0] - height) // 2, (within[1] - width) // 2
            pictures = pictures[..., top : top + height, left : left + width]
        return (pictures - mean.to(pictures)) / std.to(pictures)

    return prepare


def _resized_size(found: Any, wanted: tuple[int, int], squash: bool) -> tuple[int, int]:
    """Size before the crop: `wanted`, or its shape kept with the shorter side filling it."""
    if squash:
        return wanted
    scale = max(wanted[0] / found[0], wanted[1] / found[1])
    return max(wanted[0], round(found[0] * scale)), max(wanted[1], round(found[1] * scale))


@contextmanager
def frozen(*owners: Any) -> Iterator[None]:
    """Parameters of networks and pipelines without gradients meanwhile: only what pictures need is kept in memory."""
    modules = [part for owner in owners for part in _modules(owner)]
    changed = [one for module in modules for one in module.parameters() if one.requires_grad]
    for one in changed:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in changed:
            one.requires_grad_(True)


def _modules(owner: Any) -> list[torch.nn.Module]:
    held = getattr(getattr(owner, "pipeline", None), "components", {"module": getattr(owner, "module", None)})
    return [part for part in held.values() if isinstance(part, torch.nn.Module)]
