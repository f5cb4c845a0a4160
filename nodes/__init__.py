"""All nodes of the pack, joined in one list."""

from comfy_api.latest import ComfyExtension, io

from . import condition, decode, load, noise, sample


class CinemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*load.NODES, *condition.NODES, *noise.NODES, *sample.NODES, *decode.NODES]


async def comfy_entrypoint() -> CinemoExtension:
    return CinemoExtension()
