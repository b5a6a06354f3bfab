"""NeuroBOLT (Li et al. 2024): BOLD of regions from the EEG before each volume."""

from brainalign.encoders.neurobolt.encoder import NeuroBOLT

__all__ = ["NeuroBOLT"]
