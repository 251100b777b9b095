import numpy as np
import pytest

from edge_ad.runtime import schedule

SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


def run(made, x, epsilon):
    """The denoiser graph's arithmetic, with a plain function in place of the network."""
    history = np.zeros_like(x)
    x = made.start[0] * x[0] + made.start[1] * x[1]
    history = np.zeros_like(x)
    for t, (a, b, c, p, q) in zip(made.timesteps, made.coefficients):
        e = epsilon(x, t)
        x, history = a * x + b * e + c * history, p * x + q * e
    return x


def network(x, t):
    return np.sin(3 * x + t / 100.0)


def reference(scheduler, timesteps, x):
    torch = pytest.importorskip("torch")
    z, noise = torch.tensor(x[0]), torch.tensor(x[1])
    sample = scheduler.add_noise(z, noise, torch.tensor([int(timesteps[0])]))
    for t in timesteps:
        model_output = torch.tensor(network(sample.numpy(), float(t)))
        sample = scheduler.step(model_output, t, sample).prev_sample
    return sample.numpy()


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 4, 8, 8))


@pytest.mark.parametrize(("strength", "steps"), [(0.4, 50), (0.58, 50), (1.0, 50), (0.3, 20), (0.4, 10), (0.25, 30)])
def test_leading_timesteps_are_those_of_the_diffusers_inpainting_pipeline(strength, steps):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(**SD, clip_sample=False)
    scheduler.set_timesteps(steps)
    pipeline = object.__new__(diffusers.StableDiffusionInpaintPipeline)
    object.__setattr__(pipeline, "scheduler", scheduler)
    timesteps, _ = diffusers.StableDiffusionInpaintPipeline.get_timesteps(pipeline, steps, strength, "cpu")
    assert schedule.leading_timesteps(strength, steps) == timesteps.tolist()


def test_the_paper_runs_twenty_of_fifty_steps():
    made = schedule.make_schedule(SD, 0.4, 50, spacing="leading")
    assert made.steps == 20
    assert made.timesteps[0] == 381
    assert made.timesteps[-1] == 1


@pytest.mark.parametrize(("strength", "steps"), [(0.4, 50), (1.0, 25)])
@pytest.mark.parametrize("one", [False, True])
def test_ddim_is_that_of_diffusers(x, strength, steps, one):
    diffusers = pytest.importorskip("diffusers")
    config = {**SD, "set_alpha_to_one": one}
    scheduler = diffusers.DDIMScheduler(**config, clip_sample=False)
    scheduler.set_timesteps(steps)
    made = schedule.make_schedule(config, strength, steps, spacing="leading")
    expected = reference(scheduler, scheduler.timesteps[-made.steps :], x)
    np.testing.assert_allclose(run(made, x, network), expected, atol=2e-5)


def test_spread_ddim_is_trailing_ddim_of_diffusers(x):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(**{**SD, "steps_offset": 0}, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    made = schedule.make_schedule(SD, 0.4, 4)
    assert made.timesteps == [399, 299, 199, 99]
    expected = reference(scheduler, scheduler.timesteps[-4:], x)
    np.testing.assert_allclose(run(made, x, network), expected, atol=2e-5)


@pytest.mark.parametrize(("solver", "name", "options"), [
    ("dpmsolver++", "DPMSolverMultistepScheduler", {}),
    ("unipc", "UniPCMultistepScheduler", {"solver_order": 1, "final_sigmas_type": "zero"}),
])  # fmt: skip
@pytest.mark.parametrize(("strength", "steps"), [(0.4, 20), (1.0, 8), (0.1, 10)])
def test_higher_order_solvers_are_those_of_diffusers(x, solver, name, options, strength, steps):
    diffusers = pytest.importorskip("diffusers")
    config = {
        key: SD[key] for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "steps_offset")
    }
    scheduler = getattr(diffusers, name)(**config, timestep_spacing="leading", **options)
    scheduler.set_timesteps(steps)
    made = schedule.make_schedule(SD, strength, steps, solver, spacing="leading")
    # diffusers' own leading spacing divides by steps + 1 here; the solvers are compared on the same timesteps
    scheduler.timesteps = type(scheduler.timesteps)(np.array(made.timesteps, np.int64).tolist())
    cumprod = scheduler.alphas_cumprod.numpy()[np.array(made.timesteps, int)]
    sigmas = np.append(np.sqrt((1 - cumprod) / cumprod), 0.0)
    import torch

    scheduler.timesteps = torch.tensor(np.array(made.timesteps, np.int64))
    scheduler.sigmas = torch.tensor(sigmas)
    scheduler.num_inference_steps = made.steps
    expected = reference(scheduler, scheduler.timesteps, x)
    np.testing.assert_allclose(run(made, x, network), expected, atol=5e-5)


def test_velocity_prediction_gives_the_same_picture(x):
    made = schedule.make_schedule({**SD, "prediction_type": "v_prediction"}, 0.4, 4, "dpmsolver++")
    plain = schedule.make_schedule(SD, 0.4, 4, "dpmsolver++")
    cumprod = schedule.alphas_cumprod(SD)

    def velocity(sample, t):
        alpha, sigma = np.sqrt(cumprod[int(t)]), np.sqrt(1 - cumprod[int(t)])
        return (network(sample, t) - sigma * sample) / alpha

    np.testing.assert_allclose(run(made, x, velocity), run(plain, x, network), atol=1e-6)


def test_exact_noise_is_removed_exactly(x):
    """A network that knows the noise leads every solver back to the picture (up to ᾱ_0, which is nearly 1)."""
    cumprod = schedule.alphas_cumprod(SD)

    def oracle(sample, t):
        return (sample - np.sqrt(cumprod[int(t)]) * x[0]) / np.sqrt(1 - cumprod[int(t)])

    for solver in schedule.SOLVERS:
        made = schedule.make_schedule({**SD, "set_alpha_to_one": True}, 0.5, 5, solver)
        np.testing.assert_allclose(run(made, x, oracle), x[0], atol=1e-9)


def test_a_finished_row_keeps_its_latents():
    short, long = schedule.make_schedule(SD, 0.2, 2), schedule.make_schedule(SD, 0.4, 4)
    steps = schedule.stacked_steps([short, long])
    assert len(steps) == 4
    assert steps[2][1][0].tolist() == [1, 0, 0, 0, 0]
    assert steps[3][0].tolist() == [0, 99]
    assert all(t.dtype == c.dtype == np.float32 for t, c in steps)


@pytest.mark.parametrize(("strength", "steps"), [(0, 4), (1.2, 4), (0.4, 0), (0.4, 2000), (0.001, 4)])
def test_impossible_schedules_are_refused(strength, steps):
    with pytest.raises(ValueError, match=r"steps|strength"):
        schedule.make_schedule(SD, strength, steps)
