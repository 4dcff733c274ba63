"""Make the pictures of docs/gallery.md with the commands on that page: `python docs/make_gallery.py [COMMAND...]`.

They run one after the other in a temporary folder that holds `examples` and `pictures`, which examples/make_folder.py
makes. A PNG that the page shows as .jpg is converted.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MAX_WIDTH = 1400  # pixels


def command_lines() -> list[list[str]]:
    """The words of every command on the page, in order."""
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("latentflow ", "python "))]


def keep(path: Path, shown: set[str]) -> None:
    """Copy a picture into docs/gallery if the page shows it, scaled down if it is wider than MAX_WIDTH."""
    place = DOCS / "gallery" / path.name
    if path.name in shown:
        place.write_bytes(path.read_bytes())
    if path.with_suffix(".jpg").name not in shown:
        return
    image = Image.open(path).convert("RGB")
    image.thumbnail((MAX_WIDTH, 10 * MAX_WIDTH), Image.Resampling.LANCZOS)
    image.save(place.with_suffix(".jpg"), quality=85, optimize=True)


def shown_pictures() -> set[str]:
    """The names of the pictures on the page."""
    return set(re.findall(r"\(gallery/([\w.-]+)\)", (DOCS / "gallery.md").read_text(encoding="utf-8")))


def main() -> None:
    """Run the commands and keep the pictures that the page shows."""
    wanted, shown = set(sys.argv[1:]), shown_pictures()
    folder = Path(tempfile.gettempdir()) / "latentflow-gallery"
    folder.mkdir(exist_ok=True)
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    for words in command_lines():
        if wanted and words[0] == "latentflow" and words[1] not in wanted:
            continue
        program = (
            ["python", str(ROOT / words[1])] if words[0] == "python" else ["python", str(ROOT / "cli.py"), words[1]]
        )
        print(shlex.join(words), flush=True)
        subprocess.run([sys.executable, *program[1:], *words[2:]], cwd=folder, check=True)
    for path in sorted([*folder.glob("*"), *folder.glob("digits/*")]):
        if path.suffix in (".png", ".gif"):
            keep(path, shown)


if __name__ == "__main__":
    main()
