"""Motion at a glance: the bucket as a scale, all frames while a clip is sampled; both can be off, and nothing of them is saved."""

import json

import pytest
from cinemo_pack.tests.workflows import read_workflow

from .conftest import READY
from .test_frontend import EMPTY, LOAD, PLACE_ALL, PROMPT, SET_WIDGETS, TINY, about_the_pack, press_run

SCALE, PREVIEW = "Cinemo.MotionScale", "Cinemo.AnimatedPreview"
STEPS = 30
SET = "([name, value]) => app.extensionManager.setting.set(name, value)"
SAVED = "() => app.graph.serialize()"
LABELS = "() => [...document.querySelectorAll('.cinemo-motion-scale')].filter(e => e.checkVisibility()).map(e => e.ariaLabel)"
SET_BUCKET = "bucket => { app.graph.nodes[0].widgets.find(w => w.name === 'motion_bucket').value = bucket }"
TYPE = "name => app.graph.nodes.find(node => node.type === name)"
SHOW = """name => {
    app.canvas.deselectAll()
    app.canvas.ds.scale = 1
    const node = app.graph.nodes.find(node => node.type === name)
    app.canvas.ds.offset = [500 - node.pos[0], 150 - node.pos[1]]
    app.canvas.setDirty(true, true)
}"""
# Where a mark is on its track, 0 to 1; null if it is hidden.
PLACE_OF = """name => {
    const track = document.querySelector('.cinemo-motion-scale .track').getBoundingClientRect()
    const mark = document.querySelector(`.cinemo-motion-scale .${name}`)
    if (mark.hidden) return null
    const box = mark.getBoundingClientRect()
    return ((box.left + box.right) / 2 - track.left) / track.width
}"""
# Notes every preview that the frontend is to show, and every sheet that comes from the server.
WATCH = """async () => {
    const { api } = await import('/scripts/api.js')
    window.seen = { previews: [], sheets: [], over: false }
    api.addEventListener('b_preview_with_metadata', ({ detail }) => seen.previews.push(detail))
    api.addEventListener('cinemo.clip_preview', ({ detail }) => seen.sheets.push(detail))
    api.addEventListener('execution_success', () => { seen.over = true })
}"""
# How far consecutive ones of the last previews are apart, as the mean difference of their pixels.
DIFFERENCES = """async count => {
    const pixels = []
    for (const { blob } of seen.previews.slice(-count)) {
        const picture = await createImageBitmap(blob)
        const context = new OffscreenCanvas(32, 32).getContext('2d')
        context.drawImage(picture, 0, 0, 32, 32)
        pixels.push(context.getImageData(0, 0, 32, 32).data)
    }
    return pixels.slice(1).map((now, i) => now.reduce((sum, value, j) => sum + Math.abs(value - pixels[i][j]), 0) / now.length)
}"""


@pytest.fixture
def page(open_page, server):
    """A page with the extension as a new person finds it; its settings are the server's, so they are put back."""
    opened = open_page()
    yield opened.page
    defaults = {SCALE: True, PREVIEW: True, "Comfy.ColorPalette": "dark", "Comfy.VueNodes.Enabled": False}
    opened.page.request.post(f"{server.url}/settings", data=defaults)
    assert about_the_pack(opened.errors) == []


def without_extension(page):
    """Load the page again, as if the pack had no scripts."""

    def leave_out(route):
        route.fulfill(json=[path for path in route.fetch().json() if "cinemo" not in path])

    page.route("**/api/extensions*", leave_out)
    page.reload()
    page.wait_for_function(READY)
    assert not page.evaluate("() => app.extensions.some(extension => extension.name.startsWith('Cinemo'))")


def set_setting(page, name, value):
    page.evaluate(SET, [name, value])


def use_modern_nodes(page, modern):
    set_setting(page, "Comfy.VueNodes.Enabled", modern)
    page.wait_for_timeout(500)


MODERN = pytest.mark.parametrize("modern", [False, True], ids=["canvas", "nodes-2.0"])


@MODERN
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_scale_is_shown_with_its_words(page, tmp_path, modern, theme):
    set_setting(page, "Comfy.ColorPalette", theme)
    use_modern_nodes(page, modern)
    page.evaluate(LOAD, EMPTY)
    page.evaluate(PLACE_ALL, ["CinemoMotionConditioning"])
    page.evaluate(SHOW, "CinemoMotionConditioning")
    scale = page.locator(".cinemo-motion-scale")
    scale.wait_for()
    assert scale.inner_text().split("\n") == ["still", "bucket 9", "wild"]
    assert page.get_by_role("img", name="Motion bucket 9, on a scale from 0, still, to 19, wild.").is_visible()
    assert page.evaluate(PLACE_OF, "value") == pytest.approx(9 / 19, abs=0.01)
    assert page.evaluate(PLACE_OF, "clip") is None

    page.evaluate(SET_BUCKET, 19)
    page.get_by_role("img", name="Motion bucket 19,").wait_for()
    assert page.evaluate(PLACE_OF, "value") == pytest.approx(1, abs=0.01)
    words, back = scale.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e.querySelector('.clip')).backgroundColor]")
    assert words != back
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / "scale.png", clip={"x": 400, "y": 80, "width": 600, "height": 700})


@MODERN
def test_the_bucket_of_the_clip_is_marked_once_it_is_measured(page, server, tmp_path, modern):
    use_modern_nodes(page, modern)
    page.evaluate(LOAD, read_workflow("match_motion"))
    measured_again = {"CinemoMotionBucketFromVideo": {"width": 64, "height": 64, "frame_stride": 2 if modern else 1}}
    page.evaluate(SET_WIDGETS, TINY | measured_again)
    page.evaluate(SHOW, "CinemoMotionConditioning")
    page.get_by_role("img", name="Motion bucket of the reference clip, not measured yet").wait_for()
    assert page.evaluate(PLACE_OF, "clip") is None
    run = press_run(page, server)
    assert run["status"]["status_str"] == "success", run["status"]["messages"]
    [bucket] = next(output["motion_bucket"] for output in run["outputs"].values() if "motion_bucket" in output)
    page.get_by_role("img", name=f"Motion bucket {bucket}, measured on the reference clip").wait_for()
    assert page.evaluate(PLACE_OF, "clip") == pytest.approx(bucket / 19, abs=0.01)
    assert page.evaluate(PLACE_OF, "value") is None
    page.screenshot(path=tmp_path / "marked.png", clip={"x": 400, "y": 80, "width": 600, "height": 700})


@MODERN
def test_the_scale_goes_and_comes_with_its_setting(page, modern):
    use_modern_nodes(page, modern)
    page.evaluate(LOAD, EMPTY)
    page.evaluate(PLACE_ALL, ["CinemoMotionConditioning", "CinemoInvertVideo", "CinemoResidualKSampler"])
    page.wait_for_function(f"() => ({LABELS})().length === 2")
    height = page.evaluate(f"name => ({TYPE})(name).size[1]", "CinemoMotionConditioning")
    set_setting(page, SCALE, False)
    page.wait_for_function(f"() => ({LABELS})().length === 0")
    assert page.evaluate(f"name => ({TYPE})(name).size[1]", "CinemoMotionConditioning") < height
    set_setting(page, SCALE, True)
    page.wait_for_function(f"() => ({LABELS})().length === 2")


@MODERN
@pytest.mark.parametrize("name", ["image_to_video", "match_motion", "video_editing"])
def test_what_is_saved_and_sent_is_the_same_without_the_extension(page, modern, name):
    def saved_and_sent():
        use_modern_nodes(page, modern)
        page.evaluate(LOAD, read_workflow(name))
        page.wait_for_timeout(1000)
        first = page.evaluate(SAVED)
        page.evaluate(LOAD, first)
        page.wait_for_timeout(1000)
        again = page.evaluate(SAVED)
        return [json.dumps({key: kept[key] for key in ("nodes", "links", "groups")}) for kept in (first, again)], page.evaluate(PROMPT)

    page.evaluate(LOAD, read_workflow(name))
    page.wait_for_function(f"() => ({LABELS})().length > 0 || document.querySelector('.cinemo-motion-scale')")
    with_it = saved_and_sent()
    without_extension(page)
    assert with_it == saved_and_sent()


def load_a_slow_run(page, modern, cfg, frames=6):
    """A run of some seconds; each has a cfg of its own, or the server would have its result already."""
    use_modern_nodes(page, modern)
    page.evaluate(LOAD, read_workflow("image_to_video"))
    slow = {"CinemoResidualKSampler": {"steps": STEPS, "cfg": cfg}, "Steps": {"value": STEPS}}
    page.evaluate(SET_WIDGETS, TINY | slow | {"CinemoMotionConditioning": {"width": 128, "height": 128, "frames": frames}})
    page.evaluate(SHOW, "CinemoResidualKSampler")
    page.evaluate(WATCH)


@MODERN
def test_all_frames_play_while_the_clip_is_sampled(page, tmp_path, modern):
    load_a_slow_run(page, modern, cfg=6.0 if modern else 5.0)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("() => seen.previews.length - seen.sheets.length >= 13")
    assert not page.evaluate("() => seen.over"), "the run was over before the frames had played twice"
    page.screenshot(path=tmp_path / "playing.png", clip={"x": 400, "y": 80, "width": 600, "height": 900})
    assert page.evaluate("() => seen.sheets.every(sheet => sheet.frames === 6 && sheet.columns === 3)")
    differences = page.evaluate(DIFFERENCES, 8)
    assert sum(difference > 0.5 for difference in differences) >= 4, differences
    shown = page.evaluate("() => Object.values(app.nodePreviewImages).flat()")
    assert len(shown) == 1 and shown[0].startswith("blob:")

    page.wait_for_function("() => seen.over")
    sheets = page.evaluate("() => seen.sheets.length")
    assert sheets == STEPS
    page.wait_for_timeout(300)
    played = page.evaluate("() => seen.previews.length")
    page.wait_for_timeout(600)
    assert page.evaluate("() => seen.previews.length") == played, "frames play on after the run"


def test_all_frames_of_the_stock_sampler_in_windows_are_sent(page, server, animate_anyone_files):
    page.evaluate(LOAD, read_workflow("animate_anyone_long_clip"))
    page.evaluate(SET_WIDGETS, TINY)
    page.evaluate(WATCH)
    run = press_run(page, server)
    assert run["status"]["status_str"] == "success", run["status"]["messages"]
    page.wait_for_function("() => seen.over")
    sheets = page.evaluate("() => seen.sheets.map(sheet => [sheet.frames, sheet.columns])")
    assert sheets == [[TINY["Part of the video"]["length"], 2]] * TINY["KSampler"]["steps"]


@pytest.mark.parametrize(("why", "cfg"), [("setting", 2.0), ("less motion", 3.0), ("no extension", 4.0)])
def test_the_plain_preview_stays_where_the_frames_do_not_play(page, server, why, cfg):
    if why == "setting":
        set_setting(page, PREVIEW, False)
    elif why == "less motion":
        page.emulate_media(reduced_motion="reduce")
    else:
        without_extension(page)
    load_a_slow_run(page, modern=False, cfg=cfg)
    run = press_run(page, server)
    assert run["status"]["status_str"] == "success", run["status"]["messages"]
    page.wait_for_function("() => seen.over")
    assert page.evaluate("() => [seen.previews.length, seen.sheets.length]") == [STEPS, STEPS]
    assert any(difference > 0.5 for difference in page.evaluate(DIFFERENCES, 8))
