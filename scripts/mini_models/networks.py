"""The three networks, in the configurations that open_clip and diffusers load."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mini_models.data import CONTEXT

EMBED = 128
LATENT = (4, 16, 16)

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}
AUGMENTATION_SCHEDULE: dict[str, Any] = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}


def clip_config(vocabulary: int) -> dict[str, Any]:
    """open_clip's model_cfg: timm's test_resnet for pictures, two transformer layers for captions."""
    return {
        "embed_dim": EMBED,
        "vision_cfg": {
            "timm_model_name": "test_resnet",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 64,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"},
        },
    }


def make_clip(vocabulary: int) -> Any:
    """An untrained open_clip model."""
    import open_clip

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "brainalign-mini.json"
        path.write_text(json.dumps(clip_config(vocabulary)))
        open_clip.add_model_config(path)
        return open_clip.create_model("brainalign-mini", pretrained=None, device="cpu")


def make_vae(**options: Any) -> Any:
    """An untrained autoencoder, 64 x 64 pictures to 4 x 16 x 16."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=LATENT[0],
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **options,
    )


def make_unet() -> Any:
    """An untrained denoiser, conditioned as Stable unCLIP is: embedding and level of noise, through the class input."""
    import torch
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=LATENT[1],
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=32,
        cross_attention_dim=8,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * EMBED,
    )
    with torch.no_grad():  # unit embeddings have entries of about 1 / sqrt(EMBED)
        unet.class_embedding.linear_1.weight[:, :EMBED] *= EMBED**0.5
    return unet
