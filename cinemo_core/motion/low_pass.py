"""Initial noise whose low frequencies come from a noised picture: DCTInit (Cinemo, paper sec. 3.3) and FreeInit's FFT (arXiv 2312.07537).

    noise' = T^-1(T(z0 noised to a level) * H + T(noise) * (1 - H))

T transforms over frames, rows and columns: the orthonormal DCT-II, or the Fourier transform. The paper calls H a 3D low-pass
mask; the authors' code limits rows and columns only and keeps every temporal frequency, which is the default here. How z0 is noised
is a model's own matter, its forward process.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import InputError

LEVELS = 1000  # of noise: a level is a share of the schedule, counted as the timesteps of diffusion models are
TRANSFORMS = ("dct", "fft")
AXES = (0, 2, 3)  # f c h w

# The forward process: z0 [1, c, h, w] and noise [f, c, h, w], both float64, to the noised clip on the scale of unit noise.
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LowPass:
    """Which frequencies come from the picture, and how far it is noised before.

    cutoff: share of rows and columns of the spectrum, 0..1. 0 keeps the noise, 1 takes the noised picture.
    noise_level: 0 (clean) to 999 (noise). temporal_cutoff: share of the temporal frequencies, 0..1. transform: one of TRANSFORMS.
    Raises InputError for values out of range.
    """

    cutoff: float = 0.23
    noise_level: int = 975
    temporal_cutoff: float = 1.0
    transform: str = "dct"

    def __post_init__(self):
        for name, value in (("cutoff", self.cutoff), ("temporal cutoff", self.temporal_cutoff)):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"The DCTInit {name} is {value}; choose a share from 0 to 1.")
        level = self.noise_level
        if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < LEVELS:
            raise InputError(f"The DCTInit noise level is {level!r}; choose a whole timestep from 0 to {LEVELS - 1}.")
        if self.transform not in TRANSFORMS:
            raise InputError(f"The DCTInit transform is {self.transform!r}; choose {' or '.join(TRANSFORMS)}.")

    def mask(self, frames: int, height: int, width: int) -> torch.Tensor:
        """H: which coefficients come from the picture; bool [frames, height, width]."""
        kept = _lowest_dct if self.transform == "dct" else _lowest_fft
        f, h, w = kept(frames, self.temporal_cutoff), kept(height, self.cutoff), kept(width, self.cutoff)
        return f[:, None, None] & h[:, None] & w


def refine(z0: torch.Tensor, noise: torch.Tensor, band: LowPass, forward: Forward) -> torch.Tensor:
    """`noise` with the low band of the noised picture.

    z0: the picture in the network's latent scale, [1, c, h, w]. noise: standard normal, [f, c, h, w]; the same tensor noises z0 and
    fills the high band. Returns a tensor like `noise` (dtype and device); computed in float64 on the CPU, hence the same on every
    device. Raises InputError for other shapes and non-finite numbers.
    """
    _check(z0, noise)
    high = noise.detach().cpu().double()
    low = forward(z0.detach().cpu().double(), high)  # 1 c h w -> f c h w
    return mix(low, high, band).to(noise.dtype).to(noise.device)


def mix(low: torch.Tensor, high: torch.Tensor, band: LowPass) -> torch.Tensor:
    """The low band of one clip and the high band of another, both float64 [f, c, h, w] on the CPU."""
    mask = band.mask(high.shape[0], *high.shape[2:]).unsqueeze(1)  # f 1 h w
    if band.transform == "fft":
        return torch.fft.ifftn(torch.where(mask, torch.fft.fftn(low, dim=AXES), torch.fft.fftn(high, dim=AXES)), dim=AXES).real
    from scipy.fft import dctn, idctn

    low_band, high_band = (torch.from_numpy(dctn(clip.numpy(), type=2, norm="ortho", axes=AXES)) for clip in (low, high))
    return torch.from_numpy(idctn(torch.where(mask, low_band, high_band).numpy(), type=2, norm="ortho", axes=AXES))


def _lowest_dct(n: int, cutoff: float) -> torch.Tensor:
    """The lowest int(n * cutoff) of n coefficients; bool [n].

    Plain truncation of the float product, without a minimum: a small `cutoff` on a small latent keeps nothing, and
    100 * 0.29 is 28, both as in the authors' code.
    """
    return torch.arange(n) < int(n * cutoff)


def _lowest_fft(n: int, cutoff: float) -> torch.Tensor:
    """As many cycles per picture as the DCT's band: its coefficient k makes k / 2 cycles; bool [n]. All of them where it keeps all."""
    kept = int(n * cutoff)
    return (torch.fft.fftfreq(n, 1 / n).abs() <= (kept - 1) / 2) | (kept == n)


def _check(z0: torch.Tensor, noise: torch.Tensor) -> None:
    if noise.ndim != 4 or noise.shape[0] < 1 or z0.shape != (1, *noise.shape[1:]):
        raise InputError(
            f"DCTInit got a first frame of shape {list(z0.shape)} and noise of shape {list(noise.shape)}; "
            "it needs [1, c, h, w] and [frames, c, h, w] of the same size: make both from one clip."
        )
    for name, tensor in (("first frame", z0), ("noise", noise)):
        if not tensor.isfinite().all():
            raise InputError(f"The {name} given to DCTInit holds NaN or infinite values; check the image and the VAE that made it.")
