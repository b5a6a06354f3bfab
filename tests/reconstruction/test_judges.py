"""Judges: every published network loads strictly from a folder, sees the size of its recipe, and gives its layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from brainalign.errors import DataError
from brainalign.latents.hooks import activations
from brainalign.reconstruction.judges import JUDGES, load_judge, lpips_heads
from brainalign.scenes import draw_scenes
from tests.conftest import real_data

WIDTHS = {"Inception": 2048, "EfficientNet": 1280, "SwAV": 2048}


@pytest.mark.parametrize("name", ["Inception", "EfficientNet", "SwAV"])
def test_whole_networks_from_a_folder(name, tmp_path):
    """Weights of the published architecture (random here) in the form in which they are published."""
    torch.manual_seed(0)
    if name == "SwAV":
        whole = models.resnet50(weights=None)
        plain = {f"module.{key}": value for key, value in whole.state_dict().items() if not key.startswith("fc.")}
        torch.save({**plain, "module.prototypes.weight": torch.zeros(2, 2)}, tmp_path / "swav_800ep_pretrain.pth.tar")
    else:
        options = {"init_weights": False} if name == "Inception" else {}
        whole = models.get_model(JUDGES[name].network, weights=None, **options)
        torch.save(whole.state_dict(), tmp_path / f"{JUDGES[name].network}_x.pth")
    network = load_judge(name, weights=tmp_path)
    picture = draw_scenes(1, seed=0).image(draw_scenes(1, seed=0).ids[0])
    batch = network.as_batch([picture])
    assert batch.shape[-2:] == (JUDGES[name].size,) * 2
    found = activations(network, batch, ["avgpool"], pool="flatten")["avgpool"]
    assert found.shape == (1, WIDTHS[name])
    if name != "Inception":  # which is built with transform_input, as when its weights come by name
        expected = activations(whole, batch, ["avgpool"], pool="flatten")["avgpool"]
        torch.testing.assert_close(found, expected)
    else:
        assert network.module.transform_input


def test_no_crop_and_both_sizes():
    """The corner of a picture reaches the network."""
    folder = real_data("weights")
    network = load_judge("AlexNet", weights=folder)
    dark = np.zeros((64, 64, 3), np.uint8)
    lit = dark.copy()
    lit[:2, :2] = 255
    apart = (network.as_batch([Image.fromarray(lit)]) - network.as_batch([Image.fromarray(dark)]))[0, 0]
    assert apart.shape == (256, 256) and apart[0, 0] > 3 and apart[128, 128] == 0


def test_lpips_is_the_published_network():
    """Heads and scaling of LPIPS v0.1, with the shift and scale that it names on [-1, 1]."""
    folder = real_data("weights")
    heads = lpips_heads(folder)
    assert [len(head) for head in heads.values()] == [64, 192, 384, 256, 256]
    assert all(head.min() >= 0 for head in heads.values())
    picture = draw_scenes(1, seed=0).image(draw_scenes(1, seed=0).ids[0])
    batch = load_judge("LPIPS", weights=folder).as_batch([picture])[0]
    plain = batch * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    unit = plain + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    torch.testing.assert_close(
        batch, ((2 * unit - 1) - shift[:, None, None]) / scale[:, None, None], atol=1e-4, rtol=1e-4
    )


def test_what_is_missing_or_wrong_is_told(tmp_path):
    with pytest.raises(DataError, match=r"unknown judge 'Alexnet'.*AlexNet"):
        load_judge("Alexnet", weights=tmp_path)
    with pytest.raises(DataError, match="no weights of CLIP here"):
        load_judge("CLIP", weights=tmp_path)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "efficientnet_b1.pth")
    with pytest.raises(DataError, match="do not fit torchvision's efficientnet_b1"):
        load_judge("EfficientNet", weights=tmp_path)
    (tmp_path / "alex.pth").write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot read weights"):
        lpips_heads(tmp_path)
