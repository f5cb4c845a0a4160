"""Conditioning that is the same for all frames of a clip: one row per clip, where ComfyUI repeats rows over the batch."""

import comfy.conds


class CONDRow(comfy.conds.CONDRegular):
    """One row per clip: never repeats over frames."""

    def process_cond(self, batch_size, **kwargs):
        return self._copy_with(self.cond)


class CONDClip(CONDRow):
    """One row per clip of latents [..., h, w]: follows areas in space."""

    def process_cond(self, batch_size, area=None, **kwargs):
        data = self.cond
        if area is not None:
            for dim in range(2):
                data = data.narrow(data.ndim - 2 + dim, area[dim + 2], area[dim])
        return self._copy_with(data)


class CONDRows(comfy.conds.CONDList):
    """Several tensors of one row per clip."""

    def process_cond(self, batch_size, **kwargs):
        return self._copy_with(self.cond)


class CONDText(comfy.conds.CONDCrossAttn):
    """Text tokens, one row per clip or one per frame."""

    def process_cond(self, batch_size, **kwargs):
        return self._copy_with(self.cond)
