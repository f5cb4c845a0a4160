// All frames of a clip, looping, in place of the one frame that ComfyUI shows while it is sampled.
//
// The pack sends them next to ComfyUI's own preview, as a sheet (cinemo_core/comfyui/preview.py). Each frame is given to the
// frontend as if it were a preview from the server, so it appears wherever that would and goes when that would go.

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const SETTING = "Cinemo.AnimatedPreview"
const MESSAGE = "cinemo.clip_preview"
const FRAME_MS = 125 // 8 frames per second
const LONGEST_SIDE = 512

const playing = new Map() // by the id of the node that is sampling: its frames, what they are sent with, and the clock

function enabled() {
    return (app.extensionManager.setting.get(SETTING) ?? true) && !matchMedia("(prefers-reduced-motion: reduce)").matches
}

function stop(id) {
    clearInterval(playing.get(id)?.timer)
    playing.delete(id)
}

function stopAll() {
    for (const id of [...playing.keys()]) stop(id)
}

// The frames of a sheet, enlarged, as JPEG.
async function cut({ image, frames, columns }) {
    const sheet = await createImageBitmap(await (await fetch(image)).blob())
    const [width, height] = [sheet.width / columns, sheet.height / Math.ceil(frames / columns)]
    const scale = LONGEST_SIDE / Math.max(width, height)
    const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale))
    const context = canvas.getContext("2d")
    context.imageSmoothingQuality = "high"
    const blobs = []
    for (let i = 0; i < frames; i++) {
        // A picture of its own before it is enlarged, or the frames next to it would show at its edges.
        const frame = await createImageBitmap(sheet, (i % columns) * width, Math.floor(i / columns) * height, width, height)
        context.drawImage(frame, 0, 0, canvas.width, canvas.height)
        frame.close()
        blobs.push(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }))
    }
    sheet.close()
    return blobs
}

function showNext(clip) {
    clip.frame = (clip.frame + 1) % clip.frames.length
    api.dispatchCustomEvent("b_preview_with_metadata", { blob: clip.frames[clip.frame], ...clip.place })
}

async function receive({ detail }) {
    if (!enabled()) return
    const id = detail.node_id
    if (!playing.has(id)) playing.set(id, { frame: -1, frames: [] })
    const clip = playing.get(id)
    clip.place = {
        nodeId: id,
        displayNodeId: detail.display_node_id,
        parentNodeId: detail.parent_node_id,
        realNodeId: detail.real_node_id,
        jobId: detail.prompt_id,
    }
    clip.waiting = detail
    if (clip.cutting) return // where steps are faster than this, only the newest sheet is cut
    clip.cutting = true
    while (clip.waiting && playing.get(id) === clip) {
        const newest = clip.waiting
        clip.waiting = undefined
        const frames = await cut(newest)
        if (playing.get(id) !== clip) return // stopped meanwhile
        clip.frames = frames
        clip.timer ??= setInterval(() => showNext(clip), FRAME_MS)
    }
    clip.cutting = false
}

app.registerExtension({
    name: "Cinemo.AnimatedPreview",
    settings: [
        {
            id: SETTING,
            category: ["Cinemo", "Motion at a glance", "Preview"],
            name: "Play all frames while a clip is sampled",
            tooltip: "Off, or if your system asks for less motion: ComfyUI's preview, a frame per step. Needs preview method auto or latent2rgb.",
            type: "boolean",
            defaultValue: true,
            onChange: (on) => on || stopAll(),
        },
    ],
    setup() {
        api.addEventListener(MESSAGE, receive)
        api.addEventListener("progress_state", ({ detail }) => {
            for (const [id, node] of Object.entries(detail.nodes)) if (node.state !== "running") stop(id)
        })
        for (const end of ["execution_start", "execution_success", "execution_error", "execution_interrupted"])
            api.addEventListener(end, stopAll)
    },
})
