"""Simulated EEG and sEEG: sources with known onsets that follow the latents, mixed into noise with a 1/f spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.loaders.simulated.design import Design, Plan, Truth, seed_for
from brainalign.loaders.simulated.signals import add_drift, coloured_noise, draw_subspace, standardised

SHARED_NOISE = 0.3
"""Share of the noise variance that all channels have in common."""


@dataclass(frozen=True)
class Source:
    """Where a source sits, and when it answers: it begins at `onset` and peaks `rise` later, in seconds."""

    region: str
    onset: float
    rise: float
    place: tuple[float, float, float]

    def time_course(self, times: np.ndarray) -> np.ndarray:
        """An alpha function: exactly 0 up to the onset, 1 at the peak."""
        since = np.maximum(times - self.onset, 0.0) / self.rise
        return since * np.exp(1 - since)


@dataclass(frozen=True)
class Recording:
    """What sets one modality apart: its sources, the noise's scale (volts; 1 for an envelope) and spectrum."""

    sources: Mapping[str, Source]
    ceiling: tuple[float, float]
    noise: float
    exponent: float


EEG = Recording(
    sources={
        "occipital": Source("occipital", 0.06, 0.04, (0.0, -0.09, 0.04)),
        "temporal": Source("temporal", 0.12, 0.05, (0.08, -0.05, 0.03)),
        "parietal": Source("parietal", 0.25, 0.10, (0.0, -0.05, 0.11)),
    },
    ceiling=(0.1, 0.3),
    noise=10e-6,
    exponent=1.0,
)
SEEG = Recording(
    sources={
        "LO": Source("lateral occipital", 0.07, 0.08, (-0.036, -0.080, 0.002)),
        "RF": Source("fusiform", 0.11, 0.09, (0.036, -0.052, -0.018)),
        "LT": Source("superior temporal", 0.16, 0.10, (-0.050, -0.028, 0.006)),
        "RI": Source("insula", 0.22, 0.12, (0.034, 0.006, 0.002)),
    },
    ceiling=(0.2, 0.6),
    noise=1.0,
    exponent=0.5,
)
RECORDINGS = {"eeg": EEG, "seeg": SEEG}
N_CONTACTS, N_RESPONSIVE, CONTACT_SPACING = 8, 3, 0.0035


def source_sizes(modality: str, design: Design, named: tuple[str, ...] | None) -> dict[str, int]:
    """Active sources, and for sEEG the contacts on the shaft that reaches each."""
    known = RECORDINGS[modality].sources
    wanted = design.rois if design.rois is not None else named or tuple(known)
    if isinstance(wanted, str) or not wanted or (isinstance(wanted, Mapping) and modality == "eeg"):
        form = "a list of sources" if modality == "eeg" else "a list of shafts, or {shaft: contacts}"
        raise DataError(
            f"rois of simulated {modality} must be {form}",
            expected=list(known),
            found=wanted,
            fix="choose among those expected",
        )
    for name in wanted:
        if name not in known:
            raise unknown("source", name, known)
    sizes = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted, N_CONTACTS)
    if min(sizes.values()) < 1:
        raise DataError(
            "every shaft needs a contact", expected="1 or more", found=sizes, fix="give each at least one contact"
        )
    return sizes


def simulate_sensors(
    modality: str,
    features: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    plan: Plan,
    *,
    design: Design,
    seed: int,
) -> tuple[np.ndarray, pd.DataFrame, Truth]:
    """Responses (n_trials, n_channels, n_times), the units table and the truth; see `simulate_fmri`."""
    recording, times = RECORDINGS[modality], design.times
    units = place_electrodes() if modality == "eeg" else place_contacts(sizes)
    signal = np.zeros((len(plan.ids), len(units), len(times)), dtype=np.float32)
    weights, subspaces = {}, {}
    for name in sizes:
        patterns = _patterns(modality, name, units, design, seed)
        course = recording.sources[name].time_course(times).astype(np.float32)
        weights[name], subspaces[name] = _mix(features[name], patterns, name, recording, design=design, seed=seed)
        answer = (features[name] @ weights[name] + recording.noise * patterns[0]).astype(np.float32)
        signal += answer[:, :, None] * course
    noise_sd = recording.noise * np.sqrt(1 + design.line_noise**2 / 2)
    responses = recording.noise * _noise(len(plan.order), units["name"].tolist(), recording, design=design, seed=seed)
    responses += signal[plan.order]
    truth = Truth(
        signal=Latents(signal, plan.ids, space=f"simulated:{modality}"),
        weights=weights,
        subspaces=subspaces,
        ncsnr=signal.std(axis=0, dtype=np.float64) / noise_sd,
        onsets={name: recording.sources[name].onset for name in sizes},
        drift=add_drift(responses, plan.sessions, modality, design, seed),
    )
    return responses, units, truth


def _mix(
    features: np.ndarray, patterns: np.ndarray, name: str, recording: Recording, *, design: Design, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_features, n_channels) of a source at its peak, whose best channel has the ceiling drawn for it."""
    basis = draw_subspace(features, name, design, seed)
    mixed = standardised(features, basis, roi=name) @ patterns[: basis.shape[1]]
    rng = np.random.default_rng(seed_for(seed, name, "ceilings"))
    ceiling = rng.uniform(*(design.ceiling or recording.ceiling))
    strongest = (features @ mixed).std(axis=0).max()
    return mixed * recording.noise * np.sqrt(ceiling / (1 - ceiling)) / strongest, basis


def _noise(n_trials: int, names: list[str], recording: Recording, *, design: Design, seed: int) -> np.ndarray:
    """Unit-variance noise (n_trials, n_channels, n_times), partly shared, each channel from a seed of its own."""
    times = design.times

    def made(work: str) -> np.ndarray:
        rng = np.random.default_rng(seed_for(seed, "noise", work))
        return coloured_noise(rng, n_trials, len(times), sfreq=design.sfreq, exponent=recording.exponent)

    shared = np.sqrt(SHARED_NOISE) * made("shared by all")
    if design.line_noise:
        phase = np.random.default_rng(seed_for(seed, "line noise")).uniform(0, 2 * np.pi, (n_trials, 1))
        shared = shared + design.line_noise * np.sin(2 * np.pi * 50.0 * times + phase)
    noise = np.empty((n_trials, len(names), len(times)), dtype=np.float32)
    for channel, name in enumerate(names):
        noise[:, channel] = shared + np.sqrt(1 - SHARED_NOISE) * made(name)
    return noise


def _patterns(modality: str, name: str, units: pd.DataFrame, design: Design, seed: int) -> np.ndarray:
    """How strongly each channel sees each dimension of a source, (n_dimensions, n_channels), 1 at most."""
    rng = np.random.default_rng(seed_for(seed, name, "pattern"))
    places = units[["x", "y", "z"]].to_numpy()
    if modality == "eeg":
        middle = np.array(EEG.sources[name].place) + 0.02 * rng.standard_normal((design.n_dimensions, 3))
        return np.exp(-0.5 * (np.linalg.norm(places - middle[:, None], axis=2) / 0.04) ** 2)
    responsive = (units["shaft"] == name).to_numpy() & (units["region"] != "white matter").to_numpy()
    return np.where(responsive, rng.uniform(0.4, 1.0, (design.n_dimensions, len(units))), 0.0)


def place_electrodes() -> pd.DataFrame:
    """32 scalp electrodes of the 10-20 system, in MNE's head frame."""
    import mne

    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(montage.ch_names, 100.0, "eeg", verbose="error").set_montage(montage, verbose="error")
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    units = pd.DataFrame({"name": montage.ch_names, "type": "eeg"})
    units["region"] = [_lobe(name) for name in montage.ch_names]
    units[["x", "y", "z"]] = places
    return units


def _lobe(channel: str) -> str:
    if channel in ("T7", "T8", "P7", "P8"):  # P7 and P8 lie over the posterior temporal lobe, once named T5 and T6
        return "temporal"
    lobes = {"O": "occipital", "PO": "occipital", "P": "parietal", "CP": "parietal", "C": "central"}
    return lobes.get(channel.rstrip("z0123456789"), "frontal")


def place_contacts(sizes: Mapping[str, int]) -> pd.DataFrame:
    """Contacts of each shaft, the first at the tip: the innermost few in the source, the others in white matter."""
    rows = []
    for shaft, n_contacts in sizes.items():
        source = SEEG.sources[shaft]
        outward = np.array([np.sign(source.place[0]), 0.0, 0.0])
        for number in range(n_contacts):
            region = source.region if number < N_RESPONSIVE else "white matter"
            place = np.array(source.place) + number * CONTACT_SPACING * outward
            rows.append((f"{shaft}{number + 1}", "seeg", region, shaft, *place))
    return pd.DataFrame(rows, columns=["name", "type", "region", "shaft", "x", "y", "z"])
