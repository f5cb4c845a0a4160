"""DCTInit: the reference's outputs, and what its definition promises."""

import re

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.models.cinemo.dctinit import add_noise, dct_init
from cinemo_pack.cinemo_core.motion.low_pass import LowPass
from cinemo_pack.tests.goldens import load, meta

GOLDEN = load("dctinit")
OUTPUTS = [key for key in GOLDEN if re.search(r"\.t\d+\.out", key)]
NOISED = [key for key in GOLDEN if key.endswith(".base_noisy")]
FLOAT32_EPS = torch.finfo(torch.float32).eps


def golden_case(key: str) -> tuple[str, list[torch.Tensor], list[torch.Tensor], float, int]:
    """Kind of arithmetic, first frames and noises in this pack's layout, cutoff and timestep of a golden."""
    size, kind, cutoff, timestep = re.match(r"(\w+)\.(\w+)\.p([\d.]+)\.t(\d+)\.", key).groups()
    noise = GOLDEN[f"{size}.noise_f64" if kind == "f64" else f"{size}.noise_f32"]
    base = GOLDEN[f"{size}.base_f64"]
    base = base.float() if kind == "f32" else base
    return kind, [frames(b) for b in base], [frames(n) for n in noise], float(cutoff), int(timestep)


def frames(clip: torch.Tensor) -> torch.Tensor:
    return clip.transpose(0, 1)  # c f h w -> f c h w


@pytest.mark.parametrize("key", OUTPUTS)
def test_reference_output(key):
    kind, firsts, noises, cutoff, timestep = golden_case(key)
    facts = meta("dctinit")["cases"][key.rsplit(".", 1)[0]]
    kept = [int(i) for i in re.findall(r"\d+", key.rsplit(".out", 1)[1])]
    # How far the recording is from exact arithmetic, and one unit in the last place of the largest value for our own rounding.
    tolerance = 1e-10 if kind == "f64" else facts["floor"] + FLOAT32_EPS * facts["absmax"]
    for z0, noise, expected in zip(firsts, noises, GOLDEN[key], strict=True):
        result = dct_init(z0, noise, LowPass(cutoff, timestep))
        assert result.dtype == noise.dtype and result.shape == noise.shape
        # Only the result is rounded to the noise's type: the same numbers given in float64 come out the same.
        exact = dct_init(z0.double(), noise.double(), LowPass(cutoff, timestep))
        assert torch.equal(exact.to(noise.dtype), result)
        result, exact = (x[kept] if kept else x for x in (result, exact))
        assert (result.double() - frames(expected).double()).abs().max() <= tolerance
        if kind == "f32noise_f64base":
            assert (exact - frames(expected)).abs().max() <= facts["floor"] + 1e-10


@pytest.mark.parametrize("key", NOISED)
def test_reference_add_noise(key):
    kind, firsts, noises, _, timestep = golden_case(key)
    for z0, noise, expected in zip(firsts, noises, GOLDEN[key], strict=True):
        result = add_noise(z0, noise, timestep)
        # Two products and a sum: each may round otherwise elsewhere. The mixed case multiplies float32 noise.
        eps = torch.finfo(torch.float64).eps if kind == "f64" else FLOAT32_EPS
        assert result.dtype == expected.dtype
        assert (result - frames(expected)).abs().max() <= 3 * eps * float(expected.abs().max())


def test_mask_keeps_truncated_counts():
    mask = LowPass(0.23).mask(15, 40, 64)
    assert mask.dtype == torch.bool and mask.shape == (15, 40, 64)
    assert mask.sum() == 15 * 9 * 14 and mask[:, :9, :14].all()
    assert LowPass(0.1).mask(15, 5, 9).sum() == 0
    assert LowPass(1.0, temporal_cutoff=0.25).mask(16, 4, 4).sum() == 4 * 16
    facts = meta("dctinit")
    for n, cutoff, count in facts["cutoff_table_n_p_cut"] + facts["cutoff_hazards"]:
        assert LowPass(cutoff).mask(1, n, 1)[0].sum() == (count if cutoff == 1.0 else 0), (n, cutoff)
        assert LowPass(cutoff).mask(1, n, n)[0].sum() == count * count, (n, cutoff)


@pytest.fixture
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, 4, 10, 12, generator=generator).double(), torch.randn(7, 4, 10, 12, generator=generator).double()


def test_cutoff_zero_is_the_noise(clip):
    z0, noise = clip
    assert (dct_init(z0, noise, LowPass(cutoff=0.0)) - noise).abs().max() < 1e-13
    assert (dct_init(z0, noise, LowPass(cutoff=0.23, temporal_cutoff=0.0)) - noise).abs().max() < 1e-13


def test_cutoff_one_is_the_noised_first_frame(clip):
    z0, noise = clip
    assert (dct_init(z0, noise, LowPass(cutoff=1.0, noise_level=500)) - add_noise(z0, noise, 500)).abs().max() < 1e-13


def test_both_bands_come_from_one_noise(clip):
    """With the same noise in both bands the result is linear in it: noise' = c * noise + low band of (sqrt(a) z0 + ...)."""
    z0, noise = clip
    from scipy.fft import dctn

    refined = dct_init(z0, noise, LowPass(cutoff=0.5, noise_level=700))
    spectrum = torch.from_numpy(dctn((refined - noise).numpy(), type=2, norm="ortho", axes=(0, 2, 3)))
    expected = torch.from_numpy(dctn((add_noise(z0, noise, 700) - noise).numpy(), type=2, norm="ortho", axes=(0, 2, 3)))
    assert (spectrum[:, :, :5, :6] - expected[:, :, :5, :6]).abs().max() < 1e-12
    spectrum[:, :, :5, :6] = 0
    assert spectrum.abs().max() < 1e-12


def test_a_still_image_reaches_only_the_temporal_mean(clip):
    """z0 repeated over frames has no temporal frequency but zero: limiting them changes only what the noise adds."""
    z0, noise = clip
    still = torch.zeros_like(noise)
    assert (dct_init(z0, still, LowPass(0.5, 10, temporal_cutoff=0.2)) - dct_init(z0, still, LowPass(0.5, 10))).abs().max() < 1e-13


def test_inputs_are_left_alone_and_results_repeat(clip):
    z0, noise = clip
    before = z0.clone(), noise.clone()
    first = dct_init(z0, noise)
    assert torch.equal(first, dct_init(z0, noise))
    assert torch.equal(z0, before[0]) and torch.equal(noise, before[1])
    assert dct_init(z0.half(), noise.half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": -0.1}, "cutoff is -0.1"),
        ({"cutoff": 1.01}, "cutoff is 1.01"),
        ({"cutoff": float("nan")}, "cutoff is nan"),
        ({"transform": "wavelet"}, "transform is 'wavelet'; choose dct or fft"),
        ({"temporal_cutoff": 2.0}, "temporal cutoff is 2.0"),
        ({"noise_level": -1}, "noise level is -1"),
        ({"noise_level": 1000}, "noise level is 1000"),
        ({"noise_level": 975.0}, "noise level is 975.0"),
        ({"z0": torch.zeros(2, 4, 10, 12)}, r"shape \[2, 4, 10, 12\]"),
        ({"z0": torch.zeros(1, 4, 10, 13)}, r"shape \[1, 4, 10, 13\]"),
        ({"noise": torch.zeros(1, 4, 7, 10, 12)}, r"shape \[1, 4, 7, 10, 12\]"),
        ({"noise": torch.zeros(0, 4, 10, 12)}, r"shape \[0, 4, 10, 12\]"),
        ({"z0": torch.full((1, 4, 10, 12), float("nan"))}, "first frame given to DCTInit"),
        ({"noise": torch.full((7, 4, 10, 12), float("inf"))}, "noise given to DCTInit"),
    ],
)
def test_bad_input(clip, change, message):
    with pytest.raises(InputError, match=message):
        tensors = dict(zip(("z0", "noise"), clip, strict=True)) | {name: change[name] for name in ("z0", "noise") if name in change}
        dct_init(**tensors, band=LowPass(**{name: value for name, value in change.items() if name not in tensors}))
