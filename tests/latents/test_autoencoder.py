"""diffusers autoencoders: KL and tiny, from a folder or from a pipeline's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from brainalign.errors import DataError
from brainalign.latents import extract, load_model
from brainalign.stimuli import Stimuli


@pytest.fixture(scope="module")
def kl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=3,
        sample_size=32,
        scaling_factor=0.5,
        shift_factor=0.25,
    )
    folder = tmp_path_factory.mktemp("pipeline")
    model.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=2,
    )
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    return folder


def batch_by_hand(stimuli: Stimuli, size: int) -> torch.Tensor:
    """Pillow and arithmetic, no image processor."""
    from PIL import Image

    images = [stimuli.image(one).resize((size, size), Image.Resampling.LANCZOS) for one in stimuli.ids]
    array = np.stack([np.asarray(image, np.float32) for image in images])
    return torch.from_numpy(array / 127.5 - 1).permute(0, 3, 1, 2)


def test_kl_mode_scaled_and_back(kl_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"vae:{kl_folder}", device="cpu")
    latents = extract(pictures, network, cache=False)
    model = AutoencoderKL.from_pretrained(kl_folder / "vae").eval()
    with torch.inference_mode():
        mean = model.encode(batch_by_hand(pictures, 32)).latent_dist.mean
        decoded = (model.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    assert latents.shape == (9, 3, 16, 16)
    np.testing.assert_allclose(latents.values, (mean - 0.25) * 0.5, atol=1e-4)
    np.testing.assert_allclose(network.decode(latents.values), decoded, atol=1e-4)
    assert latents.meta["scaling_factor"] == 0.5
    assert latents.meta["shift_factor"] == 0.25
    again = extract(pictures, network, cache=False)
    np.testing.assert_array_equal(latents.values, again.values)  # the mode, not a sample


def test_tiny_and_image_size(tiny_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"vae:{tiny_folder}", device="cpu", image_size=16)
    latents = extract(pictures, network, cache=False)
    model = AutoencoderTiny.from_pretrained(tiny_folder).eval()
    with torch.inference_mode():
        expected = model.encode(batch_by_hand(pictures, 16)).latents
        decoded = (model.decode(expected).sample / 2 + 0.5).clamp(0, 1)
    np.testing.assert_allclose(latents.values, expected, atol=1e-4)
    np.testing.assert_allclose(network.decode(latents.values), decoded, atol=1e-4)
    assert network.decode(latents.values).shape == (9, 3, 16, 16)
    with pytest.raises(DataError, match=r"multiple of 2(.|\n)*found: 17"):
        load_model(f"vae:{tiny_folder}", device="cpu", image_size=17)


def test_layers(kl_folder: Path, pictures: Stimuli) -> None:
    found = extract(pictures, f"vae:{kl_folder}", layers="encoder.conv_in", pool="mean", cache=False, device="cpu")
    model = AutoencoderKL.from_pretrained(kl_folder / "vae").eval()
    with torch.inference_mode():
        expected = model.encoder.conv_in(batch_by_hand(pictures, 32)).mean((2, 3))
    np.testing.assert_allclose(found["encoder.conv_in"].values, expected, atol=1e-5)


def test_what_is_no_autoencoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(DataError, match=r"not an autoencoder(.|\n)*UNet2DConditionModel"):
        load_model(f"vae:{tmp_path}", device="cpu")
    with pytest.raises(DataError, match=r"cannot load model 'vae:nobody/nothing'(.|\n)*without network"):
        load_model("vae:nobody/nothing", device="cpu")
