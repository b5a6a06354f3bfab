"""Du-IN: words from stereo-EEG, by tokens of a fused region and discrete codes."""

from brainalign.encoders.du_in.classifier import DuINClassifier
from brainalign.encoders.du_in.encoder import DuIN

__all__ = ["DuIN", "DuINClassifier"]
