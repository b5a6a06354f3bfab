"""Natural Scenes Dataset: betas, design, regions, pictures."""

from brainalign.loaders.datasets.nsd.load import load_nsd

__all__ = ["load_nsd"]
