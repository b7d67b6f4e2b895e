"""Fonts that can spell the class names at hand, for images and charts alike. Looked for only when text is drawn."""

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

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
    shared = _best_font(common)
    best = shared if _spelled(shared, text) == len(text) else _best_font(text)
    if not all(_spells(best, c) for c in text if c.isprintable()):
        _warn_once()
    return best


@lru_cache(maxsize=1024)
def _best_font(text: str) -> str:
    """The font with most of the characters."""
    found = (_font_with(c) for c in text if not _spells(_default(), c))
    return max([_default(), *filter(None, found)], key=lambda path: _spelled(path, text))


def _spelled(path: str, text: str) -> int:
    return sum(_spells(path, c) for c in text)


@lru_cache(maxsize=64)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at `size` pixels; ConfigError if there is no such font file."""
    try:
        return ImageFont.truetype(path, size)
    except OSError as exc:
        raise ConfigError(f"font {path!r} cannot be used ({exc}): give the path of a .ttf, .ttc or .otf file") from exc


@lru_cache(maxsize=1024)
def text_mask(text: str, font: str, size: int) -> np.ndarray:
    """One line of text as opacity, (height, width) uint8, read-only; the height depends on font and size alone."""
    face = load_font(font, size)
    ascent, descent = face.getmetrics()
    left, _, right, _ = face.getbbox(text, anchor="ls")
    image = Image.new("L", (max(round(right - left), 1), ascent + descent))
    ImageDraw.Draw(image).text((-left, ascent), text, fill=255, font=face, anchor="ls")
    mask = np.array(image)
    mask.flags.writeable = False
    return mask


def shorten(text: str, font: str, size: int, width: float) -> str:
    """The text, cut and ended with an ellipsis where it is wider than `width` pixels."""
    face = load_font(font, size)
    if face.getlength(text) <= width:
        return text
    kept = next((n for n in range(len(text) - 1, 0, -1) if face.getlength(text[:n].rstrip() + ELLIPSIS) <= width), 0)
    return text[:kept].rstrip() + ELLIPSIS


@cache
def _default() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@cache
def _system_fonts() -> tuple[str, ...]:
    """Paths of the installed TrueType and OpenType fonts, the most useful first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(path: str) -> tuple[int, bool, str]:
        name = Path(path).name.lower()
        family = next((i for i, prefix in enumerate(_PREFERRED) if name.startswith(prefix)), len(_PREFERRED))
        return family, not any(style in name for style in ("regular", "medium", "w3")), name

    return tuple(sorted((p for p in findSystemFonts() if not any(u in p.lower() for u in _UNUSABLE)), key=rank))


@lru_cache(maxsize=8)
def _open(path: str) -> "FT2Font | None":
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path)
    except (OSError, RuntimeError):
        return None


def _spells(path: str, character: str) -> bool:
    font = _open(path)
    return font is not None and font.get_char_index(ord(character)) != 0


@cache
def _font_with(character: str) -> str | None:
    return next((path for path in _system_fonts() if _spells(path, character)), None)


@cache
def _warn_once() -> None:
    LOGGER.warning(
        "some characters in labels are in no font of this computer and are drawn as empty boxes; "
        "install a font that has them, for example Noto Sans CJK for Chinese, Japanese and Korean"
    )
