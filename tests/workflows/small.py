"""The workflows at the size of tests: a small picture, few frames, few steps."""

from .pose_files import POSE, POSES
from .sd15_files import WIDE_BUNDLE

WIDTH, HEIGHT, FRAMES, STEPS = 96, 64, 5, 3
SAMPLERS = (
    "KSampler",
    "CinemoResidualKSampler",
    "CinemoDDIMScheduler",
    "CinemoDynamiCrafterKSampler",
    "CinemoDynamiCrafterScheduler",
    "CinemoAnimateAnyoneSampler",
)
SEGMENTS = 2  # of the extended video
SECOND = 25  # frames per second of the video to work on


def shrink(graph: dict, decoder: str) -> dict:
    """The workflow at test size, on the test's picture or video; `decoder` where a node has that choice."""
    wanted = {  # by the title of a node, or by its type
        "CinemoBundleLoader": {"decoder": decoder},
        "Width": {"value": WIDTH},
        "Height": {"value": HEIGHT},
        "Frames": {"value": FRAMES},
        "Steps": {"value": STEPS},
        "Frame 0": {},
        "Last frame": {"image": "last.png"},
        "First frame": {"image": "picture.png"},
        "LoadImage": {"image": "picture.png"},
        "Without the last frame": {"length": FRAMES - 1},
        "LoadVideo": {"file": "video.mp4"},
        "Character": {"image": "picture.png"},
        "CinemoAnimateAnyoneConditioning": {"width": WIDTH, "height": HEIGHT},
        "CinemoPoseAlignment": {"width": WIDTH, "height": HEIGHT},
        "CinemoPoseAlignmentFromPictures": {"width": WIDTH, "height": HEIGHT},
        "CinemoPoseClip": {"width": WIDTH, "height": HEIGHT, "frames": FRAMES},
        "Pose of the character": {"image": POSE},
        "Video of poses": {"file": POSES},
        "CinemoAnimateAnyoneWindows": {"window": 3, "overlap": 1},
        "Part of the video": {"length": FRAMES},
        "CinemoDynamiCrafterConditioning": {"width": WIDTH, "height": HEIGHT, "frames": FRAMES},
        "CinemoExtendVideo": {"segments": SEGMENTS, "steps": STEPS},
        "CinemoMotionBucketFromVideo": {"width": WIDTH, "height": HEIGHT, "frame_stride": 1},
        "CinemoMotionConditioning": {"width": WIDTH, "height": HEIGHT, "frames": FRAMES},
        "ImageFromBatch": {"length": FRAMES},
        "ImageScale": {"width": WIDTH, "height": HEIGHT},
        **{sampler: {"steps": STEPS} for sampler in SAMPLERS},
    }
    if any(entry["class_type"] == "ControlNetLoader" for entry in graph.values()):
        wanted["CinemoBundleLoader"]["bundle"] = WIDE_BUNDLE
    for entry in graph.values():
        links = {name for name, value in entry["inputs"].items() if isinstance(value, list)}
        values = wanted.get(entry.get("_meta", {}).get("title"), wanted.get(entry["class_type"], {}))
        entry["inputs"] |= {name: value for name, value in values.items() if name not in links}
    return graph
