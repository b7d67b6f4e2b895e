"""Colours of classes, and the colour of text that can be read on them."""

# Chosen greedily for the largest smallest distance in OKLab, seen normally and with red-green blindness, among colours
# that show on white as on photographs; then ordered so that few classes get the most distant ones.
PALETTE: tuple[tuple[int, int, int], ...] = tuple(
    (code >> 16, code >> 8 & 255, code & 255)
    for code in (
        *(0x0078E1, 0xFF870F, 0x00B43C, 0xD20078, 0x00E1F0, 0x870096, 0x962D00, 0xFFA5E1, 0x78E10F, 0x4B2DD2),
        *(0xF02D0F, 0x0FA5A5, 0xA57800, 0x78A5FF, 0x007800, 0xC34BE1, 0xB4C387, 0x875A87, 0xD27896, 0x006969),
    )
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Colour = tuple[int, int, int]


def colors(i: int, bgr: bool = False) -> Colour:
    """Colour of class `i`, RGB or (`bgr`) in the channel order of OpenCV; they repeat after the last one."""
    red, green, blue = PALETTE[int(i) % len(PALETTE)]
    return (blue, green, red) if bgr else (red, green, blue)


def contrast(a: Colour, b: Colour) -> float:
    """Contrast ratio of two BGR colours, 1 to 21 (WCAG 2.2, section 1.4.3)."""
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def readable(wanted: Colour, background: Colour) -> Colour:
    """The wanted BGR text colour, or where it would be hard to read on the background, black or white."""
    if contrast(wanted, background) >= 3:
        return wanted
    return max(BLACK, WHITE, key=lambda c: contrast(c, background))


def _luminance(bgr: Colour) -> float:
    """Relative luminance of an sRGB colour, 0 to 1."""
    shares = (c / 255 for c in bgr)
    blue, green, red = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
