"""DCTInit: initial noise whose low frequencies come from the noised first frame (paper sec. 3.3).

    noise' = IDCT(DCT(z0 noised to timestep tau) * H + DCT(noise) * (1 - H))

The transform is the orthonormal three-dimensional DCT-II over frames, rows and columns. The paper calls H a 3D low-pass
mask; the authors' code limits rows and columns only and keeps every temporal frequency, which is the default here.
"""

import torch

from ...errors import InputError
from .schedule import NUM_TRAIN_TIMESTEPS, alphas_cumprod


def low_pass_mask(frames: int, height: int, width: int, cutoff: float, temporal_cutoff: float = 1.0) -> torch.Tensor:
    """Mask H: true for the lowest int(n * cutoff) frequencies of each axis; bool [frames, height, width].

    Plain truncation of the float product, without a minimum: a small `cutoff` on a small latent keeps nothing, and
    100 * 0.29 is 28, both as in the authors' code.
    """
    mask = torch.zeros(frames, height, width, dtype=torch.bool)
    mask[: int(frames * temporal_cutoff), : int(height * cutoff), : int(width * cutoff)] = True
    return mask


def add_noise(x0: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
    """Forward diffusion sqrt(a) * x0 + sqrt(1 - a) * noise at `timestep` 0..999; the shapes broadcast."""
    alpha = alphas_cumprod()[timestep].to(device=x0.device, dtype=x0.dtype)
    return alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise


def dct_init(
    z0: torch.Tensor, noise: torch.Tensor, cutoff: float = 0.23, timestep: int = 975, temporal_cutoff: float = 1.0
) -> torch.Tensor:
    """Refine `noise` with the layout of the first frame.

    z0: first frame in the network's latent scale, [1, c, h, w].
    noise: standard normal, one row per frame to denoise, [f, c, h, w]; the same tensor noises z0 and fills the high band.
    cutoff: share of the rows and columns of the spectrum taken from z0, 0..1. 0 returns the noise, 1 the noised z0.
    timestep: noise level tau of z0, 0..999.
    temporal_cutoff: share of the temporal frequencies, 0..1.
    Returns a tensor like `noise` (dtype and device); computed in float64 on the CPU, hence the same on every device.
    Raises InputError for values out of range, other shapes and non-finite numbers.
    """
    check_low_pass(cutoff, timestep, temporal_cutoff)
    _check(z0, noise)
    from scipy.fft import dctn, idctn

    frames, _, height, width = noise.shape
    axes = (0, 2, 3)  # f c h w
    high = noise.detach().cpu().double()
    low = add_noise(z0.detach().cpu().double(), high, timestep)  # 1 c h w -> f c h w
    low_band, high_band = (torch.from_numpy(dctn(band.numpy(), type=2, norm="ortho", axes=axes)) for band in (low, high))
    mask = low_pass_mask(frames, height, width, cutoff, temporal_cutoff).unsqueeze(1)  # f 1 h w
    mixed = torch.where(mask, low_band, high_band).numpy()
    return torch.from_numpy(idctn(mixed, type=2, norm="ortho", axes=axes)).to(noise.dtype).to(noise.device)


def check_low_pass(cutoff: float, timestep: int, temporal_cutoff: float) -> None:
    """Raise InputError unless the settings of `dct_init` lie in range."""
    for name, value in (("cutoff", cutoff), ("temporal cutoff", temporal_cutoff)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"The DCTInit {name} is {value}; choose a share from 0 to 1.")
    if isinstance(timestep, bool) or not isinstance(timestep, int) or not 0 <= timestep < NUM_TRAIN_TIMESTEPS:
        raise InputError(f"The DCTInit noise level is {timestep!r}; choose a whole timestep from 0 to {NUM_TRAIN_TIMESTEPS - 1}.")


def _check(z0: torch.Tensor, noise: torch.Tensor) -> None:
    if noise.ndim != 4 or noise.shape[0] < 1 or z0.shape != (1, *noise.shape[1:]):
        raise InputError(
            f"DCTInit got a first frame of shape {list(z0.shape)} and noise of shape {list(noise.shape)}; "
            "it needs [1, c, h, w] and [frames, c, h, w] of the same size: make both from one clip."
        )
    for name, tensor in (("first frame", z0), ("noise", noise)):
        if not tensor.isfinite().all():
            raise InputError(f"The {name} given to DCTInit holds NaN or infinite values; check the image and the VAE that made it.")
