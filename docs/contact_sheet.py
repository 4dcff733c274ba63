"""Draw docs/generated.jpg, a look at what `--data generated` draws: `python docs/contact_sheet.py`."""

from pathlib import Path

from PIL import Image

from latentflow.generated import picture

COLUMNS, ROWS, SIDE = 10, 6, 128


def sheet(first: int = 10_000) -> Image.Image:
    """Pictures of consecutive seeds, as they come."""
    canvas = Image.new("RGB", (COLUMNS * SIDE, ROWS * SIDE))
    for index in range(COLUMNS * ROWS):
        place = (index % COLUMNS * SIDE, index // COLUMNS * SIDE)
        canvas.paste(picture(first + index).resize((SIDE, SIDE), Image.Resampling.LANCZOS), place)
    return canvas


if __name__ == "__main__":
    sheet().save(Path(__file__).parent / "generated.jpg", quality=85)
