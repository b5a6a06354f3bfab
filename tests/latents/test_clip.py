"""open_clip models by file, folder and registered name, against direct use of the library."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from brainalign.errors import DataError
from brainalign.latents import extract, extract_text, load_model
from brainalign.stimuli import Stimuli


def direct(clip_folder: Path, pictures: Stimuli) -> tuple[torch.nn.Module, torch.Tensor]:
    """The library's own way: model, transform and batch."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    return model.eval(), torch.stack([transform(pictures.image(one)) for one in pictures.ids])


def test_image_and_text_embeddings_equal_direct_use(clip_folder: Path, pictures: Stimuli) -> None:
    model, batch = direct(clip_folder, pictures)
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")([pictures.caption(one) for one in pictures.ids])
    for normalize in (False, True):
        network = load_model(f"open_clip:{clip_folder}", device="cpu", normalize=normalize)
        images, texts = extract(pictures, network, cache=False), extract_text(pictures, network, cache=False)
        with torch.inference_mode():
            np.testing.assert_allclose(images.values, model.encode_image(batch, normalize=normalize), atol=1e-5)
            np.testing.assert_allclose(texts.values, model.encode_text(tokens, normalize=normalize), atol=1e-5)
        assert images.space == texts.space == f"open_clip:{clip_folder}"
        assert images.ids == texts.ids == pictures.ids
        assert images.shape[1] == network.dimension == 24
        assert images.meta["normalize"] is normalize
        assert images.meta["preprocessing"]["mean"] == [0.4, 0.5, 0.6]


def test_a_registered_name_with_a_weights_file(clip_folder: Path, pictures: Stimuli) -> None:
    by_file = load_model(f"open_clip:tiny-clip/{clip_folder / 'model.safetensors'}", device="cpu")
    by_folder = load_model(f"open_clip:local-dir:{clip_folder}", device="cpu")
    assert by_file.weights_sha256 == by_folder.weights_sha256
    assert tuple(by_file.preprocessing["mean"]) == open_clip.OPENAI_DATASET_MEAN  # a bare file names no transform


def test_tokens_end_in_the_class_embedding(clip_folder: Path, pictures: Stimuli) -> None:
    network = load_model(f"open_clip:{clip_folder}", device="cpu", tokens=True)
    tokens = extract(pictures, network, cache=False)
    model, batch = direct(clip_folder, pictures)
    model.visual.output_tokens = True
    with torch.inference_mode():
        pooled, patches = model.visual(batch)
        patches = patches @ model.visual.proj
    assert tokens.shape == (9, 1 + 4, 24)
    assert tokens.space.endswith("/tokens")
    np.testing.assert_allclose(tokens.values[:, 0], pooled, atol=1e-5)
    np.testing.assert_allclose(tokens.values[:, 1:], patches, atol=1e-5)


def test_layers_of_the_image_tower(clip_folder: Path, pictures: Stimuli) -> None:
    found = extract(pictures, f"open_clip:{clip_folder}", layers="visual.transformer.resblocks.?", cache=False)
    model, batch = direct(clip_folder, pictures)
    with torch.inference_mode():
        expected = model.visual.forward_intermediates(batch, output_fmt="NLC", output_extra_tokens=True)
    assert list(found) == ["visual.transformer.resblocks.0", "visual.transformer.resblocks.1"]
    for latents, patches in zip(found.values(), expected["image_intermediates"], strict=True):
        np.testing.assert_allclose(latents.values[:, 1:], patches, atol=1e-5)


def test_own_merges_are_found_beside_the_model(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(clip_folder, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = config["model_cfg"]["text_cfg"]
    text["tokenizer_kwargs"] = {"bpe_path": "merges.txt.gz"}
    (folder / "merges.txt.gz").write_bytes(gzip.compress(b"#version\nc a\nca t</w>"))
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    ids = load_model(f"open_clip:{folder}", device="cpu").tokenizer(["cat"])[0].tolist()
    assert ids[1] == 512 + 1  # bytes twice, then the second merge: one token for the whole word
    assert ids[2] == 512 + 3  # end of text


def test_a_foreign_tokenizer_is_noticed(clip_folder: Path) -> None:
    network = load_model(f"open_clip:{clip_folder}", device="cpu")
    network.module.vocab_size = 100
    with pytest.raises(DataError, match=r"tokenizer.*\n.*below 100"):
        network.encode_text(["a cat"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("open_clip:ViT-B-32", "names no weights"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79", "Did you mean 'laion2b_s34b_b79k'"),
        ("open_clip:ViT-B-33/openai", "Did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32//no/such/file.pt", "or a file"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "cannot load model .*laion2b_s34b_b79k(.|\n)*without network"),
        ("open_clip:hf-hub:nobody/nothing", "cannot load model .*nobody/nothing(.|\n)*without network"),
    ],
)
def test_what_cannot_be_had_is_named(model: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_model(model, device="cpu")


def test_a_folder_without_weights_is_not_random_weights(clip_folder: Path, tmp_path: Path) -> None:
    shutil.copy(clip_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(DataError, match=r"cannot load model"):
        load_model(f"open_clip:{tmp_path}", device="cpu")
