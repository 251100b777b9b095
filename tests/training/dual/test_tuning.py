"""Loss (4), batches, and a training on the tiny base."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.diffusion import Diffusion  # noqa: E402
from edge_ad.training.dual import train as training  # noqa: E402
from edge_ad.training.dual.model import DualModel, DualShape  # noqa: E402
from edge_ad.training.dual.pairs import PairViews  # noqa: E402
from edge_ad.training.dual.train import (  # noqa: E402
    DualTuning,
    _Tuned,
    default_settings,
    dual_loss,
    noised_batch,
    train_generator,
    tune,
)
from edge_ad.training.pretrain.architecture import SCHEDULER  # noqa: E402

PROMPTS = ("a vfx with sks", "sks")


def test_the_loss_is_equation_4():
    predicted, noise = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    branches = [sum(float((noise[i] - predicted[i]).square().sum()) for i in rows) / 36 for rows in ((0, 1), (2, 3))]
    assert float(dual_loss(predicted, noise)) == pytest.approx(sum(branches), rel=1e-5)


def test_a_batch_has_one_timestep_a_pair_and_noise_of_its_own():
    views = PairViews(torch.randn(5, 4, 2, 2), torch.randn(5, 4, 2, 2), torch.randn(5, 4, 2, 2))
    diffusion = Diffusion(SCHEDULER)
    noised, timesteps, noise, behind = noised_batch(views, diffusion, 3, np.random.default_rng(0))
    rows = np.random.default_rng(0).integers(0, 5, 3)
    assert timesteps.shape == (3,)
    for i, row in enumerate(rows):
        alpha = float(np.prod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000)[: int(timesteps[i]) + 1] ** 2))
        for branch, clean in enumerate((views.picture, views.part)):
            wanted = alpha**0.5 * clean[row] + (1 - alpha) ** 0.5 * noise[i, branch]
            torch.testing.assert_close(noised[i, branch], wanted, atol=1e-4, rtol=1e-4)
        fresh = (behind[i] - alpha**0.5 * views.background[row]) / (1 - alpha) ** 0.5
        assert (fresh - noise[i, 0]).abs().max() > 0.1
    assert not torch.equal(noise[:, 0], noise[:, 1])


@pytest.fixture
def views():
    torch.manual_seed(0)
    return PairViews(torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8))


def trained(tiny_base, views, path, steps, **more):
    model = DualModel(tiny_base(), DualShape(rank=2, background=True))
    tuning = DualTuning(
        **{"steps": steps, "batch": 2, "learning_rate": 5e-3, "empty_prompt": 0.3, "average": 0.5} | more
    )
    loss = tune(model, views, SCHEDULER, PROMPTS, tuning, path, seed=0, tick=lambda *_: None, key="k")
    return model, loss


def test_an_interrupted_training_ends_with_the_same_weights(tiny_base, views, tmp_path):
    whole, loss = trained(tiny_base, views, tmp_path / "whole", 4)
    assert np.isfinite(loss)
    trained(tiny_base, views, tmp_path / "parts", 2)
    again, _ = trained(tiny_base, views, tmp_path / "parts", 4)
    for name, value in whole.trained.items():
        assert torch.equal(value, again.trained[name]), name


def test_it_learns_both_branches_and_leaves_the_base(tiny_base, views, tmp_path):
    """After some steps on one pair the loss of a fixed batch has fallen in each branch."""
    one = PairViews(views.picture[:1], views.part[:1])
    noised, timesteps, noise, _ = noised_batch(one, Diffusion(SCHEDULER), 8, np.random.default_rng(9))
    noised, noise = (both.transpose(0, 1).flatten(0, 1) for both in (noised, noise))
    shape = DualShape(rank=4, targets=("to_q", "conv_in", "conv_out"))

    def losses(model):
        with torch.no_grad():
            found = model(noised, timesteps, model.encode(PROMPTS).repeat_interleave(8, 0))
        return [float((a - b).square().mean()) for a, b in zip(found.chunk(2), noise.chunk(2))]

    fresh = DualModel(tiny_base(), shape)
    before = losses(fresh)
    model = DualModel(tiny_base(), shape)
    tuning = DualTuning(steps=14, batch=4, learning_rate=3e-2)
    tune(model, one, SCHEDULER, PROMPTS, tuning, tmp_path / "x", seed=0, tick=lambda *_: None)
    after = losses(model)
    assert all(now < 0.97 * then for now, then in zip(after, before)), (before, after)
    frozen = dict(fresh.named_parameters())
    for name, value in model.named_parameters():
        if not value.requires_grad:
            assert torch.equal(value, frozen[name])


def test_a_begun_generator_is_taken_up_with_the_same_files_and_table_only(
    base_folder, pairs_data, tmp_path, monkeypatch
):
    data = shutil.copytree(pairs_data, tmp_path / "data")
    table = tmp_path / "mine.toml"
    table.write_text('[filter_cloth]\nkind = "texture"\n')
    settings = replace(default_settings("nano"), base=str(base_folder), categories_file=table, device="cpu")

    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "make_pair_views", interrupted)

    def begin():
        with pytest.raises(KeyboardInterrupt):
            train_generator(data, tmp_path / "gen", "filter_cloth", "stain", settings)

    begin()
    begin()
    mask = min((data / "filter_cloth" / "ground_truth" / "stain").iterdir())
    for changed, text in ((mask, b"other"), (table, b'[filter_cloth]\nkind = "texture"\nturn = "free"\n')):
        before = changed.read_bytes()
        changed.write_bytes(text)
        with pytest.raises(InputError, match="not begun with these options and files"):
            train_generator(data, tmp_path / "gen", "filter_cloth", "stain", settings)
        changed.write_bytes(before)
    begin()


def test_defaults_are_those_of_the_paper_and_known_runs():
    settings = default_settings("stable-diffusion-v1-5/stable-diffusion-inpainting")
    tuning = settings.tuning
    assert (tuning.steps, tuning.batch, tuning.learning_rate, tuning.weight_decay, tuning.clip) == (
        5000,
        4,
        2e-5,
        1e-2,
        1,
    )
    assert (settings.shape.rank, settings.prompts) == (32, ("a vfx with sks", "sks"))
    assert default_settings("owner/name", background=True).tuning.batch == 2


@pytest.mark.parametrize("background", [False, True])
def test_every_trained_weight_has_a_gradient_as_several_processes_need_it(tiny_base, background):
    torch.manual_seed(0)
    views = PairViews(*(torch.randn(2, 4, 8, 8) for _ in range(2)), torch.randn(2, 4, 8, 8) if background else None)
    model = DualModel(tiny_base(), DualShape(rank=2, background=background))
    noised, timesteps, noise, behind = noised_batch(views, Diffusion(SCHEDULER), 2, np.random.default_rng(0))
    predicted = _Tuned(model, PROMPTS)(noised, timesteps, torch.zeros(2, dtype=torch.bool), behind)
    dual_loss(predicted, noise.transpose(0, 1).flatten(0, 1)).backward()
    assert [name for name, value in model.trained.items() if value.grad is None] == []


def test_parts_of_a_batch_add_up_to_the_whole(tiny_base, views, tmp_path):
    """Two accumulated halves of a batch change the weights as the whole batch does."""
    from edge_ad.training.machine import make_accelerator

    found = []
    for accumulate in (1, 2):
        model = DualModel(tiny_base(), DualShape(rank=2))
        accelerator = make_accelerator("cpu", "no", accumulate)
        checkpoint = tmp_path / str(accumulate)
        tune(
            model, views, SCHEDULER, PROMPTS, DualTuning(steps=1, batch=2, learning_rate=1e-3), checkpoint, seed=0,
            tick=lambda *_: None, accelerator=accelerator,
        )  # fmt: skip
        found.append(torch.cat([value.detach().flatten() for value in model.trained.values()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)
