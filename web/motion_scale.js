// The motion bucket as a scale from "still" to "wild", with the bucket of a reference clip marked on it.
//
// A picture under the widgets of this pack's nodes that have a motion_bucket; the number widget stays what it is. It has no
// value, so nothing of it is saved: neither a widget value nor the height that it takes.

import { app } from "../../scripts/app.js"

const SETTING = "Cinemo.MotionScale"
const INPUT = "motion_bucket"
const WILDEST = 19
const HEIGHT = 34
const room = () => HEIGHT + (LiteGraph.vueNodesMode ? 2 : 4) // and what the frontend adds for a widget
const READ_EVERY_MS = 200

const STYLE = `
.cinemo-motion-scale { box-sizing: border-box; padding: 2px 16px; font: 11px/14px sans-serif; pointer-events: none;
    color: var(--input-text, #ddd); height: ${HEIGHT}px; overflow: hidden; }
.cinemo-motion-scale .track { position: relative; height: 14px; margin: 0 6px;
    background: repeating-linear-gradient(to right, currentColor 0 1px, transparent 1px calc((100% - 1px) / ${WILDEST})) center / 100% 5px no-repeat,
        linear-gradient(currentColor, currentColor) center / 100% 1px no-repeat; }
.cinemo-motion-scale .mark { position: absolute; top: 50%; width: 9px; height: 9px; transform: translate(-50%, -50%); box-sizing: border-box; }
.cinemo-motion-scale .value { border-radius: 50%; background: currentColor; }
.cinemo-motion-scale .clip { width: 11px; height: 11px; border: 2px solid currentColor; transform: translate(-50%, -50%) rotate(45deg);
    background: var(--comfy-input-bg, #222); }
.cinemo-motion-scale .mark[hidden] { display: none; }
.cinemo-motion-scale .labels { display: flex; justify-content: space-between; gap: 6px; white-space: nowrap; }
`

const enabled = () => app.extensionManager.setting.get(SETTING) ?? true

function make(tag, className, ...children) {
    const element = document.createElement(tag)
    element.className = className
    element.append(...children)
    return element
}

// The node whose output an input reads, through subgraph borders and reroutes; undefined if nothing is linked.
function sourceOf(node) {
    const slot = node.inputs?.findIndex((input) => input.name === INPUT) ?? -1
    const link = slot < 0 ? null : node.inputs[slot].link
    if (link == null) return undefined
    return node.graph?.getLink?.(link)?.resolve(node.graph)?.outputNode ?? null
}

// The bucket that the linked clip was measured to have, from what its node sent when it last ran.
function measuredBucket(source) {
    if (source?.comfyClass !== "CinemoMotionBucketFromVideo") return undefined
    const place = source.graph?.isRootGraph === false ? `${source.graph.id}:${source.id}` : String(source.id)
    return app.nodeOutputs?.[place]?.[INPUT]?.[0]
}

function state(node, widget) {
    const source = sourceOf(node)
    if (source === undefined) return { value: widget.value, text: `bucket ${widget.value}`, said: `Motion bucket ${widget.value}` }
    const clip = measuredBucket(source)
    if (clip !== undefined) return { clip, text: `◇ clip: ${clip}`, said: `Motion bucket ${clip}, measured on the reference clip` }
    const pending = source?.comfyClass === "CinemoMotionBucketFromVideo"
    return pending
        ? { text: "clip: not run yet", said: "Motion bucket of the reference clip, not measured yet" }
        : { text: "from the link", said: "Motion bucket from the link" }
}

class MotionScale {
    constructor(node, widget) {
        this.node = node
        this.number = widget
        this.value = make("span", "mark value")
        this.clip = make("span", "mark clip")
        this.text = make("span", "text")
        this.element = make(
            "div",
            "cinemo-motion-scale",
            make("div", "track", this.value, this.clip),
            make("div", "labels", make("span", "", "still"), this.text, make("span", "", "wild")),
        )
        this.element.setAttribute("role", "img")
        this.widget = node.addDOMWidget("cinemo_motion_scale", "cinemo_motion_scale", this.element, {
            serialize: false, // not in the prompt
            margin: 0,
            getMinHeight: () => HEIGHT,
            getMaxHeight: () => HEIGHT,
        })
        this.widget.serialize = false // not in the workflow
        this.show()
        // A value can be typed, set by code, undone, replaced by a link or measured; no single event reports them all.
        this.timer = setInterval(() => this.show(), READ_EVERY_MS)
        const { onRemove } = this.widget
        this.widget.onRemove = (...rest) => {
            clearInterval(this.timer)
            onRemove?.apply(this.widget, rest)
        }
    }

    show() {
        const { value, clip, text, said } = state(this.node, this.number)
        const label = `${said}, on a scale from 0, still, to ${WILDEST}, wild.`
        if (this.element.ariaLabel === label) return
        this.element.ariaLabel = label
        this.text.textContent = text
        for (const [mark, bucket] of [[this.value, value], [this.clip, clip]]) {
            mark.hidden = bucket === undefined
            mark.style.left = `${(100 * bucket) / WILDEST}%`
        }
    }
}

const scales = new WeakMap()

function resize(node, difference) {
    node.setSize([node.size[0], node.size[1] + difference])
}

function add(node) {
    const widget = node.comfyClass?.startsWith("Cinemo") && node.widgets?.find((candidate) => candidate.name === INPUT)
    if (!widget || scales.has(node)) return
    scales.set(node, new MotionScale(node, widget))
    resize(node, room())
}

function remove(node) {
    const scale = scales.get(node)
    if (!scale) return
    scales.delete(node)
    node.removeWidget(scale.widget)
    resize(node, -room())
}

// A saved node has the height that it has without the scale.
function leaveOutOfSavedHeight(node) {
    const { onConfigure, onSerialize } = node
    node.onConfigure = function (saved) {
        onConfigure?.call(this, saved)
        if (scales.has(this)) resize(this, room())
    }
    node.onSerialize = function (saved) {
        onSerialize?.call(this, saved)
        if (scales.has(this)) saved.size = [saved.size[0], saved.size[1] - room()]
    }
}

function everyNode() {
    const graphs = [app.rootGraph, ...(app.rootGraph?.subgraphs?.values() ?? [])]
    return graphs.flatMap((graph) => graph?.nodes ?? [])
}

app.registerExtension({
    name: "Cinemo.MotionScale",
    settings: [
        {
            id: SETTING,
            category: ["Cinemo", "Motion at a glance", "Scale"],
            name: "Show the motion bucket as a scale",
            tooltip: "From still to wild, under the node, with the bucket of a measured clip marked on it.",
            type: "boolean",
            defaultValue: true,
            onChange: (on) => everyNode().forEach(on ? add : remove),
        },
    ],
    setup() {
        document.head.append(make("style", "", STYLE))
    },
    nodeCreated(node) {
        if (!node.comfyClass?.startsWith("Cinemo")) return
        leaveOutOfSavedHeight(node)
        if (enabled()) add(node)
    },
})
