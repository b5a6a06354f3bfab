"""Plants of the fMRI trees. Each docstring names what the plant leaves in `Tree.truth`.

Common to all: ``features`` (n_stimuli, 3) and ``weights[subject]`` (n_units, 3); a response is features @ weights.T
plus noise of standard deviation 0.2, before the scale and the dtype of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.loaders.trees.planting import Planting

__all__ = [
    "plant_bold5000", "plant_digits69", "plant_fingers7t", "plant_haxby", "plant_haxby_slice", "plant_images92",
    "plant_kay2008",
    "plant_miyawaki2008", "plant_nsd", "plant_things_fmri",
]  # fmt: skip

_GRID = (6, 7, 5)


def plant_nsd(plan: Planting) -> None:
    """NSD: voxels in C order of (x, y, z).

    Truth: ``image[subject]`` (n_sessions * trials_per_session,) 0-based rows of imgBrick in trial order;
    ``shared`` 0-based rows of the shared images; ``mask[subject]`` (x, y, z) nsdgeneral; ``areas[subject]``;
    ``ncsnr[subject]`` (x, y, z). On fsaverage, left before right: ``weights["surface", subject]``, codes of
    ``streams`` (2 * n_vertices,), and rows that are ``missing`` in one session.
    """
    n_stimuli, per_subject, n_shared = (plan.fact(name) for name in ("n_stimuli", "images_per_subject", "n_shared"))
    features, rng, size = plan.features(n_stimuli), plan.rng("design"), plan.fact("image_size")
    shared = np.sort(rng.choice(n_stimuli, n_shared, replace=False))
    own = np.setdiff1d(np.arange(n_stimuli), shared)
    rows = [
        np.concatenate([shared, rng.permutation(own)[: per_subject - n_shared]])
        for _ in range(plan.fact("n_design_rows"))
    ]
    longest = max(len(plan.spec.values("session", subject)) for subject in plan.spec.subjects)
    n_planned = max(per_subject * plan.fact("repeats"), longest * plan.fact("trials_per_session"))
    ordering = rng.permutation(np.resize(np.arange(per_subject), n_planned))
    images = np.array(rows)
    # MATLAB counts from one: in the file all three are shifted, in the truth none is.
    design = {"masterordering": ordering[None] + 1.0, "subjectim": images + 1.0, "sharedix": shared[None] + 1.0}
    plan.write("design", design)
    plan.write("stimuli", plan.rng("images").integers(0, 256, (n_stimuli, size, size, 3), dtype=np.uint8))
    table = {"cocoId": 1000 + np.arange(n_stimuli), "cocoSplit": "train2017", "nsdId": np.arange(n_stimuli)}
    plan.write("stimulus_table", pd.DataFrame({**table, "shared1000": np.isin(np.arange(n_stimuli), shared)}))
    plan.truth |= {"shared": shared, "image": {}, "mask": {}, "areas": {}, "ncsnr": {}}
    codes = plan.rng("streams").integers(-1, 8, 2 * plan.fact("n_fsaverage_vertices"))
    plan.truth |= {"streams": codes, "missing": [3, 1 + len(codes) // 2]}
    for family, values in (("streams", codes), ("nsdgeneral", np.where(codes > 0, 1, codes))):
        _halves(plan, "roi_fsaverage", values[None].astype(np.int32), surface_roi=family)
    for subject in plan.spec.subjects:
        image = images[int(subject) - 1][ordering]
        _nsd_subject(plan, subject, features, image)
        _nsd_surface(plan, subject, features, image)


def _halves(plan: Planting, name: str, values: np.ndarray, **where: Any) -> None:
    """Write (n_maps, 2 * n_vertices) as one file a hemisphere."""
    for hemisphere, half in zip(plan.spec.values("hemisphere"), np.split(values, 2, axis=1), strict=True):
        plan.write(name, half, hemisphere=hemisphere, **where)


def _nsd_surface(plan: Planting, subject: int | str, features: np.ndarray, image: np.ndarray) -> None:
    n_trials, n_vertices = plan.fact("trials_per_session"), 2 * plan.fact("n_fsaverage_vertices")
    weights = plan.rng("surface", subject).standard_normal((n_vertices, plan.n_features))
    plan.truth["weights"]["surface", subject] = weights
    where: dict[str, Any] = {"subject": subject, "beta_version": plan.spec.values("beta_version")[0]}
    for number, session in enumerate(plan.spec.values("session", subject)):
        trials = image[number * n_trials : (number + 1) * n_trials]
        betas = plan.respond(features[trials], weights, "surface", subject, session)
        betas[:, plan.truth["missing"][number % 2]] = np.nan
        _halves(plan, "betas_fsaverage", betas, session=session, **where)
    _halves(plan, "ncsnr_fsaverage", np.linalg.norm(weights, axis=1)[None] / plan.noise, **where)


def _nsd_subject(plan: Planting, subject: int | str, features: np.ndarray, image: np.ndarray) -> None:
    grid, n_trials = tuple(plan.fact("grid", subject)), plan.fact("trials_per_session")
    weights, rng = plan.weights(subject, int(np.prod(grid))), plan.rng("masks", subject)
    mask = np.zeros(np.prod(grid), dtype=np.int16)
    order = rng.permutation(mask.size)
    n_inside = plan.fact("nsdgeneral_voxels", subject)
    mask[order[:n_inside]], mask[order[-5:]] = 1, -1  # outside the cut of cortex the released masks say -1
    areas = np.where(mask > 0, rng.integers(0, 8, mask.size), mask).astype(np.int16).reshape(grid)
    masks = {"nsdgeneral": mask.reshape(grid), "prf-visualrois": areas}
    where: dict[str, Any] = {"subject": subject, "space": plan.spec.values("space")[0]}
    for roi in plan.spec.values("roi"):
        plan.write("roi", masks.get(str(roi), (mask > 0).astype(np.int16).reshape(grid)), roi=roi, **where)
    plan.write("roi_floc", (areas == 1).astype(np.int16), **where)
    where["beta_version"] = plan.spec.values("beta_version")[0]
    ncsnr = (np.linalg.norm(weights, axis=1) / plan.noise).astype(np.float32).reshape(grid)
    plan.write("ncsnr", ncsnr, **where)
    sessions = plan.spec.values("session", subject)
    for index, session in enumerate(sessions):
        trials = image[index * n_trials : (index + 1) * n_trials]
        volumes = plan.respond(features[trials], weights, subject, session).reshape(-1, *grid)
        content = {"betas": volumes.transpose(0, 3, 2, 1), "@chunks": (n_trials, 1, 1, 1)}
        plan.write("betas_hdf5", content, session=session, **where)
        plan.write("betas_nifti", volumes.transpose(1, 2, 3, 0), session=session, **where)
    log = pd.DataFrame({"SESSION": np.repeat(sessions, n_trials), "73KID": image[: len(sessions) * n_trials] + 1})
    plan.write("responses", log, subject=subject)
    plan.truth["image"][subject] = image[: len(sessions) * n_trials]
    plan.truth["mask"][subject], plan.truth["areas"][subject] = masks["nsdgeneral"] > 0, areas
    plan.truth["ncsnr"][subject] = ncsnr


def plant_bold5000(plan: Planting) -> None:
    """BOLD5000: voxels in C order of (x, y, z).

    Truth: ``names`` file names of the stimuli, row by row of ``features``; ``image[subject]`` rows per trial;
    ``repeated`` rows of the repeated stimuli.
    """
    n_stimuli, n_repeated, repeats = (plan.fact(name) for name in ("n_stimuli", "n_repeated", "repeats"))
    features = plan.features(n_stimuli)
    kinds = ["COCO_train2014_{:012d}.jpg", "n01440764_{}.JPEG", "scene{}.jpg"]
    names = [kinds[row % 3].format(row) for row in range(n_stimuli)]
    plan.write("repeated", names[:n_repeated])
    plan.truth |= {"names": names, "repeated": np.arange(n_repeated), "image": {}}
    for subject in plan.spec.subjects:
        once, again = np.arange(n_repeated, n_stimuli), np.repeat(np.arange(n_repeated), repeats)
        image = plan.rng("order", subject).permutation(np.concatenate([once, again]))
        volumes = plan.respond(features[image], plan.weights(subject, int(np.prod(_GRID))), subject)
        volumes = volumes.reshape(-1, *_GRID).astype(np.float32)
        sessions = plan.spec.files["betas"].wildcards
        for session, part in zip(sessions, np.array_split(volumes, len(sessions)), strict=True):
            plan.write("betas", part.transpose(1, 2, 3, 0), wildcard=session, subject=subject)
        plan.write("image_names", [names[row] for row in image], subject=subject)
        plan.truth["image"][subject] = image


def plant_things_fmri(plan: Planting) -> None:
    """THINGS-fMRI tables.

    Truth: ``stimuli`` file names and ``concepts``, row by row of ``features`` (train images, then test images);
    ``image[subject]`` rows per trial; ``roi[subject]`` name per voxel.
    """
    n_train, n_test, n_concepts = (plan.fact(name) for name in ("n_train_images", "n_test_images", "n_concepts"))
    features, n_voxels, rois = plan.features(n_train + n_test), 30, ["V1", "V2", "FFA"]
    concepts = [f"concept{row % n_concepts}" for row in range(n_train)] + [f"test{row}" for row in range(n_test)]
    stimuli = [f"{concept}_{row:02d}s.jpg" for row, concept in enumerate(concepts)]
    plan.truth |= {"stimuli": stimuli, "concepts": concepts, "image": {}, "roi": {}}
    for subject in plan.spec.subjects:
        rng, n_sessions, n_runs = plan.rng("trials", subject), plan.fact("sessions"), plan.fact("runs")
        parts = np.array_split(rng.permutation(n_train), n_sessions)
        test = np.arange(n_train, n_train + n_test)
        per_session = [rng.permutation(np.concatenate([part, test])) for part in parts]
        image = np.concatenate(per_session)
        frame = pd.DataFrame({"stimulus": np.array(stimuli)[image], "concept": np.array(concepts)[image]})
        frame["trial_type"] = np.where(image >= n_train, "test", "train")
        frame["session"] = np.repeat(np.arange(n_sessions) + 1, [len(part) for part in per_session])
        frame["run"] = frame.groupby("session").cumcount() % n_runs + 1
        plan.write("trials", frame, subject=subject)
        responses = plan.respond(features[image], plan.weights(subject, n_voxels), subject)
        labels = [str(trial).encode() for trial in range(len(image))]
        blocks = {
            "ResponseData/axis0": np.array([b"voxel_id", *labels]), "ResponseData/axis1": np.arange(n_voxels),
            "ResponseData/block0_items": np.array(labels), "ResponseData/block0_values": responses.T,
            "ResponseData/block1_items": np.array([b"voxel_id"]),
            "ResponseData/block1_values": np.arange(n_voxels)[:, None],
        }  # fmt: skip
        plan.write("responses", blocks, subject=subject)
        roi = np.array(rois)[rng.integers(0, len(rois), n_voxels)]
        plan.write("voxels", _voxel_table(rng, roi, rois), subject=subject)
        plan.truth["image"][subject], plan.truth["roi"][subject] = image, roi


def _voxel_table(rng: np.random.Generator, roi: np.ndarray, rois: list[str]) -> pd.DataFrame:
    place = np.array(np.unravel_index(rng.permutation(np.prod(_GRID))[: len(roi)], _GRID))
    table = pd.DataFrame({"voxel_id": np.arange(len(roi)), **dict(zip(("voxel_x", "voxel_y", "voxel_z"), place))})
    table["nc_singletrial"], table["nc_testset"] = 60.0, 90.0
    return table.assign(**{name: (roi == name).astype(int) for name in rois})


def plant_kay2008(plan: Planting) -> None:
    """Kay 2008: MATLAB 7.3 responses (trials first in Python) and classic MAT pictures.

    Truth: ``features`` of the train then the validation pictures; ``missing[subject]`` indices of NaN voxels;
    ``roi[subject]`` codes.
    """
    n_train, n_validation, size = (plan.fact(name) for name in ("n_train", "n_validation", "image_size"))
    features = plan.features(n_train + n_validation)
    content: dict[str, np.ndarray] = {}
    plan.truth |= {"missing": {}, "roi": {}}
    for subject, n_voxels in ((1, 30), (2, 24)):  # one file holds both, whoever is asked for
        responses = plan.respond(features, plan.weights(subject, n_voxels), subject)
        roi = plan.rng("roi", subject).integers(0, 8, n_voxels)
        responses[:, :2] = np.nan
        content |= {f"dataTrnS{subject}": responses[:n_train], f"dataValS{subject}": responses[n_train:]}
        content[f"roiS{subject}"] = roi[None].astype(float)
        plan.truth["missing"][subject], plan.truth["roi"][subject] = np.arange(2), roi
    plan.write("responses", {**content, "@matlab": True})
    pictures = plan.rng("images").uniform(-0.5, 0.5, (n_train + n_validation, size, size)).astype(np.float32)
    plan.write("stimuli", {"stimTrn": pictures[:n_train], "stimVal": pictures[n_train:]})


def plant_haxby(plan: Planting) -> None:
    """Haxby 2001: blocks of each category in every run, raw volumes around 1000.

    Truth: ``labels`` and ``runs`` (0-based) per volume; ``features`` per category; ``mask[subject]`` (x, y, z) the
    ventral temporal mask, whose voxels alone respond; ``weights[subject]`` of those voxels in C order.
    """
    labels, runs, features = _blocks(plan)
    text = ["labels chunks", *(f"{label} {run}" for label, run in zip(labels, runs, strict=True))]
    plan.truth["mask"] = {}
    for subject in plan.spec.subjects:
        mask = plan.rng("mask", subject).random(_GRID) < 0.3
        plan.write(
            "bold", {"": _block_volumes(plan, subject, mask, labels, features), "tr": plan.fact("tr")}, subject=subject
        )
        plan.write("labels", text, subject=subject)
        for number, name in enumerate(plan.spec.values("mask")):
            part = mask if number == 0 else mask & (plan.rng(name, subject).random(_GRID) < 0.5)
            plan.write("mask", part.astype(np.int16), subject=subject, mask=name)
        plan.write("anatomy", plan.rng("anatomy").random(_GRID), subject=subject)
        plan.truth["mask"][subject] = mask
    plan.write("whole_mask", np.ones(_GRID, dtype=np.int16))


def plant_haxby_slice(plan: Planting) -> None:
    """The one-slice copy of Haxby 2001; truth as for `plant_haxby`, subject 1."""
    labels, runs, features = _blocks(plan)
    grid = tuple(plan.fact("grid"))
    mask = np.zeros(np.prod(grid), dtype=bool)
    mask[plan.rng("mask").permutation(mask.size)[: plan.fact("n_voxels")]] = True
    mask = mask.reshape(grid)
    codes = ["rest", *plan.fact("categories")]
    plan.write("bold", {"": _block_volumes(plan, 1, mask, labels, features), "tr": plan.fact("tr")})
    plan.write("mask", mask.astype(np.int16))
    plan.write("labels", [f"{label} {run}" for label, run in zip(labels, runs, strict=True)])
    plan.write("codes", [f"{codes.index(label)} {run}" for label, run in zip(labels, runs, strict=True)])
    plan.truth["mask"] = {1: mask}


def _blocks(plan: Planting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    categories, length = plan.fact("categories"), plan.fact("volumes_per_run")
    block = length // (len(categories) + 1)
    labels = []
    for run in range(plan.fact("runs")):
        order = plan.rng("order", run).permutation(categories)
        labels += ["rest"] * (length - block * len(categories)) + [str(name) for name in np.repeat(order, block)]
    runs = np.repeat(np.arange(plan.fact("runs")), length)
    plan.truth |= {"labels": np.array(labels), "runs": runs}
    return np.array(labels), runs, plan.features(len(categories))


def _block_volumes(
    plan: Planting, subject: int | str, mask: np.ndarray, labels: np.ndarray, features: np.ndarray
) -> np.ndarray:
    codes = {name: row for row, name in enumerate(plan.fact("categories"))}
    driven = np.array([features[codes[label]] if label in codes else np.zeros(plan.n_features) for label in labels])
    volumes = 1000 + plan.rng("thermal", subject).standard_normal((*mask.shape, len(labels)))
    volumes[mask] += 10 * plan.respond(driven, plan.weights(subject, int(mask.sum())), subject).T
    return np.rint(volumes).astype(np.int16)


def plant_miyawaki2008(plan: Planting) -> None:
    """Miyawaki 2008: every voxel of the mask weighs the 100 patches.

    Truth: ``patches["random" | "figure"][run]`` (n_volumes, 100), rest rows all -1; ``patch_weights`` (n_voxels, 100)
    in C order of ``mask`` (x, y, z). There are no ``features`` or ``weights``.
    """
    mask = plan.rng("mask").random(_GRID) < 0.3
    weights = plan.rng("patch weights").standard_normal((int(mask.sum()), plan.fact("n_patches"))) / 10
    plan.truth |= {"mask": mask, "patch_weights": weights, "patches": {"random": {}, "figure": {}}}
    for kind in ("random", "figure"):
        for run in plan.spec.values(f"{kind}_run"):
            rng = plan.rng(kind, run)
            patches = rng.integers(0, 2, (10, weights.shape[1]))
            patches[[0, -1]] = plan.fact("rest_label")
            volumes = np.full((*_GRID, len(patches)), 500.0) + rng.standard_normal((*_GRID, len(patches)))
            volumes[mask] += 10 * plan.respond(np.maximum(patches, 0), weights, kind, run).T
            which: dict[str, Any] = {f"{kind}_run": run}
            plan.write(kind, volumes.astype(np.float32), **which)
            plan.write(f"{kind}_labels", [",".join(map(str, row)) for row in patches], **which)
            plan.truth["patches"][kind][run] = patches
    plan.write("mask", mask.astype(np.int16))
    half = np.arange(_GRID[0])[:, None, None] < _GRID[0] // 2
    for roi in plan.spec.values("roi"):
        plan.write("roi", (mask & (half == str(roi).startswith("L"))).astype(np.int16), roi=roi)
    plan.write("background", plan.rng("background").random(_GRID))


def plant_digits69(plan: Planting) -> None:
    """69 digits: masks in MATLAB cells, pictures column-major.

    Truth: ``labels`` (1 six, 2 nine); ``images`` (n_trials, 28, 28) upright; ``masks`` {name: (x, y, z) bool};
    ``weights[1]`` row by row the voxels of ``masks["primary"]`` in column-major order.
    """
    n_trials, n_voxels, size = (plan.fact(name) for name in ("trials", "n_voxels", "image_size"))
    features, grid, rng = plan.features(n_trials), tuple(plan.fact("grid")), plan.rng("masks")
    labels = rng.permutation(np.resize([1, 2], n_trials))
    features[:, 0] = np.where(labels == 1, 2.0, -2.0)
    images = plan.rng("images").integers(0, 256, (n_trials, size, size))
    whole = np.zeros(np.prod(grid), dtype=bool)
    whole[rng.permutation(whole.size)[:n_voxels]] = True
    whole = whole.reshape(grid)
    masks = {"primary": whole, "lh.V1d": whole & (rng.random(grid) < 0.5), "rh.V1d": whole & (rng.random(grid) < 0.5)}
    cells, names = np.empty((1, len(masks)), dtype=object), np.empty((1, len(masks)), dtype=object)
    for column, (name, mask) in enumerate(masks.items()):
        cells[0, column], names[0, column] = mask.astype(np.uint8), f"{name}.nii"
    content = {
        "X": plan.respond(features, plan.weights(1, n_voxels), 1), "Y": labels[:, None].astype(float),
        "I": images.transpose(0, 2, 1).reshape(n_trials, -1).astype(float), "masks": cells, "funloc": names,
        "structural": rng.integers(0, 1000, grid).astype(float), "description": "synthetic",
    }  # fmt: skip
    plan.write("recording", content)
    plan.truth |= {"labels": labels, "images": images, "masks": masks}


def plant_images92(plan: Planting) -> None:
    """92 images: RDMs of noisy copies of one geometry per region.

    Truth: ``features_EVC`` and ``features_IT`` in place of ``features``; ``rdm[roi]`` (n_stimuli, n_stimuli),
    1 - Pearson correlation of noise-free patterns of 40 units.
    """
    n_stimuli, n_subjects, size = (plan.fact(name) for name in ("n_stimuli", "n_subjects", "image_size"))
    plan.truth["rdm"] = {}
    for roi in plan.spec.values("roi"):
        features = plan.features(n_stimuli, f"features_{roi}")
        weights = plan.weights(roi, 40)
        plan.truth["rdm"][roi] = 1 - np.corrcoef(features @ weights.T)
        patterns = [plan.respond(features, weights, roi, subject) for subject in range(n_subjects)]
        plan.write("rdms", {"Net_RDM": np.array([1 - np.corrcoef(pattern) for pattern in patterns])}, roi=roi)
    for image in plan.spec.values("image"):
        plan.write("image", plan.rng("image", image).integers(0, 256, (size, size, 3), dtype=np.uint8), image=image)


def plant_fingers7t(plan: Planting) -> None:
    """Fingers at 7 T: cells of subjects, runs one after another, and a struct of model RDMs.

    Truth: ``finger[subject]`` and ``run[subject]`` (n_trials,) from 1; ``models`` {name: (n_fingers, n_fingers)}.
    """
    n_fingers, n_models = plan.fact("n_fingers"), plan.fact("n_models")
    features = plan.features(n_fingers)
    cells = {key: np.empty((1, plan.fact("n_subjects")), dtype=object) for key in ("Y", "condVec", "partVec")}
    plan.truth |= {"finger": {}, "run": {}, "models": {}}
    for column, subject in enumerate(plan.spec.subjects):
        run, finger = (index.ravel() + 1 for index in np.indices((plan.fact("n_runs", subject), n_fingers)))
        weights = plan.weights(subject, plan.fact("n_voxels", subject))
        cells["Y"][0, column] = plan.respond(features[finger - 1], weights, subject)
        cells["condVec"][0, column], cells["partVec"][0, column] = finger[:, None], run[:, None]
        plan.truth["finger"][subject], plan.truth["run"][subject] = finger, run
    models = np.empty((1, n_models), dtype=[(field, object) for field in ("RDM", "G", "G_cent", "name")])
    for column, name in enumerate(["Muscle", "Naturalstats", "somatotopy", *map(str, range(3, n_models))][:n_models]):
        points = plan.rng("model", name).standard_normal((n_fingers, 3))
        square = np.square(points[:, None] - points[None]).sum(axis=-1)
        models[0, column] = (square, points @ points.T, points @ points.T, name)
        plan.truth["models"][name] = square
    plan.write("recording", {**cells, "Model": models})
