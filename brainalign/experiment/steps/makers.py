"""Makers of pictures for a region: samplers led by an encoder, and the latent that a linear decoder has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from brainalign.analysis.synthesis import Guided, Multifaceted, PictureEncoder, PlugAndPlay, synthesize
from brainalign.encoders import LinearEncoder, roi_optimal
from brainalign.errors import unknown
from brainalign.experiment.schema_voxels import Sampler, Synthesis
from brainalign.latents.base import Latents
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["Making", "check_samplers", "makers"]

_SAMPLERS: dict[str, Any] = {"guided": Guided, "prior": PlugAndPlay, "facets": Multifaceted}

Maker = Callable[[str, "Path | None"], Stimuli]
"""Pictures for a query of units, kept in a folder where one is given."""


@dataclass(frozen=True, eq=False)
class Making:
    """What pictures are made with: `trials` are those that the guide was fitted on, `n` pictures a region."""

    guide: PictureEncoder
    generator: Any
    trials: Trials
    bank: Latents
    n: int
    seed: int


def makers(analysis: Synthesis, work: Making, latents: Latents) -> dict[str, Maker]:
    """By name: each sampler asked for, and those at other scales; `latents` are what a decoder is fitted to."""
    plain = {name: _sampler(one, work.bank) for name, one in analysis.samplers.items() if one.kind != "optimal"}
    made = {
        name: _led(plain[name], work) if name in plain else _optimal(one, work, latents)
        for name, one in analysis.samplers.items()
    }
    for name in analysis.run_scaled:
        made |= {f"{name} at {scale:g}": _led(replace(plain[name], scale=scale), work) for scale in analysis.scales}
    return made


def check_samplers(samplers: Mapping[str, Sampler]) -> None:
    """Refuse options that a sampler does not have."""
    for asked in samplers.values():
        if asked.kind == "optimal":
            known = list(LinearEncoder._get_param_names())
        else:
            known = [one.name for one in fields(_SAMPLERS[asked.kind]) if one.name not in ("bank", "prior")]
        for name in asked.options:
            if name not in known:
                raise unknown(f"option of a sampler '{asked.kind}'", name, known)


def _sampler(asked: Sampler, bank: Latents) -> Any:
    if asked.kind == "guided":
        return Guided(**asked.options, prior=PlugAndPlay(bank) if asked.told else None)
    return _SAMPLERS[asked.kind](bank, **asked.options)


def _led(sampler: Any, work: Making) -> Maker:
    return lambda target, place: synthesize(
        work.guide, target, generator=work.generator, n=work.n, seed=work.seed, sampler=sampler, folder=place
    )


def _optimal(asked: Sampler, work: Making, latents: Latents) -> Maker:
    decoder = LinearEncoder(**asked.options).fit(work.trials, latents)

    def make(target: str, place: Path | None) -> Stimuli:
        best = roi_optimal(decoder, target, units=work.trials)
        return work.generator.generate(best, work.n, seed=work.seed)

    return make
