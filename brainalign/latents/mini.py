"""The mini models that travel with the library: a CLIP and an autoencoder for drawn scenes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from brainalign.arrays import sha256_file
from brainalign.errors import DataError, unknown
from brainalign.latents.network import Network

__all__ = ["load_mini", "mini_folder"]

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "mini"


def load_mini(rest: str, *, device: str) -> Network:
    """``image`` (also plain ``mini``): unit embeddings of pictures and captions; ``vae``: image latents."""
    parts = {"image": _clip, "vae": _vae}
    if rest not in parts:
        raise unknown("mini model", f"mini:{rest}", [f"mini:{part}" for part in parts])
    return parts[rest](device)


def _clip(device: str) -> Network:
    import open_clip

    from brainalign.latents.clip import OpenClip

    source = f"local-dir:{mini_folder() / 'clip'}"
    module = open_clip.create_model(source, device="cpu", require_pretrained=True)
    return OpenClip("mini", module, source=source, info={"normalize": True, "tokens": False}, device=device)


def _vae(device: str) -> Network:
    from brainalign.latents.autoencoder import load_vae

    network = load_vae(str(mini_folder() / "unclip"), device=device)
    network.name = "mini:vae"
    return network


def mini_folder() -> Path:
    """Where the mini models lie, each file checked against its hash (once a process).

    Raises
    ------
    DataError
        When a file is missing or is not the one that was shipped.
    """
    return checked_folder(WEIGHTS)


@cache
def checked_folder(folder: Path) -> Path:
    """`folder`, whose files must be those that its ``manifest.json`` names.

    Examples
    --------
    >>> (checked_folder(WEIGHTS) / "clip" / "open_clip_config.json").is_file()
    True
    """
    manifest = folder / "manifest.json"
    try:
        hashes = json.loads(manifest.read_text())["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"no model weights here: {error}", path=manifest, fix="install brainalign again") from error
    for name, digest in hashes.items():
        path = folder / name
        found = sha256_file(path) if path.is_file() else "no file"
        if found != digest:
            raise DataError(
                "a file of the model is missing or damaged",
                path=path,
                expected=f"sha256 {digest}",
                found=found,
                fix="install brainalign again",
            )
    return folder
