"""Each node has a help page that is complete: its name, every input, and workflows that exist."""

import re

import pytest
from cinemo_pack.tests.comfyui import schemas
from cinemo_pack.tests.workflows import NAMES, ROOT, TITLES, pack_inputs, path_of
from PIL import Image

PAGES = ROOT / "web" / "docs"
every_node = pytest.mark.parametrize("node", sorted(pack_inputs()))


def read(node: str) -> str:
    return (PAGES / f"{node}.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {title}$\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def test_every_page_belongs_to_a_node():
    assert {path.name for path in PAGES.iterdir()} == {f"{node}.md" for node in pack_inputs()} | {"pictures"}


def test_every_picture_is_there_and_shown():
    shown = {name for node in pack_inputs() for name in re.findall(r"!\[[^\]\n]+\]\(pictures/([\w.]+)\)", read(node))}
    assert shown == {path.name for path in (PAGES / "pictures").iterdir()}
    for name in shown:
        with Image.open(PAGES / "pictures" / name) as picture:
            assert picture.width <= 1000 and (name.endswith(".png") or picture.n_frames == 16), name


@every_node
def test_the_page_names_every_input_and_no_other(node):
    rows = re.findall(r"^\* (`.*?): \S", section(read(node), "Inputs"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(item.name for item in pack_inputs()[node])


@every_node
def test_the_page_is_what_a_person_needs(node):
    page = read(node)
    title = re.match(rf"# (.*)\n\n(.*)\n\n!\[.*\]\(pictures/{node}\.png\)\n\n## Inputs\n", page)
    assert title, "a page begins with the node's name, one paragraph and the node's picture"
    assert title[1] == schemas()[node].display_name
    assert 100 < len(title[2]) < 500
    assert section(page, "Common mistakes").count("\n* **") >= 1
    assert len(page) < 4000


@every_node
def test_the_page_names_workflows_that_show_the_node(node):
    named = set(re.findall(r"\*([^*]+ \([^*)]+\))\*", read(node)))
    shown = {TITLES[name] for name in NAMES if f'"type": "{node}"' in path_of(name).read_text(encoding="utf-8")}
    assert named <= set(TITLES.values())
    assert named & shown or not shown
