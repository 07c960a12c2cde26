"""Draws three digits as if by hand, white on black as MNIST's are, in three sizes and colour modes.

    python digits.py OUT
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

# The image is drawn larger than it becomes, so that its edges are smooth.
SCALE = 8
# Strokes in a square whose sides are 1; the digit is about 0.7 high, as in MNIST.
PEN = 0.1
SEVEN = [[(0.26, 0.25), (0.48, 0.25), (0.71, 0.22), (0.64, 0.42), (0.54, 0.62), (0.46, 0.83)]]
FOUR = [
    [(0.36, 0.22), (0.33, 0.36), (0.3, 0.5), (0.42, 0.52), (0.56, 0.5), (0.69, 0.49)],
    [(0.65, 0.2), (0.62, 0.4), (0.6, 0.6), (0.57, 0.81)],
]
ZERO = (0.24, 0.17, 0.74, 0.83)


def draw(size, mode, strokes=(), ellipse=None):
    """An image of one digit in the largest square in its middle."""
    width, height = (SCALE * length for length in size)
    side = min(width, height)
    pen = round(PEN * side)

    def at(x, y):
        return (width - side) / 2 + x * side, (height - side) / 2 + y * side

    image = Image.new("L", (width, height))
    canvas = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [at(x, y) for x, y in stroke]
        canvas.line(points, fill=255, width=pen, joint="curve")
        for x, y in points:
            canvas.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], fill=255)
    if ellipse:
        canvas.ellipse([*at(*ellipse[:2]), *at(*ellipse[2:])], outline=255, width=pen)
    return image.resize(size, Image.Resampling.BOX).convert(mode)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    draw((28, 28), "L", SEVEN).save(out / "seven_28x28_grey.png")
    draw((64, 48), "RGB", ellipse=ZERO).save(out / "zero_64x48_rgb.png")
    draw((200, 200), "RGBA", FOUR).save(out / "four_200x200_rgba.png")


if __name__ == "__main__":
    main()
