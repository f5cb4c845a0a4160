"""The sizes of the published models."""

from cinemo_core.models.animate_anyone.config import AnimateAnyoneConfig
from cinemo_core.models.cinemo.config import CinemoConfig
from cinemo_core.models.clip_text.keys import CLIPTextConfig
from cinemo_core.models.clip_vision.keys import CLIPVisionConfig
from cinemo_core.models.dynamicrafter.config import DynamiCrafterConfig
from cinemo_core.models.dynamicrafter.resampler import ResamplerConfig
from cinemo_core.models.temporal_vae.keys import VAEConfig

CINEMO = CinemoConfig(
    in_channels=4,
    out_channels=4,
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    num_res_blocks=(2, 2, 2, 2),
    transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
    context_dim=768,
    num_heads=8,
    motion_dim=256,
)

DYNAMICRAFTER = DynamiCrafterConfig(
    in_channels=8,
    out_channels=4,
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    num_res_blocks=(2, 2, 2, 2),
    transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
    context_dim=1024,
    num_head_channels=64,
    gated=False,
    projector=ResamplerConfig(image_dim=1280, dim=1024, inner=768, hidden=4096, output_dim=1024, queries=256, depth=4),
)
ANIMATE_ANYONE = AnimateAnyoneConfig(
    in_channels=4,
    out_channels=4,
    model_channels=320,
    channel_mult=(1, 2, 4, 4),
    num_res_blocks=(2, 2, 2, 2),
    transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
    context_dim=768,
    pose_channels=(16, 32, 96, 256),
    positions=32,
)
VAE = VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=False)
TEMPORAL_VAE = VAEConfig((128, 256, 512, 512), num_res_blocks=2, temporal=True)
CLIP_L = CLIPTextConfig(768, 3072, 12, num_attention_heads=12, hidden_act="quick_gelu")
TEXT_TOWER = CLIPTextConfig(1024, 4096, 24, num_attention_heads=16, hidden_act="gelu")
IMAGE_TOWER = CLIPVisionConfig(1280, 5120, 32, num_attention_heads=16, patch_size=14, image_size=224, projection_dim=1024)
