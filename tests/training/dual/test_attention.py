"""SAIM (eq. 3) and background compensation (eq. 5), each against the equation written out slowly."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
from torch import nn  # noqa: E402

from edge_ad.training.attention import TrainingAttention  # noqa: E402
from edge_ad.training.dual.attention import AttentionMaps, Background, DualAttention, Interaction  # noqa: E402
from edge_ad.training.dual.lora import BranchLora, Route  # noqa: E402

WIDTH, HEADS, DIM = 8, 2, 4


def attend(query, key, value, heads):
    """Softmax(Q Kᵀ / √d) V of N,C and M,C rows, head by head and row by row."""
    width = query.shape[1] // heads
    out = torch.zeros_like(query)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for row in range(len(query)):
            scores = torch.stack([(query[row, part] * key[other, part]).sum() for other in range(len(key))])
            weights = torch.softmax(scores / width**0.5, 0)
            out[row, part] = sum(weight * line for weight, line in zip(weights, value[:, part]))
    return out


def saim(layer, picture, part):
    """Eq. 3, one place of one picture at a time."""
    new_picture, new_part = torch.zeros_like(picture), torch.zeros_like(part)
    for b in range(picture.shape[0]):
        for w in range(picture.shape[1]):
            both = torch.stack([picture[b, w], part[b, w]])  # "bw 2 c"
            query, key, value = (both @ m.weight.T for m in (layer.query, layer.key, layer.value))
            new = attend(query, key, value, layer.heads) @ layer.out.weight.T + layer.out.bias
            new_picture[b, w], new_part[b, w] = new + both
    return new_picture, new_part


def test_saim_is_equation_3():
    torch.manual_seed(0)
    layer = Interaction(WIDTH, HEADS, "plain")
    picture, part = torch.randn(2, 5, WIDTH), torch.randn(2, 5, WIDTH)
    for ours, theirs in zip(layer(picture, part), saim(layer, picture, part), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_saim_starts_as_the_identity_and_learns():
    layer = Interaction(WIDTH, HEADS)
    picture, part = torch.randn(2, 5, WIDTH), torch.randn(2, 5, WIDTH)
    found = layer(picture, part)
    assert torch.equal(found[0], picture)
    assert torch.equal(found[1], part)
    (found[0] * part).sum().backward()
    assert layer.out.weight.grad.abs().sum() > 0


@pytest.fixture
def attention():
    """A self-attention whose projections have branches, and its processor with background compensation."""
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    route = Route()
    attn = Attention(query_dim=WIDTH, heads=HEADS, dim_head=DIM)
    for name in ("to_q", "to_k", "to_v"):
        layer = BranchLora(getattr(attn, name), 2, route)
        for up in layer.up:
            nn.init.normal_(up.weight)
        setattr(attn, name, layer)
    processor = DualAttention(WIDTH, HEADS, route, TrainingAttention(), "plain", background=True)
    nn.init.constant_(processor.background.gamma, 0.7)
    attn.set_processor(processor)
    return attn, processor, route


def projected(attn, name, branch, tokens):
    layer = getattr(attn, name)
    return tokens @ (layer.base.weight + layer.up[branch].weight @ layer.down[branch].weight).T


def self_attention(attn, branch, tokens, context):
    """SelfAtt of one picture's tokens W,C through one branch, with the output layer."""
    query = projected(attn, "to_q", branch, tokens)
    mixed = attend(query, *(projected(attn, name, branch, context) for name in ("to_k", "to_v")), HEADS)
    return mixed @ attn.to_out[0].weight.T + attn.to_out[0].bias


def test_background_compensation_is_equation_5(attention):
    attn, processor, route = attention
    tokens = torch.randn(6, 3, WIDTH)  # 2 pictures, 2 parts, 2 backgrounds of 3 places
    with route.of(0, 1, 0):
        found = attn(tokens)
    picture, part, behind = tokens.chunk(3)
    first, second = torch.zeros_like(picture), torch.zeros_like(part)
    for b in range(2):
        seen = self_attention(attn, 0, behind[b], behind[b])  # φ(z_b) = SelfAtt(φ(z_b)), by SD's own branch
        mixed = processor.background.mlp(seen)
        injected = picture[b] + 0.7 * mixed  # φ(z) + γ MLP(φ(z_b))
        first[b] = self_attention(attn, 0, picture[b], injected)  # Q of φ(z); K and V of the injected
        second[b] = self_attention(attn, 1, part[b], part[b])
        torch.testing.assert_close(found[4 + b], seen)  # the background meets nobody
    for ours, theirs in zip(found[:4].chunk(2), saim(processor.interaction, first, second), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gamma_starts_at_a_tenth():
    assert Background(WIDTH).gamma.item() == pytest.approx(0.1)


def test_without_backgrounds_it_is_two_attentions_and_saim(attention):
    attn, processor, _route = attention
    tokens = torch.randn(4, 3, WIDTH)
    found = attn(tokens)
    alone = [
        torch.stack([self_attention(attn, branch, rows, rows) for rows in half])
        for branch, half in enumerate(tokens.chunk(2))
    ]
    for ours, theirs in zip(found.chunk(2), saim(processor.interaction, *alone), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_attention_maps_average_the_words_of_the_part():
    maps = AttentionMaps([1, 2], side=4)
    query, key = torch.randn(2, HEADS, 16, DIM), torch.randn(2, HEADS, 5, DIM)
    maps.add(query, key)
    wanted = torch.zeros(2, 16)
    for b in range(2):
        for head in range(HEADS):
            for place in range(16):
                weights = torch.softmax(key[b, head] @ query[b, head, place] / DIM**0.5, 0)
                wanted[b, place] += (weights[1] + weights[2]) / 2 / HEADS
    wanted = wanted / wanted.mean(1, keepdim=True)
    torch.testing.assert_close(maps.mean().flatten(1), wanted)
    maps.add(query, key)
    torch.testing.assert_close(maps.mean().flatten(1), wanted)
    with pytest.raises(ValueError, match="no attention"):
        AttentionMaps([1], 4).mean()
