"""Every plot of brainalign. Each function takes plain arrays, tables or scores and returns a matplotlib figure."""

from brainalign.report.plots.brain import brain_slices, brain_view, glass_brain
from brainalign.report.plots.curves import channel_map, retrieval_curve, score_by_group, time_course
from brainalign.report.plots.geometry import mds, rdm, rdm_grid
from brainalign.report.plots.head import topomap
from brainalign.report.plots.images import image_grid
from brainalign.report.plots.models import layer_region_map, model_bars
from brainalign.report.plots.pipelines import decision_timeline, pipeline_points, rank_diagram
from brainalign.report.plots.preference import (
    layer_preference_map,
    layer_preference_shares,
    unit_violins,
    violin_table,
)
from brainalign.report.plots.scores import confusion_matrix, score_bars, unit_scores
from brainalign.report.plots.surface import surface_map

__all__ = [
    "brain_slices",
    "brain_view",
    "channel_map",
    "confusion_matrix",
    "decision_timeline",
    "glass_brain",
    "image_grid",
    "layer_preference_map",
    "layer_preference_shares",
    "layer_region_map",
    "mds",
    "model_bars",
    "pipeline_points",
    "rank_diagram",
    "rdm",
    "rdm_grid",
    "retrieval_curve",
    "score_bars",
    "score_by_group",
    "surface_map",
    "time_course",
    "topomap",
    "unit_scores",
    "unit_violins",
    "violin_table",
]
