"""timm networks, torchvision's feature stacks and pixels, against direct use of the libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from brainalign.errors import DataError
from brainalign.latents import extract, load_model
from brainalign.stimuli import Stimuli
from tests.conftest import real_data


def direct_timm(timm_file: Path, pictures: Stimuli) -> tuple[torch.nn.Module, torch.Tensor]:
    model = timm.create_model("test_resnet", checkpoint_path=str(timm_file)).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    return model, torch.stack([transform(pictures.image(one)) for one in pictures.ids])


def test_timm_embedding_and_layers_equal_direct_use(timm_file: Path, pictures: Stimuli) -> None:
    model, batch = direct_timm(timm_file, pictures)
    name = f"timm:test_resnet@{timm_file}"
    embedding = extract(pictures, name, cache=False, device="cpu")
    layers = extract(pictures, name, layers=["layer1", "layer3", "fc"], cache=False, device="cpu")
    with torch.inference_mode():
        features = model.forward_features(batch)
        maps = model.forward_intermediates(batch, indices=[1, 3], intermediates_only=True)
        np.testing.assert_allclose(embedding.values, model.forward_head(features, pre_logits=True), atol=1e-5)
        np.testing.assert_allclose(layers["layer1"].values, maps[0], atol=1e-5)
        np.testing.assert_allclose(layers["layer3"].values, maps[1], atol=1e-5)
        np.testing.assert_allclose(layers["fc"].values, model(batch), atol=1e-5)
    assert layers["layer1"].space == f"{name}/layer1"
    assert layers["layer1"].meta["layer"] == "layer1"
    assert embedding.meta["preprocessing"]["input_size"] == [3, 160, 160]
    assert embedding.meta["libraries"]["timm"] == timm.__version__


def test_timm_refuses_weights_of_another_network(timm_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not fit timm's test_vit(.|\n)*missing(.|\n)*left over"):
        load_model(f"timm:test_vit@{timm_file}", device="cpu")
    weights = load_file(timm_file)
    weights["fc.bias"] = weights["fc.bias"][:10]
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(DataError, match=r"another shape \['fc.bias'\]"):
        load_model(f"timm:test_resnet@{tmp_path / 'short.safetensors'}", device="cpu")
    (tmp_path / "cut.safetensors").write_bytes(timm_file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cannot read weights"):
        load_model(f"timm:test_resnet@{tmp_path / 'cut.safetensors'}", device="cpu")
    with pytest.raises(DataError, match=r"no weights file"):
        load_model("timm:test_resnet@/no/such.safetensors", device="cpu")


def test_weights_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "exploded").touch, ())

    torch.save({"fc.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(DataError, match=r"cannot read weights"):
        load_model(f"timm:test_resnet@{tmp_path / 'bomb.pth'}", device="cpu")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnet18.a1_in1k", "resnet18.a1_in1k(.|\n)*without network, give local files: timm:resnet18"),
        ("timm:test_resnat@/no/such.pt", "knows no model 'test_resnat'.*Did you mean 'test_resnet'"),
        ("torchvision:alexnt", "Did you mean 'alexnet'"),
        ("torchvision:resnet18@/no/such.pt", "no stack of features(.|\n)*timm:resnet18"),
        ("pixel:64", "Did you mean 'pixels'"),
        ("pixels:big", "named by size"),
        ("pixels:8:cmyk", "named by size"),
        ("timm", "unknown model 'timm'"),
    ],
)
def test_unknown_models_are_named(model: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_model(model, device="cpu")


def test_unknown_options_are_named(timm_file: Path) -> None:
    with pytest.raises(DataError, match=r"no option 'normalise'.*Did you mean 'normalize'"):
        load_model("open_clip:tiny-clip/x", device="cpu", normalise=True)
    with pytest.raises(DataError, match=r"no option 'tokens'"):
        load_model(f"timm:test_resnet@{timm_file}", device="cpu", tokens=True)


def test_alexnet_features_equal_torchvision() -> None:
    from skimage.data import cat
    from torchvision.models import alexnet
    from torchvision.models._api import WeightsEnum
    from torchvision.models.alexnet import AlexNet_Weights

    path = real_data("weights") / "alexnet_features_torchvision_names.safetensors"
    stimuli = Stimuli.from_arrays(np.stack([cat(), cat()[:, ::-1]]), ["cat", "mirrored"])
    names = ["features.0", "features.4", "features.11"]
    found = extract(stimuli, f"torchvision:alexnet@{path}", layers=names, cache=False, device="cpu")
    whole = alexnet(weights=None).eval()
    whole.load_state_dict(load_file(path), strict=False)
    weights: WeightsEnum = AlexNet_Weights.IMAGENET1K_V1
    x = torch.stack([weights.transforms()(stimuli.image(one)) for one in stimuli.ids])
    with torch.inference_mode():
        for index, layer in enumerate(whole.features):
            x = layer(x)
            if f"features.{index}" in names and index != 0:
                np.testing.assert_allclose(found[f"features.{index}"].values, x, atol=1e-4)
    assert found["features.0"].values.min() < 0  # before the in-place ReLU
    assert found["features.4"].shape == (2, 192, 27, 27)
    embedding = extract(stimuli, f"torchvision:alexnet@{path}", cache=False, device="cpu")
    np.testing.assert_allclose(embedding.values, x, atol=1e-4)


def test_pixels() -> None:
    digit = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    flat = np.full((50, 80, 3), [255, 0, 51], np.uint8)
    stimuli = Stimuli(["digit", "flat"], images={"digit": digit, "flat": flat})
    grey = extract(stimuli, "pixels:28:grey", cache=False)
    assert grey.shape == (2, 28, 28)
    np.testing.assert_allclose(grey.at(["digit"])[0], digit / 255, atol=1e-6)  # the right size is left alone
    np.testing.assert_allclose(grey.at(["flat"])[0], np.asarray(Image.fromarray(flat).convert("L"))[0, 0] / 255)
    colour = extract(stimuli, "pixels:8", cache=False)
    assert colour.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(colour.at(["flat"])[0], np.broadcast_to([1, 0, 0.2], (8, 8, 3)), atol=1e-6)
    fine = Stimuli(["stripes"], images={"stripes": np.tile(np.uint8([0, 255]), (64, 32))})
    np.testing.assert_allclose(extract(fine, "pixels:8:grey", cache=False).values[..., 1:-1], 0.5, atol=0.02)
