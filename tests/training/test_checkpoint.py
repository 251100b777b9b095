import pytest

torch = pytest.importorskip("torch")

from edge_ad.training.checkpoint import Average, resume, save_checkpoint  # noqa: E402


def network(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 1))
    layers[0].bias.requires_grad_(False)
    return layers


def steps(module, average, optimiser, first, last):
    for step in range(first, last):
        x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        (module(x) ** 2).mean().backward()
        optimiser.step()
        average.update(module, step)


def begin(seed=0, kind=torch.optim.Adam):
    module = network(seed)
    trained = [value for value in module.parameters() if value.requires_grad]
    return module, Average(module, 0.5), kind(trained, lr=0.01)


def test_the_average_by_a_loop():
    module, average, optimiser = begin()
    slow = {name: value.tolist() for name, value in module[2].named_parameters()}
    for step in range(12):
        steps(module, average, optimiser, step, step + 1)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in module[2].named_parameters():
            flat = torch.tensor(slow[name]).double() * decay + value.detach().double() * (1 - decay)
            slow[name] = flat.tolist()
    kept = module[0].bias.clone()
    average.copy_to(module)
    for name, value in module[2].named_parameters():
        torch.testing.assert_close(value.detach().double(), torch.tensor(slow[name]).double(), atol=1e-6, rtol=1e-5)
    assert set(average.values) == {"0.weight", "2.weight", "2.bias"}
    assert torch.equal(module[0].bias, kept)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_taken_up_it_goes_on_bit_for_bit(kind, tmp_path):
    path = tmp_path / "sub" / "state.safetensors"
    whole = begin(kind=kind)
    steps(*whole, 0, 9)
    part = begin(kind=kind)
    steps(*part, 0, 4)
    save_checkpoint(path, *part, 4, "key")
    again = begin(seed=1, kind=kind)
    again[0][0].bias.copy_(whole[0][0].bias)
    assert resume(path, *again, "key") == 4
    steps(*again, 4, 9)
    for ours, theirs in zip(again[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert all(torch.equal(again[1].values[name], whole[1].values[name]) for name in whole[1].values)


def test_another_key_is_not_taken_up_and_leaves_the_weights(tmp_path):
    path = tmp_path / "state.safetensors"
    part = begin()
    steps(*part, 0, 3)
    save_checkpoint(path, *part, 3, "one")
    other = begin(seed=1)
    before = [value.clone() for value in other[0].parameters()]
    assert resume(path, *other, "two") == 0
    assert resume(tmp_path / "none.safetensors", *other, "one") == 0
    assert all(torch.equal(a, b) for a, b in zip(before, other[0].parameters(), strict=True))


def test_the_file_is_safetensors_and_written_whole(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "state.safetensors"
    part = begin()
    steps(*part, 0, 1)
    save_checkpoint(path, *part, 1)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"step": "1", "key": ""}
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_statistics_of_batch_normalisation_go_with_the_weights(tmp_path):
    def normalised():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 1))
        return module, Average(module, 0.5), torch.optim.Adam(module.parameters(), lr=0.01)

    whole, part, again = normalised(), normalised(), normalised()
    steps(*whole, 0, 5)
    steps(*part, 0, 3)
    save_checkpoint(tmp_path / "state.safetensors", *part, 3, "key")
    resume(tmp_path / "state.safetensors", *again, "key")
    steps(*again, 3, 5)
    for statistic in ("running_mean", "running_var"):
        assert torch.equal(getattr(again[0][0], statistic), getattr(whole[0][0], statistic))
    slow, live = torch.zeros(2), normalised()
    for step in range(5):
        steps(*live, step, step + 1)
        decay = min(0.5, (1 + step) / (10 + step))
        slow = slow * decay + live[0][0].running_mean * (1 - decay)
    whole[1].copy_to(whole[0])
    torch.testing.assert_close(whole[0][0].running_mean, slow)
    frozen = normalised()[0].requires_grad_(False)
    assert Average(frozen, 0.5).values == {}
