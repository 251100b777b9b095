from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.errors import OptionError  # noqa: E402
from edge_ad.runtime.masks import checkerboard  # noqa: E402
from edge_ad.training.finetune import DenoiserTuning, MaskSampler, Views, add_lora, tune_denoiser  # noqa: E402

TUNING = DenoiserTuning(steps=5, batch=3, rank=2, save_every=2)


def quiet(count=1, note=""):
    pass


def views(count=6):
    generator = torch.Generator().manual_seed(0)
    foreground = np.zeros((count, 8, 8), bool)
    foreground[:, 2:6, 1:7] = True
    return Views(
        latents=torch.randn(count, 4, 8, 8, generator=generator),
        foreground=foreground,
        category=np.arange(count) % 2,
        prompts=[torch.randn(2, 32, 32, generator=generator) for _ in range(2)],
        blank=torch.zeros(1, 4, 8, 8),
    )


def weights(base):
    return {name: value.detach().clone() for name, value in base.unet.state_dict().items()}


@pytest.mark.parametrize("full", [False, True])
def test_interrupted_and_taken_up_it_ends_bit_for_bit_the_same(full, tiny_base, tmp_path):
    tuning = replace(TUNING, full=full)
    whole = tiny_base()
    tune_denoiser(whole, views(), tuning, tmp_path / "whole", seed=1, tick=quiet, key="k")
    calls = []

    def interrupt(count=1, note=""):
        calls.append(count)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_denoiser(tiny_base(), views(), tuning, tmp_path / "part", seed=1, tick=interrupt, key="k")
    again, done = tiny_base(), []
    tune_denoiser(
        again, views(), tuning, tmp_path / "part", seed=1, tick=lambda count=1, note="": done.append((count, note)),
        key="k",
    )  # fmt: skip
    assert done[0] == (2, "resumed")
    assert sum(count for count, _ in done) == 5
    ours, theirs = weights(again), weights(whole)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_checkpoint_of_other_settings_is_left_alone(tiny_base, tmp_path):
    tune_denoiser(tiny_base(), views(), replace(TUNING, steps=2), tmp_path / "c", seed=1, tick=quiet, key="one")
    notes = []
    tune_denoiser(
        tiny_base(), views(), replace(TUNING, steps=2), tmp_path / "c", seed=1,
        tick=lambda count=1, note="": notes.append(note), key="two",
    )  # fmt: skip
    assert len(notes) == 2
    assert not any(note == "resumed" for note in notes)


def test_lora_changes_the_adapter_only_and_full_tuning_the_weights(tiny_base, tmp_path):
    before = weights(tiny_base())
    lora = tiny_base()
    losses = tune_denoiser(lora, views(), TUNING, tmp_path / "l", seed=0, tick=quiet)
    after = weights(lora)
    for name, value in before.items():
        kept = after[name] if name in after else after[name.replace(".weight", ".base_layer.weight").replace(
            ".bias", ".base_layer.bias")]  # fmt: skip
        assert torch.equal(kept, value), name
    assert any(value.abs().max() > 0 for name, value in after.items() if "lora_B" in name)
    assert not any(value.requires_grad for value in lora.unet.parameters())
    assert np.isfinite(losses["denoiser"])
    assert 0 <= losses["mask_fallback_share"] <= 1
    full = tiny_base()
    tune_denoiser(full, views(), replace(TUNING, full=True), tmp_path / "f", seed=0, tick=quiet)
    assert set(weights(full)) == set(before)
    assert all((weights(full)[name] != before[name]).any() for name in ("conv_in.weight", "conv_out.bias"))


def test_the_loss_falls(tiny_base, tmp_path):
    """Noise is learnt to be predicted: the mean loss of the last 50 of 70 steps against that of the first five."""
    tuning = replace(TUNING, full=True, batch=4, learning_rate=2e-3)
    first = tune_denoiser(tiny_base(), views(), tuning, tmp_path / "a", seed=0, tick=quiet)
    last = tune_denoiser(tiny_base(), views(), replace(tuning, steps=70), tmp_path / "b", seed=0, tick=quiet)
    assert last["denoiser"] < 0.9 * first["denoiser"]


def test_only_layers_that_can_carry_lora_are_taken(tiny_base):
    for target in ("nonsense", "norm1", "o_q"):
        with pytest.raises(OptionError, match=f"--targets.*{target}"):
            add_lora(tiny_base().unet, 2, ("to_q", target), 0)
    unet = tiny_base().unet
    add_lora(unet, 2, ("to_q", "conv_in"), 0)
    trained = [name for name, value in unet.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name and ("to_q" in name or "conv_in" in name) for name in trained)


def test_masks_of_the_fine_tuning():
    foreground = np.zeros((16, 16), bool)
    foreground[4:12, 4:12] = True
    rng = np.random.default_rng(0)
    groups = {shown.tobytes() for k in (2, 4, 8) for shown in checkerboard(16, k)}
    shown = [MaskSampler(replace(TUNING, plan_mask_share=1.0))(rng, foreground) for _ in range(200)]
    share = np.mean([mask.tobytes() in groups for mask in shown])
    assert 0.8 < share < 0.97
    assert 0.005 < np.mean([mask.all() for mask in shown]) < 0.12
    design = MaskSampler(replace(TUNING, plan_mask_share=0.0))
    designed = [design(rng, foreground) for _ in range(60)]
    assert design.design.drawn == 60
    anywhere = MaskSampler(replace(TUNING, plan_mask_share=0.0, masks="random"))
    random = [anywhere(rng, foreground) for _ in range(60)]
    assert anywhere.design.drawn == 0

    def on_product(masks):
        return np.mean([mask[foreground].sum() / mask.sum() for mask in masks])

    assert on_product(designed) > on_product(random)
    for mask in designed + random:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns


def test_no_steps_leave_the_base_as_it_is(tiny_base, tmp_path):
    base = tiny_base()
    assert tune_denoiser(base, views(), replace(TUNING, steps=0, full=True), tmp_path / "c", seed=0, tick=quiet) == {}
    assert all(torch.equal(a, b) for a, b in zip(weights(base).values(), weights(tiny_base()).values(), strict=True))
