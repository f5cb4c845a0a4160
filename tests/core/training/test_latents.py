"""The cache of latents: right values, whole shards, one folder per setting."""

import shutil
from pathlib import Path

import pytest
import torch
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion.buckets import score_clip
from cinemo_pack.cinemo_core.training import frozen, latents
from cinemo_pack.cinemo_core.training.latents import LatentCache, cache_folder, mean_ssim, shards_of, share_of, write_cache
from cinemo_pack.cinemo_core.training.prepare import prepare_clips
from cinemo_pack.cinemo_core.training.sources import open_source


@pytest.fixture
def cached(table, to_config, vae_folder):
    """Prepares the clips of the run in `table`, by a cache of two clips per shard; counts what is encoded."""
    import accelerate

    def prepare(**data):
        table["data"] |= {"cache": True} | data
        return prepare_clips(to_config(table), accelerate.Accelerator(), vae)

    vae = frozen.load_vae(vae_folder)
    return prepare


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Gets a number for each clip that is encoded; shards are of two clips."""
    monkeypatch.setattr(latents, "CLIPS_PER_SHARD", 2)
    calls: list[int] = []
    real = frozen.encode

    def encode(vae, frames, at_once=16):
        calls.append(len(frames))
        return real(vae, frames, at_once)

    monkeypatch.setattr(frozen, "encode", encode)
    return calls


def test_latents_are_those_of_the_vae(cached, encoded, table, to_config, vae_folder):
    clips = cached()
    source = open_source(to_config(table).data)
    import diffusers

    vae = diffusers.AutoencoderKL(
        block_out_channels=(32,) * 4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    from safetensors.torch import load_file

    vae.load_state_dict({k: v.float() for k, v in load_file(vae_folder / "diffusion_pytorch_model.safetensors").items()})
    assert len(clips) == len(source) == 5
    for index in range(5):
        found = clips.clip(index, draw=0)
        frames = clips_pixels(source, table, index)
        with torch.no_grad():
            expected = vae.encode(frames.float() / 127.5 - 1).latent_dist.mean * 0.18215
        assert found.clip.shape == (4, 4, 4, 4)
        assert torch.allclose(found.clip, expected, atol=2e-3 * expected.abs().max())
        assert found.caption == f"a square moves, number {index}"
        score = score_clip(frames.permute(0, 2, 3, 1) / 255, 32, 32, "cover", 1, lambda *_: None)
        assert found.ssim == pytest.approx(score.ssim, abs=1e-6) == mean_ssim(frames)


def clips_pixels(source, table, index):
    from cinemo_pack.cinemo_core.training.seeds import number

    return source.clip(index, number(number(table["data"].get("seed", 0), "clip", index), 0)).frames


def test_other_clips_are_encoded_again(cached, encoded, table, videos, tmp_path):
    """Even where every key of the configuration is the same."""
    folder = tmp_path / "own"
    shutil.copytree(videos, folder)
    cached(path=str(folder))
    assert len(encoded) == 5
    (folder / "3.txt").write_text("it is another caption")
    assert cached().clip(3, draw=0).caption == "it is another caption"
    assert len(encoded) == 10


def test_a_second_run_encodes_nothing(cached, encoded):
    first = cached()
    assert len(encoded) == 5
    again = cached()
    assert len(encoded) == 5
    assert torch.equal(first.clip(4, 0).clip, again.clip(4, 0).clip)


@pytest.mark.parametrize("change", [{"seed": 1}, {"width": 40}, {"interval": [3, 3]}, {"views": 2}, {"frames": 3}])
def test_other_settings_have_another_cache(cached, encoded, change):
    before = cached()
    after = cached(**change)
    assert after.folder != before.folder
    assert len(encoded) == 5 + len(after)


def test_other_weights_have_another_cache(cached, table, vae_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    before = cached()
    other = shutil.copytree(vae_folder, tmp_path / "other")
    weights = load_file(other / "diffusion_pytorch_model.safetensors")
    weights["quant_conv.bias"] += 1
    save_file(weights, other / "diffusion_pytorch_model.safetensors")
    table["model"]["vae"] = str(other)
    assert cached().folder != before.folder


def test_views_are_drawn_again(cached, encoded):
    clips = cached(views=3)
    assert len(clips) == 15
    assert all(clips.clip(i, 0).caption == clips.clip(i + 5, 0).caption for i in range(5))
    same = [torch.equal(clips.clip(i, 0).clip, clips.clip(i + 5, 0).clip) for i in range(5)]
    assert sum(same) < 3  # short videos may be cut the same way twice


def test_the_decoded_clip_may_be_measured(cached, vae_folder):
    source, decoded = cached(), cached(score="decoded")
    assert decoded.folder != source.folder
    vae = frozen.load_vae(vae_folder)
    for i in range(5):
        shown = latents.mean_ssim(frozen.decode(vae, decoded.clip(i, 0).clip))
        assert decoded.clip(i, 0).ssim == pytest.approx(shown, abs=5e-3)  # decoded in bfloat16, from latents in float16
        assert torch.equal(decoded.clip(i, 0).clip, source.clip(i, 0).clip)
    assert any(abs(decoded.clip(i, 0).ssim - source.clip(i, 0).ssim) > 0.01 for i in range(5))


def test_an_interrupted_cache_goes_on(cached, encoded, monkeypatch):
    whole = cached()
    kept = sorted(whole.folder.glob("*.safetensors"))
    assert len(kept) == 3
    expected = [whole.clip(i, 0).clip.clone() for i in range(5)]
    kept[1].unlink()
    encoded.clear()
    real = latents.mean_ssim

    def fail(frames):
        raise OSError("no space left")

    monkeypatch.setattr(latents, "mean_ssim", fail)
    with pytest.raises(OSError, match="no space"):
        cached()
    assert sorted(whole.folder.glob("*.safetensors")) == [kept[0], kept[2]]
    monkeypatch.setattr(latents, "mean_ssim", real)
    again = cached()
    assert len(encoded) == 2
    assert all(torch.equal(again.clip(i, 0).clip, expected[i]) for i in range(5))


def test_processes_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "CLIPS_PER_SHARD", 2)

    def measured(positions: range):
        return [latents.Measured(torch.full((2, 3, 8, 8), p, dtype=torch.uint8), p / 10, str(p)) for p in positions]

    for process, share in enumerate((4, 3)):
        done: list[int] = []
        mine = range(process, shards_of(7), 2)
        write_cache(tmp_path, 7, mine, measured, lambda frames: frames[:, :1].float().expand(-1, 4, -1, -1), done.append)
        assert sum(done) == share == share_of(mine, 7)
    clips = LatentCache(tmp_path, 7)
    assert [clips.clip(i, 0).caption for i in range(7)] == list("0123456")
    assert [int(clips.clip(i, 0).clip[0, 0, 0, 0]) for i in range(7)] == list(range(7))
    assert not list(tmp_path.glob(".*"))


def test_few_shards_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "CLIPS_PER_SHARD", 1)
    monkeypatch.setattr(latents, "OPEN_SHARDS", 3)
    clip = latents.Measured(torch.zeros(2, 4, 1, 1), 1.0, "")
    write_cache(tmp_path, 9, range(9), lambda positions: [clip], lambda frames: frames, lambda n: None)
    clips = LatentCache(tmp_path, 9)
    for index in range(9):
        clips.clip(index, 0)
    assert list(clips.open) == [6, 7, 8]


def test_the_name_of_a_cache_is_its_settings():
    assert cache_folder(Path("a"), {"x": 1, "y": 2}) == cache_folder(Path("a"), {"y": 2, "x": 1})
    assert cache_folder(Path("a"), {"x": 1}) != cache_folder(Path("a"), {"x": 2})


def test_some_clips_may_come_more_often(cached, encoded):
    """Which ones is no part of the cache: the same latents serve."""
    plain = cached()
    clips = cached(repeats=[{"words": "number 3", "times": 4}, {"words": "number 1", "times": 2}])
    assert len(encoded) == 5
    captions = [clips.clip(index, 0).caption[-1] for index in range(len(clips))]
    assert captions == list("011233334")
    assert torch.equal(clips.clip(5, 0).clip, plain.clip(3, 0).clip)


def test_the_first_entry_that_fits_counts(cached):
    clips = cached(repeats=[{"words": "number 2", "times": 3}, {"words": "square", "times": 2}])
    assert len(clips) == 3 + 4 * 2


@pytest.mark.parametrize("repeats", [[{"words": "circle", "times": 2}], [{"words": "square", "times": 2}, {"words": "number", "times": 3}]])
def test_an_entry_that_fits_no_clip_is_refused(cached, repeats):
    with pytest.raises(InputError, match=f"data.repeats names '{repeats[-1]['words']}', but no clip"):
        cached(repeats=repeats)
