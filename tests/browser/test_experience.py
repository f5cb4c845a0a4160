"""What a newcomer meets: nodes are found by other names, wrong links are refused, errors say what to do on the right node."""

import pytest
from cinemo_pack.tests.browser.running import history, next_entry, press_run
from cinemo_pack.tests.workflows import read_workflow

LOAD = "workflow => app.loadGraphData(workflow)"
TYPES = "() => app.graph.nodes.map(node => node.type).sort()"
SMALL = """steps => {
    const set = (type, values) => {
        const node = app.graph.nodes.find(node => node.type === type)
        for (const [name, value] of Object.entries(values)) node.widgets.find(widget => widget.name === name).value = value
    }
    set('CinemoBundleLoader', {bundle: 'cinemo-nano'})
    set('CinemoMotionConditioning', {width: 64, height: 64, frames: 5})
    set('CinemoResidualKSampler', {steps})
}"""
# Another latent than the conditioning's goes into the sampler.
SWAP_LATENT = """() => {
    const sampler = app.graph.nodes.find(node => node.type === 'CinemoResidualKSampler')
    const other = app.graph.add(LiteGraph.createNode('EmptyLatentImage'))
    other.connect(0, sampler, sampler.findInputSlot('latent_image'))
    return String(sampler.id)
}"""
CONNECT = """([from, output, to, input]) => {
    const [a, b] = [from, to].map(type => app.graph.nodes.find(node => node.type === type))
    const before = b.inputs[b.findInputSlot(input)].link
    a.connect(a.findOutputSlot(output), b, b.findInputSlot(input))
    return b.inputs[b.findInputSlot(input)].link !== before
}"""


@pytest.fixture
def opened(open_page):
    """The frontend with the workflow image to video, at the size of tests."""
    opened = open_page()
    opened.page.evaluate(LOAD, read_workflow("image_to_video"))
    opened.page.evaluate(SMALL, 2)
    return opened


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("image to video", "Cinemo Residual KSampler"),
        ("i2v", "Cinemo Motion Conditioning"),
        ("animate", "Cinemo Motion Conditioning"),
        ("motion strength", "Cinemo Motion Conditioning"),
        ("dct", "Cinemo DCTInit Noise"),
        ("motion transfer", "Cinemo Invert Video"),
        ("long video", "Cinemo Extend Video"),
        ("ssim", "Cinemo Motion Bucket From Video"),
    ],
)
def test_nodes_are_found_by_what_people_call_them(opened, words, name):
    page = opened.page
    page.keyboard.press("n")  # the node library
    page.get_by_placeholder("Search").last.fill(words)
    page.get_by_role("treeitem").filter(has_text=name).first.wait_for()


def test_a_link_of_another_type_is_refused(opened):
    page = opened.page
    assert not page.evaluate(CONNECT, ["LoadImage", "IMAGE", "CinemoResidualKSampler", "model"])
    assert not page.evaluate(CONNECT, ["CinemoDCTInitNoise", "NOISE", "CinemoResidualKSampler", "latent_image"])
    assert page.evaluate(CONNECT, ["CinemoMotionConditioning", "negative", "CinemoResidualKSampler", "positive"])


def test_an_error_is_a_sentence_on_its_node(opened, server):
    page = opened.page
    sampler = page.evaluate(SWAP_LATENT)
    entry = press_run(page, server)
    assert entry["status"]["status_str"] == "error"
    page.wait_for_function("() => app.lastExecutionError")
    error = page.evaluate("() => app.lastExecutionError")
    assert str(error["node_id"]) == sampler
    sentence = "a clip of Cinemo has 2 or more"
    assert sentence in error["exception_message"]
    page.get_by_test_id("error-overlay").get_by_text("Cinemo Residual KSampler failed").wait_for()
    page.get_by_test_id("error-overlay").get_by_text("View details").click()
    page.get_by_text(sentence).first.wait_for()


def test_a_run_can_be_stopped_and_the_next_one_works(opened, server):
    page = opened.page
    page.evaluate(SMALL, 900)
    before = history(page, server)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("() => document.title.includes('%') && /[1-9]/.test(document.title)")
    page.keyboard.press("Control+Alt+Enter")  # the frontend's own key for it
    stopped = next_entry(page, server, before)
    assert "execution_interrupted" in [kind for kind, _ in stopped["status"]["messages"]]
    page.evaluate(SMALL, 2)
    assert press_run(page, server)["status"]["status_str"] == "success"


def test_a_reload_brings_the_graph_back(opened):
    page = opened.page
    before = page.evaluate(TYPES)
    assert "CinemoResidualKSampler" in before
    page.wait_for_timeout(3000)  # the frontend saves a draft a moment after a change
    page.reload()
    page.wait_for_function("() => window.app?.graph?.nodes.some(node => node.type === 'CinemoResidualKSampler')")
    assert page.evaluate(TYPES) == before
    assert [error for error in opened.errors if "cinemo" in error.lower()] == []
