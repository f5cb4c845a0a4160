"""Cosine similarities: CLIPSIM of frames with a caption, PIC of frames with the input image.

Sources: Wu et al. 2021 (CLIPSIM: CLIP's image-text similarity, mean over the frames); Xing et al. 2023, DynamiCrafter (PIC:
1/L sum over l of 1 - D(input image, frame l)) with Fu et al. 2023 (DreamSim: D = 1 - cosine of the embeddings).
"""

import numpy as np


def mean_cosine(anchor: np.ndarray, frames: np.ndarray) -> float:
    """Mean over frames [f, d] of the cosine with `anchor` [d], in float64; both CLIPSIM and PIC of one clip."""
    a, f = np.asarray(anchor, np.float64), np.asarray(frames, np.float64)
    return float((f @ a / (np.linalg.norm(f, axis=1) * np.linalg.norm(a))).mean())
