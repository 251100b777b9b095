"""The dual model against two LoRA models of diffusers and peft, made from the same weights."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.errors import OptionError  # noqa: E402
from edge_ad.training.dual.lora import BranchLora  # noqa: E402
from edge_ad.training.dual.model import TARGETS, TEXT_TARGETS, DualModel, DualShape  # noqa: E402

RANK = 3
PROMPTS = ("a vfx with sks", "sks")


def text_to_image(base):
    """The same base with a UNet of 4 input channels."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    base.unet = UNet2DConditionModel.from_config({**base.unet.config, "in_channels": 4}).eval()
    return base


def with_peft(network, dual, branch, targets):
    """A plain network with one peft LoRA that holds the weights of one branch."""
    from peft import LoraConfig, inject_adapter_in_model

    network = inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(targets)), network)
    branches = {name: layer for name, layer in dual.named_modules() if isinstance(layer, BranchLora)}
    found = 0
    with torch.no_grad():
        for name, layer in network.named_modules():
            if name in branches and hasattr(layer, "lora_A"):
                layer.lora_A["default"].weight.copy_(branches[name].down[branch].weight)
                layer.lora_B["default"].weight.copy_(branches[name].up[branch].weight)
                found += 1
    assert found == len(branches) > 0
    return network.eval()


def lora_only(model):
    """Move the LoRA weights of a model; SAIM stays at its start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.trained.items():
            if ".up." in name:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return model


@pytest.mark.parametrize("channels", [9, 4])
def test_at_saims_start_both_branches_are_two_separate_lora_unets(tiny_base, channels):
    bases = [tiny_base() if channels == 9 else text_to_image(tiny_base()) for _ in range(3)]
    model = lora_only(DualModel(bases[0], DualShape(rank=RANK)))
    latents, timesteps = torch.randn(4, 4, 8, 8), torch.tensor([700, 20])
    text = torch.randn(4, 32, 32)
    x = latents
    if channels == 9:  # nothing is given: the mask is full, the masked picture blank
        x = torch.cat([latents, torch.ones(4, 1, 8, 8), model.blank.expand(4, -1, -1, -1)], 1)
    with torch.no_grad():
        found = model(latents, timesteps, text)
        for branch, rows in enumerate((slice(0, 2), slice(2, 4))):
            alone = with_peft(bases[1 + branch].unet, model.unet, branch, TARGETS)
            wanted = alone(x[rows], timesteps, text[rows]).sample
            torch.testing.assert_close(found[rows], wanted, atol=2e-5, rtol=1e-4)
        plain = tiny_base().unet if channels == 9 else text_to_image(tiny_base()).unet
        assert (plain(x[:2], timesteps, text[:2]).sample - found[:2]).abs().max() > 1e-3  # the LoRA did something


def test_the_text_encoder_is_two_lora_encoders(tiny_base):
    bases = [tiny_base() for _ in range(3)]
    model = lora_only(DualModel(bases[0], DualShape(rank=RANK)))
    found = model.encode(PROMPTS)
    tokens = bases[1].tokenizer(list(PROMPTS), padding="max_length", return_tensors="pt").input_ids
    for branch in (0, 1):
        alone = with_peft(bases[1 + branch].text_encoder, model.text_encoder, branch, TEXT_TARGETS)
        wanted = alone(tokens[branch : branch + 1]).last_hidden_state
        torch.testing.assert_close(found[branch : branch + 1], wanted, atol=1e-5, rtol=1e-4)


def test_plain_saim_joins_the_branches_and_the_identity_does_not(tiny_base):
    latents, timesteps, text = torch.randn(2, 4, 8, 8), torch.tensor([300]), torch.randn(2, 32, 32)
    other = latents.clone()
    other[1] += 1
    for start, same in (("identity", True), ("plain", False)):
        model = DualModel(tiny_base(), DualShape(rank=RANK, saim=start))
        with torch.no_grad():
            assert torch.equal(model(latents, timesteps, text)[0], model(other, timesteps, text)[0]) is same


def test_a_background_reaches_the_picture(tiny_base):
    model = DualModel(tiny_base(), DualShape(rank=RANK, background=True))
    latents, timesteps, text = torch.randn(2, 4, 8, 8), torch.tensor([300]), torch.randn(2, 32, 32)
    with torch.no_grad():
        one, two = (model(latents, timesteps, text, torch.randn(1, 4, 8, 8)) for _ in range(2))
    assert (one[0] - two[0]).abs().max() > 1e-4
    assert torch.equal(one[1], two[1])  # the part has none, and SAIM is the identity
    with pytest.raises(ValueError, match="backgrounds"):
        model(latents, timesteps, text)


def test_every_trained_weight_gets_a_gradient_and_no_other(tiny_base, disturb):
    model = disturb(DualModel(tiny_base(), DualShape(rank=RANK, saim="plain", background=True)))
    text = model.encode(PROMPTS)
    model(torch.randn(2, 4, 8, 8), torch.tensor([300]), text, torch.randn(1, 4, 8, 8)).square().sum().backward()
    for name, value in model.named_parameters():
        moves = value.grad is not None and bool(value.grad.abs().sum() > 0)
        assert moves is value.requires_grad, name
    assert any("text_encoder" in name for name in model.trained)


def test_weights_go_in_again(tiny_base, disturb):
    shape = DualShape(rank=RANK)
    model = disturb(DualModel(tiny_base(), shape))
    state = {name: value.detach().clone() for name, value in model.trained.items()}
    again = DualModel(tiny_base(), shape, seed=5)
    again.load(state)
    latents, timesteps, text = torch.randn(2, 4, 8, 8), torch.tensor([300]), torch.randn(2, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(latents, timesteps, text), again(latents, timesteps, text))
    with pytest.raises(ValueError, match="does not fit"):
        DualModel(tiny_base(), DualShape(rank=2)).load(state)
    state.pop(next(iter(state)))
    with pytest.raises(ValueError, match="does not fit"):
        again.load(state)


def test_the_words_of_a_prompt(tiny_base):
    base = tiny_base()
    model = DualModel(base, DualShape(rank=1))
    ids = base.tokenizer("sks").input_ids
    assert [ids[place] for place in model.word_places("sks")] == ids[1:-1]


def test_a_target_that_is_not_there(tiny_base):
    with pytest.raises(OptionError, match="'to_z'"):
        DualModel(tiny_base(), DualShape(targets=("to_q", "to_z")))


@pytest.mark.slow
def test_two_steps_on_the_real_sd_1_5_configuration(tmp_path):
    """The UNet and text encoder of SD 1.5 at random weights, 64 px: the loss is finite and the branches move."""
    import numpy as np
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from edge_ad.training.base import Base
    from edge_ad.training.dual.pairs import PairViews
    from edge_ad.training.dual.train import DualTuning, tune
    from edge_ad.training.pretrain.architecture import SCHEDULER, build_nano

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, in_channels=9, cross_attention_dim=768, attention_head_dim=8)
    unet.to_empty(device="cpu")
    for name, value in unet.named_parameters():
        torch.nn.init.ones_(value) if value.dim() == 1 and "norm" in name else torch.nn.init.normal_(value, std=0.02)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )
    nano = build_nano(0, image_size=64, vae_width=8, widths=(32, 32), text_width=32)
    assert sum(value.numel() for value in unet.parameters()) > 850e6
    vae = AutoencoderKL(
        block_out_channels=(32,) * 4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    base = Base(vae, unet, text_encoder, nano.tokenizer, SCHEDULER, image_size=64)
    model = DualModel(base, DualShape())
    before = {name: value.detach().clone() for name, value in model.trained.items()}
    views = PairViews(torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8))
    loss = tune(model, views, SCHEDULER, PROMPTS, DualTuning(steps=2, batch=1),
                tmp_path / "state", seed=0, tick=lambda *_: None)  # fmt: skip
    assert np.isfinite(loss)
    assert any((before[name] != value).any() for name, value in model.trained.items())
