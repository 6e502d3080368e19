"""A small picture of weights by depth, as a PNG: for the card, as the Hub shows no drawing that stands in its text."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT, GAP = 640, 120, 12  # pixels: of each line of weights, and between two
# The light colours of the page (ui/tokens.css).
_PAPER, _GROUND, _BAR, _EDGE = (255, 255, 255), (240, 245, 252), (252, 225, 203), (198, 83, 10)
_EDGE_HEIGHT = 3


def draw_weights(lines: Sequence[Sequence[float]]) -> bytes:
    """Every line of weights as a row of bars, the first layer on the left; all rows have one scale, 0 to 1 at least."""
    low, high = min(0.0, *map(min, lines)), max(1.0, *map(max, lines))
    height = len(lines) * (HEIGHT + GAP) - GAP
    picture = np.full((height, WIDTH, 3), _PAPER, np.uint8)
    for place, line in enumerate(lines):
        top = place * (HEIGHT + GAP)
        _draw(picture[top : top + HEIGHT], [(weight - low) / (high - low) for weight in line], -low / (high - low))
    return _png(picture)


def _draw(panel: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", shares: Sequence[float], zero: float) -> None:
    """`shares` are how high each bar's edge is, `zero` how high the bars begin: of the panel's height, from below."""
    panel[:] = _GROUND
    rows = HEIGHT - _EDGE_HEIGHT
    begin = round((1 - zero) * rows)
    for place, share in enumerate(shares):
        left, right = (round(WIDTH * edge / len(shares)) for edge in (place, place + 1))
        edge = round((1 - share) * rows)
        panel[min(edge, begin) : max(edge, begin) + _EDGE_HEIGHT, left:right] = _BAR
        panel[edge : edge + _EDGE_HEIGHT, left:right] = _EDGE


def _png(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    height, width, _ = picture.shape
    rows = b"".join(b"\0" + row.tobytes() for row in picture)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
