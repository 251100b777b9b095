import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from edge_ad.errors import OptionError  # noqa: E402
from edge_ad.training.dual.lora import GLOBAL, PART, BranchLora, Route, add_branches  # noqa: E402


def moved(layer: BranchLora) -> BranchLora:
    for up in layer.up:
        nn.init.normal_(up.weight)
    return layer


@pytest.mark.parametrize("order", [(GLOBAL, PART), (GLOBAL, PART, GLOBAL), (PART,)])
def test_each_slice_gets_its_own_branch(order):
    torch.manual_seed(0)
    base, route = nn.Linear(6, 5), Route()
    layer = moved(BranchLora(base, 2, route))
    x = torch.randn(2 * len(order), 3, 6)
    with route.of(*order):
        found = layer(x)
    for row in range(len(x)):
        branch = order[row // 2]
        weight = base.weight + layer.up[branch].weight @ layer.down[branch].weight
        torch.testing.assert_close(found[row], x[row] @ weight.T + base.bias)
    assert route.order == (GLOBAL, PART)  # as before


def test_a_convolution_has_branches_too():
    torch.manual_seed(0)
    base, route = nn.Conv2d(4, 6, 3, stride=2, padding=1), Route()
    layer = moved(BranchLora(base, 3, route))
    x = torch.randn(2, 4, 8, 8)
    found = layer(x)
    for branch in (GLOBAL, PART):
        delta = torch.einsum("or,rikl->oikl", layer.up[branch].weight[:, :, 0, 0], layer.down[branch].weight)
        wanted = nn.functional.conv2d(x[branch : branch + 1], base.weight + delta, base.bias, stride=2, padding=1)
        torch.testing.assert_close(found[branch : branch + 1], wanted)


def test_it_starts_as_the_frozen_layer_and_only_the_branches_learn():
    base = nn.Linear(6, 5)
    layer = BranchLora(base, 2, Route())
    x = torch.randn(4, 6)
    assert torch.equal(layer(x), base(x))
    layer(x).sum().backward()
    assert base.weight.grad is None
    assert all(up.weight.grad.abs().sum() > 0 for up in layer.up)


def test_an_odd_batch_is_an_error():
    with pytest.raises(ValueError, match="3 rows"):
        BranchLora(nn.Linear(2, 2), 1, Route())(torch.randn(3, 2))


def test_targets_are_found_by_the_end_of_their_names():
    module = nn.ModuleDict({"to_q": nn.Linear(2, 2), "into_q": nn.Linear(2, 2), "deep": nn.ModuleDict()})
    module["deep"]["to_q"] = nn.Linear(2, 2)
    assert add_branches(module, 1, ("to_q",), Route()) == 2
    assert isinstance(module["deep"]["to_q"], BranchLora)
    assert isinstance(module["into_q"], nn.Linear)
    with pytest.raises(OptionError, match="'nothing'"):
        add_branches(nn.ModuleDict({"a": nn.Linear(2, 2)}), 1, ("a", "nothing"), Route())
