"""DDIM without noise (arXiv 2010.02502, Eq. 12) for v-prediction, as the re-implementation samples."""

from collections.abc import Callable, Sequence

from torch import Tensor


def sample(predict: Callable[[Tensor, int], Tensor], x: Tensor, steps: Sequence[tuple[int, int | None]], alphas: Tensor) -> Tensor:
    """From noise of unit variance to a clip. `predict(x, i)` gives v of step i; steps: see `schedule.reference_steps`."""
    for i, (timestep, target) in enumerate(steps):
        alpha = alphas[timestep].item()
        x = step(x, predict(x, i), alpha, 1.0 if target is None else alphas[target].item())
    return x


def step(x: Tensor, v: Tensor, alpha: float, target: float) -> Tensor:
    """x: sqrt(alpha) x0 + sqrt(1 - alpha) noise; returns the same of `target`."""
    signal, spread = alpha**0.5, (1 - alpha) ** 0.5
    x0, noise = signal * x - spread * v, signal * v + spread * x
    return target**0.5 * x0 + (1 - target) ** 0.5 * noise
