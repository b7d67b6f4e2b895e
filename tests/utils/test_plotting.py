"""Annotator, colors, fonts and images of batches."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ultralytics.utils import fonts, plotting
from ultralytics.utils.annotator import PALETTE, contrast, readable
from ultralytics.utils.charts import training
from ultralytics.utils.errors import ConfigError, YOLOError
from ultralytics.utils.plotting import Annotator, class_name, colors, plot_images, write_image

GRAY = 90
RED = (0, 0, 255)


def blank(height: int = 200, width: int = 300, value: int = GRAY) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def changed(im: np.ndarray, value: int = GRAY) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that are no longer `value`."""
    return np.nonzero((im != value).any(2))


def test_colors_repeat_and_swap_channels():
    assert colors(3) == PALETTE[3] == colors(3 + len(PALETTE))
    assert colors(3, bgr=True) == colors(3)[::-1]
    assert colors(torch.tensor(2.0)) == PALETTE[2]


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Björn Ottosson's perceptual color space (2020), (n, 3) 0..255 to (n, 3)."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
    return np.cbrt(cones) @ np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])


def test_palette_can_be_told_apart():
    lab = oklab(np.array(PALETTE, float))
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 9 * np.eye(len(lab))
    assert len(set(PALETTE)) == 20
    assert distance.min() > 0.12
    assert distance[:5, :5].min() > 0.2  # the few classes of most datasets
    assert lab[:, 0].max() < 0.85  # lines show on white


@pytest.mark.parametrize("wanted", [(255, 255, 255), (0, 0, 0)])
def test_text_can_be_read_on_every_class_color(wanted):
    for i in range(len(PALETTE)):
        background = colors(i, bgr=True)
        assert contrast(readable(wanted, background), background) >= 3
    assert readable(wanted, tuple(255 - c for c in wanted)) == wanted
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)


def test_box_edges_have_the_color_and_the_place():
    im = blank()
    Annotator(im, line_width=1).box_label([50.2, 60.4, 119.8, 150.0], color=RED)
    rows, columns = changed(im)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 150, 50, 120)
    for y, x in ((60, 85), (150, 85), (100, 50), (100, 120)):
        assert tuple(im[y, x]) == RED
    assert (im[61:150, 51:120] == GRAY).all()


def test_a_box_is_numbers_or_corners_and_tensors_too():
    expected = blank()
    Annotator(expected).box_label((50.2, 60.4, 119.8, 150.0), "a")
    flat = torch.tensor([50.2, 60.4, 119.8, 150.0])
    for box in (flat, list(flat), flat.numpy(), flat.view(2, 2), flat.view(2, 2).numpy()):
        im = blank()
        Annotator(im).box_label(box, "a")
        assert (im == expected).all()


@pytest.mark.parametrize("array", [np.array, torch.tensor, list])
def test_a_rotated_box_is_its_corners(array):
    corners, im = [[150, 20], [230, 100], [200, 130], [120, 50]], blank()
    Annotator(im, line_width=1).box_label(array(corners), color=RED)
    for x, y in (*corners, (190, 60), (135, 35)):  # the corners, the middles of two sides
        assert (im[y - 1 : y + 2, x - 1 : x + 2, 2] > 200).any()
    rows, columns = changed(im)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((20, 130, 120, 230), abs=2)
    assert (im[50:60, 165:175] == GRAY).all()  # nothing inside


def test_line_width_and_letters_grow_with_the_image():
    small, large = Annotator(blank(480, 640)), Annotator(blank(3000, 4000))
    assert large.lw > 3 * small.lw
    assert large.font_size > 4 * small.font_size
    assert Annotator(blank(), line_width=7, font_size=33).lw == 7
    assert Annotator(blank(), line_width=7, font_size=33).font_size == 33


@pytest.mark.parametrize("corner", [(0, 0), (260, 0), (0, 170), (280, 180), (120, 80)])
@pytest.mark.parametrize("text", ["RBC 0.87", "a rather long class name 0.50"])
def test_label_lies_within_the_image(corner, text):
    """Its filled box is whole: as many pixels as the label has in the middle of an image without edges near."""
    box = (*corner, corner[0] + 40, corner[1] + 30)
    middle, here = blank(900, 900), blank()
    Annotator(middle, line_width=2, font_size=14).label((400, 400, 440, 430), text, RED)
    Annotator(here, line_width=2, font_size=14).label(box, text, RED)
    assert len(changed(here)[0]) == len(changed(middle)[0]) > 0


def test_label_too_wide_is_shrunk_then_shortened():
    im = blank(64, 60)
    Annotator(im, font_size=20).label((5, 30, 50, 60), "nobody reads such a long name", RED)
    _, columns = changed(im)
    assert columns.max() - columns.min() <= 60
    font = fonts.font_file("abc")
    assert fonts.shorten("abcdefghijkl", font, 20, 1000) == "abcdefghijkl"
    cut = fonts.shorten("abcdefghijkl", font, 20, 60)
    assert cut.endswith("…") and "abcdefghijkl".startswith(cut[:-1])
    assert fonts.load_font(font, 20).getlength(cut) <= 60


def test_labels_of_one_place_do_not_cover_each_other():
    im = blank()
    annotator = Annotator(im, line_width=1, font_size=12)
    for i in range(4):
        annotator.label((100, 80, 180, 140), f"name{i}", colors(i, bgr=True))
    areas = [(im == colors(i, bgr=True)).all(2).sum() for i in range(4)]
    assert min(areas) > 0.9 * max(areas)


def test_label_has_letters_in_a_color_that_can_be_read():
    for background in (RED, (0, 255, 255), (250, 250, 250)):
        im = blank()
        Annotator(im, font_size=30).label((50, 80, 150, 150), "HHH", background)
        expected = readable((255, 255, 255), background)
        assert (im == expected).all(2).sum() > 50


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (400, 10, 500, 50), (float("nan"), 0, 10, 10)])
def test_what_is_not_in_the_image_is_not_drawn(box):
    im = blank()
    Annotator(im).box_label(box, "name")
    assert not len(changed(im)[0])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=4),
    st.text(max_size=12),
)
def test_any_box_on_any_image(height, width, box, text):
    im = Annotator(blank(height, width)).result()
    annotator = Annotator(im)
    annotator.box_label(box, text)
    annotator.text(box[:2], text, box_color=RED)
    assert annotator.result().shape == (height, width, 3)


def test_draws_in_place_where_it_can():
    im = blank()
    assert Annotator(im).result() is im
    frozen = blank()
    frozen.flags.writeable = False
    Annotator(frozen).box_label((10, 10, 50, 50))
    assert (frozen == GRAY).all()


def test_gray_and_pil_images():
    for gray in (np.full((50, 60), 7, np.uint8), np.full((50, 60, 1), 7, np.uint8)):
        assert (Annotator(gray).result() == blank(50, 60, 7)).all()
    red = Image.new("RGB", (60, 50), (255, 0, 0))
    annotator = Annotator(red)
    assert tuple(annotator.result()[0, 0]) == RED
    assert annotator.result(pil=True).getpixel((0, 0)) == (255, 0, 0)
    assert annotator.result(pil=True).size == (60, 50)


def test_text_anchors_and_lines():
    above, below = blank(), blank()
    Annotator(above, font_size=20).text((30, 100), "two\nlines", anchor="bottom", box_color=RED)
    Annotator(below, font_size=20).text((30, 100), "two\nlines", box_color=RED)
    assert changed(above)[0].max() == 99 and changed(below)[0].min() == 100
    assert changed(above)[0].min() < 60 and changed(below)[0].max() > 140
    assert changed(above)[1].min() == 30


def test_a_font_is_found_for_any_script(monkeypatch):
    """Simulated: the only font on this computer that has the character is the second of the list."""
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ("latin.ttf", "chinese.ttf"))
    monkeypatch.setattr(fonts, "_spells", lambda path, c: ord(c) < 128 or (path == "chinese.ttf") == (c > "一"))
    for cached in (fonts.font_file, fonts._best_font):
        cached.cache_clear()
    try:
        assert fonts.font_file("红细胞 0.5") == "chinese.ttf"
        assert Path(fonts.font_file("RBC 0.5")).name == "DejaVuSans.ttf"
        assert fonts.font_file("RBC 0.5", common="RBC 白细胞") == "chinese.ttf"
        assert Path(fonts.font_file("عدد", common="RBC 白细胞")).name == "DejaVuSans.ttf"
    finally:
        for cached in (fonts.font_file, fonts._best_font):
            cached.cache_clear()


def test_without_a_font_one_warning_and_boxes(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    for cached in (fonts.font_file, fonts._best_font, fonts.warn_once):
        cached.cache_clear()
    with caplog.at_level(logging.WARNING, "ultralytics"):
        im = blank()
        Annotator(im).box_label((50, 50, 150, 150), "红细胞 0.50", RED)
        Annotator(im).box_label((50, 50, 150, 150), "白细胞 0.50", RED)
    for cached in (fonts.font_file, fonts._best_font):
        cached.cache_clear()
    assert [r.message.count("install a font") for r in caplog.records] == [1]
    assert (im == RED).all(2).sum() > 400


def test_fonts_that_are_no_fonts_are_passed_over(tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    assert not fonts._spells(str(broken), "a")


def test_a_font_of_ones_own(tmp_path):
    own = fonts.font_file("abc")
    assert Annotator(blank(), font=own).font == own
    with pytest.raises(ConfigError, match=r"font '.*nowhere\.ttf' cannot be used"):
        Annotator(blank(), font=str(tmp_path / "nowhere.ttf")).box_label((5, 5, 50, 50), "a")


def test_class_names():
    assert class_name({0: "a", 1: "b"}, 1.0) == "b"
    assert class_name(["a", "b"], torch.tensor(1.0)) == "b"
    assert class_name({0: "a"}, 7) == class_name(None, 7) == "7"


@pytest.mark.parametrize("name", ["图 片.png", "é.jpg", "sub/ö.bmp", "b.webp"])
def test_images_go_to_any_path(tmp_path, name):
    image = blank(40, 50)
    path = write_image(tmp_path / name, image)
    back = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert back.shape == (40, 50, 3)
    assert abs(back.astype(int) - GRAY).max() < 4


def test_images_that_cannot_be_written_say_why(tmp_path):
    with pytest.raises(YOLOError, match=r"a\.xyz: no image format"):
        write_image(tmp_path / "a.xyz", blank())
    with pytest.raises(YOLOError, match="no image format"):
        write_image(tmp_path / "a", blank())
    (tmp_path / "file").write_text("")
    with pytest.raises(YOLOError, match=r"a\.png cannot be written: \w+"):
        write_image(tmp_path / "file" / "a.png", blank())


def batch(count: int, size: int = 64) -> dict:
    """Gray RGB images, each with one object of its own class in the middle."""
    return {
        "images": torch.full((count, 3, size, size), GRAY, dtype=torch.uint8),
        "batch_idx": torch.arange(count).float(),
        "cls": torch.arange(count).float()[:, None],
        "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]]).repeat(count, 1),
    }


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (16, 4, 4), (20, 4, 4)])
def test_batch_is_laid_out_on_a_grid(count, columns, rows, tmp_path):
    mosaic = plot_images(**batch(count), fname=tmp_path / "m.png")
    tile = 480
    assert mosaic.shape == (rows * (tile + 4) - 4, columns * (tile + 4) - 4, 3)
    assert (cv2.imread(str(tmp_path / "m.png")) == mosaic).all()
    for i in range(min(count, 16)):
        y, x = i // columns * (tile + 4) + tile // 2, i % columns * (tile + 4) + tile // 4
        assert (mosaic[y, x - 4 : x + 5] == colors(i, bgr=True)).all(1).any()  # left edge of its own box
        assert tuple(mosaic[y, x + 20]) == (GRAY,) * 3


def test_batch_of_large_images_is_reduced():
    assert max(plot_images(**batch(4, 1500)).shape) <= 1930


def test_float_images_equal_uint8_images_and_channels_are_swapped():
    data = batch(2)
    data["images"][:, 0] = 200
    whole = plot_images(**data)
    assert (plot_images(**{**data, "images": data["images"].float() / 255}) == whole).all()
    assert (plot_images(**{k: v.numpy() for k, v in data.items()}) == whole).all()
    assert tuple(whole[5, 5]) == (GRAY, GRAY, 200)


def test_headings_and_confidences_are_drawn():
    data = batch(1)
    plain = plot_images(**data)
    headed = plot_images(**data, paths=["a/b/name.jpg"])
    assert headed.shape[0] > plain.shape[0] and headed.shape[1] == plain.shape[1]
    assert (headed[-plain.shape[0] :] == plain).all()
    sure = plot_images(**data, confs=torch.tensor([0.9]), names={0: "object"})
    doubtful = plot_images(**data, confs=torch.tensor([0.1]), names={0: "object"})
    assert (sure != plain).any() and (sure != doubtful).any()


def test_batch_without_objects():
    data = batch(2)
    empty = {k: v if k == "images" else v[:0] for k, v in data.items()}
    mosaic = plot_images(**empty, names={0: "a"})
    assert (mosaic[:480, :480] == GRAY).all()


def test_charts_of_training_are_here_too():
    assert (plotting.plot_labels, plotting.plot_results) == (training.plot_labels, training.plot_results)
