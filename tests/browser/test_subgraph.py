"""The blueprint as people meet it: listed under the pack, added with a click, run on nano."""

import av
from cinemo_pack.tests.browser.running import press_run

NAME = "Animate an image (Cinemo)"
LENGTH, MOTION, PROMPT = 5, 17, "the hair blows in the wind"
EMPTY = {"version": 0.4, "nodes": [], "links": [], "groups": [], "last_node_id": 0, "last_link_id": 0}
LOAD = "workflow => app.loadGraphData(workflow)"
SENT = "async () => Object.values((await app.graphToPrompt()).output)"
BROKEN = """() => {
    const nodes = app.graph.nodes.flatMap(node => [node, ...(node.subgraph?.nodes ?? [])])
    return nodes.filter(n => !(n.subgraph || LiteGraph.registered_node_types[n.type]) || n.has_errors).map(n => n.type)
}"""
SHOWN = """() => app.graph.nodes.map(n => [
    n.title, n.inputs.map(i => i.name), n.outputs.map(o => o.type), n.widgets.map(w => [w.label ?? w.name, w.type, w.value])
])"""
# What a person does around the blueprint, and nano's folder and small numbers inside it.
COMPLETE = """([prompt, motion, length]) => {
    const set = (node, name, value) => { node.widgets.find(widget => widget.name === name).value = value }
    const [animate] = app.graph.nodes
    const [load, save] = ['LoadImage', 'SaveVideo'].map(type => app.graph.add(LiteGraph.createNode(type)))
    load.pos = [animate.pos[0] - 380, animate.pos[1]]
    save.pos = [animate.pos[0] + 460, animate.pos[1]]
    load.connect(0, animate, 0)
    animate.connect(0, save, 0)
    Object.entries({prompt, motion, length}).forEach(([name, value]) => set(animate, name, value))
    const inside = type => animate.subgraph.nodes.find(node => node.type === type)
    set(inside('CinemoBundleLoader'), 'bundle', 'cinemo-nano')
    set(inside('CinemoMotionConditioning'), 'width', 64)
    set(inside('CinemoMotionConditioning'), 'height', 64)
    set(inside('CinemoResidualKSampler'), 'steps', 2)
    return animate.subgraph.nodes.length
}"""


def test_the_blueprint_is_listed_added_and_run(open_page, server, tmp_path):
    opened = open_page()
    page = opened.page
    page.evaluate(LOAD, EMPTY)
    page.keyboard.press("n")  # the node library
    page.get_by_placeholder("Search").last.fill("animate an image")
    entry = page.get_by_role("treeitem").filter(has_text=NAME).last
    entry.wait_for()
    shown = page.get_by_role("treeitem").all_inner_texts()
    assert [name.strip() for name in shown][:3] == ["Comfy Blueprints", "Cinemo", NAME]
    page.screenshot(path=tmp_path / "library.png")

    entry.click()
    page.mouse.move(900, 400)
    page.mouse.click(900, 400)
    page.wait_for_function("() => app.graph.nodes.length === 1 && !app.graph.nodes[0].flags.ghost")
    page.keyboard.press("n")
    (title, inputs, outputs, widgets) = page.evaluate(SHOWN)[0]
    assert (title, inputs, outputs) == (NAME, ["image", "prompt", "motion", "length"], ["VIDEO"])
    assert [name for name, *_ in widgets] == ["prompt", "motion", "length"]
    assert [rest for _, *rest in widgets][1:] == [["slider", 5], ["number", 16]]

    assert page.evaluate(COMPLETE, [PROMPT, MOTION, LENGTH]) == 10
    assert page.evaluate(BROKEN) == []
    sent = {}
    for node in page.evaluate(SENT):
        sent.setdefault(node["class_type"], node["inputs"])
    motion = sent["CinemoMotionConditioning"]
    assert (motion["motion_bucket"], motion["frames"], sent["CLIPTextEncode"]["text"]) == (MOTION, LENGTH, PROMPT)

    ran = press_run(page, server)
    assert ran["status"]["status_str"] == "success", ran["status"]["messages"]
    (video,) = (file for output in ran["outputs"].values() for file in output.get("images", []) if file["type"] == "output")
    with av.open(server.base / "output" / video["subfolder"] / video["filename"]) as container:
        assert sum(1 for _ in container.decode(video=0)) == LENGTH
    page.wait_for_timeout(1000)
    page.screenshot(path=tmp_path / "ran.png")
    assert page.get_by_test_id("error-overlay").all_inner_texts() == []
    assert [error for error in opened.errors if "cinemo" in error.lower() or "blueprint" in error.lower()] == []
