"""Detail that follows motion: exact frame 0, known motions, nothing where nothing can be trusted, and what is refused."""

import pytest
import torch
from cinemo_pack.cinemo_core.detail.fit import check_clip, fit_picture, own_size
from cinemo_pack.cinemo_core.detail.flow import optical_flow
from cinemo_pack.cinemo_core.detail.planes import gaussian, grey, lanczos, resize_flow, warp
from cinemo_pack.cinemo_core.detail.track import Match, Tracker, chain
from cinemo_pack.cinemo_core.detail.transfer import transfer_detail, working_size
from cinemo_pack.cinemo_core.detail.trust import Evidence, gather, weigh
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.resize import resize_image

HEIGHT, WIDTH, FACTOR = 128, 160, 4


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A picture [1, 3, h, w] in 0..1 with shapes of all sizes, from whole numbers: the same on every processor."""
    state = torch.arange(3 * height * width, dtype=torch.int64) + 7919 * (seed + 1)
    for factor in (1103515245, 134775813, 69069):
        state = (state * factor + 12345) % 2**31
        state = state ^ (state >> 13)
    noise = (state % 256).view(1, 3, height, width) / 255
    layers = [(gaussian(noise, sigma) - 0.5) * sigma for sigma in (0.7, 2.0, 5.0)]
    return (0.5 + 0.9 * sum(layers)).clamp(0, 1)


def cut(scene: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """A view of the scene as an image [h, w, 3]."""
    return scene[0, :, y : y + HEIGHT, x : x + WIDTH].movedim(0, -1)


def shrink(images: torch.Tensor) -> torch.Tensor:
    return lanczos(images.movedim(-1, 1), HEIGHT // FACTOR, WIDTH // FACTOR).clamp(0, 1).movedim(1, -1)


def enlarge(images: torch.Tensor) -> torch.Tensor:
    return lanczos(images.movedim(-1, 1), HEIGHT, WIDTH).clamp(0, 1).movedim(1, -1)


def error(images: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean squared, of each frame, the border left out, which comes into view."""
    return (images - true)[:, 24:-24, 24:-24].square().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def panning():
    """A clip whose view moves by (3, 2) pixels a frame: the true frames [5, h, w, 3]."""
    scene = texture(HEIGHT + 40, WIDTH + 40)
    return torch.stack([cut(scene, 10 + 3 * i, 10 + 2 * i) for i in range(5)])


def test_frame_0_is_the_picture_and_detail_follows_a_pan(panning):
    small = shrink(panning)
    detailed = transfer_detail(small, panning[0])
    assert torch.equal(detailed.images[0], panning[0]) and detailed.images.shape == panning.shape
    assert detailed.trust.shape == panning.shape[:3] and (detailed.trust[0] == 1).all()
    assert detailed.images.min() >= 0 and detailed.images.max() <= 1
    assert (error(detailed.images[1:], panning[1:]) < 0.5 * error(enlarge(small[1:]), panning[1:])).all()  # 3 dB


def test_a_still_clip_becomes_the_picture(panning):
    still = panning[:1].expand(3, -1, -1, -1)
    detailed = transfer_detail(shrink(still), panning[0])
    assert (error(detailed.images[1:], still[1:]) < 0.01 * error(enlarge(shrink(still[1:])), still[1:])).all()


def test_nothing_is_added_where_nothing_can_be_trusted(panning):
    """The second frame shows something else."""
    other = cut(texture(HEIGHT, WIDTH, seed=5), 0, 0)
    small = shrink(torch.stack([panning[0], other]))
    detailed = transfer_detail(small, panning[0])
    assert detailed.trust[1].mean() < 0.05
    assert error(detailed.images[1:], other[None]) < 1.03 * error(enlarge(small[1:]), other[None])


def test_strength(panning):
    small = shrink(panning[:2])
    none, half, whole = (transfer_detail(small, panning[0], strength) for strength in (0.0, 0.5, 1.0))
    assert torch.allclose(none.images, enlarge(small), atol=1e-5) and not none.trust.any()
    assert torch.allclose(half.trust, 0.5 * whole.trust, atol=1e-5)
    between = (whole.images[0] + none.images[0]) / 2
    assert torch.allclose(half.images[0], between, atol=1e-5)


def test_a_clip_in_parts_equals_the_whole(panning):
    """A frame depends on those before it only."""
    small = shrink(panning[:4])
    whole, part = transfer_detail(small, panning[0]), transfer_detail(small[:3], panning[0])
    assert torch.allclose(whole.images[:3], part.images, atol=1e-5) and torch.allclose(whole.trust[:3], part.trust, atol=1e-4)


def test_a_wrong_detail_is_not_carried_to_what_comes_into_view(panning):
    """The view moves by 16 pixels: what was not in the picture gets no detail."""
    scene = texture(HEIGHT + 40, WIDTH + 40)
    frames = torch.stack([cut(scene, 8 * i, 0) for i in range(3)])
    trust = transfer_detail(shrink(frames), frames[0]).trust[2]
    assert trust[:, -12:].mean() < 0.1 < 0.5 < trust[24:-24, 24:-32].mean()


def test_progress_and_stopping(panning):
    small, done, ticks = shrink(panning[:3]), [], []
    transfer_detail(small, panning[0], tick=lambda: ticks.append(1), finished=done.append)
    assert done == [1, 2, 3] and len(ticks) > 10

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        transfer_detail(small, panning[0], tick=stop)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-1.5, 2.5), (4.0, -3.0)])
def test_flow_of_a_known_shift(shift):
    scene = grey(gaussian(texture(80, 96), 1.0))
    motion = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, 80, 96)
    first, second = warp(scene, motion), scene  # first(x) is second(x + shift)
    flow = optical_flow(first, second)
    assert (flow - motion)[..., 12:-12, 12:-12].abs().mean() < 0.1


def test_flow_of_a_zoom_is_chained():
    """Frame t shows frame 0 enlarged by 2 % for each t; the way to frame 0 and back ends where it began."""
    scene = grey(gaussian(texture(80, 96), 1.0))
    y, x = torch.meshgrid(torch.arange(80.0) - 39.5, torch.arange(96.0) - 47.5, indexing="ij")
    towards = [(1.02**-t - 1) * torch.stack([x, y])[None] for t in range(4)]
    tracker = Tracker(scene)
    for motion in towards[1:]:
        match = tracker.follow(warp(scene, motion))
        assert (match.to_first - motion)[..., 12:-12, 12:-12].abs().mean() < 0.15
        assert chain(match.to_first, match.from_first)[..., 12:-12, 12:-12].abs().mean() < 0.15


def test_trust_falls_with_each_kind_of_evidence():
    def trust(unlike=0.001, kept=1.0, away=0.01, colour=0.001, inside=1.0):
        return float(weigh(Evidence(*(torch.full((1, 1, 1, 1), value) for value in (unlike, kept, away, colour, inside)))))

    assert trust() > 0.95
    assert trust(inside=0.0) == 0
    assert trust(kept=0.5) == pytest.approx(trust() / 4)
    for name, values in {"unlike": (0.05, 0.3, 1.0), "away": (0.3, 1.0, 10.0), "colour": (0.05, 0.1, 0.3)}.items():
        found = [trust(), *(trust(**{name: value}) for value in values)]
        assert found == sorted(found, reverse=True) and found[-1] < 0.5, name


def test_detail_that_differs_is_not_trusted():
    frame, other = gaussian(texture(64, 64), 1.0), gaussian(texture(64, 64, seed=3), 1.0)
    still = torch.zeros(1, 2, 64, 64)
    same, unlike = (weigh(gather(frame, second, Match(still, still), 1.0)) for second in (frame, other))
    assert same.min() > 0.9 and unlike.mean() < 0.05


def test_a_blurred_frame_gets_less_detail_than_its_likeness_alone_would_give():
    first = gaussian(texture(64, 64), 0.7)
    still = torch.zeros(1, 2, 64, 64)
    evidence = gather(first, gaussian(first, 0.7), Match(still, still), 1.0)
    assert 0.1 < evidence.kept.mean() < 0.6
    assert gather(first, first, Match(still, still), 1.0).kept.min() > 0.999
    assert gather(gaussian(first, 0.7), first, Match(still, still), 1.0).kept.min() > 0.999  # sharper is no fault


def test_detail_keeps_its_strength_between_pixels():
    """Stripes of three pixels, moved by half a pixel: interpolation on the grid of the pixels flattens them."""
    stripes = 0.5 + 0.2 * torch.cos(2 * torch.pi * torch.arange(96) / 3)
    moved = warp(lanczos(stripes.expand(1, 1, 12, 96), 24, 192), torch.tensor((0.5, 0.0)).view(1, 2, 1, 1).expand(1, 2, 12, 96))
    expected = 0.5 + 0.2 * torch.cos(2 * torch.pi * (torch.arange(96) + 0.5) / 3)
    height = (moved - 0.5)[0, 0, 6, 12:-12].norm() / (expected - 0.5)[12:-12].norm()
    alone = warp(stripes.expand(1, 1, 12, 96), torch.tensor((0.5, 0.0)).view(1, 2, 1, 1).expand(1, 2, 12, 96))
    assert (alone - 0.5)[0, 0, 6, 12:-12].norm() / (expected - 0.5)[12:-12].norm() < 0.85 < 0.93 < height < 1.05


def test_lanczos_is_pillows(panning):
    for height, width in ((32, 40), (200, 300), (128, 40)):
        ours = lanczos(panning[:1].movedim(-1, 1), height, width).clamp(0, 1).movedim(1, -1)
        assert torch.allclose(ours, resize_image(panning[:1], width, height, "stretch"), atol=1e-5)


def test_a_flow_keeps_its_meaning_at_another_size():
    flow = torch.tensor((3.0, -2.0)).view(1, 2, 1, 1).expand(1, 2, 10, 20)
    larger = resize_flow(flow, 40, 40)
    assert torch.allclose(larger, torch.tensor((6.0, -8.0)).view(1, 2, 1, 1).expand(1, 2, 40, 40))


@pytest.mark.parametrize(
    ("clip", "result", "expected"),
    [
        ((320, 512), (2160, 3456), (640, 1024)),
        ((320, 512), (480, 768), (480, 768)),  # no larger than the result
        ((1080, 1920), (2160, 3840), (1080, 1920)),  # nor than what is quick
        ((320, 512), (320, 512), (320, 512)),
    ],
)
def test_size_that_flow_is_found_at(clip, result, expected):
    assert working_size(*clip, *result) == expected


@pytest.mark.parametrize(
    ("picture", "fit", "expected"),
    [
        ((4000, 3000), "cover", (4000, 2500)),
        ((1001, 1001), "cover", (1000, 626)),
        ((1000, 3000), "cover", (1000, 624)),
        ((4001, 3000), "stretch", (4000, 3000)),
        ((1000, 1000), "pad", (1600, 1000)),
        ((3200, 1000), "pad", (3200, 2000)),
    ],
)
def test_own_size_of_the_picture(picture, fit, expected):
    assert own_size(*picture, 512, 320, fit) == expected


def test_the_picture_keeps_its_pixels(panning):
    picture, clip = panning[:1], shrink(panning)
    assert torch.equal(fit_picture(picture, clip, 0, "cover"), picture[0])
    narrow = clip[:, :, 10:30]  # 32 rows, 20 columns
    assert torch.equal(fit_picture(picture, narrow, 0, "cover"), picture[0, :, 40:120])
    padded = torch.zeros(1, 160, 160, 3)
    padded[:, 16:144] = picture
    square = resize_image(padded, 40, 40, "stretch")
    assert torch.equal(fit_picture(picture, square, 0, "pad"), padded[0])
    assert fit_picture(torch.cat([picture, picture[..., :1]], dim=-1), clip, 100, "cover").shape == (80, 100, 3)  # alpha is dropped
    assert fit_picture(resize_image(picture, 20, 16), clip, 0, "cover").shape == clip.shape[1:]  # no smaller than the clip


def test_bad_input_is_said(panning):
    clip = shrink(panning)
    with pytest.raises(InputError, match=r"The clip has 1 frame; .* connect all frames"):
        check_clip(clip[:1])
    with pytest.raises(InputError, match=r"The frames are 8x32; "):
        check_clip(clip[:, :, :8])
    with pytest.raises(InputError, match=r"The image has 2 channels"):
        check_clip(clip[..., :2])
    with pytest.raises(InputError, match=r"The width of the result is 4; choose 0 .* or at least 16"):
        fit_picture(panning[:1], clip, 4, "cover")
    with pytest.raises(InputError, match=r"The fit is 'crop'; choose one of cover, stretch, pad"):
        fit_picture(panning[:1], clip, 0, "crop")
    with pytest.raises(InputError, match=r"does not look like frame 0 of the clip \(correlation .*\): connect the picture"):
        fit_picture(1 - panning[:1], clip, 0, "cover")
    with pytest.raises(InputError, match=r"NaN"):
        fit_picture(panning[:1] * float("nan"), clip, 0, "cover")


def test_a_flat_picture_is_no_reason_to_refuse():
    flat = torch.full((3, 32, 40, 3), 0.5)
    picture = fit_picture(torch.full((1, 64, 80, 3), 0.5), flat, 0, "cover")
    detailed = transfer_detail(flat, picture)
    assert torch.allclose(detailed.images, torch.full((3, 64, 80, 3), 0.5), atol=1e-5)
