"""Illustrations to measure an autoencoder on: flat colors, thin dark outlines, faces, a comic panel.

They are drawn with matplotlib's curves and share no line with the pictures the bundled autoencoder is trained on.
`python benchmarks/drawings.py FOLDER` writes them as PNGs.
"""

import sys
from itertools import pairwise
from pathlib import Path as FilePath

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from PIL import Image

INK = "#20161c"


class Sheet:
    """A square of 100 × 100 units, the origin at the lower left, to draw on."""

    def __init__(self, ground: str, line: float = 1.1) -> None:
        self.figure = Figure(figsize=(5.12, 5.12), dpi=100)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 100), ylim=(0, 100))
        self.axes.axis("off")
        self.line = line
        self.add(Rectangle((0, 0), 100, 100), ground, 0)

    def add(self, patch, color, line=None, ink=INK) -> None:
        width = self.line if line is None else line
        patch.set(facecolor=color, edgecolor=ink if width else "none", linewidth=width * 1.44, joinstyle="round")
        self.axes.add_patch(patch)

    def curve(self, start, *bends, color="none", line=None, ink=INK) -> None:
        """Cubic Bézier pieces, each (control, control, end)."""
        points = [start, *(point for bend in bends for point in bend)]
        codes = [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1)
        self.add(PathPatch(Path(points, codes), capstyle="round"), color, line, ink)

    def picture(self, size: int = 256) -> Image.Image:
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).resize((size, size), Image.Resampling.BOX)


def _eye(sheet, x, y, scale, iris) -> None:
    sheet.add(Ellipse((x, y), 9 * scale, 12 * scale), "white", 0)
    sheet.add(Ellipse((x, y - 0.4 * scale), 7 * scale, 10.5 * scale), iris, 0.8)
    sheet.add(Ellipse((x, y + 1.2 * scale), 4 * scale, 6 * scale), "#1b1020", 0)
    sheet.add(Ellipse((x, y - 3.4 * scale), 4.5 * scale, 2.2 * scale), "#ffffff80", 0)
    sheet.add(Circle((x - 1.6 * scale, y + 2.8 * scale), 1.4 * scale), "white", 0)
    left, right, top = x - 5.5 * scale, x + 5.5 * scale, y + 4.5 * scale
    sheet.curve((left, top - 1), ((left + 1, top + 3), (right - 1, top + 3), (right, top - 1)), line=2)


def heroine() -> Image.Image:
    """A face in the manner of Japanese animation, with hair in locks."""
    sheet = Sheet("#bfe3f2")
    for x in range(4, 100, 12):
        sheet.add(Circle((x, 90 - x % 5 * 4), 1.2), "#ffffff", 0)
    hair, shade = "#e0719c", "#b94d7d"
    sheet.curve(
        (18, 8), ((2, 50), (12, 94), (50, 95)), ((88, 94), (98, 50), (82, 8)), ((70, 2), (30, 2), (18, 8)), color=shade
    )
    sheet.curve(
        (30, 0),
        ((36, 10), (40, 12), (42, 18)),
        ((46, 16), (54, 16), (58, 18)),
        ((60, 12), (64, 10), (70, 0)),
        color="#f2c2a4",
    )
    sheet.curve(
        (26, 52),
        ((24, 30), (40, 18), (50, 15)),
        ((60, 18), (76, 30), (74, 52)),
        ((76, 76), (24, 76), (26, 52)),
        color="#fbdcc4",
    )
    sheet.curve((28, 42), ((32, 40), (34, 40), (37, 41)), ink="#ee9c94", line=2.5)
    sheet.curve((63, 41), ((66, 40), (69, 40), (72, 42)), ink="#ee9c94", line=2.5)
    _eye(sheet, 38, 47, 1, "#3d8f88")
    _eye(sheet, 62, 47, 1, "#3d8f88")
    sheet.curve((32, 60), ((35, 62), (40, 62), (43, 60.5)))
    sheet.curve((57, 60.5), ((60, 62), (65, 62), (68, 60)))
    sheet.curve((49, 36), ((50, 35), (50.5, 35), (51, 36)), line=0.8)
    sheet.curve((44, 27), ((47, 23), (53, 23), (56, 27)), ((53, 26), (47, 26), (44, 27)), color="#b5413f")
    for left, tip, right in ((24, 27, 38), (34, 40, 50), (46, 54, 62), (58, 70, 78)):
        sheet.curve(
            (left, 80),
            ((left - 1, 68), (tip - 2, 62), (tip, 55)),
            ((tip + 4, 62), (right, 70), (right, 82)),
            color=hair,
        )
    sheet.curve(
        (22, 76),
        ((24, 92), (76, 92), (78, 76)),
        ((70, 84), (60, 86), (50, 86)),
        ((40, 86), (30, 84), (22, 76)),
        color=hair,
        line=0,
    )
    for x in (20, 76):
        sheet.curve((x, 78), ((x - 6, 50), (x + 4, 30), (x, 6)), ((x + 6, 30), (x + 10, 50), (x + 4, 78)), color=hair)
    sheet.curve((36, 86), ((40, 90), (58, 91), (66, 86)), ink="#f8b9cf", line=3)
    return sheet.picture()


def cat() -> Image.Image:
    """A striped cat on a cushion."""
    sheet = Sheet("#f6e7b4", 1.4)
    sheet.add(Rectangle((0, 0), 100, 26), "#7aa6a1")
    sheet.add(Ellipse((50, 16), 84, 26), "#c84b48")
    sheet.curve(
        (30, 16),
        ((14, 40), (26, 58), (36, 60)),
        ((64, 60), (74, 58), (70, 16)),
        ((60, 10), (40, 10), (30, 16)),
        color="#e9a349",
    )
    sheet.curve(
        (68, 18),
        ((92, 14), (96, 46), (84, 52)),
        ((80, 52), (80, 48), (84, 44)),
        ((88, 34), (82, 26), (68, 28)),
        color="#e9a349",
    )
    for y in (30, 38, 46):
        sheet.curve((29, y), ((33, y + 2), (35, y + 2), (38, y)), ink="#a35c22", line=2.4)
        sheet.curve((62, y), ((65, y + 2), (68, y + 2), (70, y)), ink="#a35c22", line=2.4)
    for side in (-1, 1):
        sheet.add(Polygon([(50 + side * 24, 92), (50 + side * 7, 82), (50 + side * 25, 70)]), "#e9a349")
        sheet.add(Polygon([(50 + side * 21, 87), (50 + side * 11, 80), (50 + side * 22, 74)]), "#f2c6b8", 0.7)
    sheet.add(Ellipse((50, 68), 54, 38), "#e9a349")
    for x in (44, 50, 56):
        sheet.curve((x, 86), ((x, 84), (x, 81), (x, 78)), ink="#a35c22", line=2.4)
    sheet.add(Ellipse((50, 60), 26, 16), "#fbf3e4", 0.6)
    for x in (38, 62):
        sheet.add(Ellipse((x, 70), 11, 11), "#b9d36c")
        sheet.add(Ellipse((x, 70), 3, 9), "#18120f", 0)
        sheet.add(Circle((x + 2, 72), 1.1), "white", 0)
    sheet.add(Polygon([(47, 64), (53, 64), (50, 61)]), "#d1706b", 0.8)
    sheet.curve((43, 58), ((45, 55), (49, 56), (50, 61)), ((51, 56), (55, 55), (57, 58)))
    for y in (-3, 0, 3):
        for side in (-1, 1):
            sheet.curve(
                (50 + side * 14, 60 + y / 2),
                ((50 + side * 20, 61 + y), (50 + side * 28, 61 + y), (50 + side * 36, 60 + 2 * y)),
                line=0.7,
            )
    for x in (40, 60):
        sheet.add(Ellipse((x, 14), 14, 9), "#fbf3e4")
    return sheet.picture()


def house() -> Image.Image:
    """A house on a hill, with a tree, a fence and a sun."""
    sheet = Sheet("#8ccdf0")
    sheet.add(Circle((82, 84), 8), "#ffd84a")
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        sheet.axes.plot(
            82 + np.array([10, 14]) * np.cos(angle), 84 + np.array([10, 14]) * np.sin(angle), color="#e8a92c", lw=2
        )
    for x, y in ((18, 84), (46, 90)):
        for dx, r in ((-7, 5), (0, 7), (7, 5)):
            sheet.add(Circle((x + dx, y), r), "white", 0)
    sheet.curve(
        (0, 40),
        ((30, 58), (60, 20), (100, 44)),
        ((100, 30), (100, 10), (100, 0)),
        ((60, 0), (30, 0), (0, 0)),
        color="#93bf5b",
    )
    sheet.curve(
        (0, 30),
        ((30, 24), (60, 44), (100, 28)),
        ((100, 20), (100, 10), (100, 0)),
        ((60, 0), (30, 0), (0, 0)),
        color="#6ba34a",
    )
    sheet.add(Rectangle((30, 24), 36, 28), "#f3e3cb")
    sheet.add(Polygon([(26, 50), (48, 72), (70, 50)]), "#b8473a")
    for row in range(4):
        for x in np.arange(30 + row * 5, 66 - row * 5, 4):
            sheet.add(Arc((x + 2, 51.5 + row * 5), 4, 4, theta1=180, theta2=360), "none", 0.7)
    sheet.add(Rectangle((44, 24), 9, 16), "#6f4630")
    sheet.add(Circle((51, 32), 0.7), "#e9c46a", 0.5)
    for x in (34, 56):
        sheet.add(Rectangle((x, 36), 7, 8), "#bfe6f5")
        sheet.axes.plot([x + 3.5] * 2, [36, 44], color=INK, lw=1.2)
        sheet.axes.plot([x, x + 7], [40, 40], color=INK, lw=1.2)
    sheet.add(Rectangle((14, 24), 4, 20), "#7b5236")
    for x, y, r in ((16, 52, 10), (9, 46, 7), (23, 46, 7)):
        sheet.add(Circle((x, y), r), "#3f7f45")
    for x in range(70, 100, 5):
        sheet.add(Polygon([(x, 18), (x, 28), (x + 1.5, 30), (x + 3, 28), (x + 3, 18)]), "#fdfaf0", 0.8)
    sheet.add(Rectangle((69, 21), 31, 1.5), "#fdfaf0", 0.8)
    return sheet.picture()


def panel() -> Image.Image:
    """A comic panel: screen tone, a speech bubble, a masked face, speed lines."""
    sheet = Sheet("#f6d743", 1.5)
    for y in range(0, 100, 4):
        for x in range(y // 4 % 2 * 2, 100, 4):
            sheet.add(Circle((x, y), 0.3 + 1.1 * (1 - y / 100)), "#e8873a", 0)
    for angle in np.linspace(0.1, 1.5, 14):
        sheet.axes.plot(
            [100 - 30 * np.cos(angle), 100 - 120 * np.cos(angle)],
            [30 * np.sin(angle), 120 * np.sin(angle)],
            color=INK,
            lw=1,
        )
    sheet.curve(
        (16, 0),
        ((18, 14), (30, 18), (44, 18)),
        ((60, 18), (70, 14), (74, 0)),
        ((60, 0), (30, 0), (16, 0)),
        color="#2a62b5",
    )
    sheet.curve(
        (24, 46),
        ((22, 24), (36, 12), (45, 12)),
        ((56, 12), (68, 26), (66, 46)),
        ((68, 72), (22, 72), (24, 46)),
        color="#e8b48a",
    )
    sheet.curve(
        (22, 50),
        ((18, 78), (70, 82), (68, 50)),
        ((64, 60), (56, 64), (46, 62)),
        ((36, 66), (28, 60), (22, 50)),
        color="#2b1d18",
    )
    sheet.curve(
        (24, 48),
        ((30, 54), (60, 54), (66, 48)),
        ((66, 40), (54, 36), (46, 42)),
        ((38, 36), (26, 40), (24, 48)),
        color="#c22f35",
    )
    for x in (36, 56):
        sheet.add(Ellipse((x, 46), 9, 5), "white", 1)
        sheet.add(Circle((x, 46), 1.6), INK, 0)
    sheet.curve((44, 40), ((43, 34), (42, 32), (47, 31)), line=1)
    sheet.curve((38, 24), ((42, 20), (52, 20), (55, 26)), ((50, 23), (44, 22), (38, 24)), color="white")
    sheet.add(FancyBboxPatch((46, 76), 48, 16, boxstyle="round,pad=2,rounding_size=6"), "white")
    sheet.add(Polygon([(60, 75), (52, 66), (68, 75)]), "white", 0)
    sheet.axes.text(70, 84, "MEANWHILE…", ha="center", va="center", fontsize=14, weight="bold", color=INK)
    sheet.add(Rectangle((1, 1), 98, 98, fill=False), "none", 3)
    return sheet.picture()


def robot() -> Image.Image:
    """A robot, all straight lines and circles, on a checked floor."""
    sheet = Sheet("#d9cfe8", 1.2)
    for row in range(5):
        for column in range(-2, 12):
            depth, next_ = 30 * (1 - row / 5) ** 1.5, 30 * (1 - (row + 1) / 5) ** 1.5
            skew, skew_next = 1 + (5 - row) * 0.15, 1 + (4 - row) * 0.15
            corners = [
                (50 + (column + at - 5) * 10 * s, 30 - d)
                for at, s, d in ((0, skew, depth), (1, skew, depth), (1, skew_next, next_), (0, skew_next, next_))
            ]
            sheet.add(Polygon(corners), "#8d84b5" if (row + column) % 2 else "#f1edf8", 0.4)
    for x in (38, 56):
        sheet.add(Rectangle((x, 8), 7, 18), "#9aa7b1")
        sheet.add(Rectangle((x - 3, 4), 13, 6), "#56646e")
    sheet.add(FancyBboxPatch((32, 26), 37, 28, boxstyle="round,pad=0,rounding_size=4"), "#5fb7b0")
    sheet.add(Rectangle((39, 34), 23, 13), "#e8f4d9")
    sheet.axes.plot(
        np.linspace(40, 61, 60),
        40 + 4 * np.sin(np.linspace(0, 14, 60)) * np.linspace(0, 1, 60),
        color="#c23b3b",
        lw=1.5,
    )
    for x in (24, 70):
        for y in range(30, 54, 4):
            sheet.add(Ellipse((x + 3.5, y), 8, 4.4), "#9aa7b1", 0.9)
    sheet.add(Rectangle((46, 54), 9, 5), "#56646e")
    sheet.add(FancyBboxPatch((34, 59), 33, 22, boxstyle="round,pad=0,rounding_size=6"), "#7fd0c8")
    for x in (43, 58):
        sheet.add(Circle((x, 71), 5), "#fff6c9")
        sheet.add(Circle((x, 71), 2.2), "#e2592f", 0.8)
    for x in range(42, 60, 3):
        sheet.add(Rectangle((x, 62), 3, 3), "white", 0.8)
    sheet.axes.plot([50, 50], [81, 89], color=INK, lw=2)
    sheet.add(Circle((50, 91), 2.4), "#e2592f")
    return sheet.picture()


def street() -> Image.Image:
    """Fronts of houses with many windows, in flat colors."""
    sheet = Sheet("#fbd9b0", 0.9)
    sheet.add(Circle((70, 74), 14), "#f7a072", 0)
    left = 0
    for width, height, color in (
        (18, 62, "#c96f5a"),
        (14, 76, "#5b7f95"),
        (20, 54, "#e2b65c"),
        (16, 70, "#8a9a5b"),
        (18, 60, "#a6587c"),
        (14, 66, "#4f6d7a"),
    ):
        sheet.add(Rectangle((left, 12), width, height - 12), color)
        sheet.add(Polygon([(left - 1, height), (left + width / 2, height + 8), (left + width + 1, height)]), "#5c3a35")
        for y in np.arange(22, height - 6, 9):
            for x in np.arange(left + 2.5, left + width - 3, 5):
                sheet.add(Rectangle((x, y), 2.8, 5), "#fdf3d0" if (int(x) * 7 + int(y)) % 3 else "#39414f", 0.7)
        sheet.add(Rectangle((left + width / 2 - 2, 12), 4, 7), "#3b2a28")
        left += width
    sheet.add(Rectangle((0, 0), 100, 12), "#6d6a75")
    for x in range(2, 100, 14):
        sheet.add(Rectangle((x, 5), 7, 1.4), "#f4efe1", 0)
    for x in (30, 76):
        sheet.axes.plot([x, x], [10, 40], color=INK, lw=2)
        sheet.add(Circle((x, 41), 2.4), "#fff3b0")
    return sheet.picture()


def sword() -> Image.Image:
    """A small figure with a sword, in the two tones of cel shading, before a night sky."""
    sheet = Sheet("#2b2f55", 1.1)
    for x, y in np.random.default_rng(5).uniform(0, 100, (60, 2)):
        sheet.add(Circle((x, y), 0.35), "#f7f3d0", 0)
    sheet.add(Circle((24, 76), 13), "#f3e6a1", 0)
    sheet.add(Circle((30, 79), 12), "#2b2f55", 0)
    sheet.curve(
        (0, 18),
        ((30, 26), (70, 10), (100, 20)),
        ((100, 10), (100, 4), (100, 0)),
        ((60, 0), (30, 0), (0, 0)),
        color="#3e5a4f",
    )
    sheet.curve(
        (46, 58),
        ((30, 50), (26, 30), (22, 16)),
        ((36, 20), (60, 20), (74, 14)),
        ((70, 30), (66, 50), (56, 58)),
        color="#8e2b3a",
    )
    sheet.curve(
        (50, 58),
        ((60, 50), (64, 30), (74, 14)),
        ((66, 18), (60, 18), (56, 19)),
        ((58, 36), (56, 48), (50, 58)),
        color="#641c2d",
        line=0,
    )
    for x in (44, 55):
        sheet.add(Rectangle((x, 8), 5, 14), "#4a4038")
    sheet.add(Rectangle((41, 20), 21, 26), "#d7d2c3")
    sheet.add(Rectangle((54, 20), 8, 26), "#a9a393", 0)
    sheet.add(Rectangle((41, 28), 21, 3), "#6b4a2b")
    sheet.curve((60, 44), ((70, 44), (76, 48), (80, 52)), ((78, 55), (74, 54), (60, 52)), color="#d7d2c3")
    sheet.add(Polygon([(78, 50), (81, 49), (92, 92), (90, 96), (88, 93)]), "#e4edf2")
    sheet.add(Polygon([(80, 50), (81, 49), (92, 92), (90, 96)]), "#9fb4c2", 0)
    sheet.add(Polygon([(73, 53), (86, 49), (86.5, 51), (73.5, 55)]), "#c79a3b")
    sheet.add(Ellipse((50, 60), 22, 22), "#f6d3b6")
    sheet.curve(
        (38, 60),
        ((36, 78), (64, 78), (63, 60)),
        ((60, 66), (57, 67), (54, 64)),
        ((48, 70), (42, 66), (38, 60)),
        color="#e8c55a",
    )
    for x in (46, 55):
        sheet.add(Ellipse((x, 58), 3, 5), "#27345c", 0)
        sheet.add(Circle((x - 0.5, 59.3), 0.7), "white", 0)
    sheet.curve((48, 53), ((49.5, 52), (51.5, 52), (53, 53)), line=0.8)
    return sheet.picture()


def hatching() -> Image.Image:
    """A pen drawing without color: a mountain lake in lines and hatching on paper."""
    sheet = Sheet("#f7f2e6", 1.0)
    ridge = [(0, 52), (14, 66), (22, 60), (38, 86), (48, 72), (56, 78), (74, 56), (86, 64), (100, 50)]
    sheet.add(Polygon([*ridge, (100, 40), (0, 40)]), "#f7f2e6")
    for (x0, y0), (x1, y1) in pairwise(ridge):
        if y1 < y0:
            for share in np.linspace(0.05, 0.95, 9):
                x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
                sheet.axes.plot([x, x - 3 - 5 * share], [y - 0.5, y - 8 + 5 * share], color=INK, lw=0.9)
    sheet.axes.plot([0, 100], [40, 40], color=INK, lw=1.4)
    for x in range(3, 100, 5):
        tall = 6 + x * 37 % 7
        sheet.add(Polygon([(x - 2, 40), (x, 40 + tall), (x + 2, 40)]), "#55524a", 0.7)
    generator = np.random.default_rng(2)
    for y in np.arange(4, 39, 2.5):
        x = generator.uniform(0, 30)
        while x < 100:
            length = generator.uniform(4, 22)
            sheet.axes.plot([x, x + length], [y, y], color=INK, lw=0.8)
            x += length + generator.uniform(4, 16)
    sheet.curve((58, 20), ((62, 14), (78, 14), (84, 21)), ((76, 19), (66, 19), (58, 20)), color="#c7b690")
    sheet.axes.plot([70, 70], [19, 36], color=INK, lw=1.6)
    sheet.add(Polygon([(71, 22), (71, 36), (82, 23)]), "white")
    return sheet.picture()


DRAWINGS = (heroine, cat, house, panel, robot, street, sword, hatching)


if __name__ == "__main__":
    folder = FilePath(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for each in DRAWINGS:
        each().save(folder / f"{each.__name__}.png")
