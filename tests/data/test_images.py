"""Pixels as a person sees them, sizes without decoding, and a sentence for every broken file."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ultralytics.data import images
from ultralytics.data.images import check_image, pillow_to_bgr, read_image, turn_upright
from ultralytics.utils.errors import DatasetError


def photo(h: int = 40, w: int = 60) -> np.ndarray:
    """RGB pixels, smooth enough for JPEG, without any symmetry."""
    y, x = np.mgrid[:h, :w]
    return np.stack([255 * x / w, 255 * y / h, 128 + 127 * np.sin(x / 9)], -1).astype(np.uint8)


def rgb(path) -> np.ndarray:
    return read_image(path)[..., ::-1].astype(int)


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "ppm"])
def test_ordinary_files_equal_opencv(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
    assert check_image(path) == (40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo()).save(path, exif=with_orientation(orientation))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    np.testing.assert_array_equal(rgb(path), expected)
    assert check_image(path) == expected.shape[:2]
    assert read_image(path).flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_upright_puts_the_marked_corner_where_exif_says(orientation):
    """EXIF names the corner of the seen image at which stored row 0 and column 0 start."""
    stored = np.zeros((2, 3, 1), np.uint8)
    stored[0, 0] = 1
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert turn_upright(stored, orientation)[corner[orientation]] == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert check_image(path) == (40, 60)
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_keeps_the_high_byte(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    gradient = np.linspace(0, 65535, 40 * 60).astype(np.uint16).reshape(40, 60)
    Image.fromarray(gradient).save(path)
    np.testing.assert_array_equal(rgb(path), np.stack([gradient >> 8] * 3, -1))


def test_16_bit_color_keeps_the_high_byte(tmp_path):
    path = tmp_path / "a.png"
    deep = photo().astype(np.uint16) * 257
    cv2.imwrite(str(path), deep[..., ::-1])
    np.testing.assert_array_equal(rgb(path), photo())


def test_32_bit_integers_are_read_as_16_bits(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((20, 20), 0x8100, np.int32)).save(path)
    assert (read_image(path) == 0x81).all()


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparency_lies_on_white(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = np.dstack([photo(), np.full((40, 60), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 128
    Image.fromarray(pixels).save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    seen = rgb(path)
    assert (seen[:10] == 255).all()
    np.testing.assert_array_equal(seen[20:], photo()[20:])
    np.testing.assert_allclose(seen[10:20], 255 - (255 - photo()[10:20].astype(int)) * 128 / 255, atol=1)


def test_gray_with_transparency(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.full((20, 20, 2), 90, np.uint8)
    pixels[..., 1] = 255
    pixels[:5, :, 1] = 0
    Image.fromarray(pixels).save(path)
    assert (rgb(path)[:5] == 255).all()
    assert (rgb(path)[5:] == 90).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_with_a_transparent_entry(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, 20, 5))
    image.save(path, transparency=0)
    assert (rgb(path)[:5] == 255).all()
    assert (rgb(path)[5:] == [10, 200, 30]).all()


def test_png_with_a_transparent_color(tmp_path):
    path = tmp_path / "a.png"
    pixels = photo()
    pixels[:5] = [1, 2, 3]
    Image.fromarray(pixels).save(path, transparency=(1, 2, 3))
    assert (rgb(path)[:5] == 255).all()
    np.testing.assert_array_equal(rgb(path)[5:], pixels[5:])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_every_mode_looks_as_pillow_shows_it(mode):
    image = Image.fromarray(photo()).convert(mode)
    np.testing.assert_array_equal(pillow_to_bgr(image)[..., ::-1], np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_has_the_colors_it_was_made_from(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert("CMYK").save(path, quality=100, subsampling=0)
    assert abs(rgb(path) - photo()).mean() < 2


def test_gray_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).convert("L").save(path)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
    assert read_image(path, channels=1).shape == (40, 60, 1)
    np.testing.assert_array_equal(read_image(path, channels=1), read_image(path)[..., :1])


def test_one_channel_of_a_color_image_is_its_luminance(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    luminance = np.asarray(Image.open(path).convert("L")).astype(int)
    np.testing.assert_allclose(read_image(path, channels=1)[..., 0], luminance, atol=1)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_first_frame_of_several(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [Image.new("RGB", (30, 20), color) for color in ((200, 10, 10), (10, 200, 10), (10, 10, 200))]
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    assert (rgb(path) == [200, 10, 10]).all()
    assert check_image(path) == (20, 30)


def test_content_counts_and_not_the_name(tmp_path):
    path = tmp_path / "ünïcode 图片.jpg"
    Image.fromarray(photo()).save(path, format="PNG")
    np.testing.assert_array_equal(rgb(path), photo())
    assert check_image(path) == (40, 60)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).save(path)
    expected = cv2.imread(str(path))
    with path.open("ab") as file:
        file.write(b"SEFT" * 40)
    np.testing.assert_array_equal(read_image(path), expected)
    assert check_image(path) == (40, 60)


def test_truncated_jpegs_are_not_given_to_opencv(tmp_path, monkeypatch):
    """Some of its versions fill up what is missing with gray."""
    Image.fromarray(photo()).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-200])
    monkeypatch.setattr("cv2.imdecode", lambda *args: np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(DatasetError, match="truncated"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif"])
@pytest.mark.parametrize("fraction", [0.4, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, fraction):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    for read in (check_image, read_image):
        with pytest.raises(DatasetError, match=rf"a\.{suffix}: "):
            read(path)


def test_every_broken_file_gets_its_sentence(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image", encoding="utf-8")
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", encoding="utf-8")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "float.tif")
    expected = {
        "folder.jpg": "a folder",
        "empty.jpg": "zero bytes",
        "text.jpg": "not an image",
        "program.jpg": "not an image",
        "missing.jpg": "no such file",
        "float.tif": "floating-point",
    }
    for name, sentence in expected.items():
        with pytest.raises(DatasetError, match=sentence) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_the_systems_own_reason_is_given(tmp_path, monkeypatch):
    Image.fromarray(photo()).save(tmp_path / "a.jpg")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.jpg"))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    for read in (check_image, read_image):
        with pytest.raises(DatasetError, match=r"a\.jpg: cannot be read: Permission denied$"):
            read(tmp_path / "a.jpg")


def test_dangling_link_is_named(tmp_path):
    link = tmp_path / "a.jpg"
    try:
        link.symlink_to(tmp_path / "gone.jpg")
    except OSError:
        pytest.skip("this system makes no links")
    with pytest.raises(DatasetError, match="a link to a file that does not exist"):
        check_image(link)


@pytest.mark.parametrize("size", [(1, 1), (4000, 8), (9, 200)])
def test_tiny_images_are_refused_by_the_check_only(tmp_path, size):
    path = tmp_path / "a.png"
    Image.new("RGB", size).save(path)
    assert read_image(path).shape == (size[1], size[0], 3)
    with pytest.raises(DatasetError, match=f"{size[0]} x {size[1]} pixels"):
        check_image(path)


def test_images_beyond_pillows_limit_are_explained(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    monkeypatch.setattr(images.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DatasetError, match="MAX_IMAGE_PIXELS"):
        check_image(path)


def test_sizes_come_from_the_header_alone(tmp_path, monkeypatch):
    for suffix in ("jpg", "png", "webp"):
        Image.fromarray(photo()).save(tmp_path / f"a.{suffix}")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(bytes(20))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("cv2.imdecode", lambda *args: pytest.fail("decoded"))
    assert [check_image(path) for path in tmp_path.iterdir()] == [(40, 60)] * 3


@pytest.mark.parametrize(("size", "imgsz"), [((480, 640), 320), ((483, 641), 160), ((77, 2003), 250), ((9, 900), 40)])
@pytest.mark.parametrize(("orientation", "mode"), [(1, "RGB"), (6, "RGB"), (3, "L")])
def test_a_reduced_jpeg_is_where_the_whole_one_is(tmp_path, size, imgsz, orientation, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(cv2.resize(photo(), size[::-1])).convert(mode).save(
        path, quality=95, exif=with_orientation(orientation)
    )
    for channels in (3, 1):
        whole, reduced = (read_image(path, channels, imgsz, reduced=on).astype(int) for on in (False, True))
        assert whole.shape == reduced.shape and max(whole.shape) == imgsz
        expected = cv2.resize(read_image(path, channels), whole.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(whole, expected.reshape(whole.shape))
        average = cv2.resize(read_image(path, channels), whole.shape[1::-1], interpolation=cv2.INTER_AREA)
        steepest = 255 / min(whole.shape[:2]) + 850 / max(whole.shape[:2])  # gray levels from pixel to pixel
        assert np.abs(reduced - average.reshape(whole.shape)).mean() < 0.25 * steepest + 1


def test_only_jpegs_of_twice_the_size_are_reduced(tmp_path):
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.fromarray(photo(40, 64)).save(tmp_path / name)
        for imgsz in (33, 64, 100) if name == "a.jpg" else (16, 33):
            whole, reduced = (read_image(tmp_path / name, 3, imgsz, reduced=on) for on in (False, True))
            np.testing.assert_array_equal(whole, reduced)


@pytest.mark.parametrize("imgsz", [320, 200, 150, 80])
def test_statistics_of_reduced_photos_are_those_of_whole_ones(reference, imgsz):
    """Differences within images: of colors, of contrast, and of where things are."""
    paths = sorted((reference / "data" / "bccd").rglob("*5.jpg"))[:12]
    pairs = [[read_image(path, 3, imgsz, reduced=on).astype(float) for on in (False, True)] for path in paths]
    bias = [np.mean(reduced - whole, axis=(0, 1)) for whole, reduced in pairs]
    assert np.abs(np.mean(bias, 0)).max() < 0.5
    contrast = [np.std(reduced) / np.std(whole) for whole, reduced in pairs]
    assert abs(np.mean(contrast) - 1) < 0.03
    shifts = [cv2.phaseCorrelate(whole[..., 1], reduced[..., 1])[0] for whole, reduced in pairs]
    assert np.abs(np.mean(shifts, 0)).max() < 0.1


def test_real_photos_equal_opencv(reference):
    paths = [*(reference / "data" / "photos").rglob("*.jpg"), *(reference / "data" / "bccd").rglob("*0.jpg")]
    assert len(paths) > 10
    for path in paths:
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)), err_msg=str(path))
        assert check_image(path) == read_image(path).shape[:2]
