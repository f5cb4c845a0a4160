"""All nodes of the pack, joined in one list."""

from comfy_api.latest import ComfyExtension, io

from ..cinemo_core.comfyui import stock_loaders
from ..cinemo_core.comfyui.cinemo import choices
from . import animate_anyone, cinemo, decode, detail, dynamicrafter, measure, pose, residual


class CinemoExtension(ComfyExtension):
    async def on_load(self) -> None:
        stock_loaders.register()
        choices.register_included()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        families = [*cinemo.NODES, *dynamicrafter.NODES, *animate_anyone.NODES]
        return [*families, *residual.NODES, *decode.NODES, *detail.NODES, *pose.NODES, *measure.NODES]


async def comfy_entrypoint() -> CinemoExtension:
    return CinemoExtension()
