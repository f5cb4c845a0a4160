"""The frontend as people see it: the nodes, the workflows and their templates, without missing nodes and errors; they run."""

import av
import pytest
from cinemo_pack.tests.browser.running import press_run
from cinemo_pack.tests.workflows import (
    NAMES,
    NANO_BUNDLE,
    ROOT,
    TITLES,
    VALIDATED_ONLY,
    as_twin,
    pack_inputs,
    read_twin,
    read_workflow,
    switched_on,
    to_prompt,
    without_frames,
)
from cinemo_pack.tests.workflows.sd15_files import WIDE_BUNDLE
from cinemo_pack.tools.result_card import result_card

TINY = {  # by the title of a node, or by its type
    "CinemoBundleLoader": {"bundle": "cinemo-nano"},
    "Width": {"value": 64},
    "Height": {"value": 64},
    "Frames": {"value": 3},
    "Steps": {"value": 2},
    "Frame 0": {},
    "CinemoExtendVideo": {"segments": 2, "steps": 2},
    "CinemoMotionBucketFromVideo": {"width": 64, "height": 64, "frame_stride": 1},
    "CinemoMotionConditioning": {"width": 64, "height": 64, "frames": 3},
    "CinemoAnimateAnyoneConditioning": {"width": 64, "height": 64},
    "CinemoAnimateAnyoneSampler": {"steps": 2},
    "CinemoPoseAlignment": {"width": 64, "height": 64},
    "CinemoPoseAlignmentFromPictures": {"width": 64, "height": 64},
    "CinemoPoseClip": {"width": 64, "height": 64, "frames": 3},
    "CinemoAnimateAnyoneWindows": {"window": 2, "overlap": 1},
    "Part of the video": {"length": 3},
    "CinemoDynamiCrafterConditioning": {"width": 64, "height": 64, "frames": 3},
    "CinemoDynamiCrafterKSampler": {"steps": 2},
    "CinemoDynamiCrafterScheduler": {"steps": 2},
    "ImageFromBatch": {"length": 3},
    "Without the last frame": {"length": 2},
    "ImageScale": {"width": 64, "height": 64},
    "CinemoResidualKSampler": {"steps": 2},
    "CinemoDDIMScheduler": {"steps": 2},
    "KSampler": {"steps": 2},
}
EMPTY = {"version": 0.4, "nodes": [], "links": [], "groups": [], "last_node_id": 0, "last_link_id": 0}
LOAD = "workflow => app.loadGraphData(workflow)"
PROMPT = "async () => (await app.graphToPrompt()).output"
SET_WIDGETS = """wanted => {
    for (const node of app.graph.nodes)
        for (const [name, value] of Object.entries(wanted[node.title] ?? wanted[node.type] ?? {}))
            node.widgets.find(widget => widget.name === name).value = value
}"""
# Nodes that the frontend could not make, or that overlap although the file says that they do not.
BROKEN = """() => app.graph.nodes.filter(n => !LiteGraph.registered_node_types[n.type] || n.has_errors).map(n => n.type)"""
OVERLAPS = """() => {
    const boxes = app.graph.nodes.map(n => [n.type, n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]])
    const meet = (a, b) => a[1] < b[3] && b[1] < a[3] && a[2] < b[4] && b[2] < a[4]
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => meet(a, b)).map(b => [a[0], b[0]]))
}"""
SQUARE = {"x": 200, "y": 150, "width": 640, "height": 640}
# Nodes for whose help page a picture is taken, by the workflow that shows them at work.
PICTURED = {
    "custom_sampling": ["CinemoDDIMScheduler"],
    "extend_video": ["CinemoExtendVideo"],
    "image_to_video": [
        "CinemoBundleLoader",
        "CinemoMotionConditioning",
        "CinemoDCTInitNoise",
        "CinemoResidualKSampler",
        "CinemoVideoDecode",
    ],
    "image_to_video_stock_ksampler": ["CinemoModelLoader"],
    "match_motion": ["CinemoMotionBucketFromVideo", "CinemoMotionReport"],
    "motion_transfer": ["CinemoInvertVideo", "CinemoResidualSplit", "CinemoResidualMerge"],
}
NODE_PICTURES = ROOT / "web" / "docs" / "pictures"
WIDE = {"x": 120, "y": 150, "width": 1420, "height": 540}  # the whole workflow, for the README
SHOW_ALL = """([x, y]) => {
    app.canvas.ds.scale = 0.666
    app.canvas.ds.offset = [x / 0.666 + 15, y / 0.666 + 15]
    app.canvas.setDirty(true, true)
}"""
SHOW_NODE = """([type, x, y]) => {
    const node = app.graph.nodes.find(node => node.type === type)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [x + 30 - node.pos[0], y + 50 - node.pos[1]]
    app.canvas.setDirty(true, true)
    return [...node.size]
}"""
# Cards have a picture while they are in view.
CARD_HAS_PICTURE = """name => {
    const card = document.querySelector(`[data-testid="template-workflow-${name}"]`)
    card?.scrollIntoView({block: 'center'})
    const picture = card?.querySelector('img')
    return picture?.complete && picture.naturalWidth > 0
}"""
PICTURE_LOADED = """name => {
    const picture = document.querySelector(`img[src$='pictures/${name}']`)
    return picture?.complete && picture.naturalWidth > 0
}"""
PLACE_ALL = """names => {
    let [x, y] = [0, 0]
    for (const name of names) {
        const node = LiteGraph.createNode(name)
        node.pos = [x, y]
        app.graph.add(node)
        y += node.size[1] + 80
        if (y > 550) [x, y] = [x + 400, 0]
    }
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [120, 150]
    app.canvas.setDirty(true, true)
    return Object.fromEntries(app.graph.nodes.map(n => [n.type, {
        size: n.size.slice(), least: n.computeSize().slice(),
        widgets: (n.widgets ?? []).map(w => [w.name, w.type, w.value, !!w.options?.advanced])
    }]))
}"""


def complaints(page):
    """What the frontend says is wrong with the workflow on the canvas."""
    page.wait_for_timeout(1000)  # it looks for missing files after it has drawn the graph
    return page.get_by_test_id("error-overlay").all_inner_texts()


def sent_graph(page):
    """The graph that the frontend sends, without what it adds to show a video in its node."""
    prompt = page.evaluate(PROMPT)
    for entry in prompt.values():
        entry["inputs"].pop("video-preview", None)
    return prompt


def sent_graph_without_titles(page):
    return {node: {"class_type": entry["class_type"], "inputs": entry["inputs"]} for node, entry in sent_graph(page).items()}


def about_the_pack(errors):
    return [error for error in errors if "cinemo" in error.lower()]


def photograph(page, server, name, folder):
    """Write the workflow's card and pictures of nodes for help pages: with their results where nano runs it as it is.

    What it does not run has a drawn card, see tools/cards.py.
    """
    if any(NANO_BUNDLE in node.get("widgets_values", []) for node in read_workflow(name)["nodes"]):
        page.evaluate(SET_WIDGETS, steps_of_cards(20))  # the eye sees no difference from 50
        run = press_run(page, server, seconds=600)  # at full size and length
        assert run["status"]["status_str"] == "success"
        page.evaluate(SET_WIDGETS, steps_of_cards(50))
        result_card(saved_frames(server, run)).save(folder / f"{TITLES[name]}.jpg", quality=88)
    if name == "image_to_video":
        page.evaluate(SHOW_ALL, [WIDE["x"], WIDE["y"]])
        page.wait_for_timeout(3000)
        page.screenshot(path=ROOT / "docs" / f"{name}.png", clip=WIDE)
    for node in PICTURED.get(name, ()):
        width, height = page.evaluate(SHOW_NODE, [node, SQUARE["x"], SQUARE["y"]])
        page.wait_for_timeout(1000)
        clip = {"x": SQUARE["x"], "y": SQUARE["y"], "width": width + 60, "height": height + 80}
        page.screenshot(path=NODE_PICTURES / f"{node}.png", clip=clip)


def steps_of_cards(steps: int) -> dict:
    return {"Steps": {"value": steps}} | {
        node: {"steps": steps} for node in ("CinemoResidualKSampler", "CinemoDDIMScheduler", "CinemoExtendVideo")
    }


def saved_frames(server, run: dict) -> list:
    """Of the clip that a run saved, of several the last."""
    files = [file for output in run["outputs"].values() for file in output.get("images", []) if file["type"] == "output"]
    video = [file for file in files if file["filename"].endswith(".mp4")][-1]
    with av.open(server.base / "output" / video["subfolder"] / video["filename"]) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.fixture
def files_named(server, name):
    """Empty files in the places of those that no small one can stand for: the frontend complains about names that are not there."""
    entries = [entry for node in read_workflow(name)["nodes"] for entry in node["properties"].get("models", [])]
    files = [server.base / "models" / entry["directory"] / entry["name"] for entry in entries if name in VALIDATED_ONLY]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    yield
    for file in files:
        file.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_the_workflow_opens_and_runs(
    open_page, server, files_named, stock_files, sd15_files, dynamicrafter_files, animate_anyone_files, name, tmp_path, thumbnails
):
    opened = open_page()
    page = opened.page
    page.evaluate(LOAD, read_workflow(name))
    assert complaints(page) == []
    assert page.evaluate(BROKEN) == []
    assert page.evaluate(OVERLAPS) == []
    assert as_twin(sent_graph(page)) == without_frames(read_twin(name)), "the frontend sends another graph than the twin"

    if thumbnails and "(Cinemo)" in TITLES[name]:
        photograph(page, server, name, thumbnails)
    if name in VALIDATED_ONLY:
        return
    page.evaluate(SET_WIDGETS, TINY | ({"CinemoBundleLoader": {"bundle": WIDE_BUNDLE}} if name == "controlnet" else {}))
    run = press_run(page, server)
    assert run["status"]["status_str"] == "success", run["status"]["messages"]
    assert any(image["filename"].endswith(".mp4") for output in run["outputs"].values() for image in output.get("images", []))
    page.screenshot(path=tmp_path / f"{name}.png")
    assert about_the_pack(opened.errors) == []


def test_the_optional_group_is_switched_on_as_its_note_says(open_page, tmp_path):
    """Its nodes selected, Ctrl+B pressed: the frontend sends them, and no more when it is pressed again."""
    opened = open_page()
    page = opened.page
    workflow = read_workflow("video_editing")
    page.evaluate(LOAD, workflow)
    assert complaints(page) == []
    page.evaluate("() => app.canvas.selectItems(app.graph.nodes.filter(node => node.mode === 4))")
    page.locator("canvas").first.focus()
    page.keyboard.press("Control+b")
    assert sent_graph_without_titles(page) == to_prompt(switched_on(workflow))
    page.screenshot(path=tmp_path / "switched_on.png")
    page.keyboard.press("Control+b")
    assert sent_graph_without_titles(page) == to_prompt(workflow)


def test_a_missing_node_is_noticed(open_page):
    """The checks above can fail: a node of no pack is complained about."""
    workflow = read_workflow("image_to_video")
    workflow["nodes"][2]["type"] = "CinemoNoSuchNode"
    page = open_page().page
    page.evaluate(LOAD, workflow)
    assert complaints(page) != []
    assert page.evaluate(BROKEN) == ["CinemoNoSuchNode"]


def test_missing_files_are_offered(open_page):
    """Without the files the frontend lists them, and offers the one that it can download."""
    opened = open_page()
    page = opened.page
    page.evaluate(LOAD, read_workflow("image_to_video_stock_ksampler"))
    page.get_by_text("View details").click()
    panel = page.get_by_test_id("missing-model-importable-rows")
    panel.wait_for()
    shown = panel.inner_text()
    assert all(name in shown for name in ("cinemo.pt", "cinemo_text_encoder.bin", "cinemo_vae.bin"))
    assert all(folder in shown for folder in ("diffusion_models", "text_encoders", "vae"))
    offered = page.get_by_test_id("missing-model-download").evaluate_all("buttons => buttons.map(b => b.ariaLabel)")
    assert offered == ["Download cinemo.pt"]


def test_the_templates_are_shown_with_their_pictures(open_page, stock_files, tmp_path):
    opened = open_page()
    page = opened.page
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text("cinemo", exact=True).first.click()
    for title in TITLES.values():
        page.wait_for_function(CARD_HAS_PICTURE, arg=title, polling=200)
    page.screenshot(path=tmp_path / "templates.png")
    page.get_by_test_id(f"template-workflow-{TITLES['image_to_video']}").click()
    page.wait_for_function("count => app.graph.nodes.length === count", arg=len(read_workflow("image_to_video")["nodes"]))
    assert about_the_pack(opened.errors) == []


@pytest.mark.parametrize("modern", [False, True], ids=["canvas", "nodes-2.0"])
def test_the_nodes_look_right_on_an_empty_canvas(open_page, server, tmp_path, modern):
    opened = open_page()
    page = opened.page
    page.evaluate("modern => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', modern)", modern)
    page.evaluate(LOAD, EMPTY)
    shown = page.evaluate(PLACE_ALL, sorted(pack_inputs()))
    page.wait_for_timeout(1000)
    page.screenshot(path=tmp_path / "nodes.png")

    assert set(shown) == set(pack_inputs())
    assert all(node["size"][0] >= node["least"][0] for node in shown.values())
    widgets = {node: {name: rest for name, *rest in entry["widgets"]} for node, entry in shown.items()}
    others = server.base / "models" / "diffusers" / WIDE_BUNDLE  # nano gives way to it, where an earlier test needed it
    bundle = WIDE_BUNDLE if others.exists() else NANO_BUNDLE
    assert widgets["CinemoBundleLoader"]["bundle"] == ["combo", bundle, False]
    assert widgets["CinemoModelLoader"]["model_name"] == ["combo", f"{bundle}/unet", False]
    assert widgets["CinemoMotionConditioning"]["motion_bucket"] == ["slider", 9, False]
    assert widgets["CinemoResidualKSampler"]["scheduler"] == ["combo", "cinemo_ddim", False]
    advanced = {f"{node}.{name}" for node, entry in widgets.items() for name, rest in entry.items() if rest[2]}
    assert advanced == {f"{node}.{item.name}" for node, inputs in pack_inputs().items() for item in inputs if item.advanced}
    assert about_the_pack(opened.errors) == []


def test_the_help_page_is_shown(open_page, tmp_path):
    page = open_page().page
    page.evaluate(LOAD, EMPTY)
    page.evaluate(PLACE_ALL, ["CinemoMotionConditioning"])
    page.evaluate("() => app.canvas.selectNode(app.graph.nodes[0])")
    page.get_by_test_id("info-button").click()
    page.get_by_text("Which way the motion goes").wait_for()
    for picture in ("CinemoMotionConditioning.png", "motion_bucket.webp", "prompt.webp"):
        page.locator(f"img[src$='pictures/{picture}']").scroll_into_view_if_needed()
        page.wait_for_function(PICTURE_LOADED, arg=picture)
    page.screenshot(path=tmp_path / "help.png")
