import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.base import Base, decode, encode_mean, encode_prompts, load_base, save_base  # noqa: E402


def copy(base_folder, tmp_path):
    return shutil.copytree(base_folder, tmp_path / "copy")


def test_what_was_saved_is_loaded(base_folder, tiny_base):
    made, found = tiny_base(), load_base(str(base_folder))
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(found, part).state_dict(), getattr(made, part).state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert not getattr(found, part).training
        assert not any(value.requires_grad for value in getattr(found, part).parameters())
    assert (found.image_size, found.latent_size, found.feature_kind, found.licence) == (64, 8, "lite0", "Apache-2.0")
    for key, value in made.scheduler_config.items():
        assert found.scheduler_config[key] == value
    prompts = ["A perfect ring.", ""]
    torch.testing.assert_close(encode_prompts(found, prompts), encode_prompts(made, prompts))
    assert encode_prompts(found, prompts).shape == (2, 32, 32)


def test_half_precision_on_disk_is_float_in_memory(tiny_base, tmp_path):
    base = tiny_base()
    save_base(base, tmp_path / "half")
    found = load_base(str(tmp_path / "half"))
    for part in ("unet", "vae", "text_encoder"):
        for (name, ours), (_, before) in zip(
            getattr(found, part).named_parameters(), getattr(tiny_base(), part).named_parameters(), strict=True
        ):
            assert ours.dtype == torch.float32, name
            torch.testing.assert_close(ours, before, atol=1e-6, rtol=1e-3)
        assert next(getattr(base, part).parameters()).dtype == torch.float32


def test_diffusers_own_pipeline_runs_it(base_folder):
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(base_folder)
    pipeline.set_progress_bar_config(disable=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    mask = Image.fromarray(np.full((64, 64), 255, np.uint8))
    made = pipeline("A perfect ring.", image, mask, height=64, width=64, num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 64, 64, 3)
    assert np.isfinite(made).all()


def test_nano_is_in_the_package():
    """The shipped base: loads, keeps a picture in encoding and decoding, and paints what is hidden."""
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image

    from edge_ad.training.base import NANO_FOLDER
    from edge_ad.training.pretrain.draw.demo import good_picture

    base = load_base("nano")
    assert (base.image_size, base.latent_size, base.feature_kind, base.licence) == (256, 32, "lite0", "Apache-2.0")
    assert sum(path.stat().st_size for path in NANO_FOLDER.rglob("*.safetensors")) < 30e6
    picture = good_picture(0, "flange_cover", "train", 0)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        z = encode_mean(base.vae, x)
        y = decode(base.vae, z)
    assert z.shape == (1, 4, 32, 32)
    assert 0.3 < float(z.std()) < 3
    assert 10 * torch.log10(4 / (y - x).square().mean()) > 22  # PSNR in dB
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(NANO_FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    hidden = np.zeros((256, 256), np.uint8)
    hidden[96:160, 32:96] = 255
    made = pipeline(
        "A perfect flange cover.", Image.fromarray(picture), Image.fromarray(hidden), height=256, width=256,
        num_inference_steps=4, strength=1.0, guidance_scale=1.0, output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip
    inside = hidden > 0
    error = np.abs(made - picture / 255.0)[inside].mean()
    guess = np.abs(picture[~inside].mean(0) / 255.0 - picture / 255.0)[inside].mean()
    assert error < 1.5 * guess


def test_nanos_tokenizer_is_the_one_its_text_encoder_was_trained_with():
    """Words of the captions have moved from where the seed put them; bytes that no caption holds have not."""
    from edge_ad.training.pretrain.architecture import build_nano

    base = load_base("nano")
    begun = build_nano(base.card["recipe"]["seed"], tokenizer=base.tokenizer)
    now, before = (part.text_encoder.get_input_embeddings().weight for part in (base, begun))
    moved = (now - before).norm(dim=1)

    def of(tokens):
        return moved[base.tokenizer.convert_tokens_to_ids(tokens)]

    words = of(["a</w>", "on</w>", "with</w>", "dark</w>", "steel</w>", "surface</w>"])
    unseen = of(["ā", "ē", "¬", "±", "¿", "§"])
    assert words.min() > 3 * unseen.max()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(part, base_folder, tmp_path):
    folder = copy(base_folder, tmp_path)
    shutil.rmtree(folder / part)
    with pytest.raises(InputError, match=f"not a diffusers model folder: it lacks {part}"):
        load_base(str(folder))


@pytest.mark.parametrize(
    "text", ["{", "[]", "\xff", '{"image_size": "large"}', '{"image_size": null}', '{"feature_kind": "lite2"}']
)
def test_a_damaged_card_is_one_sentence(text, base_folder, tmp_path):
    folder = copy(base_folder, tmp_path)
    (folder / "edge_ad.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"copy could not be loaded \(.*edge_ad\.json.*\): check the folder"):
        load_base(str(folder))


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
     "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "scheduler/scheduler_config.json"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_file_is_one_sentence(name, damage, base_folder, tmp_path):
    folder = copy(base_folder, tmp_path)
    path = folder / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    with pytest.raises(InputError, match="could not be loaded") as caught:
        load_base(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_to_image_model_is_refused(base_folder, tmp_path):
    from edge_ad.training.pretrain.architecture import build_unet

    folder = copy(base_folder, tmp_path)
    unet = build_unet((32, 32), 32, 8)
    unet.register_to_config(in_channels=4)
    unet.conv_in = torch.nn.Conv2d(4, 32, 3, padding=1)
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    with pytest.raises(InputError, match="4 input channels; an inpainting checkpoint has 9"):
        load_base(str(folder))


def test_a_base_that_predicts_no_noise_is_refused(base_folder, tmp_path):
    folder = copy(base_folder, tmp_path)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prediction_type": "v_prediction"}))
    with pytest.raises(InputError, match="predicts v_prediction"):
        load_base(str(folder))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "nowhere", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id(name):
    with pytest.raises(InputError, match="no such folder, and not a hub id"):
        load_base(name)


def test_a_hub_id_without_the_hub_is_one_sentence(tiny_shots, tmp_path):
    """Through the command, offline with an empty cache."""
    data = next(iter(tiny_shots.values()))[0].parent
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad", "train", str(data), "--base", "nobody/nothing", "--shots", "1",
         "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, cwd="/", env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("edge-ad:")]
    assert len(errors) == 1
    assert "the base nobody/nothing could not be loaded" in errors[0]
    assert "check the name and the connection, or give a local folder" in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_base_with_stable_diffusions_autoencoder(tiny_base, tmp_path):
    """AutoencoderKL: its posterior mean is the encoding, and the scaling factor is applied and taken back."""
    from diffusers import AutoencoderKL

    made = tiny_base()
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, scaling_factor=0.18215,
    )  # fmt: skip
    save_base(
        Base(vae.eval(), made.unet, made.text_encoder, made.tokenizer, made.scheduler_config, image_size=64),
        tmp_path / "kl",
        half=False,
    )
    assert json.loads((tmp_path / "kl" / "model_index.json").read_text())["vae"][1] == "AutoencoderKL"
    base = load_base(str(tmp_path / "kl"))
    assert base.scaling == 0.18215
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        z = encode_mean(base.vae, x)
        torch.testing.assert_close(z, vae.encode(x).latent_dist.mean * 0.18215, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode(base.vae, z), vae.decode(z / 0.18215).sample, atol=1e-5, rtol=1e-4)
    assert z.shape == (2, 4, 8, 8)
