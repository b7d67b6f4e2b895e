"""Fonts that can spell the class names at hand, for images and charts alike. They are searched when text is drawn."""

import itertools
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultralytics.utils.checks import warn_once
from ultralytics.utils.errors import ConfigError

# Families with many scripts in an even, sans-serif style come first, whatever else is installed.
_PREFERRED = ("notosanscjk", "sourcehansans", "msyh", "pingfang", "hiragino", "wqy-microhei", "droidsansfallback")
_UNUSABLE = ("emoji", "lastresort")  # colored bitmaps of one size; glyphs that are all boxes
ELLIPSIS = "…"


@lru_cache(maxsize=1024)
def font_file(text: str, common: str = "") -> str:
    """Path of a font that can spell the text: the one for all of `common` if it can, else the text's own.

    DejaVu Sans where it suffices, else a font of this computer. Characters that none has are drawn as empty boxes, and
    one warning says so.
    """
    best = _best_font(common)
    if not all(_spells(best, c) for c in text):
        best = _best_font(text)
    if not all(_spells(best, c) for c in text if c.isprintable()):
        warn_once(
            "some characters in labels are in no font of this computer and are drawn as empty boxes; "
            "install a font that has them, for example Noto Sans CJK for Chinese, Japanese and Korean"
        )
    return best


@lru_cache(maxsize=1024)
def _best_font(text: str) -> str:
    """Font that has most of the characters."""
    import matplotlib

    default = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))  # Latin, Greek, Cyrillic
    candidates = [default]
    # For every character that it lacks, the most useful of the installed fonts that has it, if any.
    for c in text:
        if not _spells(default, c):
            candidates += itertools.islice((path for path in _system_fonts() if _spells(path, c)), 1)
    return max(candidates, key=lambda path: sum(_spells(path, c) for c in text))  # the first of equals


@lru_cache(maxsize=64)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Open a font at `size` pixels; ConfigError if there is no such font file."""
    try:
        return ImageFont.truetype(path, size)
    except OSError as exc:
        raise ConfigError(f"font {path!r} cannot be used ({exc}): give the path of a .ttf, .ttc or .otf file") from exc


@lru_cache(maxsize=1024)
def text_mask(text: str, font: str, size: int) -> np.ndarray:
    """One line of text as opacity, (height, width) uint8, read-only; the height depends on font and size alone."""
    face = load_font(font, size)
    ascent, descent = face.getmetrics()
    left, _, right, _ = face.getbbox(text, anchor="ls")  # from the left end of the baseline
    image = Image.new("L", (max(round(right - left), 1), ascent + descent))
    ImageDraw.Draw(image).text((-left, ascent), text, fill=255, font=face, anchor="ls")
    mask = np.array(image)
    mask.flags.writeable = False  # it stays in the cache
    return mask


def shorten(text: str, font: str, size: int, width: float) -> str:
    """Cut a text that is wider than `width` pixels, and end it with an ellipsis."""
    face = load_font(font, size)
    if face.getlength(text) <= width:
        return text
    # 0 where not even one character fits: the ellipsis then stands alone.
    kept = next((n for n in range(len(text) - 1, 0, -1) if face.getlength(text[:n].rstrip() + ELLIPSIS) <= width), 0)
    return text[:kept].rstrip() + ELLIPSIS


@cache
def _system_fonts() -> tuple[str, ...]:
    """Paths of the installed TrueType and OpenType fonts, the most useful first."""
    from matplotlib.font_manager import findSystemFonts

    ranked = []
    for path in findSystemFonts():
        name = Path(path).name.lower()
        if any(word in path.lower() for word in _UNUSABLE):
            continue
        family = next((i for i, prefix in enumerate(_PREFERRED) if name.startswith(prefix)), len(_PREFERRED))
        regular = any(style in name for style in ("regular", "medium", "w3"))
        ranked.append((family, not regular, name, path))
    return tuple(path for *_, path in sorted(ranked))


@lru_cache(maxsize=2**16)  # opening a font takes longer than looking into it
def _spells(path: str, character: str) -> bool:
    """Whether a font has the character; False for files that are no fonts."""
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path).get_char_index(ord(character)) != 0
    except (OSError, RuntimeError):
        return False
