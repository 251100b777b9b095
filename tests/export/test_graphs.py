"""The other graphs against plain arithmetic, and against Stable Diffusion's own classes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

rng = np.random.default_rng(0)


def run(case):
    with torch.no_grad():
        results = case.module(**case.inputs)
    return dict(zip(case.outputs, results if isinstance(results, tuple) else (results,)))


def test_prepare_is_equation_7_and_blends_masked_latents():
    from edge_ad.export.graphs.prepare import prepare_case

    case = prepare_case(4, 8, rng)
    i, found = case.inputs, run(case)
    for row in range(4):
        image, visible = int(i["image_index"][row]), int(i["visible_index"][row])
        noisy = i["start"][row, 0] * i["latents"][image] + i["start"][row, 1] * i["noise"][image]
        torch.testing.assert_close(found["noisy"][row], noisy)
        hidden = i["mask"][row, 0].bool()
        expected = torch.where(hidden, i["blank"][visible], i["visible"][visible])
        torch.testing.assert_close(found["masked_latents"][row], expected)


def test_masked_latents_that_were_encoded_pass_unchanged():
    from edge_ad.export.graphs.prepare import prepare_case

    case = prepare_case(4, 8, rng)
    case.inputs["blank"] = case.inputs["visible"]
    torch.testing.assert_close(run(case)["masked_latents"], case.inputs["visible"][case.inputs["visible_index"]])


def test_compose_takes_each_pixel_from_the_result_that_hid_it():
    from edge_ad.export.graphs.compose import ComposeGraph
    from edge_ad.runtime.masks import checkerboard

    masks = torch.from_numpy(checkerboard(8, 4))
    results = torch.arange(4.0)[:, None, None, None].expand(4, 4, 8, 8)
    found = ComposeGraph()(results, masks[:, None], torch.ones(1, 4))
    expected = sum(g * masks[g] for g in range(4))
    torch.testing.assert_close(found, expected.expand(1, 4, 8, 8))


@pytest.fixture(scope="module")
def kl():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    ).eval()


def test_the_encoder_hides_in_mid_grey_and_takes_the_posterior_mean(kl):
    from edge_ad.export.graphs.encoder import encoder_case

    case = encoder_case(kl, 64, rng)
    image, mask = case.inputs["image"], case.inputs["mask"]
    grey = image.float().permute(0, 3, 1, 2) / 127.5 - 1
    grey[mask.expand_as(grey) == 1] = 0
    with torch.no_grad():
        expected = kl.encode(grey).latent_dist.mean * kl.config.scaling_factor
    torch.testing.assert_close(run(case)["latents"], expected)


def test_the_decoder_undoes_the_scaling_and_stays_in_range(kl):
    from edge_ad.export.graphs.decoder import decoder_case

    case = decoder_case(kl, 4, 8, rng)
    with torch.no_grad():
        expected = kl.decode(case.inputs["latents"] / kl.config.scaling_factor).sample.clamp(-1, 1)
    torch.testing.assert_close(run(case)["image"], expected)


def test_the_denoiser_is_one_solver_step(tiny_base):
    from edge_ad.export.graphs.denoiser import denoiser_case

    unet = tiny_base().unet
    case = denoiser_case(unet, 4, 8, (5, 32), rng)
    i, found = case.inputs, run(case)
    for row in range(3):
        x = torch.cat([i["latents"], i["mask"], i["masked_latents"]], 1)[row : row + 1]
        prompt = i["prompts"][i["prompt_index"][row]][None]
        with torch.no_grad():
            epsilon = unet(x, i["timestep"][row], encoder_hidden_states=prompt).sample[0]
        a, b, c, p, q = i["coeffs"][row].tolist()
        step = a * i["latents"][row] + b * epsilon + c * i["history"][row]
        torch.testing.assert_close(found["next"][row], step, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            found["next_history"][row], p * i["latents"][row] + q * epsilon, atol=1e-5, rtol=1e-4
        )
    torch.testing.assert_close(found["next"][2], i["latents"][2])
