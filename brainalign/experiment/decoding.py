"""One encoder on one recording, in a folder: fit it, make pictures of what was held out, score both.

`run_experiment` compares analyses; this is for the one decoder that is to be kept. Everything that the result depends
on stands in ``fit.json``, so that pictures and scores come from the recording, split and latents that were fitted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from brainalign.cache import atomic_write_bytes, atomic_write_text, to_json
from brainalign.encoders import Encoder, load_encoder
from brainalign.encoders.registry import encoder_class
from brainalign.errors import DataError, LeakageError
from brainalign.experiment.recordings import open_recording
from brainalign.latents import extract
from brainalign.latents.base import Latents
from brainalign.parallel import progress
from brainalign.scoring.identification import retrieval, two_way_identification
from brainalign.scoring.score import Score
from brainalign.splits import check_disjoint, split
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["Recipe", "fit_run", "reconstruct_run", "score_run"]

RECIPE, MADE_BY, TOGETHER = "fit.json", "reconstruct.json", 16
_PLAIN = " !#$&'()+,;=@[]{}^`"
"""Signs that may stand in the name of a file as they are."""


@dataclass(frozen=True)
class Recipe:
    """What is fitted on what.

    Parameters
    ----------
    data : str
        Name of a data spec, a folder, or files: see `brainalign.experiment.recordings.open_recording`.
    latents : dict of str to str
        For each target a model id, or a folder that `Latents.save` wrote. One named "latents" is fitted by itself.
    root, subject, options
        As `brainalign.load` takes them.
    encoder, params : str, dict
        Name and hyper-parameters.
    by : str, optional
        What the split keeps together; by default the data set's own split where it has one, else "stimulus_id".
    test_size : float
    zscore : str, optional
        Column within whose groups responses are scaled first (before the split: no label takes part, see
        `Trials.zscore`).
    average : bool
        Fit on the mean over repetitions.
    seed : int
    """

    data: str
    latents: dict[str, str]
    root: str | None = None
    subject: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    encoder: str = "LinearEncoder"
    params: dict[str, Any] = field(default_factory=dict)
    by: str | None = None
    test_size: float = 0.2
    zscore: str | None = None
    average: bool = False
    seed: int = 0

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> Recipe:
        """Of a folder that `fit_run` made; `DataError` where it is none."""
        path = Path(folder) / RECIPE
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                "no fitted run here", path=folder, expected=RECIPE, found=str(error), fix="brainalign fit ... --out DIR"
            ) from error

    def recording(self) -> tuple[Trials, Trials]:
        """Train and test."""
        trials = open_recording(self.data, self.options, root=self.root, subject=self.subject)
        if self.zscore is not None:
            trials = trials.zscore(self.zscore)
        by = self.by or ("split" if "split" in trials.trials else "stimulus_id")
        return split(trials, by=by, test_size=self.test_size, seed=self.seed)

    def fitted_on(self, train: Trials) -> Trials:
        """The samples of the fit: trials, or means over repetitions."""
        return train.average("stimulus_id") if self.average else train

    def targets(self, trials: Trials, *, device: str = "auto") -> Any:
        """Latents of the pictures of these trials; a dict where there are several."""
        ids = list(dict.fromkeys(trials.stimulus_ids))
        made = {name: self._target(spec, trials, ids, device) for name, spec in self.latents.items()}
        return made["latents"] if list(made) == ["latents"] else made

    def _target(self, spec: str, trials: Trials, ids: list[str], device: str) -> Latents:
        if (Path(spec) / "manifest.json").is_file():
            return Latents.open(spec)
        if trials.stimuli is None:
            raise DataError(
                f"'{self.data}' comes without pictures, so '{spec}' has nothing to run on",
                fix="save latents with Latents.save and name their folder",
            )
        return extract(trials.stimuli.select(ids), spec, device=device)


def fit_run(recipe: Recipe, out: str | PathLike[str], *, device: str = "auto") -> Path:
    """Fit and save; a finished fit of the same recipe is kept.

    Returns
    -------
    Path
        The folder of the encoder, ``out/encoder``.

    Raises
    ------
    DataError
        When the folder holds another recipe, or anything is unknown or does not pair.
    """
    out, wanted = Path(out), json.loads(to_json(asdict(recipe)))
    model = encoder_class(recipe.encoder)
    known = model._get_param_names()  # type: ignore[attr-defined]
    if strange := [name for name in recipe.params if name not in known]:
        raise DataError(f"{recipe.encoder} has no parameter '{strange[0]}'", expected=known, found=strange)
    if (out / RECIPE).exists():
        held = json.loads(to_json(asdict(Recipe.read(out))))
        if held != wanted:
            differs = sorted(name for name in wanted if wanted[name] != held[name])
            raise DataError(
                "this folder holds another fit",
                path=out,
                expected={name: held[name] for name in differs},
                found={name: wanted[name] for name in differs},
                fix="choose another --out",
            )
        if (out / "encoder").is_dir():
            load_encoder(out / "encoder")
            return out / "encoder"
    train, _ = recipe.recording()
    targets = recipe.targets(train, device=device)
    encoder = model(**recipe.params).fit(recipe.fitted_on(train), targets)
    atomic_write_text(out / RECIPE, to_json(wanted, indent=1) + "\n")
    return encoder.save(out / "encoder")


def _held_out(folder: str | PathLike[str]) -> tuple[Recipe, Encoder, Trials, Trials]:
    """The encoder of a run beside its recording; `LeakageError` where a test picture was fitted on."""
    recipe, encoder = Recipe.read(folder), load_encoder(Path(folder) / "encoder")
    train, test = recipe.recording()
    check_disjoint(encoder.provenance_.stimulus_ids, test.stimulus_ids)
    if encoder.provenance_.split not in (None, train.info["split"]["hash"]):
        raise LeakageError(
            "the recording is split otherwise than when it was fitted",
            path=folder,
            expected=encoder.provenance_.split,
            found=train.info["split"]["hash"],
            fix="fit again: the data, or their split, have changed",
        )
    return recipe, encoder, train, test


def reconstruct_run(
    folder: str | PathLike[str],
    generator: str,
    *,
    options: Mapping[str, Any] | None = None,
    controls: bool = True,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Pictures of the held-out stimuli of a run, as ``pictures/ID.png``; finished ones are not made again.

    Parameters
    ----------
    folder : path-like
        Of `fit_run`.
    generator : str
        One of `brainalign.reconstruction.simple.SIMPLE` ("pixels", "decode", "linear", "nearest"), or what
        `brainalign.reconstruction.load_generator` takes.
    options : mapping, optional
        Of the generator.
    controls : bool
        Also the controls of `brainalign.reconstruction.control_pictures`, under ``controls/NAME/``.
    seed : int

    Returns
    -------
    Path
        ``folder/pictures``.

    Raises
    ------
    LeakageError
        When a test picture was fitted on.
    DataError
        When the pictures seen are of mixed size: they could not be judged.
    """
    from brainalign.reconstruction.controls import control_pictures
    from brainalign.reconstruction.pairs import check_one_size

    folder = Path(folder)
    recipe, encoder, train, test = _held_out(folder)
    if test.stimuli is not None:
        check_one_size(test.stimuli.select(list(dict.fromkeys(test.stimulus_ids))), "pictures seen")
    wanted: dict[str, Any] = {"generator": generator, "options": dict(options or {}), "seed": seed}
    _same_pictures(folder, wanted)
    every = recipe.targets(_with_both(train, test), device=device) if controls or generator in _FITTED else None
    maker = _generator(generator, every, train, wanted["options"], device=device)
    atomic_write_text(folder / MADE_BY, to_json(wanted, indent=1) + "\n")
    predicted = encoder.predict(test)
    ids = list((next(iter(predicted.values())) if isinstance(predicted, Mapping) else predicted).ids)
    for some in progress(list(_chunks(ids)), description="pictures"):
        if not all(_picture_file(folder / "pictures", one).is_file() for one in some):
            _write(folder / "pictures", maker.generate(_chosen(predicted, some), seed=seed))
    if controls and not (folder / "controls" / "done.json").is_file():
        for name, made in control_pictures(encoder, maker, recipe.fitted_on(train), test, every, seed=seed).items():
            _write(folder / "controls" / name, made)
        atomic_write_text(folder / "controls" / "done.json", "{}\n")
    return folder / "pictures"


_FITTED = ("linear", "nearest", "decode")


def _same_pictures(folder: Path, wanted: dict[str, Any]) -> None:
    """Refuse a folder that holds pictures made otherwise."""
    path = folder / MADE_BY
    if path.is_file() and json.loads(path.read_text()) != json.loads(to_json(wanted)):
        raise DataError(
            "this run holds pictures of another generator, option or seed",
            path=path,
            expected=json.loads(path.read_text()),
            found=wanted,
            fix="move its folders 'pictures' and 'controls' and this file away, or fit into another folder",
        )


def _generator(name: str, targets: Any, train: Trials, options: dict[str, Any], *, device: str) -> Any:
    from brainalign.reconstruction.simple import SIMPLE, simple_generator

    if name in SIMPLE:
        return simple_generator(name, targets, train, **options)
    from brainalign.reconstruction import load_generator

    return load_generator(name, **({"device": device} | options))


def _with_both(train: Trials, test: Trials) -> Trials:
    """One trial of every stimulus of both sides: enough to name their pictures."""
    import pandas as pd

    ids = list(dict.fromkeys([*train.stimulus_ids, *test.stimulus_ids]))
    return Trials(np.zeros((len(ids), 1)), pd.DataFrame({"stimulus_id": ids}), stimuli=train.stimuli)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), TOGETHER):
        yield ids[start : start + TOGETHER]


def _chosen(latents: Any, ids: list[str]) -> Any:
    if isinstance(latents, Mapping):
        return {name: one.select(ids) for name, one in latents.items()}
    return latents.select(ids)


def _write(folder: Path, pictures: Stimuli) -> None:
    import io

    for one in pictures.ids:
        content = io.BytesIO()
        pictures.image(one).save(content, format="PNG")
        atomic_write_bytes(_picture_file(folder, one), content.getvalue())


def _picture_file(folder: Path, stimulus_id: str) -> Path:
    """Where a picture lies. BIDS calls stimuli by paths such as ``faces/s01.png``, which must not become folders."""
    return folder / f"{quote(stimulus_id, safe=_PLAIN)}.png"


def score_run(
    folder: str | PathLike[str], *, device: str = "auto", protocol: str = "held-out stimuli", **options: Any
) -> tuple[dict[str, Score], Any]:
    """Score the predicted latents of a run and, where there are pictures, the pictures beside their controls.

    Writes ``scores.json``.

    Parameters
    ----------
    folder : path-like
    protocol : str
        Carried by every score of pictures.
    **options
        Of `brainalign.reconstruction.reconstruction_table`: metrics, weights, judges, ...

    Returns
    -------
    scores : dict of str to Score
    table : ReconstructionTable or None

    Raises
    ------
    LeakageError
        When a test picture was fitted on.
    DataError
        When latents are of another model or revision than those fitted on.
    """
    folder = Path(folder)
    recipe, encoder, train, test = _held_out(folder)
    predicted, truth = encoder.predict(test), recipe.targets(test, device=device)
    encoder.provenance_.check_same_space(truth if isinstance(truth, Mapping) else {"latents": truth})
    pairs = predicted.items() if isinstance(predicted, Mapping) else [("latents", predicted)]
    scores: dict[str, Score] = {}
    for name, one in pairs:
        true = truth[name] if isinstance(truth, Mapping) else truth
        for what, score in (("retrieval", retrieval), ("identification", two_way_identification)):
            scores[f"{name}/{what}"] = replace(score(one, true), split=test.info["split"]["hash"])
    table = _picture_table(folder, test, train, protocol, options) if (folder / "pictures").is_dir() else None
    if table is not None:
        scores |= {f"{row}/{metric}": score for (row, metric), score in table.scores.items()}
    rows = {name: score.to_row() for name, score in scores.items()}
    atomic_write_text(folder / "scores.json", to_json(rows, indent=1) + "\n")
    return scores, table


def _picture_table(folder: Path, test: Trials, train: Trials, protocol: str, options: dict[str, Any]) -> Any:
    from brainalign.reconstruction import reconstruction_table

    if test.stimuli is None:
        raise DataError("pictures cannot be judged without those that were seen", path=folder)
    ids = list(dict.fromkeys(test.stimulus_ids))
    missing = [one for one in ids if not _picture_file(folder / "pictures", one).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} pictures are not made yet: {missing[:5]}",
            path=folder / "pictures",
            fix="brainalign reconstruct goes on where it stopped",
        )
    controls = {}
    for path in sorted((folder / "controls").glob("*")):
        if path.is_dir():
            controls[path.name] = Stimuli(ids, images={one: _picture_file(path, one) for one in ids})
    made = Stimuli(ids, images={one: _picture_file(folder / "pictures", one) for one in ids})
    training = None if train.stimuli is None else train.stimuli.select(list(dict.fromkeys(train.stimulus_ids)))
    return reconstruction_table(
        made,
        test.stimuli.select(ids),
        protocol=protocol,
        controls=controls,
        training=training,
        **({"split": test.info["split"]["hash"]} | options),
    )
