"""The node for clips longer than the model samples at once."""

from comfy_api.latest import io

from ...cinemo_core.comfyui.cinemo.extend import Settings, extend_video
from .. import inputs
from . import inputs as own
from .inputs import CFG


class CinemoExtendVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CinemoExtendVideo",
            display_name="Cinemo Extend Video",
            category=inputs.CATEGORY,
            description="Samples a longer clip in segments: the last frame of each is the first frame of the next.",
            search_aliases=["long video", "longer", "extend", "continue video", "autoregressive", "loop", "segments", "cinemo"],
            inputs=[
                own.model(),
                own.conditioning("positive"),
                own.conditioning("negative"),
                io.Latent.Input(
                    "latent_image", tooltip="The still clip from Cinemo Motion Conditioning: its size and length are those of a segment."
                ),
                io.Int.Input(
                    "segments",
                    default=4,
                    min=1,
                    max=256,
                    tooltip="Number of segments. Four of 16 frames are 61 frames, since each shares a frame with the next.",
                ),
                io.Int.Input(
                    "overlap",
                    default=0,
                    min=0,
                    max=1022,
                    tooltip="A segment starts that many frames before the end of the last one, and the two are cross-faded there. "
                    "0: they share one frame.",
                ),
                inputs.seed("Seed of the first segment; those of the others follow from it."),
                own.steps("Denoising steps of each segment. The authors use 50."),
                inputs.cfg(7.5, CFG),
                own.sampler_name(),
                own.scheduler(),
                io.Float.Input(
                    "correction",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Against drift of colour and contrast: how far each segment's end is brought back to the first "
                    "image's. 0: not at all.",
                ),
                inputs.cutoff(
                    "DCTInit, on each segment's first frame: share of its low frequencies that the noise takes over. 0: plain noise.",
                    advanced=True,
                ),
                inputs.noise_level(
                    "DCTInit: timestep to which the first frame is noised. Lower holds it more firmly. The authors use 975 to 995.",
                    advanced=True,
                ),
                io.String.Input(
                    "buckets",
                    default="",
                    tooltip='Motion buckets of the segments, such as "9, 9, 12, 15"; the last repeats. Empty: that of the conditioning.',
                ),
                io.Boolean.Input(
                    "closed_loop",
                    default=False,
                    tooltip="End where the clip began: after the last segment the frames run backwards to the first. 61 frames become 121.",
                ),
                io.String.Input(
                    "prompts",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    placeholder="a prompt per segment, one per line",
                    tooltip="A prompt per segment, one per line, in place of the positive's text; the last line repeats. Needs clip. "
                    "Empty: the positive's text.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder, for prompts."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The frames of the whole clip, ready to decode."),
                io.String.Output(
                    display_name="drift",
                    tooltip="How far each segment drifted from the first image, before and after the correction. For Preview as Text.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        segments,
        overlap,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        correction,
        cutoff,
        noise_level,
        buckets,
        closed_loop,
        prompts,
        clip=None,
    ) -> io.NodeOutput:
        settings = Settings(seed, steps, cfg, sampler_name, scheduler, overlap, correction, cutoff, noise_level)
        return io.NodeOutput(
            *extend_video(model, positive, negative, latent_image, segments, settings, buckets, prompts, clip, closed_loop)
        )


NODES = [CinemoExtendVideo]
