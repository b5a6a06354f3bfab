"""What an encoder was fitted on: pairing by stimulus, and the record against which later data are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES
from brainalign.cache import to_json
from brainalign.errors import DataError
from brainalign.voxelwise.samples import is_latents, is_trials
from brainalign.voxelwise.targets import TargetRows

__all__ = ["Provenance", "pair"]


@dataclass(frozen=True)
class Provenance:
    """Stimuli, subjects, units, split and latent spaces that an encoder saw; empty where it saw bare arrays.

    Parameters
    ----------
    stimulus_ids : tuple of str
        Sorted, each once.
    subjects : tuple of str
    units : tuple of str
        Names, in the order of the features.
    n_times : int or None
        Times per unit, None where responses are not resolved in time.
    split : str or None
        Hash of the split whose training side was fitted on.
    spaces : dict
        For each target its space and meta.
    span : (float, float) or None
        First and last time in seconds, None where responses are not resolved in time.
    """

    stimulus_ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    n_times: int | None = None
    split: str | None = None
    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    span: tuple[float, float] | None = None

    @classmethod
    def of(cls, trials: Any, latents: Mapping[str, Any]) -> Provenance:
        """Of Trials and the Latents they are fitted to."""
        return cls(
            stimulus_ids=tuple(sorted(set(trials.stimulus_ids))),
            subjects=_subjects(trials),
            units=tuple(trials.units["name"]),
            n_times=None if trials.times is None else len(trials.times),
            split=trials.info.get("split", {}).get("hash"),
            spaces={name: {"space": one.space, "meta": dict(one.meta)} for name, one in latents.items()},
            span=_span(trials),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Provenance:
        """The reverse of `to_dict`."""
        listed = {name: tuple(plain[name]) for name in ("stimulus_ids", "subjects", "units")}
        span = tuple(plain["span"]) if plain.get("span") else None
        return cls(**listed, n_times=plain["n_times"], split=plain["split"], spaces=dict(plain["spaces"]), span=span)

    def check_same_brain(self, trials: Any) -> None:
        """Raise `DataError` when trials come from another subject, or other units or times, than those fitted on."""
        if not self.units:
            return
        foreign = sorted(set(_subjects(trials)) - set(self.subjects))
        if foreign:
            raise DataError(
                f"this encoder was not fitted on subject {foreign[:5]}",
                expected=f"subjects among {list(self.subjects)}",
                found=foreign[:5],
                fix="fit an encoder for this subject, or select the trials of the subject fitted on",
            )
        if len(set(_subjects(trials))) > 1:
            raise DataError("predict one subject at a time", fix="trials.select(\"subject == '1'\")")
        self.check_same_layout(Provenance.of(trials, {}))

    def check_same_layout(
        self, other: Provenance, *, whose: str = "these trials", fix: str = "select the same units in the same order"
    ) -> None:
        """Raise `DataError` when the others have other units, or other times: another number, rate or stretch."""
        if other.units != self.units or other.n_times != self.n_times:
            pairs = zip(self.units, other.units, strict=False)
            differing = next((f"; first difference: {mine} and {its}" for mine, its in pairs if mine != its), "")
            raise DataError(
                f"{whose} have other units or times than those fitted on",
                expected=f"{len(self.units)} units, {self.n_times} times",
                found=f"{len(other.units)} units, {other.n_times} times{differing}",
                fix=fix,
            )
        if self.span is None or other.span is None:
            return
        sample = (self.span[1] - self.span[0]) / max((self.n_times or 1) - 1, 1)
        if np.abs(np.subtract(other.span, self.span)).max() > max(sample, 1e-9) / 2:
            raise DataError(
                f"{whose} have another sampling rate or other times than those fitted on",
                expected=f"{self.n_times} samples from {self.span[0]:.4f} to {self.span[1]:.4f} s",
                found=f"{self.n_times} samples from {other.span[0]:.4f} to {other.span[1]:.4f} s",
                fix="resample and cut the epochs as for fitting",
            )

    def check_same_space(self, latents: Mapping[str, Any]) -> None:
        """Raise `DataError` when latents come from another model, layer or revision than those fitted on."""
        for name, one in latents.items():
            if name not in self.spaces:
                continue
            fitted, own = (
                {"space": space, **{key: meta[key] for key in meta if key not in _NOT_OF_THE_MODEL}}
                for space, meta in ((self.spaces[name]["space"], self.spaces[name]["meta"]), (one.space, one.meta))
            )
            differing = sorted(key for key in fitted | own if to_json(fitted.get(key)) != to_json(own.get(key)))
            if differing:
                raise DataError(
                    f"latents '{name}' are of another model or revision than those fitted on",
                    expected={key: fitted.get(key) for key in differing},
                    found={key: own.get(key) for key in differing},
                    fix="extract them with the model fitted on, or fit again",
                )


_NOT_OF_THE_MODEL = ("libraries", "dtype")
"""What of the meta of latents may differ: library versions, and the precision stored."""


def _span(trials: Any) -> tuple[float, float] | None:
    return None if trials.times is None or not len(trials.times) else (float(trials.times[0]), float(trials.times[-1]))


def _subjects(trials: Any) -> tuple[str, ...]:
    return tuple(sorted(set(trials.trials["subject"].astype(str))))


def pair(X: Any, y: Any, groups: Any = None, *, in_blocks: bool = False) -> tuple[Any, dict[str, Any], Any, Provenance]:
    """Join Trials with Latents by stimulus, or pass arrays through.

    Parameters
    ----------
    X, y, groups
        As in `Encoder.fit`.
    in_blocks : bool
        Leave large latents that are memory-mapped on disk, as `TargetRows`.

    Returns
    -------
    responses : array (n_samples, n_features)
    targets : dict of str to array (n_samples, ...)
        A single target is called ``"latents"``.
    groups : array (n_samples,) or None
    provenance : Provenance

    Raises
    ------
    DataError
        When Trials are given with arrays, or arrays with Latents, or a stimulus has no latents.
    """
    targets = dict(y) if isinstance(y, Mapping) else {"latents": y}
    if not targets:
        raise DataError("nothing to fit: no target was given")
    by_id = {name: is_latents(one) for name, one in targets.items()}
    if is_trials(X) != all(by_id.values()) or (any(by_id.values()) and not all(by_id.values())):
        raise DataError(
            "an encoder pairs Trials with Latents, or arrays with arrays",
            expected="both by stimulus_id, or both as arrays of matching rows",
            found=f"X {type(X).__name__}, y {[type(one).__name__ for one in targets.values()]}",
            fix="wrap arrays: Latents(values, ids, space=...), or take trials.matrix()",
        )
    if not is_trials(X):
        return X, targets, groups, Provenance()
    ids = X.stimulus_ids
    groups = ids if groups is None else np.asarray(groups)
    rows = {name: _rows(one, ids) if in_blocks else one.at(ids) for name, one in targets.items()}
    return X.matrix(), rows, groups, Provenance.of(X, targets)


def _rows(latents: Any, ids: Any) -> Any:
    """Latents of the stimuli, left on disk where they are mapped and large."""
    values = latents.values
    if not isinstance(values, np.memmap) or values[:1].nbytes * len(ids) <= BLOCK_BYTES:
        return latents.at(ids)
    return TargetRows(values.reshape(len(values), -1), latents.rows(ids), item_shape=values.shape[1:])
