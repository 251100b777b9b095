"""Noise schedules and solver steps as numbers: everything the denoiser graph needs to know about diffusion.

Every step is `next = a·x + b·ε + c·history` and `history' = p·x + q·ε`, so one graph serves every solver here.
With ᾱ the cumulative product of 1 - β (eq. 1), α = sqrt(ᾱ) and σ = sqrt(1 - ᾱ), the predicted clean latent is
x0 = (x - σ·ε) / α. Tested against the schedulers of diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Schedule

Row = tuple[float, float, float, float, float]
SOLVERS = ("ddim", "dpmsolver++", "unipc")


def betas(config: Mapping[str, Any]) -> NDArray[np.float64]:
    """β of every training timestep, float64 T, from a diffusers scheduler configuration.

    Knows "scaled_linear" (Stable Diffusion) and "linear"; ValueError for others.
    """
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    count, kind = int(config.get("num_train_timesteps", 1000)), config.get("beta_schedule", "linear")
    if kind == "scaled_linear":
        return np.square(np.linspace(math.sqrt(start), math.sqrt(end), count, dtype=np.float64))
    if kind == "linear":
        return np.linspace(start, end, count, dtype=np.float64)
    raise ValueError(f'the beta schedule "{kind}" is not known; "scaled_linear" and "linear" are')


def alphas_cumprod(config: Mapping[str, Any]) -> NDArray[np.float64]:
    """ᾱ of every training timestep (eq. 1), float64 T, falling from nearly 1 to nearly 0."""
    return np.cumprod(1.0 - betas(config), dtype=np.float64)


def leading_timesteps(strength: float, steps: int, count: int = 1000, offset: int = 1) -> list[int]:
    """Timesteps of an image-to-image run as diffusers' inpainting pipeline takes them: "leading" spacing.

    Of `steps` equally spaced timesteps the last int(steps · strength) are kept: λ = 0.4 of 50 steps runs 20, from
    t = 381 down to 1. At least one is kept.
    """
    kept = max(min(int(steps * strength), steps), 1)
    ratio = count // steps
    return [i * ratio + offset for i in reversed(range(kept))]


def spread_timesteps(strength: float, steps: int, count: int = 1000) -> list[int]:
    """`steps` timesteps spread evenly from T̃ = λ·T (eq. 11) down, "trailing" spacing: 399, 299, 199, 99 for 0.4 and 4.

    Unlike leading spacing the first one is at the full noise strength however few steps there are.
    """
    start = strength * count
    timesteps = [max(round(start * (steps - i) / steps) - 1, 0) for i in range(steps)]
    if len(set(timesteps)) != steps:
        raise ValueError(f"noise strength {strength} has no room for {steps} steps")
    return timesteps


def previous_alphas(
    timesteps: list[int], cumprod: NDArray[np.float64], final: float, stride: int
) -> list[tuple[float, float]]:
    """(ᾱ now, ᾱ after the step) for every DDIM step; a step to below zero ends at `final`."""
    pairs = []
    for i, t in enumerate(timesteps):
        after = timesteps[i + 1] if i + 1 < len(timesteps) else t - stride
        pairs.append((float(cumprod[t]), float(cumprod[after]) if after >= 0 else final))
    return pairs


def ddim_rows(pairs: list[tuple[float, float]]) -> list[Row]:
    """Deterministic DDIM (Song et al. 2021, eq. 12 with σ = 0): x' = α'·x0 + σ'·ε. One row a pair of ᾱ."""
    rows = []
    for now, after in pairs:
        a = math.sqrt(after / now)
        b = math.sqrt(1 - after) - a * math.sqrt(1 - now)
        rows.append((a, b, 0.0, 0.0, 0.0))
    return rows


def dpm_solver_rows(alphas: list[float]) -> list[Row]:
    """DPM-Solver++(2M), midpoint (Lu et al. 2022, algorithm 2), ending at the clean latent, the last step of order 1.

    `alphas` holds ᾱ of every timestep; history is the previous step's prediction of the clean latent.
    """
    rows: list[Row] = []
    for i, now in enumerate(alphas):
        alpha, sigma = math.sqrt(now), math.sqrt(1 - now)
        p, q = 1 / alpha, -sigma / alpha
        if i + 1 == len(alphas):
            rows.append((p, q, 0.0, p, q))
            continue
        ratio, k, h = _exponential_step(now, alphas[i + 1])
        extra = 0.5 * h / (_log_snr(now) - _log_snr(alphas[i - 1])) if i else 0.0
        rows.append((ratio + k * (1 + extra) * p, k * (1 + extra) * q, -k * extra, p, q))
    return rows


def unipc_rows(alphas: list[float]) -> list[Row]:
    """UniPC of order 1 with B(h) = exp(h) - 1 (Zhao et al. 2023): every step first corrects the one before it.

    `alphas` holds ᾱ of every timestep; history is the previous step's prediction of the clean latent.
    """
    rows: list[Row] = []
    for i, now in enumerate(alphas):
        alpha, sigma = math.sqrt(now), math.sqrt(1 - now)
        p, q = 1 / alpha, -sigma / alpha
        ratio, k = (0.0, 1.0) if i + 1 == len(alphas) else _exponential_step(now, alphas[i + 1])[:2]
        # corrector: x ← x + κ·(x0 - history), κ half of the first-order weight of the step that led here
        kappa = 0.5 * _exponential_step(alphas[i - 1], now)[1] if i else 0.0
        weight = ratio * kappa + k
        rows.append((ratio + weight * p, weight * q, -ratio * kappa, p, q))
    return rows


def _log_snr(cumprod: float) -> float:
    """λ = log(α / σ)."""
    return 0.5 * math.log(cumprod / (1 - cumprod))


def _exponential_step(now: float, after: float) -> tuple[float, float, float]:
    """(σ'/σ, -α'·(exp(-h) - 1), h) of the exponential integrator in data prediction."""
    h = _log_snr(after) - _log_snr(now)
    return math.sqrt((1 - after) / (1 - now)), -math.sqrt(after) * math.expm1(-h), h


def velocity(row: Row, cumprod: float) -> Row:
    """The row for a network that predicts v instead of ε: ε = α·v + σ·x is put into the coefficients."""
    a, b, c, p, q = row
    alpha, sigma = math.sqrt(cumprod), math.sqrt(1 - cumprod)
    return a + b * sigma, b * alpha, c, p + q * sigma, q * alpha


def make_schedule(
    config: Mapping[str, Any], strength: float, steps: int, solver: str = "ddim", *, spacing: str = "spread"
) -> Schedule:
    """A schedule ready for the manifest.

    config: a diffusers scheduler configuration. strength: λ in (0, 1]. spacing "leading" is the paper's way: `steps`
    counts a full run, of which λ·steps are run; "spread" runs exactly `steps`, the first at t = λ·T.
    ValueError for what cannot be.
    """
    if not 0 < strength <= 1 or steps < 1:
        raise ValueError(f"noise strength {strength} must lie in (0, 1] and steps {steps} be 1 or more")
    cumprod = alphas_cumprod(config)
    count = len(cumprod)
    if steps > count:
        raise ValueError(f"{steps} steps are more than the {count} the model was trained with")
    if spacing == "leading":
        timesteps, stride = (
            leading_timesteps(strength, steps, count, int(config.get("steps_offset", 0))),
            count // steps,
        )
    elif spacing == "spread":
        timesteps, stride = spread_timesteps(strength, steps, count), count
    else:
        raise ValueError(f'the spacing "{spacing}" is not known; "leading" and "spread" are')
    timesteps = [min(t, count - 1) for t in timesteps]
    alphas = [float(cumprod[t]) for t in timesteps]
    if solver == "ddim":
        final = 1.0 if config.get("set_alpha_to_one", True) else float(cumprod[0])
        rows = ddim_rows(previous_alphas(timesteps, cumprod, final, stride))
    elif solver == "dpmsolver++":
        rows = dpm_solver_rows(alphas)
    elif solver == "unipc":
        rows = unipc_rows(alphas)
    else:
        raise ValueError(f'the solver "{solver}" is not known; {", ".join(SOLVERS)} are')
    kind = config.get("prediction_type", "epsilon")
    if kind == "v_prediction":
        rows = [velocity(row, alpha) for row, alpha in zip(rows, alphas)]
    elif kind != "epsilon":
        raise ValueError(f'the prediction type "{kind}" is not known; "epsilon" and "v_prediction" are')
    return Schedule.model_validate(
        {
            "lambda": strength,
            "steps": len(timesteps),
            "solver": solver,
            "timesteps": timesteps,
            "coefficients": rows,
            "start": (math.sqrt(alphas[0]), math.sqrt(1 - alphas[0])),
        }
    )


def stacked_steps(schedules: list[Schedule]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Steps of a batch whose rows may follow different schedules: (timestep float32 B, coeffs float32 B,5) a step.

    A row that has finished keeps its latents: a = 1, all else 0.
    """
    steps = []
    for i in range(max(schedule.steps for schedule in schedules)):
        timestep = [s.timesteps[i] if i < s.steps else 0.0 for s in schedules]
        coeffs = [s.coefficients[i] if i < s.steps else (1.0, 0.0, 0.0, 0.0, 0.0) for s in schedules]
        steps.append((np.array(timestep, np.float32), np.array(coeffs, np.float32)))
    return steps
