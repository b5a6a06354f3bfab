"""The report says what it was given, escapes it, and holds everything itself."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from brainalign.errors import DataError
from brainalign.report import Report, plots
from brainalign.report.cards import Card
from brainalign.report.style import number, numbers, picture, picture_uri
from brainalign.scoring.score import Score
from tests.report.pages import read_page

HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


def a_score(name="top-1", value=0.4, **fields):
    given = {"ceiling": 0.8, "chance": 0.05, "low": 0.3, "high": 0.5, "n": 100, "split": "ab12", "protocol": "5 folds"}
    return Score(name, value, **(given | fields))


def hostile_report():
    figure = plots.confusion_matrix(np.eye(2), [HOSTILE, "b"], title=HOSTILE)
    missing = a_score(HOSTILE, ceiling=None, protocol=HOSTILE, split=HOSTILE, how=HOSTILE, why={"ceiling": HOSTILE})
    return (
        Report(HOSTILE, subtitle=HOSTILE, facts={HOSTILE: HOSTILE})
        .add_scores([missing], title=HOSTILE)
        .section(HOSTILE, HOSTILE)
        .add_text(HOSTILE)
        .add_table(pd.DataFrame({HOSTILE: [HOSTILE]}, index=pd.Index([HOSTILE], name=HOSTILE)), HOSTILE)
        .add_figure(figure, HOSTILE, HOSTILE)
        .add_image_grid([(HOSTILE, [np.zeros((4, 4))])], HOSTILE, columns=[HOSTILE])
        .add_details(HOSTILE, {"note": HOSTILE})
        .add_details("text", HOSTILE)
    )


def test_hostile_names_are_shown_as_text(tmp_path):
    page = read_page(hostile_report().save(tmp_path / "report.html"))
    assert not page.all("script")
    assert [image for image in page.all("img") if not image["src"].startswith("data:image/")] == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    # Title twice, subtitle, fact twice, headings and contents twice each, texts, table, captions, ...: all as written.
    assert page.text.count(HOSTILE) >= 20
    assert "49" not in page.text.replace("2049", "")


def test_hostile_text_in_a_figure_stays_a_drawing(tmp_path):
    page = read_page(hostile_report().save(tmp_path / "report.html"))
    svg = next(image["src"] for image in page.all("img") if image["src"].startswith("data:image/svg+xml"))
    root = ElementTree.fromstring(base64.b64decode(svg.partition(",")[2]))
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in kinds
    assert "foreignObject" not in kinds


def test_a_view_is_sandboxed_and_escaped(tmp_path):
    document = "<!DOCTYPE html><html><body>\"</iframe><script>parent.x = 1</script>'</body></html>"
    page = read_page(Report("r").add_html_view(document).save(tmp_path / "report.html"))
    (frame,) = page.all("iframe")
    assert frame["srcdoc"] == document
    assert frame["sandbox"] == "allow-scripts"
    assert not page.all("script")


@pytest.mark.parametrize(
    "outside",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        "<img alt='a' src=//example.org/x.png>",
        '<link rel="stylesheet" href="http://example.org/x.css">',
        '<script\n async src="https://cdn.example.org/x.js">',
    ],
)
def test_a_view_that_loads_from_outside_is_refused(outside):
    with pytest.raises(DataError, match=r"outside[\s\S]*example\.org[\s\S]*inline"):
        Report("r").add_html_view(f"<html>{outside}</html>")


def test_the_tab_icon_of_a_viewer_is_dropped(tmp_path):
    icon = '<link rel="icon"\n type="image/x-icon"\n href="https://raw.example.org/favicon.ico" />'
    path = Report("r").add_html_view(f"<html><head>{icon}</head>kept</html>").save(tmp_path / "report.html")
    (frame,) = read_page(path).all("iframe")
    assert "example.org" not in frame["srcdoc"]
    assert "kept" in frame["srcdoc"]


def test_every_address_is_inside_the_file(tmp_path):
    report = hostile_report().section("one").section("two")
    page = read_page(report.save(tmp_path / "report.html"))
    addresses = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href", "srcset", "data")
        if name in attributes
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {address[1:] for address in addresses if address.startswith("#")} <= targets
    assert not re.search(r"url\(|@import", (tmp_path / "report.html").read_text())
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_scores_stand_with_all_their_facts(tmp_path):
    score = a_score("retrieval", 0.4213, ceiling=None, why={"ceiling": "one presentation each"})
    page = read_page(Report("r").add_scores([score]).save(tmp_path / "report.html"))
    cells = [text for text, _ in page.rows[1]]
    assert cells == ["retrieval", "0.421", "0.300 to 0.500", "–", "0.05", "100", "5 folds", "ab12"]
    assert "No ceiling for retrieval: one presentation each" in page.text


def test_a_reason_shared_by_many_scores_is_said_once(tmp_path):
    scores = [a_score(f"s{i}", ceiling=None, why={"ceiling": "no repetition"}) for i in range(8)]
    page = read_page(Report("r").add_scores(scores).save(tmp_path / "report.html"))
    assert page.text.count("No ceiling for all scores: no repetition") == 1
    some = [a_score(f"s{i}", ceiling=None, why={"ceiling": f"reason {i > 3}"}) for i in range(10)] + [a_score()]
    text = read_page(Report("r").add_scores(some).save(tmp_path / "report.html")).text
    assert "No ceiling for 6 of 11 scores: reason True" in text
    assert len(page.all("article")) == 6
    assert len(page.rows) == 9


def test_a_score_without_value_says_so(tmp_path):
    score = a_score(
        value=None, low=None, high=None, why={"value": "no test trial", "low": "no value", "high": "no value"}
    )
    page = read_page(Report("r").add_scores([score]).save(tmp_path / "report.html"))
    assert "not given" in page.text
    assert "No value: no test trial" in page.text


@pytest.mark.parametrize(
    "low, high, verdict",
    [(0.06, 0.5, "above chance"), (0.04, 0.5, "interval includes chance"), (-0.2, 0.04, "below chance")],
)
def test_the_verdict_follows_the_interval(low, high, verdict):
    assert Card(a_score(low=low, high=high)).verdict == verdict


def test_there_is_no_verdict_without_an_interval():
    assert Card(a_score(low=None, high=None, why={"low": "one fold", "high": "one fold"})).verdict is None


REAL = st.floats(-1e4, 1e4, allow_nan=False).map(lambda x: round(x, 6))


@given(value=REAL, low=REAL, high=REAL, ceiling=REAL, chance=REAL)
def test_marks_lie_on_the_bar_in_the_order_of_their_numbers(value, low, high, ceiling, chance):
    low, high = sorted((low, high))
    fields = {"value": value, "low": low, "high": high, "ceiling": ceiling, "chance": chance}
    card = Card(a_score(**fields))
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in [*card.marks.values(), card.zero])
    by_number, by_place = sorted(fields, key=fields.get), [card.marks[name] for name in sorted(fields, key=fields.get)]
    assert by_place == sorted(by_place), by_number


def test_tables_align_numbers_and_name_what_is_missing(tmp_path):
    frame = pd.DataFrame(
        {"area": ["V1", None], "r": [0.4213, np.nan], "n": [1234, 5], "kept": [True, False]},
        index=pd.Index(["a", "b"], name="id"),
    )
    page = read_page(Report("r").add_table(frame, "Areas.").save(tmp_path / "report.html"))
    header, first, second = page.rows
    assert [text for text, _ in header] == ["id", "area", "r", "n", "kept"]
    assert [text for text, _ in first] == ["a", "V1", "0.421", "1,234", "yes"]
    assert [text for text, _ in second] == ["b", "–", "–", "5", "no"]
    assert [attributes.get("class") == "number" for _, attributes in first] == [False, False, True, True, False]


def test_a_plain_range_of_rows_is_not_shown(tmp_path):
    frame = pd.DataFrame({"a": ["y", "x"]}).sort_values("a").head(1)
    page = read_page(Report("r").add_table(frame).save(tmp_path / "report.html"))
    assert [[text for text, _ in row] for row in page.rows] == [["a"], ["x"]]


def test_pictures_arrive_whole(tmp_path):
    rng = np.random.default_rng(0)
    digit = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    photo = np.tile(np.linspace(0, 1, 600)[:, None, None], (1, 400, 3))
    path = Report("r").add_image_grid([("seen", [digit, None, photo])]).save(tmp_path / "report.html")
    sources = [image["src"] for image in read_page(path).all("img")]
    opened = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    np.testing.assert_array_equal(np.asarray(opened[0].convert("L")), digit)
    assert opened[1].size == (171, 256)
    assert np.abs(np.asarray(opened[1])[[0, -1], 80, 0].astype(int) - [0, 255]).max() < 12


@pytest.mark.parametrize(
    "image",
    [np.zeros((3, 8, 8)), np.full((4, 4), 2.0), np.full((4, 4), np.nan), np.zeros((0, 4)), np.zeros((4, 4), int)],
)
def test_what_is_not_a_picture_is_refused(image):
    with pytest.raises(DataError, match=r"seen 1 is not a picture[\s\S]*expected[\s\S]*found[\s\S]*mend"):
        Report("r").add_image_grid([("seen", [image])])


def test_pictures_of_every_mode_become_rgb():
    for mode in ("L", "RGBA", "P", "CMYK", "1"):
        assert picture(Image.new(mode, (3, 2))).mode == "RGB"
    assert picture(np.array([[True, False]])).getpixel((0, 0)) == (255, 255, 255)
    assert picture_uri(np.zeros((2, 3, 1)))[1:] == (3, 2)


def test_a_grid_without_pictures_is_refused():
    with pytest.raises(DataError, match="no picture"):
        Report("r").add_image_grid([("seen", [None, None])])


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    def source(name):
        path = Report("r").add_figure(plots.score_bars([a_score()])).save(tmp_path / name)
        return read_page(path).all("img")[0]["src"]

    assert source("a.html") == source("b.html")


def test_only_our_own_figures_turn_dark(tmp_path):
    foreign = Figure(figsize=(2, 2))
    foreign.add_subplot().plot([0, 1])
    path = Report("r").add_figure(foreign).add_figure(plots.score_bars([a_score()])).save(tmp_path / "report.html")
    svgs = [base64.b64decode(image["src"].partition(",")[2]).decode() for image in read_page(path).all("img")]
    assert ["prefers-color-scheme: dark" in svg for svg in svgs] == [False, True]


def test_parts_appear_in_the_order_in_which_they_are_added(tmp_path):
    report = (
        Report("r").add_text("before").section("First", "one\n\ntwo").add_details("folded", "three").section("Second")
    )
    text = read_page(report.save(tmp_path / "report.html")).text
    places = [text.rindex(word) for word in ("before", "First", "one", "two", "folded", "three", "Second")]
    assert places == sorted(places)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "report.html"
    report = Report("first")
    assert report.save(path) == path
    report.section("added later", "words").save(str(path))
    assert "added later" in read_page(path).text
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_what_cannot_be_written_leaves_the_old_report(tmp_path):
    path = Report("old").save(tmp_path / "report.html")
    before = path.read_bytes()
    report = Report("new")
    report.subtitle = "\ud800"  # half a surrogate pair: no UTF-8 exists for it
    with pytest.raises(UnicodeEncodeError):
        report.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.99999, "1"),
        (1e-5, "1.00e−05"),
        (999.6, "1,000"),
        (np.inf, "–"),
        (np.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


def test_numbers_side_by_side_share_their_decimals():
    assert numbers([0.5, 0.123, -2.0]) == ["0.500", "0.123", "−2.000"]
    assert numbers([1e-6, 0.5]) == ["1.00e−06", "0.5"]
    assert numbers([0.1049, 0.0401, 0.16964]) == ["0.105", "0.040", "0.170"]
    assert numbers([0.0123, 0.00444]) == ["0.0123", "0.0044"]
    assert numbers([]) == []
