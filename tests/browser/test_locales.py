"""The languages as ComfyUI serves them and as the frontend shows them, in Chinese; the other files have the same form."""

import json
from collections.abc import Iterator

import pytest
from cinemo_pack.tests.browser.running import press_run
from cinemo_pack.tests.browser.test_experience import SMALL, SWAP_LATENT
from cinemo_pack.tests.workflows import ROOT, pack_inputs, read_workflow

NODE = "CinemoMotionConditioning"
EMPTY = {"version": 0.4, "nodes": [], "links": [], "groups": [], "last_node_id": 0, "last_link_id": 0}
LOAD = "workflow => app.loadGraphData(workflow)"
SWITCH = "async language => await app.extensionManager.setting.set('Comfy.Locale', language)"
READY = "() => window.app?.canvas && window.app.extensionManager && window.app.graph?.nodes.length > 0"
PLACE = """type => {
    const node = LiteGraph.createNode(type)
    node.pos = [0, 0]
    app.graph.add(node)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [500, 250]
    app.canvas.setDirty(true, true)
}"""
SHOWN = """() => app.graph.nodes.map(n => ({
    title: n.title,
    inputs: Object.fromEntries(n.inputs.map(i => [i.name, i.label ?? i.localized_name])),
    widgets: Object.fromEntries(n.widgets.map(w => [w.name, w.label])),
    outputs: n.outputs.map(o => o.label ?? o.localized_name),
    values: Object.fromEntries(n.widgets.map(w => [w.name, w.value]))
}))[0]"""
# Where on the page the node's title, an input's dot and a widget are.
PLACES = """([input, widget]) => {
    const [node] = app.graph.nodes
    const onPage = ([x, y]) => [
        (x + app.canvas.ds.offset[0]) * app.canvas.ds.scale + app.canvas.canvas.getBoundingClientRect().x,
        (y + app.canvas.ds.offset[1]) * app.canvas.ds.scale + app.canvas.canvas.getBoundingClientRect().y
    ]
    const [x, y] = node.pos
    const found = node.widgets.find(w => w.name === widget)
    return {
        title: onPage([x + 120, y - 15]),
        input: onPage(node.getConnectionPos(true, node.inputs.findIndex(i => i.name === input))),
        widget: onPage([x + node.size[0] / 2, y + found.last_y + 10])
    }
}"""


def texts(language, file="nodeDefs.json"):
    return json.loads((ROOT / "locales" / language / file).read_text(encoding="utf-8"))


@pytest.fixture
def chinese_page(open_page, server) -> Iterator:
    """A page whose language is set to Chinese in its settings, and back at the end: they are kept on the server."""
    opened = open_page()
    opened.page.evaluate(SWITCH, "zh")
    # The frontend fetches the nodes again at once, but may do so before it has the language's own texts: it needs a reload.
    opened.page.reload()
    opened.page.wait_for_function(READY)
    yield opened
    opened.page.request.post(f"{server.url}/settings", data={"Comfy.Locale": "en"})


def tooltip(page, place):
    """The text that the frontend shows while the mouse rests on a place."""
    page.mouse.move(5, 500)
    page.mouse.move(*place, steps=4)
    page.locator(".node-tooltip").wait_for()
    return page.locator(".node-tooltip").inner_text()


def test_comfyui_serves_every_language_and_its_english_is_what_the_nodes_say(server, open_page):
    request = open_page().page.request
    served = request.get(f"{server.url}/i18n").json()
    ours = pack_inputs()
    for language in ("en", "zh", "ko", "ja"):
        assert {name: entry for name, entry in served[language]["nodeDefs"].items() if name in ours} == texts(language)
    for node, schema in request.get(f"{server.url}/object_info").json().items():
        if node in ours:
            english = texts("en")[node]
            assert (english["display_name"], english["description"]) == (schema["display_name"], schema["description"])
            groups = (schema["input"].get(group, {}) for group in ("required", "optional"))
            inputs = {name: rest["tooltip"] for group in groups for name, (_, rest) in group.items()}
            assert {name: entry["tooltip"] for name, entry in english["inputs"].items()} == inputs
            assert [entry["tooltip"] for entry in english["outputs"].values()] == schema["output_tooltips"]
            names = [entry.get("name", kind) for entry, kind in zip(english["outputs"].values(), schema["output"], strict=True)]
            assert names == schema["output_name"]


def test_names_and_tooltips_are_chinese_in_a_chinese_frontend(chinese_page, tmp_path):
    page, wanted = chinese_page.page, texts("zh")[NODE]
    page.evaluate(LOAD, EMPTY)
    page.evaluate(PLACE, NODE)
    page.wait_for_timeout(500)

    shown = page.evaluate(SHOWN)
    assert shown["title"] == wanted["display_name"]
    names = {name: entry["name"] for name, entry in wanted["inputs"].items()}
    assert {name: (shown["inputs"] | shown["widgets"])[name] for name in names} == names
    assert shown["outputs"] == [entry["name"] for entry in wanted["outputs"].values()]
    assert shown["values"]["resize"] == "cover", "a menu keeps its values"

    places = page.evaluate(PLACES, ["image", "motion_bucket"])
    assert tooltip(page, places["title"]) == wanted["description"]
    assert tooltip(page, places["input"]) == wanted["inputs"]["image"]["tooltip"]
    assert tooltip(page, places["widget"]) == wanted["inputs"]["motion_bucket"]["tooltip"]
    page.screenshot(path=tmp_path / "tooltip.png")

    page.keyboard.press("n")  # the node library
    page.locator(".side-bar-panel input, .sidebar-content-container input").first.fill("运动档位")
    found = page.get_by_role("treeitem").filter(has_text=texts("zh")["CinemoMotionBucketFromVideo"]["display_name"])
    found.first.wait_for()
    page.screenshot(path=tmp_path / "library.png")
    assert [error for error in chinese_page.errors if "cinemo" in error.lower()] == []


def test_an_error_begins_with_a_chinese_line_in_a_chinese_frontend(chinese_page, server, tmp_path):
    page = chinese_page.page
    page.evaluate(LOAD, read_workflow("image_to_video"))
    page.evaluate(SMALL, 2)
    page.evaluate(SWAP_LATENT)
    assert press_run(page, server)["status"]["status_str"] == "error"
    toast = page.locator(".p-toast-message").filter(has_text=texts("zh", "main.json")["cinemoErrors"]["InputError"])
    toast.get_by_text("a clip of Cinemo has 2 or more").wait_for()
    page.screenshot(path=tmp_path / "error.png")


def test_an_english_frontend_shows_an_error_once(open_page, server):
    page = open_page().page
    page.evaluate(LOAD, read_workflow("image_to_video"))
    page.evaluate(SMALL, 2)
    page.evaluate(SWAP_LATENT)
    assert press_run(page, server)["status"]["status_str"] == "error"
    page.get_by_test_id("error-overlay").wait_for()
    page.wait_for_timeout(2000)  # time for a second message, were there one
    assert page.locator(".p-toast-message").count() == 0
