"""A report with every kind of part, opened in a browser: nothing is missing, nothing complains, nothing is fetched."""

from __future__ import annotations

import io
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainalign.report import Report, plots
from brainalign.scoring.score import Score
from tests.conftest import REPOSITORY
from tests.report.chromium import DRAWN_COLOURS, chromium_or_skip, open_in_chromium

RNG = np.random.default_rng(3)
NAME = "<script>document.title = 'owned'; console.error('owned')</script>"


def full_report():
    score = Score(
        NAME,
        0.4,
        ceiling=0.8,
        chance=0.05,
        low=0.3,
        high=0.5,
        n=100,
        split="ab12",
        protocol="a protocol of some length " * 4,
    )
    image = nib.Nifti1Image(RNG.standard_normal((12, 14, 10)).astype(np.float32), np.diag([-8.0, 8, 8, 1]))
    slab = nib.Nifti1Image(RNG.uniform(0, 1, (40, 20, 1)).astype(np.float32), np.diag([-3.1, 3.75, 3.75, 1]))
    icons = [RNG.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in range(30)]
    table = pd.DataFrame(RNG.standard_normal((30, 12)), columns=[f"column {i}" for i in range(12)])
    times = np.linspace(-0.1, 0.5, 61)
    return (
        Report("Every part", subtitle=NAME, facts={NAME: NAME})
        .add_scores([score] * 8)
        .section("Words and tables", NAME)
        .add_table(table.assign(**{NAME: NAME}), NAME)
        .section("Plots")
        .add_figure(plots.score_bars([score]), "Bars.")
        .add_figure(plots.rdm(np.ones((30, 30)) - np.eye(30), icons=icons), "Dissimilarities.")
        .add_figure(plots.time_course(times, np.sin(9 * times), chance=0), "Time.")
        .add_figure(plots.brain_slices(slab), "A slab.")
        .section("Views")
        .add_html_view(plots.brain_view(image), "The volume.")
        .add_html_view(plots.brain_view(slab), "The slab.")
        .section("Pictures")
        .add_image_grid([("seen", icons[:9]), (NAME, [None, *icons[:8]])], "Pictures.", columns=list("abcdefghi"))
        .add_details("Configuration", {NAME: NAME * 20})
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return full_report().save(tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)], ids=["desktop, light", "phone, dark"])
def test_every_part_is_drawn_and_nothing_complains(path, width, dark):
    page = open_in_chromium(path, width=width, dark=dark)
    assert page.console_errors == []
    assert page.requests == []
    assert page.broken_images == []
    assert page.n_images == 4 + 17
    assert page.n_frames == 2
    assert len(page.canvas_colours) == 2
    assert min(page.canvas_colours) > DRAWN_COLOURS
    assert page.title == "Every part"
    assert page.text.count(NAME) > 10
    assert page.overflow == 0, "the page scrolls sideways"
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot)).convert("L"))
    assert shot.shape[1] == width
    # The ground of the page, at its left edge, follows the colour scheme; so does the paper of most figures.
    assert (np.median(shot[:, 2]) < 40) == dark
    assert (np.median(shot) < 60) == dark


def test_the_browser_sees_what_is_wrong(tmp_path):
    """The check itself must fail on a bad page: an error, an outside request, a broken picture, an empty canvas."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<title>bad</title><script>console.error('said'); undefinedFunction()</script>"
        "<img alt='lost' src='data:image/png;base64,AAAA'><img src='http://127.0.0.1:9/x.png' alt='far'>"
        "<iframe sandbox='allow-scripts' srcdoc='<canvas></canvas><script>console.error(\"inner\")</script>'></iframe>"
        "<div style='width:3000px'>wide</div>"
    )
    page = open_in_chromium(path, patience=0.5)
    errors = " ".join(page.console_errors)
    assert all(word in errors for word in ("said", "undefinedFunction", "inner"))
    assert page.requests == ["http://127.0.0.1:9/x.png"]
    assert page.broken_images == ["lost", "far"]
    assert page.canvas_colours == [1]
    assert page.overflow > 1000


def test_the_policy_stops_what_would_be_fetched(tmp_path):
    """Should a link ever slip past the checks, the page's own policy refuses it."""
    path = Report("r").add_html_view("<p>ok</p>").save(tmp_path / "report.html")
    slipped = path.read_text().replace("<main>", "<main><img src='http://127.0.0.1:9/x.png' alt='far'>")
    slipped = slipped.replace("&lt;p&gt;", "&lt;script src=http://127.0.0.1:9/x.js&gt;&lt;/script&gt;&lt;p&gt;")
    path.write_text(slipped)
    page = open_in_chromium(path, patience=0)
    assert page.broken_images == ["far"]
    assert sum("Content Security Policy" in error for error in page.console_errors) == 2


def test_the_picture_script_takes_a_picture(path, tmp_path):
    chromium_or_skip()
    script = [sys.executable, REPOSITORY / "scripts" / "report_picture.py", path, tmp_path / "report.png"]
    subprocess.run([*script, "--width", "900", "--height", "600", "--scale", "1"], check=True, capture_output=True)
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.size == (900, 600)
        assert len(picture.convert("RGB").getcolors(900 * 600)) > 20
    missing = subprocess.run([*script[:2], tmp_path / "none.html", tmp_path / "x.png"], capture_output=True, text=True)
    assert missing.returncode == 1
    assert "no report at" in missing.stderr
