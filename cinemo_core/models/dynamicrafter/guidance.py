"""Guidance as the authors do it: on the network's output, over the whole clip."""

from torch import Tensor


def guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    return uncond + scale * (cond - uncond)


def guide_text_and_image(uncond: Tensor, image: Tensor, cond: Tensor, text_scale: float, image_scale: float) -> Tensor:
    """Three evaluations: neither, the image alone, image and text (paper sec. 3.3)."""
    return uncond + image_scale * (image - uncond) + text_scale * (cond - image)


def rescale(guided: Tensor, cond: Tensor, factor: float, clips: int = 1) -> Tensor:
    """Bring the spread of the guided output back to that of the conditional one (arXiv 2305.08891, sec. 3.4).

    Outputs [b * f, c, h, w], the frames of a clip together; the deviation is taken over a clip. factor: 0 leaves it as it is.
    """
    spread, wanted = (x.unflatten(0, (clips, -1)).flatten(1).std(dim=1) for x in (guided, cond))
    ratio = (wanted / spread).repeat_interleave(guided.shape[0] // clips)[:, None, None, None]
    return guided * (factor * ratio + (1 - factor))
