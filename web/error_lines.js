// What kind of mistake an error of this pack is, in the language of the frontend; its own sentence, which is English, below.
//
// A server does not know who reads its errors, and the frontend has no place where it looks up those of a pack. The lines are
// in locales/*/main.json. In English there is nothing to add to what the frontend shows.

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const OURS = /cinemo_core\.errors\.(\w+)$/ // the class, below whatever name the pack's folder has
const SHOWN_MS = 8000 // it covers the message of the frontend, which stays

async function lineFor(kind) {
    const language = app.extensionManager.setting.get("Comfy.Locale")
    if (!language || language === "en") return undefined
    return (await api.getCustomNodesI18n())[language]?.cinemoErrors?.[kind]
}

app.registerExtension({
    name: "Cinemo.ErrorLines",
    setup() {
        api.addEventListener("execution_error", async ({ detail }) => {
            const kind = OURS.exec(detail.exception_type)?.[1]
            const summary = kind && (await lineFor(kind))
            if (summary) app.extensionManager.toast.add({ severity: "error", summary, detail: detail.exception_message, life: SHOWN_MS })
        })
    },
})
