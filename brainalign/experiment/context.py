"""What every analysis of one experiment works on: the recording, the latents, the folds; each made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite, sha256_array, sha256_file
from brainalign.cache import Cache
from brainalign.errors import DataError, closest, unknown
from brainalign.experiment.models import check_model, read_model
from brainalign.experiment.recordings import open_source
from brainalign.experiment.schema import (
    Average,
    Decode,
    Experiment,
    ModelRdm,
    Select,
    Zscore,
    _Analysis,
    _CrossValidated,
)
from brainalign.latents import extract, extract_text
from brainalign.latents.base import Latents
from brainalign.latents.network import Network
from brainalign.latents.registry import load_model
from brainalign.loaders.datasets.images92 import SubjectRdms
from brainalign.loaders.registry import data_root, load_latents
from brainalign.specs import DatasetSpec
from brainalign.splits import Fold, contiguous_folds, folds
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["Context", "placed", "table_numbers"]


@dataclass
class Context:
    """Lazily loaded parts of one experiment.

    Parameters
    ----------
    experiment : Experiment
    cache : Cache, optional
        Where extracted latents are kept.
    place : Path, optional
        Folder of the run, for what an analysis finishes piece by piece.
    """

    experiment: Experiment
    cache: Cache | None = None
    place: Path | None = None
    _network: tuple[str, Network] | None = None
    _latents: dict[str, dict[str, Latents]] = field(default_factory=dict)
    _models: dict[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def source(self) -> Trials | SubjectRdms:
        """The recording after preprocessing (of the first subject), or RDMs where a data set comes as such."""
        subjects = self._subjects()
        return self._load(subjects[0] if subjects else self.experiment.dataset.subject)

    @cached_property
    def people(self) -> dict[str, Trials]:
        """The recording of every subject that the experiment names, after preprocessing."""
        subjects = self._subjects()
        rest = [loaded for one in subjects[1:] if isinstance(loaded := self._load(one), Trials)]
        everyone = [self.trials, *rest]
        found: dict[str, Trials] = {}
        for trials in everyone:
            for name in dict.fromkeys(trials.trials["subject"].astype(str)):
                found[name] = trials.select((trials.trials["subject"].astype(str) == name).to_numpy())
        return found

    def _subjects(self) -> list[int | str]:
        wanted = self.experiment.dataset
        if wanted.subjects == "all":
            return list(DatasetSpec.load(wanted.name).subjects)
        return list(wanted.subjects or [])

    def _load(self, subject: int | str | None) -> Trials | SubjectRdms:
        wanted = self.experiment.dataset
        root = None if wanted.root is None else placed(wanted.root)
        loaded = open_source(wanted.name, wanted.options, root=root, subject=subject)
        if isinstance(loaded, SubjectRdms):
            if wanted.subjects is not None:
                raise DataError(f"'{wanted.name}' comes as RDMs of all subjects", fix="leave dataset.subjects out")
            if self.experiment.preprocessing:
                raise DataError(f"'{wanted.name}' comes as RDMs: there are no responses to preprocess")
            return loaded
        loaded = _with_stimulus_columns(loaded)
        for step in self.experiment.preprocessing:
            loaded = _apply(loaded, step)
        loaded.check_finite()
        return loaded

    @property
    def trials(self) -> Trials:
        """The recording, where an analysis needs responses."""
        if not isinstance(self.source, Trials):
            raise DataError(f"'{self.experiment.dataset.name}' comes as RDMs: only rsa can be done on it")
        return self.source

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what was loaded, so that a step made from other data is not taken for this one's."""
        if isinstance(self.source, Trials):
            parts = [self.source] if self.experiment.dataset.subjects is None else list(self.people.values())
            tables = [table.to_json() for part in parts for table in (part.trials, part.units)]
            return Cache.key(responses=[sha256_array(part.responses) for part in parts], tables=tables)
        return Cache.key(rdms={name: sha256_array(one) for name, one in self.source.rdms.items()})

    def chosen(self, analysis: _Analysis) -> Trials:
        """Trials and units that one analysis asks for."""
        return self.trials.select(analysis.trials, units=analysis.units)

    def others(self, analysis: _Analysis) -> dict[str, Trials]:
        """Every subject but the first, as `chosen` takes the first."""
        (_, *rest) = self.people.items()
        return {name: trials.select(analysis.trials, units=analysis.units) for name, trials in rest}

    def chosen_people(self, analysis: Decode) -> dict[str, Trials]:
        """The same for each of the subjects; one whose name is empty where the experiment names none."""
        if self.experiment.dataset.subjects is None:
            return {"": self.chosen(analysis)}
        wanted = list(self.people) if analysis.subjects is None else [str(one) for one in analysis.subjects]
        for name in wanted:
            if name not in self.people:
                raise unknown("subject", name, self.people)
        return {name: self.people[name].select(analysis.trials, units=analysis.units) for name in wanted}

    def stimuli(self) -> Stimuli:
        """The pictures shown."""
        if self.source.stimuli is None:
            raise DataError(f"'{self.experiment.dataset.name}' comes without pictures", fix="leave latents out")
        if isinstance(self.source, SubjectRdms):
            return self.source.stimuli
        if self._subjects():
            return _of_everyone(list(self.people.values()))
        shown = list(dict.fromkeys(self.source.stimulus_ids))
        return self.source.stimuli.select(shown)

    def latents(self, name: str) -> dict[str, Latents]:
        """Latents of one entry, by label: one for an embedding, one per layer otherwise."""
        if name not in self._latents:
            wanted = self.experiment.latents[name]
            if wanted.released is not None:
                self._latents[name] = {name: self._released(wanted.released)}
                return self._latents[name]
            if wanted.columns is not None or wanted.model is None:
                self._latents[name] = {name: _columns(self.trials, wanted.columns or [], name)}
                return self._latents[name]
            found = self.extract(name, self.stimuli())
            named = (
                {f"{name} {layer}": one for layer, one in found.items()} if isinstance(found, dict) else {name: found}
            )
            self._latents[name] = named
        return self._latents[name]

    def _released(self, features: str) -> Latents:
        """Features of the release, of the stimuli that were recorded."""
        wanted = self.experiment.dataset
        found = load_latents(wanted.name, features, root=None if wanted.root is None else placed(wanted.root))
        return found.select(list(dict.fromkeys(self.trials.stimulus_ids)))

    def extract(self, name: str, pictures: Stimuli) -> Any:
        """What the network of one entry makes of other pictures, in the way of that entry."""
        wanted = self.experiment.latents[name]
        network, stored = self._loaded(name)
        return extract(pictures, network, layers=wanted.layers, pool=wanted.pool, cache=self.cache, **stored)

    def extract_text(self, name: str, texts: Any) -> Latents:
        """What the network of one entry makes of texts, ``{id: text}`` or a sequence, whose ids are then numbers."""
        network, stored = self._loaded(name)
        texts = texts if isinstance(texts, Mapping) else {str(row): one for row, one in enumerate(texts)}
        return extract_text(texts, network, cache=self.cache, **stored)

    def _loaded(self, name: str) -> tuple[Network, dict[str, Any]]:
        """The network of one entry (the last one is held), and what `extract` itself is told."""
        given = self.experiment.latents[name].options
        told = {key: value for key, value in given.items() if key in ("dtype", "batch_size")}
        if self._network is None or self._network[0] != name:
            options = {key: value for key, value in given.items() if key not in told}
            model = placed(str(self.experiment.latents[name].model))
            self._network = name, load_model(model, device="cpu", **options)
        return self._network[1], told

    def model_table(self, name: str) -> pd.DataFrame:
        """A model RDM as a square table, labelled by the conditions."""
        if name not in self._models:
            table = self._model_table(self.experiment.models[name], name)
            check_model(table, name)
            self._models[name] = table
        return self._models[name]

    def _model_table(self, wanted: ModelRdm, name: str) -> pd.DataFrame:
        if wanted.file is not None:
            return read_model(placed(wanted.file))
        if wanted.dataset is not None:
            known = getattr(self.source, "info", {}).get("model_rdms", {})
            if wanted.dataset not in known:
                raise unknown(f"model RDM of '{self.experiment.dataset.name}'", wanted.dataset, known)
            return pd.DataFrame.from_dict(known[wanted.dataset], orient="index")
        column = str(wanted.column)
        table = self.source.trials if isinstance(self.source, Trials) else self.source.stimuli.table
        if column not in table:
            raise unknown(f"column for model '{name}'", column, table.columns)
        if isinstance(self.source, Trials):
            table = table.set_index(table["stimulus_id"].astype(str))
        pairs = table[column].astype(str).groupby(level=0).agg(["nunique", "first"])
        if (pairs["nunique"] > 1).any():
            mixed = pairs.index[pairs["nunique"] > 1].tolist()
            raise DataError(f"column '{column}' differs between trials of one stimulus", found=mixed[:5])
        values = pairs["first"].to_numpy()
        return pd.DataFrame((values[:, None] != values[None]).astype(float), pairs.index, pairs.index)

    def folds(self, trials: Trials, analysis: _CrossValidated, stratify: np.ndarray | None = None) -> list[Fold]:
        """Cross-validation folds of one analysis, from the experiment's seed."""
        if analysis.by == "contiguous":
            return contiguous_folds(len(trials), n_splits=analysis.n_splits or 5, gap=analysis.gap)
        source = np.arange(len(trials)) if analysis.by == "trial" else trials
        stratify = None if analysis.n_splits is None else stratify
        return folds(source, analysis.by, n_splits=analysis.n_splits, seed=self.experiment.seed, stratify=stratify)

    def parts_of(self, analysis: _Analysis) -> dict[str, Any]:
        """Everything that the result of one analysis depends on, as plain data."""
        models = getattr(analysis, "models", [])
        judges = [one for one in getattr(analysis, "judges", []) if one in self.experiment.latents]
        wanted = [*getattr(analysis, "latents", []), *judges]
        return {
            "files": {
                name: _hashes(bank) for name in ("bank", "texts", "natural") if (bank := getattr(analysis, name, 0))
            },
            "analysis": analysis.model_dump(),
            "latents": {name: self.experiment.latents[name].model_dump() for name in wanted},
            "released": {
                name: sha256_array(self.latents(name)[name].values)
                for name in wanted
                if self.experiment.latents[name].released
            },
            "models": {name: self.model_table(name).to_dict() for name in models},
            "data": self.fingerprint,
            "seed": self.experiment.seed,
        }


def _hashes(bank: Any) -> dict[str, str]:
    """Hash of each file that a bank names."""
    found: list[Path] = []
    for name in ("file", "pictures", "folder"):
        if (given := getattr(bank, name, None)) is not None:
            path = Path(placed(given))
            found += sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    return {str(one): sha256_file(one) for one in found if one.is_file()}


def _of_everyone(people: list[Trials]) -> Stimuli:
    """The pictures that any of several subjects saw, those of the first in front."""
    known: dict[str, Stimuli] = {}
    for trials in people:
        if trials.stimuli is not None:
            known = dict.fromkeys(map(str, trials.stimulus_ids), trials.stimuli) | known
    order = list(dict.fromkeys(str(one) for trials in people for one in trials.stimulus_ids if str(one) in known))
    return Stimuli(order, images=lambda one: known[one].image(one))


def _with_stimulus_columns(trials: Trials) -> Trials:
    """What is known of each picture (category, concept, ...) beside the trials that showed it."""
    if trials.stimuli is None:
        return trials
    table = trials.stimuli.table
    new = [name for name in table if name not in trials.trials]
    rows = table.loc[list(trials.stimulus_ids), new]
    return trials.with_trials(**{str(name): rows[name].to_numpy() for name in new})


def _columns(trials: Trials, columns: list[str], name: str) -> Latents:
    """Columns of the trials table as latents of the stimuli."""
    values, ids = table_numbers(trials, columns), trials.stimulus_ids
    first = ~trials.trials["stimulus_id"].duplicated().to_numpy()
    latents = Latents(values[first], ids[first], space=f"columns {', '.join(columns)}")
    if not np.array_equal(latents.at(ids), values):
        raise DataError(f"latents '{name}' differ between trials of one stimulus", found=columns)
    return latents


def table_numbers(trials: Trials, columns: list[str]) -> np.ndarray:
    """Columns of the trials table as numbers, (n_trials, n_columns).

    Raises
    ------
    DataError
        When a column is absent or holds something else than finite numbers.
    """
    for column in columns:
        if column not in trials.trials:
            known = list(trials.trials.columns)
            raise DataError(f"trials have no column '{column}'.{closest(column, known)}", expected=known)
        if trials.trials[column].dtype.kind not in "fiub":
            raise DataError(f"column '{column}' holds no numbers", found=trials.trials[column].dtype)
    values = trials.trials[columns].to_numpy(dtype=np.float64)
    check_finite(values, name=f"columns {columns}")
    return values


def placed(text: str) -> str:
    """Put in where data lie; no other variable is read from the environment."""
    return text.replace("${BRAINALIGN_DATA}", str(data_root()))


def _apply(trials: Trials, step: Select | Zscore | Average) -> Trials:
    if isinstance(step, Select):
        return trials.select(step.trials, units=step.units, times=step.times)
    if isinstance(step, Zscore):
        return trials.zscore(step.by, fit=step.fit)
    return trials.average(step.by)
