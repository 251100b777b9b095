"""`edge-ad synthesize` from pairs to pairs on the tiny base: files, manifest, resume, refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.cli import run as edge_ad  # noqa: E402
from edge_ad.commands.synthesize import command  # noqa: E402
from edge_ad.dataset import load_dataset  # noqa: E402
from edge_ad.errors import BundleError, EdgeAdError, InputError, OptionError  # noqa: E402
from edge_ad.images import read_image, read_mask  # noqa: E402
from edge_ad.training.dual.alignment import Alignment  # noqa: E402
from edge_ad.training.dual.generate import GenerateSettings, generate  # noqa: E402
from edge_ad.training.dual.generator import load_generator  # noqa: E402
from edge_ad.training.dual.masks import MaskRules  # noqa: E402
from edge_ad.training.dual.sample import Sampling  # noqa: E402
from edge_ad.training.dual.score import score  # noqa: E402
from edge_ad.training.features import FeatureNet  # noqa: E402

# a network with random weights draws no defect: its attention still makes masks, and any mask will do
SETTINGS = GenerateSettings(
    count=3,
    sampling=Sampling(steps=2),
    batch=2,
    masks="attention",
    rules=MaskRules(largest=1.0, agreement=0.0, visible=0.0),
    device="cpu",
)


def train_words(data, base, out, *more):
    short = "--steps 2 --batch 1 --views 2 --rank 2 --device cpu"
    words = f"--category filter_cloth --defect stain --base {base} --out {out} {short}"
    return ["train", str(data), *words.split(), *more]


def refused(capsys, *words):
    """The exit code and the one sentence of a command line that is refused."""
    code = edge_ad(["synthesize", *map(str, words)])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("edge-ad:", "Error:"))]
    assert len(said) == 1
    return code, said[0]


@pytest.fixture(scope="module")
def gen(pairs_data, base_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("gen") / "stain"
    result = CliRunner().invoke(command, train_words(pairs_data, base_folder, out), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"generate {out}" in result.output
    return out


@pytest.fixture(scope="module")
def made(gen, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    return out, generate(gen, out, SETTINGS)


def test_a_generator_holds_what_it_needs(gen, base_folder):
    found = load_generator(gen)
    assert (found.base_id, found.image_size) == (str(base_folder), 64)
    assert (found.category, found.defect) == ("filter_cloth", "stain")
    assert found.prompts == ("a vfx with sks", "sks")
    assert "conv1" in found.shape.targets  # a folder like those of edge-ad pretrain gets nano's settings
    assert found.texture
    assert len(found.pairs()) == len(found.trained_on) == 1
    assert len(found.good()) == 4
    assert np.isfinite(found.settings["loss"])
    assert not (gen / "work").exists()
    assert {path.suffix for path in gen.rglob("*") if path.is_file()} == {".json", ".png", ".safetensors"}


def test_pairs_in_the_layout_of_mvtec(made):
    out, manifest = made
    category = load_dataset(out, need_test=True)["filter_cloth"]
    assert [sample.defect for sample in category.test] == ["stain"] * 3
    for sample in category.test:
        picture = read_image(sample.path)
        assert picture.shape == (64, 64, 3)
        assert read_mask(sample.mask, (64, 64)).any()
    assert manifest["counts"]["accepted"] == 3
    notes = out / "synthesis" / "filter_cloth-stain"
    assert json.loads((notes / "manifest.json").read_text()) == manifest
    assert read_image(notes / "contact.png").shape[1] == 3 * 128 + 2 * 4
    accepted = [entry for entry in manifest["attempts"] if entry["rejected"] is None]
    assert [entry["image"] for entry in accepted] == [p.path.relative_to(out).as_posix() for p in category.test]
    assert all(0 <= entry["agreement"] <= 1 for entry in accepted)


def test_a_generation_goes_on_where_it_stopped(gen, made, tmp_path):
    whole, manifest = made
    generate(gen, tmp_path / "set", replace(SETTINGS, count=1, batch=1))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("0*.png")}
    again = generate(gen, tmp_path / "set", replace(SETTINGS, batch=1))  # one at a time, and in two goes
    assert [entry["number"] for entry in again["attempts"]] == [entry["number"] for entry in manifest["attempts"]]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for entry in manifest["attempts"]:
        pictures = [read_image(folder / entry["image"]).astype(int) for folder in (whole, tmp_path / "set")]
        assert abs(pictures[0] - pictures[1]).max() <= 1
    with pytest.raises(InputError, match="other settings"):
        generate(gen, tmp_path / "set", replace(SETTINGS, sampling=Sampling(steps=3)))


def test_pairs_sorted_out_by_hand_are_replaced(gen, made, tmp_path):
    out = shutil.copytree(made[0], tmp_path / "set")
    notes, folder = out / "synthesis" / "filter_cloth-stain", out / "filter_cloth" / "test" / "stain"
    gone = sorted(folder.iterdir())[0]
    kept = gone.rename(tmp_path / "kept.png")
    manifest = generate(gen, out, replace(SETTINGS, count=2))
    assert manifest["counts"] == {"accepted": 2, "removed": 1}
    assert read_image(notes / "contact.png").shape[1] == 2 * 128 + 4
    manifest = generate(gen, out, replace(SETTINGS, batch=1))
    assert manifest["counts"] == {"accepted": 3, "removed": 1}
    assert not gone.exists()
    assert len(list(folder.iterdir())) == 3
    kept.rename(gone)
    shutil.rmtree(notes / "parts")
    assert generate(gen, out, SETTINGS)["counts"] == {"accepted": 4}


def test_rejected_pairs_are_counted_and_shown(gen, tmp_path):
    with pytest.raises(EdgeAdError, match=r"only 0 of 2 pairs .* in 4 drawings \(empty 4\)"):
        generate(gen, tmp_path / "set", replace(SETTINGS, count=2, tries=2, rules=MaskRules(smallest=2.0)))
    notes = tmp_path / "set" / "synthesis" / "filter_cloth-stain"
    assert json.loads((notes / "manifest.json").read_text())["counts"] == {"accepted": 0, "empty": 4}
    assert (notes / "rejected.png").is_file()
    assert not (tmp_path / "set" / "filter_cloth").exists()


def test_a_pair_whose_defect_cannot_be_seen_is_faint(gen, tmp_path):
    settings = replace(SETTINGS, count=4, tries=1)
    everything = generate(gen, tmp_path / "all", settings)
    assert {entry["alignment"] for entry in everything["attempts"]} == {None}
    generator = load_generator(gen)
    (pair,) = generator.pairs()
    real = Alignment(FeatureNet("lite0"), generator.good())(pair.image, pair.mask)
    with pytest.raises(EdgeAdError, match="faint"):  # a network with random weights draws no defect
        generate(gen, tmp_path / "strict", replace(settings, rules=replace(settings.rules, visible=1.0)))
    manifest = json.loads((tmp_path / "strict/synthesis/filter_cloth-stain/manifest.json").read_text())
    assert all(0 < entry["alignment"] < 1 for entry in manifest["attempts"])
    for entry in manifest["attempts"]:  # no more is asked than of the training pair
        assert (entry["rejected"] == "faint") == (entry["alignment"] < real)


def test_backgrounds_of_good_pictures(base_folder, tmp_path):
    """Background compensation from training to drawing, on a product before a background."""
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    write_demo_set(tmp_path / "data", shots=3, good=1, bad=4, size=64, categories=("flange_cover",))
    defect = load_dataset(tmp_path / "data", need_test=True)["flange_cover"].test[0].defect
    words = train_words(tmp_path / "data", base_folder, tmp_path / "gen", "--background", "--names")
    words[3], words[5] = "flange_cover", defect
    (tmp_path / "table.toml").write_text('[flange_cover]\nkind = "object"\n')
    words += ["--categories-file", str(tmp_path / "table.toml")]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = load_generator(tmp_path / "gen")
    assert found.shape.background
    assert found.prompts == (f"a flange cover with {defect.replace('_', ' ')}", defect.replace("_", " "))
    rules = MaskRules(largest=1.0, on_object=0.0, agreement=0.0, visible=0.0)
    assert (
        generate(tmp_path / "gen", tmp_path / "set", replace(SETTINGS, count=1, rules=rules))["counts"]["accepted"] == 1
    )


def test_refusals_before_any_work(gen, pairs_data, base_folder, tmp_path, capsys):
    words = train_words(pairs_data, base_folder, tmp_path / "new")
    assert refused(capsys, *[word.replace("stain", "rust") for word in words])[1].count("it has: contamination") == 1
    assert "--background" in refused(capsys, *words, "--background")[1]
    assert refused(capsys, *words, "--size", "100") == (
        2,
        "edge-ad: --size 100 is not a multiple of 32; take 256, 384 or 512",
    )
    assert "'to_z'" in refused(capsys, *words, "--targets", "to_z")[1]
    assert not (tmp_path / "new").exists()
    assert "finished generator" in refused(capsys, *train_words(pairs_data, base_folder, gen))[1]
    (tmp_path / "thesis.txt").write_text("x")
    assert "not empty" in refused(capsys, *train_words(pairs_data, base_folder, tmp_path))[1]
    assert "is not a generator" in refused(capsys, "generate", tmp_path, "--out", tmp_path / "new")[1]
    assert refused(capsys, "generate", gen, "--out", tmp_path / "new", "--count", "0")[0] == 2
    folder = tmp_path / "mine" / "filter_cloth" / "test" / "stain"
    folder.mkdir(parents=True)
    (folder / "00000.png").write_bytes(b"")
    assert "no manifest" in refused(capsys, "generate", gen, "--out", tmp_path / "mine", "--count", "1")[1]
    with pytest.raises(OptionError, match="--cfg"):
        generate(gen, tmp_path / "new", replace(SETTINGS, sampling=Sampling(cfg=0.5)))


def test_a_damaged_generator_is_named(gen, tmp_path):
    copy = shutil.copytree(gen, tmp_path / "copy")
    (copy / "adapter.safetensors").write_bytes(b"no")
    with pytest.raises(BundleError, match=r"adapter\.safetensors is damaged"):
        load_generator(copy)
    (copy / "adapter.safetensors").unlink()
    with pytest.raises(BundleError, match="missing"):
        load_generator(copy)
    (copy / "generator.json").write_text("[]")
    with pytest.raises(BundleError, match="damaged"):
        load_generator(copy)


def test_it_is_scored_against_the_generator_and_the_data_set(gen, made, pairs_data, tmp_path):
    out, _ = made
    found = []
    for reference in (gen, pairs_data):
        words = ["score", str(out), "--reference", str(reference), "--size", "64", "--json", str(tmp_path / "s.json")]
        result = CliRunner().invoke(command, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "IC-LPIPS" in result.output
        found.append(json.loads((tmp_path / "s.json").read_text())["filter_cloth/stain"])
    assert found[0] == found[1]  # the same first third
    assert found[0]["pairs"] == sum(found[0]["clusters"]) == 3
    assert found[0]["ic_lpips"] > 0
    assert 0 <= found[0]["alignment"] <= 1
    real = shutil.copytree(pairs_data, tmp_path / "real")
    for folder in (real, shutil.copytree(out, tmp_path / "drawn")):  # categories that the other has not got
        shutil.copytree(pairs_data / "filter_cloth" / "train", folder / folder.name / "train")
    assert score(tmp_path / "drawn", real, size=64) == {"filter_cloth/stain": found[0]}
    shutil.copytree(out / "filter_cloth", tmp_path / "set" / "other_cloth")
    with pytest.raises(InputError, match="none of the defects"):
        score(tmp_path / "set", gen, size=64)
