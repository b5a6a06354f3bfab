"""Representational similarity analysis: RDMs, their comparison, and inference over subjects and stimuli."""

from brainalign.analysis.rsa.cka import cka
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.inference import RSAResult, evaluate
from brainalign.analysis.rsa.noise import noise_precision
from brainalign.analysis.rsa.rdm import complete_conditions, from_square, n_conditions, rdm, to_square

__all__ = [
    "RSAResult",
    "cka",
    "compare",
    "complete_conditions",
    "evaluate",
    "from_square",
    "n_conditions",
    "noise_precision",
    "rdm",
    "to_square",
]
