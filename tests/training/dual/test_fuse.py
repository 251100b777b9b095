"""Fused branches compute what the layers with LoRA compute, and no LoRA is left in the network."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from torch import nn  # noqa: E402

from edge_ad.training.dual.fuse import FusedBranches, fuse_branches, fused_layer  # noqa: E402
from edge_ad.training.dual.lora import GLOBAL, PART, BranchLora, Route  # noqa: E402
from edge_ad.training.dual.model import DualModel, DualShape  # noqa: E402

LAYERS = [
    nn.Linear(6, 8),
    nn.Linear(6, 8, bias=False),
    nn.Conv2d(6, 8, 3, padding=1),
    nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(6, 8, 1),
]


@pytest.mark.parametrize("base", LAYERS, ids=str)
def test_a_fused_layer_is_w_plus_b_a(base):
    route = Route()
    layer = BranchLora(base, 3, route)
    for up in layer.up:
        nn.init.normal_(up.weight)
    fused = FusedBranches([fused_layer(layer, branch) for branch in (GLOBAL, PART)], route)
    x = torch.randn(6, 7, 6) if isinstance(base, nn.Linear) else torch.randn(6, 6, 5, 5)
    for order in [(GLOBAL, PART), (GLOBAL, PART, GLOBAL), (GLOBAL,), (PART,)]:
        with route.of(*order), torch.no_grad():
            torch.testing.assert_close(fused(x), layer(x), rtol=1e-5, atol=1e-5)
    assert fused_layer(layer, GLOBAL).weight.data_ptr() != layer.base.weight.data_ptr()


@pytest.mark.parametrize("background", [False, True])
def test_a_fused_model_predicts_as_before(tiny_base, disturb, background):
    base = tiny_base()
    targets = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "ff.net.2")
    model = disturb(DualModel(base, DualShape(rank=2, targets=targets, background=background))).eval()
    latents, text = torch.randn(6, 4, 8, 8), torch.randn(6, 77, model.encode(("", "")).shape[-1])
    timesteps = torch.tensor([7, 400, 990])
    behind = torch.randn(3, 4, 8, 8) if background else None
    with torch.no_grad():
        before = model(latents, timesteps, text, behind)
        fuse_branches(model)
        after = model(latents, timesteps, text, behind)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, BranchLora) for layer in model.unet.modules())
