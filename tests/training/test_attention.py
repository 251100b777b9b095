import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.training.attention import TrainingAttention, use_plain_attention, use_training_attention  # noqa: E402


@pytest.mark.parametrize("context_width", [None, 24])
@pytest.mark.parametrize(("batch", "tokens", "heads"), [(2, 17, 1), (1, 64, 4)])
def test_output_and_gradients_are_those_of_diffusers(context_width, batch, tokens, heads):
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    torch.manual_seed(0)
    attention = Attention(query_dim=48, cross_attention_dim=context_width, heads=heads, dim_head=16)
    hidden = torch.randn(batch, tokens, 48)
    context = None if context_width is None else torch.randn(batch, 9, context_width)
    target = torch.randn(batch, tokens, 48)
    found = []
    for processor in (AttnProcessor2_0(), TrainingAttention()):
        attention.set_processor(processor)
        attention.zero_grad()
        inputs = [hidden.clone().requires_grad_(True)]
        if context is not None:
            inputs.append(context.clone().requires_grad_(True))
        out = attention(*inputs)
        ((out - target) ** 2).sum().backward()
        found.append([out.detach(), *(x.grad for x in inputs), *(p.grad.clone() for p in attention.parameters())])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_unet_computes_the_same_with_either(tiny_base):
    unet = tiny_base().unet
    inputs = (torch.randn(1, 9, 8, 8), torch.tensor([100]), torch.randn(1, 5, 32))
    with torch.no_grad():
        plain = unet(*inputs).sample
        use_training_attention(unet)
        assert any(isinstance(value, TrainingAttention) for value in unet.attn_processors.values())
        torch.testing.assert_close(unet(*inputs).sample, plain, atol=1e-5, rtol=1e-4)
        use_plain_attention(unet)
        assert not any(isinstance(value, TrainingAttention) for value in unet.attn_processors.values())
        torch.testing.assert_close(unet(*inputs).sample, plain)
