"""Generators behind one protocol: latents in, pictures out, by stimulus id."""

from brainalign.reconstruction.generators.base import Generator
from brainalign.reconstruction.generators.fusion import Fusion
from brainalign.reconstruction.generators.registry import load_generator
from brainalign.reconstruction.generators.simple import BestOf, Inversion, Retrieval, VaeDecoder, best_of

__all__ = ["BestOf", "Fusion", "Generator", "Inversion", "Retrieval", "VaeDecoder", "best_of", "load_generator"]
