"""Analyses of aligned data: decoding, and the geometry of representations."""
