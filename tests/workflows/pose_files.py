"""A video of poses and a picture of a pose, which a workflow names, drawn by the pack."""

from pathlib import Path

import av
import numpy as np
from cinemo_pack.cinemo_core.pose.draw import draw_figure
from cinemo_pack.cinemo_core.pose.motions import MOTIONS
from cinemo_pack.cinemo_core.pose.skeleton import Posture, photograph, pose
from PIL import Image

POSE, POSES = "pose.png", "poses.mp4"
SIZE, FRAMES, SECOND = (128, 192), 24, 25


def write_pose_files(folder: Path) -> None:
    """Someone who stands, and someone who dances."""
    Image.fromarray(drawn(Posture())).save(folder / POSE)
    with av.open(folder / POSES, "w") as container:
        stream = container.add_stream("libx264", rate=SECOND)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for i in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(drawn(MOTIONS["dance"](i / FRAMES)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def drawn(posture: Posture) -> np.ndarray:
    return draw_figure(photograph(pose(posture), *SIZE))
