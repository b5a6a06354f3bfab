"""BrainMAE: parcel embeddings and windows of BOLD, learnt by filling in hidden windows."""

from brainalign.encoders.brain_mae.encoder import BrainMAE

__all__ = ["BrainMAE"]
