"""THINGS-EEG2 or THINGS-MEG from a check of your copy to zero-shot retrieval: 2- to 200-way, under both galleries.

    python scripts/things_retrieval.py things_eeg2 ~/data/things_eeg2 ~/data/things/images --subject 1
    python scripts/things_retrieval.py things_meg ~/data/things_meg ~/data/things/images --subject 1 --encoder TSConv

Training pictures teach; test pictures, of concepts that training lacks, are searched. Signals are whitened by noise
learnt from training trials alone (skipped for the preprocessed dictionaries of THINGS-EEG2, whose authors did it).
Pictures lie in any folder below the one given, named as in the release. Writes ``scores.json`` and the encoder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import brainalign as ba
import brainalign.encoders as encoders
from brainalign.analysis.decoding import occlusion, zero_shot_pictures
from brainalign.cache import to_json
from brainalign.encoders.ephys import MVNN, AverageRepetitions
from brainalign.errors import DataError
from brainalign.loaders.check import check_dataset
from brainalign.specs import DatasetSpec
from brainalign.trials import Trials


def load_sides(spec: DatasetSpec, options: argparse.Namespace) -> tuple[Trials, Trials]:
    """Training and test trials of one person."""
    common: dict[str, Any] = {"root": options.root, "subject": options.subject, **json.loads(options.loader)}
    if spec.loader == "things_eeg2":
        return tuple(ba.load(spec, partition=side, **common) for side in ("training", "test"))  # type: ignore[return-value]
    return tuple(ba.load(spec, split=side, **common) for side in ("train", "test"))  # type: ignore[return-value]


def named_pictures(folder: Path) -> dict[str, Path]:
    """Every picture below a folder, by its name."""
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")}


def stimuli_of(found: dict[str, Path], ids: Iterable[str], folder: Path) -> ba.Stimuli:
    """Some of the pictures, read when they are needed.

    Raises
    ------
    DataError
        When one is missing.
    """
    wanted = list(dict.fromkeys(map(str, ids)))
    if missing := [one for one in wanted if one not in found]:
        raise DataError(f"{len(missing)} pictures are missing", path=folder, expected=missing[:5], found=len(found))
    return ba.Stimuli(wanted, images={one: found[one] for one in wanted})


def concept(picture: str) -> str:
    """The concept in a picture's name: ``aardvark_01b`` shows an aardvark."""
    return picture.rsplit("_", 1)[0]


def prepared(train: Trials, test: Trials, options: argparse.Namespace) -> tuple[Trials, Trials]:
    """Whitened, and averaged as asked for."""
    if options.whiten == "yes":
        whitener = MVNN("epoch", by="session" if train.trials["session"].nunique() > 1 else None).fit(train)
        train, test = whitener.transform(train), whitener.transform(test)
    average = AverageRepetitions(train=options.average_training)
    return average.fit_transform(train), average.transform(test)


def main() -> None:
    """Check, load, fit, search, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=("things_eeg2", "things_meg"))
    parser.add_argument("root", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--subject", default="1")
    parser.add_argument("--spec", type=Path, help="another spec file, such as that of a small tree")
    known = ("ATM", "TSConv", "EEGNet", "ShallowConvNet", "LinearEncoder")
    parser.add_argument("--encoder", choices=known, default="ATM")
    parser.add_argument("--params", default="{}", help="hyper-parameters of the encoder, JSON")
    parser.add_argument("--published", action="store_true", help="sizes and schedule of the paper (ATM, TSConv)")
    parser.add_argument("--loader", default="{}", help="options of the loader, JSON")
    parser.add_argument("--latents", default="open_clip:ViT-H-14/laion2b_s32b_b79k")
    parser.add_argument("--whiten", choices=("yes", "no"), default="no")
    parser.add_argument("--average-training", action="store_true", help="as NICE; ATM learns from single trials")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/things"))
    options = parser.parse_args()
    spec = DatasetSpec.load(options.spec or options.dataset)
    print(check_dataset(spec, options.root).summary())
    train, test = load_sides(spec, options)
    print(train, test, sep="\n")
    train, test = prepared(train, test, options)
    found = named_pictures(options.pictures)
    shown = [*train.stimulus_ids, *test.stimulus_ids]
    latents = ba.extract(stimuli_of(found, shown, options.pictures), options.latents, device=options.device)
    made = getattr(encoders, options.encoder)
    encoder = made.published() if options.published else made()
    encoder.set_params(**json.loads(options.params))
    encoder.fit(train, latents)
    encoder.save(options.out / "encoder")
    predicted = encoder.predict(test)
    scores = zero_shot_pictures(predicted, latents, trained_on=map(str, train.stimulus_ids))
    tables = {"exact pictures": scores}
    tested = {concept(str(one)) for one in test.stimulus_ids}
    others = [one for one in found if concept(one) in tested and one not in set(map(str, shown))]
    if {concept(one) for one in others} == tested:
        pictures = stimuli_of(found, others, options.pictures)
        bank = ba.extract(pictures, options.latents, device=options.device)
        concepts = {str(one): concept(str(one)) for one in [*others, *test.stimulus_ids]}
        seen = {concept(str(one)) for one in train.stimulus_ids}
        tables["concept centres"] = zero_shot_pictures(predicted, bank, concepts=concepts, trained_on=seen)
    else:
        print("no concept centres: that takes further pictures of every test concept")
    for gallery, named in tables.items():
        for score in named.values():
            print(f"{gallery}: {score}")
    lost = occlusion(encoder, test, latents, by="channels")
    print("channels whose loss costs most:", sorted(lost, key=lambda name: -lost[name])[:5])
    rows = {f"{gallery}/{name}": score.to_row() for gallery, named in tables.items() for name, score in named.items()}
    (options.out / "scores.json").write_text(to_json(rows, indent=1))
    print(f"scores: {options.out / 'scores.json'}")


if __name__ == "__main__":
    main()
