"""The TorchScript networks: what they are fed and what is said of files that are something else."""

import numpy as np
import pytest
import torch
from cinemo_pack.cinemo_core.errors import CheckpointError, InputError
from cinemo_pack.cinemo_core.evaluation.features import C3D, I3D, Inception
from cinemo_pack.cinemo_core.evaluation.weights import NETWORK_OF, NETWORKS, check_weights

CPU = torch.device("cpu")
SHAPE = (4, 16, 16)  # frames, width, height


class Shapes(torch.nn.Module):
    """Takes anything, gives what it is made to give."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> torch.Tensor:
        if self.kind == "map":
            return torch.zeros(x.shape[0], 4, 2, 2)
        if self.kind == "one":
            return torch.zeros(x.shape[0] + 1, 4)
        if self.kind == "nan":
            return torch.full((x.shape[0], 4), float("nan"))
        if self.kind == "signature":
            return torch.tensor([[float(x.dtype == torch.uint8), float(rescale), float(resize), float(return_features)]])
        return torch.full((x.shape[0], 4), 0.5)


@pytest.fixture
def scripted(tmp_path):
    def make(kind):
        torch.jit.script(Shapes(kind)).save(str(tmp_path / "network.pt"))
        return tmp_path / "network.pt"

    return make


def clips(seed: int, count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_i3d_gets_raw_pixels_and_does_the_rest_itself(scripted):
    assert I3D(scripted("signature"), CPU, *SHAPE)(clips(1, 1)).tolist() == [[1, 1, 1, 1]]


def test_axes_of_clips_and_frames(networks, modules):
    pixels = clips(2, 3)
    video = pixels.permute(0, 4, 1, 2, 3)
    expected = modules["i3d"](video, True, True, True).numpy()
    assert np.allclose(I3D(networks["i3d"], CPU, *SHAPE)(pixels), expected, atol=1e-6)
    frames = torch.cat([clip.permute(0, 3, 1, 2) for clip in pixels])
    assert np.allclose(Inception(networks["inception"], CPU, *SHAPE)(pixels), modules["inception"](frames, True).numpy(), atol=1e-6)
    probabilities = C3D(networks["c3d"], CPU, *SHAPE)(pixels)
    assert probabilities.dtype == np.float64 and np.allclose(probabilities, modules["c3d"](video).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        (
            I3D,
            "map",
            r"is not the I3D network .*: it gives \[1, 4, 2, 2\] for 1 inputs, expected \[1, 400\]; get i3d_torchscript.pt from https",
        ),
        (Inception, "one", r"gives \[5, 4\] for 4 inputs, expected \[4, 2048\]; get inception-2015-12-05.pt from https"),
        (I3D, "nan", "gives NaN"),
        (C3D, "half", "is not the C3D network .*: it gives values that are not probabilities"),
    ],
)
def test_other_networks_are_refused_before_any_clip(scripted, network, kind, message):
    with pytest.raises(CheckpointError, match=message):
        network(scripted(kind), CPU, *SHAPE)


def test_a_network_of_another_signature(networks):
    with pytest.raises(CheckpointError, match=r"network.*: it fails on \[1, 3, 4, 16, 16\] \(forward\(\) expected"):
        I3D(networks["c3d"], CPU, *SHAPE)


@pytest.mark.parametrize("content", [b"", b"not a network" * 99])
def test_files_that_are_no_torchscript(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"x.pt is not the C3D .*: it cannot be read as TorchScript \([^.]+\); get c3d_ucf101.pt from https"
    ):
        C3D(tmp_path / "x.pt", CPU, *SHAPE)


def test_a_state_dict_is_no_torchscript(tmp_path, modules):
    torch.save(modules["i3d"].state_dict(), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="cannot be read as TorchScript"):
        I3D(tmp_path / "x.pt", CPU, *SHAPE)


class TestWeights:
    @pytest.mark.parametrize("metric", NETWORK_OF)
    def test_each_metric_says_what_is_missing_and_where_it_is(self, metric, tmp_path):
        network = NETWORKS[NETWORK_OF[metric]]
        for given, problem in ((None, f"give it with --{NETWORK_OF[metric]}"), (tmp_path / "x.pt", "x.pt does not exist")):
            with pytest.raises(InputError) as caught:
                check_weights([metric], {NETWORK_OF[metric]: given})
            message = str(caught.value)
            assert message.startswith(f"{metric.upper()} needs {network.title}: ") and problem in message
            assert message.endswith(f"({network.what}, published at {network.where}).")

    def test_all_that_is_missing_is_said_at_once(self, networks):
        with pytest.raises(InputError, match=r"IS needs .*; CLIPSIM needs .*\.$") as caught:
            check_weights(["fvd", "is", "clipsim"], {"i3d": networks["i3d"]})
        assert "FVD" not in str(caught.value)

    def test_what_is_there(self, networks):
        assert check_weights(["fvd", "kvd", "fid"], networks) == {"i3d": networks["i3d"], "inception": networks["inception"]}
