"""Write documentation, gallery and page as a folder for a web server: `python docs/make_site.py FOLDER`.

The README becomes its first page; flow.html is copied when `make page` has made it.
"""

import re
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 17px/1.6 system-ui, sans-serif; max-width: 860px; margin: 0 auto; padding: 20px; }}
h1, h2, h3 {{ font-family: Palatino, Georgia, serif; line-height: 1.25; }}
pre {{ overflow-x: auto; padding: 10px 14px; border: 1px solid #8884; border-radius: 5px; font-size: 14px; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ border-bottom: 1px solid #8884; padding: 4px 12px 4px 0; text-align: left; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
<nav><a href="{home}">latentflow</a>{page}</nav>
{body}
</body>
</html>
"""


def sources() -> dict[Path, Path]:
    """Where each text lies in the repository, and in the site."""
    texts = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
    for folder in (ROOT / "latentflow" / "bundled", ROOT / "integrations"):
        texts += sorted(folder.rglob("README.md"))
    return {text: _address(text.relative_to(ROOT)) for text in texts}


def _address(path: Path) -> Path:
    return path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html")


def rendered(text: str) -> str:
    """Markdown as HTML, with headings that can be linked to as on GitHub, and links to texts as links to pages."""
    body = str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    body = re.sub(r'(href="(?!https?:)[^"]*?)README\.md', r"\1index.html", body)
    body = re.sub(r'(href="(?!https?:)[^"#]*)\.md(?=["#])', r"\1.html", body)
    body = re.sub(r'href="((?:\.\./)?latentflow/bundled)"', r'href="\1/index.html"', body)
    return re.sub(
        r"<h([1-4])>(.*?)</h\1>", lambda match: f'<h{match[1]} id="{_slug(match[2])}">{match[2]}</h{match[1]}>', body
    )


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", re.sub(r"<.*?>", "", heading).lower()).replace(" ", "-")


def make_site(folder: Path) -> list[Path]:
    """Write the site; gives the paths of its pages."""
    has_page = (ROOT / "flow.html").is_file()
    pages = []
    for text, place in sources().items():
        up = "../" * (len(place.parts) - 1)
        content = text.read_text(encoding="utf-8")
        title = re.search(r"^# (.*)", content, re.MULTILINE)
        page = folder / place
        page.parent.mkdir(parents=True, exist_ok=True)
        link = f' · <a href="{up}flow.html">the page</a>' if has_page else ""
        page.write_text(
            FRAME.format(
                title=title[1] if title else "latentflow", home=f"{up}index.html", page=link, body=rendered(content)
            ),
            encoding="utf-8",
        )
        pages.append(page)
    for picture in (each for each in DOCS.rglob("*") if each.suffix in (".png", ".jpg", ".gif", ".svg")):
        place = folder / picture.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, place)
    if has_page:
        shutil.copyfile(ROOT / "flow.html", folder / "flow.html")
    for page in pages:
        copy_linked(page, folder)
    return pages


def links(page: Path) -> set[Path]:
    """Where the links of a page lead, of those that stay on the site."""
    found = re.findall(r'(?:href|src)="([^"#]+)', page.read_text(encoding="utf-8"))
    return {(page.parent / each).resolve() for each in found if not re.match(r"\w+:", each)}


def copy_linked(page: Path, folder: Path) -> None:
    """Copy the files and folders of the repository that a page links to and that are not in the site yet."""
    for place in links(page):
        source = ROOT / place.relative_to(folder.resolve())
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


if __name__ == "__main__":
    print(f"{len(make_site(Path(sys.argv[1])))} pages in {sys.argv[1]}")
