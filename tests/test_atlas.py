"""Atlases: placement and clusters with known answers, the command, and its page in a real browser."""

import base64
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentflow.cli import run
from latentflow.errors import InputError
from latentflow.explore.atlas.embedding import embed, find_clusters, find_neighbours, umap_points
from latentflow.explore.atlas.page import sprite
from latentflow.explore.atlas.placement import ALL_AT_ONCE, place

QUICK = ("--weights", "bundled", "--size", 64, "--quiet")
HOSTILE = "a<b/script><script>document.title = 'broken'<!--\"'&{{data}}<b/script>.png"


def crowd(count, seed=0):
    """Points of which most are near the middle."""
    return np.random.default_rng(seed).standard_normal((count, 2)) * [2.0, 1.0]


def islands(each=12, apart=40.0):
    """Three groups of points in eight dimensions, the first of which has one more."""
    rng = np.random.default_rng(1)
    centers = np.eye(3, 8) * apart
    return np.concatenate(
        [center + rng.standard_normal((each + (index == 0), 8)) for index, center in enumerate(centers)]
    )


@pytest.mark.parametrize("count", [1, 3, 10, 120, ALL_AT_ONCE, ALL_AT_ONCE + 1, 3000])
def test_no_thumbnail_is_over_another_and_all_are_on_the_picture(count):
    placement = place(crowd(count))
    assert len({tuple(cell) for cell in placement.cells.tolist()}) == count
    assert (placement.cells >= 0).all() and (placement.cells < [placement.columns, placement.rows]).all()
    assert count / (placement.columns * placement.rows) > 0.15


def test_what_has_room_hardly_moves_and_a_crowd_no_further_than_it_must():
    y, x = np.mgrid[0:6, 0:9]
    spread = place(np.stack([x.ravel(), y.ravel()], 1) * 3.7)
    assert spread.displacements.max() <= 0.5**0.5 + 1e-9  # half a cell's diagonal: only rounding
    assert place(crowd(120)).displacements.mean() < 1
    crowded = place(crowd(ALL_AT_ONCE + 1))  # one by one
    assert crowded.displacements.mean() < 0.1 * crowded.columns
    kept = np.corrcoef(crowded.cells.T.ravel(), crowded.wanted.T.ravel())[0, 1]
    assert kept > 0.95


def test_assignment_is_the_best_of_all():
    placement = place(np.array([[0.0, 0.0], [0.1, 0.05], [0.2, 0.0], [1.0, 1.0]]))
    cells = list(product(range(-1, placement.columns + 1), range(-1, placement.rows + 1)))
    least = min(np.square(np.array(chosen) - placement.wanted).sum() for chosen in permutations(cells, 4))
    assert np.square(placement.displacements).sum() == pytest.approx(least)


def test_a_crowd_at_the_edge_spreads_over_it():
    placement = place(np.concatenate([np.zeros((60, 2)), [[0.0, 10.0], [10.0, 0.0], [10.0, 10.0]]]))
    moved = placement.cells[:60] - placement.wanted[:60]
    assert (moved.min(0) <= -2).all() and (moved.max(0) >= 2).all()  # left and right, up and down


def test_up_is_up_and_the_extent_is_in_the_units_of_the_points():
    placement = place(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]]))
    left, right, bottom, top = placement.extent
    side = (right - left) / placement.columns
    assert side == pytest.approx((top - bottom) / placement.rows)  # one scale
    centers = np.array([left, top]) + (placement.wanted + 0.5) * [side, -side]
    assert centers == pytest.approx(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]]))


def test_points_that_are_one_get_a_place_each():
    placement = place(np.zeros((7, 2)))
    assert len(np.unique(placement.cells, axis=0)) == 7
    assert placement.displacements.max() < 2


def test_clusters_are_found_counted_and_numbered_by_size():
    values = islands()
    found = find_clusters(values)
    assert found.sizes == [13, 12, 12] and found.silhouette > 0.8
    assert (found.labels == np.repeat([0, 1, 2], [13, 12, 12])).all()
    assert find_clusters(values, 1).sizes == [37] and find_clusters(values, 1).silhouette is None
    assert len(find_clusters(values, 7).sizes) == 7


def test_pictures_that_are_all_one_are_one_cluster():
    assert find_clusters(np.zeros((5, 4))).sizes == [5]
    with pytest.raises(InputError, match="more than the 1 pictures that differ"):
        find_clusters(np.zeros((5, 4)), 2)


def test_neighbours_are_the_nearest_others_at_distances_a_value():
    values = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [30.0, 40.0]])
    found = find_neighbours(values, 2)
    assert found.indices[0, 0] == 1 and found.indices[1, 0] == 0  # never itself, not even of two alike
    assert found.indices[3].tolist()[0] == 2
    assert found.distances[2] == pytest.approx([5 / 2**0.5, 5 / 2**0.5])
    assert find_neighbours(values, 9).indices.shape == (4, 3)


def test_a_survey_has_the_plane_that_the_latents_lie_in():
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(20, 2, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    basis, _ = torch.linalg.qr(torch.randn(4 * 2 * 2, 2, generator=generator, dtype=torch.float64))
    embedding = embed((places @ basis.T).reshape(20, 4, 2, 2), "pca", None)
    assert sum(embedding.shares) == pytest.approx(1)
    assert "% of variance" in embedding.axes[0]
    between = torch.cdist(places, places).numpy() / 4  # RMS of 16 values
    assert np.linalg.norm(embedding.points[:, None] - embedding.points, axis=-1) == pytest.approx(between, abs=1e-6)


def test_umap_keeps_groups_together_and_repeats_itself():
    pytest.importorskip("umap", reason="needs umap-learn")
    points = umap_points(islands().astype(np.float32))
    groups = np.split(points, [13, 25])
    widest = max(np.ptp(group, axis=0).max() for group in groups)
    middles = np.array([group.mean(0) for group in groups])
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > widest
    assert (umap_points(islands().astype(np.float32)) == points).all()


def test_a_sheet_holds_its_tiles_row_by_row():
    tiles = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8) + 1
    sheet = sprite(tiles)
    assert sheet.shape == (32, 48, 3)
    assert sheet[::16, ::16, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


class Page(HTMLParser):
    """The tags of a page, and its JSON."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self._inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = ("id", "data") in attrs

    def handle_data(self, text):
        self.data += text if self._inside else ""


@pytest.fixture(scope="module")
def hostile(images, tmp_path_factory):
    """A folder with a bad name, in which one picture has a worse one."""
    folder = tmp_path_factory.mktemp("atlas") / "<img src=x onerror=alert(1)> $a$"
    shutil.copytree(images, folder)
    path = folder / HOSTILE
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64), (250, 40, 10)).save(path)
    return folder


@pytest.fixture(scope="module")
def drawn(hostile):
    """The page of an atlas of that folder, its figure beside it."""
    figure = hostile.parent / "atlas.png"
    assert run(["atlas", str(hostile), "--output_path", str(figure), *map(str, QUICK)]) == 0
    return figure.with_suffix(".html")


def test_the_command_writes_a_figure_a_page_and_a_manifest_the_same_again(invoke, drawn, hostile):
    figure = drawn.with_suffix(".png")
    page = Page(text := drawn.read_text(encoding="utf-8"))
    data = json.loads(page.data)
    assert len(data["pictures"]) == 11 and all(len(picture["near"]) == 5 for picture in data["pictures"])
    assert [tag for tag, _ in page.tags].count("script") == 3 and ("html", {"lang": "en"}) in page.tags
    assert not re.findall(r"url\((?!data:)|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert not [attrs for _, attrs in page.tags if {"src", "href", "action"} & set(attrs)]
    with Image.open(figure) as picture:
        assert picture.width > 2200
    assert figure.stat().st_size < 12e6
    result = json.loads(figure.with_name("atlas.png.manifest.json").read_text())["result"]
    assert sum(result["clusters"].values()) == result["pictures"] == 11 and len(result["variance_shares"]) == 2
    assert list(hostile.parent.glob("*.latents.safetensors"))  # kept for the next time, from which it is now made again
    code, out, err = invoke("atlas", hostile, *QUICK)
    assert (code, err) == (0, "") and "moved apart by" in out and "1st principal component" in out
    assert Path("atlas.png").read_bytes() == figure.read_bytes()
    assert Path("atlas.html").read_bytes() == drawn.read_bytes()


def test_the_sheet_of_the_page_shows_each_picture_where_its_data_says(drawn):
    text = drawn.read_text(encoding="utf-8")
    data = json.loads(Page(text).data)
    encoded = re.search(r">data:image/jpeg;base64,([\w+/=]+)<", text)[1]
    (drawn.parent / "sheet.jpg").write_bytes(base64.b64decode(encoded))
    sheet = np.asarray(Image.open(drawn.parent / "sheet.jpg"))
    side = sheet.shape[1] // data["sheet"][0]
    index = [picture["name"] for picture in data["pictures"]].index(HOSTILE)
    row, column = divmod(index, data["sheet"][0])
    found = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
    assert np.abs(found.astype(int) - [250, 40, 10]).max() < 12


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["missing"], "does not exist"),
        (["empty"], "holds no images"),
        (["two"], "an atlas needs 3"),
        (["many", "--clusters", "9"], "more than the 4 images"),
        (["many", "--clusters", "11"], "at most 10"),
        (["many", "--method", "pac"], "Did you mean pca?"),
        (["many", "--output_path", "many/atlas.png"], "Name a path outside of it."),
        (["many", "--output_path", "atlas.gif"], ".png or .svg"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(invoke, tmp_path, line, words):
    for name, count in (("empty", 0), ("two", 2), ("many", 4)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    code, out, err = invoke("atlas", *line, "--vae", "nothing-of-this-name-is-loaded")
    assert (code, out, err.count("\n")) == (2, "", 1) and words in err, err


def test_without_umap_it_says_what_to_install(invoke, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    code, _, err = invoke("atlas", images, "--method", "umap", *QUICK)
    assert (code, err.count("\n")) == (3, 1) and "pip install umap-learn" in err


@pytest.fixture
def browser():
    """A headless Chromium whose driver is on this machine."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


@pytest.mark.browser
def test_the_page_in_a_browser(drawn, browser):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.support.wait import WebDriverWait

    data = json.loads(Page(drawn.read_text(encoding="utf-8")).data)
    names = [picture["name"] for picture in data["pictures"]]

    def find(selector):
        return browser.find_elements("css selector", selector)

    def view():
        return browser.execute_script("return [view.x, view.y, view.scale]")

    def box(element):
        return browser.execute_script("return arguments[0].getBoundingClientRect()", element)

    def colors():
        """Red, green, blue and opacity in the middle of each thumbnail."""
        return browser.execute_script(
            "return thumbs.map(thumb => {"
            "  const box = thumb.getBoundingClientRect(), around = stage.getBoundingClientRect();"
            "  const x = box.x + box.width / 2 - around.x, y = box.y + box.height / 2 - around.y;"
            "  return [...find('paint').getContext('2d').getImageData(x, y, 1, 1).data]; })"
        )

    browser.get(drawn.as_uri())
    WebDriverWait(browser, 20).until(lambda _: find("body[data-ready]"))
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    thumbs = find(".thumb")
    assert [thumb.accessible_name.rsplit(", cluster", 1)[0] for thumb in thumbs] == names
    boxes = [box(thumb) for thumb in thumbs]
    for index, one in enumerate(boxes):
        assert one["width"] > 20
        for other in boxes[:index]:
            apart = max(abs(one["x"] - other["x"]), abs(one["y"] - other["y"]))
            assert apart >= one["width"]
    painted = colors()
    assert all(color[3] == 255 for color in painted)
    assert painted[names.index(HOSTILE)][:3] == pytest.approx([250, 40, 10], abs=12)

    # hovering shows the file and its neighbours, as text whatever they are called
    index = names.index(HOSTILE)
    ActionChains(browser).move_to_element(thumbs[index]).perform()
    assert find("#name")[0].text == HOSTILE
    shown = [item.text.split("\n") for item in find("#near li")]
    near = data["pictures"][index]["near"]
    assert shown == [[names[other], f"{distance:.3f}"] for other, distance in near]
    assert len(find("#lines line")) == len(find(".thumb.near")) == 5
    assert browser.title.startswith("<img src=x onerror=alert(1)> $a$: 11 pictures")
    assert not find("img") and len(find("script")) == 3

    # the wheel zooms about the pointer, dragging pans, a double click shows all
    stage = find("#stage")[0]
    first = view()
    place = box(thumbs[index])
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(thumbs[index]), 0, -400).perform()
    closer = view()
    assert closer[2] > 1.3 * first[2]
    center = [place["x"] + place["width"] / 2, place["y"] + place["height"] / 2]
    now = box(thumbs[index])
    assert [now["x"] + now["width"] / 2, now["y"] + now["height"] / 2] == pytest.approx(center, abs=2)
    ActionChains(browser).move_to_element(stage).click_and_hold().move_by_offset(-60, 45).release().perform()
    panned = view()
    assert [panned[0] - closer[0], panned[1] - closer[1], panned[2]] == pytest.approx([-60, 45, closer[2]], abs=1)
    ActionChains(browser).double_click(stage).perform()
    assert view() == pytest.approx(first)

    # keys: from picture to picture, closer, all, and away
    browser.execute_script("thumbs[0].focus()")
    assert find("#name")[0].text == names[0]
    keys = ActionChains(browser)
    right = data["pictures"][0]["cell"][0] < max(picture["cell"][0] for picture in data["pictures"])
    keys.send_keys(Keys.ARROW_RIGHT if right else Keys.ARROW_LEFT).send_keys("+").perform()
    assert find("#name")[0].text != names[0] and view()[2] == pytest.approx(1.4 * first[2])
    keys = ActionChains(browser)
    keys.send_keys("0", Keys.ESCAPE).perform()
    assert view() == pytest.approx(first) and not find("#card")[0].is_displayed()

    # one cluster alone
    choice = find("#clusters button")[0]
    choice.click()
    outside = sum(picture["cluster"] != 0 for picture in data["pictures"])
    assert outside > 0 and choice.get_attribute("aria-pressed") == "true"
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert sum(color[3] < 100 for color in colors()) == outside

    # two fingers pinch
    zoomed = browser.execute_script(
        "const finger = (kind, pointerId, x, y) => stage.dispatchEvent(new PointerEvent(kind, {pointerId, button: 0,"
        "  clientX: x, clientY: y, pointerType: 'touch', bubbles: true}));"
        "stage.setPointerCapture = () => {}; const before = view.scale;"
        "finger('pointerdown', 7, 500, 500); finger('pointerdown', 8, 600, 500);"
        "finger('pointermove', 8, 700, 500); finger('pointerup', 7, 500, 500); finger('pointerup', 8, 700, 500);"
        "return view.scale / before;"
    )
    assert zoomed == pytest.approx(2, rel=0.01)
    papers = set()
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        papers.add(find("body")[0].value_of_css_property("background-color"))
    assert len(papers) == 2
    said = [entry for entry in browser.get_log("browser") if "getImageData" not in entry["message"]]  # of this test
    assert said == []  # no error, and nothing that the page's own policy had to stop
