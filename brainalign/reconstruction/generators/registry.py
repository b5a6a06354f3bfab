"""`load_generator`: the prefix names the kind, the rest a hub id or a local folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from brainalign.arrays import resolve_device
from brainalign.errors import DataError, unknown
from brainalign.reconstruction.generators.base import Generator
from brainalign.reconstruction.generators.inputs import Accepted

__all__ = ["load_generator", "load_pipeline"]

# Which embeddings the published models were trained on, by hub id. Stable unCLIP: doc/UNCLIP.MD of Stability-AI's
# stablediffusion (OpenCLIP-H, and OpenAI's CLIP-L in the small one); Kandinsky 2.2: README of ai-forever's Kandinsky-2
# (ViT-bigG-14-laion2B-39B-b160k). A pipeline of another width than its space refuses the latents.
SPACES = {
    "stabilityai/stable-diffusion-2-1-unclip": "open_clip:ViT-H-14/laion2b_s32b_b79k",
    "stabilityai/stable-diffusion-2-1-unclip-small": "open_clip:ViT-L-14/openai",
    "kandinsky-community/kandinsky-2-2-decoder": "open_clip:ViT-bigG-14/laion2b_s39b_b160k",
}
MEMORY: dict[str, dict[str, Any]] = {
    "12GB": {"dtype": "float16", "offload": True, "slicing": True, "batch_size": 1},
    "24GB": {"dtype": "float16", "offload": False, "slicing": True, "batch_size": 4},
    "80GB": {"dtype": "float16", "offload": False, "slicing": False, "batch_size": 16},
}
"""Presets: half precision; parts moved to the card only while they work; attention and decoder cut into slices."""


def load_generator(name: str, *, device: str = "auto", memory: str | None = None, **options: Any) -> Generator:
    """Load a generator.

    ==================  =================================================================================
    name                turns into pictures
    ==================  =================================================================================
    ``mini``            embeddings of the embedded CLIP (``"mini"``): drawn scenes, offline
    ``unclip:``         image embeddings, by Stable unCLIP (``unclip:stabilityai/stable-diffusion-2-1-unclip``)
    ``kandinsky:``      image embeddings, by the decoder of Kandinsky 2.2
    ``ip-adapter:``     image embeddings, by Stable Diffusion with an adapter; option ``adapter``
    ``img2img:``        VAE latents, by Stable Diffusion (1, 2 or XL) image to image
    ``vae:``            VAE latents, by the decoder alone; also ``mini:vae``
    ``retrieval``       latents of any space, by the nearest picture; options ``bank``, ``latents``
    ``inversion:``      tokens of feature maps, by a deep image prior: ``inversion:torchvision:vgg16_bn``,
                        ``inversion:mini``; options of `brainalign.reconstruction.DeepImagePrior`
    ``fusion:``         image embeddings and such tokens at once (`brainalign.reconstruction.Fusion`): ``fusion:mini``,
                        ``fusion:unclip:...``; options ``maps``, ``inversion``, ``start``, ``n_steps``, ``contrast``,
                        ``polish`` and those of the diffusion model
    ==================  =================================================================================

    Parameters
    ----------
    name : str
        After the prefix, a hub id or a local folder in the layout of diffusers.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    memory : {"12GB", "24GB", "80GB"}, optional
        Preset of precision, offloading, slicing and batch size for a card of this size. Default: float32 on a CPU,
        float16 elsewhere, nothing offloaded.
    **options
        ``steps``, ``guidance``, ``strength`` (with ``"vae"`` latents), ``batch_size``, ``space`` (the space accepted,
        where the model's is not known); of unCLIP ``noise_level`` and ``unit``; of Kandinsky ``negative``; of the
        adapter ``adapter`` (a folder or hub id), ``weight_name``, ``subfolder`` and ``scale``.

    Returns
    -------
    Generator

    Raises
    ------
    DataError
        When the kind or an option is unknown, or the weights cannot be had.

    Examples
    --------
    >>> import numpy as np
    >>> generator = load_generator("mini", device="cpu", steps=2)
    >>> generator.space, generator.generate(np.eye(128)[:1]).image("0").size
    ('mini', (64, 64))
    """
    family, _, rest = str(name).partition(":")
    if memory is not None and memory not in MEMORY:
        raise unknown("memory preset", memory, MEMORY)
    if family == "retrieval":
        from brainalign.reconstruction.generators.simple import Retrieval

        return _built(Retrieval, options, name=name)
    if family == "vae" or name == "mini:vae":
        from brainalign.reconstruction.generators.simple import VaeDecoder

        return _built(VaeDecoder, {"model": name, "device": device, **options}, name=name)
    if family == "inversion":
        return _inversion(name, rest, device, options)
    if family == "fusion":
        return _fusion(name, rest, device, memory, options)
    if family not in ("mini", *_KINDS) or (family == "mini") != (not rest):
        forms = [f"{kind}:HUB_ID or {kind}:/folder" for kind in _KINDS]
        raise unknown(
            "generator", name, ["mini", *forms, "vae:...", "mini:vae", "retrieval", "inversion:MAPS", "fusion:NAME"]
        )
    return _diffusion(name, family, rest, resolve_device(device), memory, options)


def _built(kind: Callable[..., Generator], options: dict[str, Any], *, name: str) -> Generator:
    try:
        return kind(**options)
    except TypeError as error:
        raise DataError(f"'{name}' cannot be made of these options: {error}", found=sorted(options)) from error


def _inversion(name: str, maps: str, device: str, options: Mapping[str, Any]) -> Generator:
    """`DeepImagePrior` on the maps of a model id, ``maps:`` taken for granted."""
    from brainalign.latents.registry import load_model
    from brainalign.reconstruction.generators.simple import Inversion
    from brainalign.reconstruction.inversion import DeepImagePrior

    given = {"relative": True, **options}
    size = {"image_size": given.pop("image_size")} if "image_size" in given else {}
    network: Any = load_model(f"maps:{maps.removeprefix('maps:')}", device=device, **size)
    try:
        prior = DeepImagePrior(
            network.features, network.features.image_size, scheme=network.scheme, device=device, **given
        )
    except TypeError as error:
        raise DataError(f"'{name}' cannot be made of these options: {error}", found=sorted(options)) from error
    shape = (network.scheme.n_tokens, network.scheme.width)
    accepted = Accepted("layout", network.space, shape, weights_sha256=lambda: network.weights_sha256)
    return Inversion(prior, [accepted])


def _fusion(name: str, rest: str, device: str, memory: str | None, options: dict[str, Any]) -> Generator:
    from brainalign.reconstruction.generators.fusion import Fusion

    given = dict(options)
    own = {key: given.pop(key) for key in ("start", "n_steps", "contrast") if key in given}
    maps = given.pop("maps", "mini" if rest == "mini" else "torchvision:vgg16_bn")
    inversion = _inversion(name, maps, device, given.pop("inversion", {}))
    polish = given.pop("polish", None)
    if isinstance(polish, Mapping):
        polish = load_generator(device=device, memory=memory, **polish)
    diffusion: Any = load_generator(rest, device=device, memory=memory, **given)
    return _built(lambda **more: Fusion(diffusion, inversion, polish=polish, **more), own, name=name)  # type: ignore[arg-type]


_KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unclip": ("StableUnCLIPImg2ImgPipeline", "Unclip", {"steps": 20, "guidance": 10.0, "strength": 0.85}),
    "kandinsky": ("KandinskyV22Pipeline", "Kandinsky", {"steps": 50, "guidance": 4.0, "strength": 0.85}),
    "ip-adapter": ("AutoPipelineForText2Image", "IPAdapter", {"steps": 30, "guidance": 5.0, "strength": 0.85}),
    "img2img": ("AutoPipelineForImage2Image", "Img2Img", {"steps": 50, "guidance": 5.0, "strength": 0.75}),
}
_ADAPTER = ("adapter", "weight_name", "subfolder", "scale")


def _diffusion(
    name: str, family: str, rest: str, device: str, memory: str | None, options: dict[str, Any]
) -> Generator:
    from brainalign.reconstruction.generators import pipelines

    is_mini = family == "mini"
    kind, wrapper, defaults = _KINDS["unclip" if is_mini else family]
    if is_mini:
        from brainalign.latents.mini import mini_folder

        rest = str(mini_folder() / "unclip")
        defaults = {"steps": 20, "guidance": 2.0, "strength": 0.6, "unit": True}
    given = {**defaults, **options}
    batch_size = given.pop("batch_size", None)
    space, adapter = given.pop("space", None), {key: given.pop(key) for key in _ADAPTER if key in given}
    pipeline = load_pipeline(name, kind, rest, device, memory)
    if family == "ip-adapter":
        _attach(name, pipeline, **adapter)
    elif adapter:
        raise DataError(f"'{name}' has no option '{next(iter(adapter))}'", found=sorted(adapter))
    batch = _place(pipeline, device, memory)
    accepts = _accepts(family, pipeline, space or SPACES.get(rest))
    generator: Any = _built(
        lambda **rest: getattr(pipelines, wrapper)(name, pipeline, accepts, **rest), given, name=name
    )
    generator.batch_size = int(batch_size or batch)
    return generator


def load_pipeline(name: str, kind: str, source: str, device: str, memory: str | None) -> Any:
    """A pipeline of diffusers by class, from a hub id or a local folder; safetensors alone."""
    import diffusers
    import torch

    from brainalign.latents.network import hub_errors, precision
    from brainalign.latents.sentence import _no_bars

    folder = Path(source).expanduser()
    half = MEMORY[memory]["dtype"] if memory else ("float32" if device == "cpu" else "float16")
    form = f"{name.partition(':')[0]}:/folder in the layout of diffusers, with model_index.json"
    bars = diffusers.utils.logging.is_progress_bar_enabled()
    diffusers.utils.logging.disable_progress_bar()
    try:
        with _no_bars(), hub_errors(name, local=form):
            return getattr(diffusers, kind).from_pretrained(
                str(folder) if folder.is_dir() else source,
                **precision(getattr(torch, half)),
                local_files_only=folder.is_dir(),
                use_safetensors=True,
                **({"safety_checker": None} if _has_checker(folder) else {}),
            )
    finally:
        if bars:
            diffusers.utils.logging.enable_progress_bar()


def _has_checker(folder: Path) -> bool:
    index = folder / "model_index.json"
    return index.is_file() and "safety_checker" in index.read_text()


def _attach(name: str, pipeline: Any, *, adapter: Any = None, scale: float = 1.0, **files: Any) -> None:
    """Load an adapter: a hub id or folder with its file, or the state dict itself."""
    from brainalign.latents.network import hub_errors

    if adapter is None:
        raise DataError(f"'{name}' needs an adapter", expected="adapter='h94/IP-Adapter' or a local folder",
                        fix="adapter=..., subfolder='models', weight_name='ip-adapter_sd15.safetensors'")  # fmt: skip
    if not isinstance(adapter, dict) and not str(files.get("weight_name", "")).endswith(".safetensors"):
        raise DataError("an adapter is read from safetensors alone", expected="weight_name='....safetensors'",
                        found=files.get("weight_name"))  # fmt: skip
    files = {"subfolder": "", "weight_name": None, **files}
    with hub_errors(name, local="adapter=/folder, weight_name='....safetensors'"):
        pipeline.load_ip_adapter(adapter, image_encoder_folder=None, **files)
    pipeline.set_ip_adapter_scale(scale)


def _place(pipeline: Any, device: str, memory: str | None) -> int:
    """Put the pipeline where it computes; returns how many pictures at a time."""
    preset = MEMORY[memory] if memory else {"offload": False, "slicing": False, "batch_size": 16}
    if preset["slicing"]:
        # Slices of attention would take the adapter's own attention away.
        if getattr(pipeline.unet, "encoder_hid_proj", None) is None:
            pipeline.enable_attention_slicing()
        if getattr(pipeline, "vae", None) is not None:
            pipeline.vae.enable_slicing()
    if preset["offload"] and device != "cpu":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return int(preset["batch_size"])


def _accepts(family: str, pipeline: Any, space: str | None) -> tuple[Accepted, ...]:
    config = pipeline.unet.config
    size = config.sample_size
    layout = (int(config.in_channels), *((size, size) if isinstance(size, int) else size))
    if family == "mini":
        from brainalign.latents.registry import load_model

        def revision(model: str) -> Callable[[], str]:
            return lambda: load_model(model, device="cpu").weights_sha256

        return (Accepted("clip", "mini", (config.projection_class_embeddings_input_dim // 2,),
                         weights_sha256=revision("mini")),
                Accepted("vae", "mini:vae", layout, required=False, weights_sha256=revision("mini:vae")))  # fmt: skip
    if family == "img2img":
        return (Accepted("vae", space, layout),)
    if family == "kandinsky":
        return (Accepted("clip", space, (int(pipeline.unet.encoder_hid_proj.image_embeds.in_features),)),)
    if family == "ip-adapter":
        layer = getattr(pipeline.unet.encoder_hid_proj.image_projection_layers[0], "image_embeds", None)
        shape = None if layer is None else (int(layer.in_features),)  # "plus" adapters take tokens
        return Accepted("clip", space, shape), Accepted("vae", None, layout, required=False)
    width = config.projection_class_embeddings_input_dim // 2
    return Accepted("clip", space, (int(width),)), Accepted("vae", None, layout, required=False)
