"""The documentation as a folder for a web server."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import make_site  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return folder, make_site.make_site(folder)


def test_every_document_is_a_page_with_its_title(site):
    folder, pages = site
    names = {page.relative_to(folder).as_posix() for page in pages}
    assert {f"docs/{text.stem}.html" for text in (ROOT / "docs").glob("*.md")} < names and "index.html" in names
    gallery = (folder / "docs" / "gallery.html").read_text(encoding="utf-8")
    assert "<title>Gallery</title>" in gallery and '<h2 id="walk">walk</h2>' in gallery


def test_no_link_of_the_site_is_dead(site):
    _folder, pages = site
    for page in pages:
        missing = [place for place in make_site.links(page) if not place.exists()]
        assert not missing, (page, missing)
        for name, anchor in re.findall(r'href="([^":#]*)#([^"]+)"', page.read_text(encoding="utf-8")):
            target = page.parent / name if name else page
            assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), (page, name, anchor)


def test_tables_and_code_are_drawn_and_markdown_links_lead_to_pages(site):
    folder, _ = site
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<table>" in page and "<pre><code>" in page and ".md" not in re.sub(r">[^<]*<", "><", page)
