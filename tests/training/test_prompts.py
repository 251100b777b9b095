import numpy as np
import pytest

from edge_ad.errors import InputError
from edge_ad.training.prompts import averaged_prompt, category_info, read_table, shipped_texts

MVTEC_TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
MVTEC = (
    *MVTEC_TEXTURES, "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor",
    "zipper",
)  # fmt: skip
VISA = (
    "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
    "pipe_fryum",
)  # fmt: skip


@pytest.mark.parametrize("category", [*MVTEC, *VISA])
def test_every_category_of_mvtec_and_visa_has_its_prompts(category):
    info = category_info(category)
    coarse, *fine = info.prompts
    assert coarse == f"A perfect {info.name}."
    assert category in read_table()
    assert len(fine) >= 2
    assert len(set(info.prompts)) == len(info.prompts)
    for prompt in info.prompts:
        assert prompt[0].isupper()
        assert prompt.endswith(".")
        assert "{" not in prompt
    assert "_" not in info.name
    assert not any(letter.isdigit() for letter in info.name)
    assert info.kind == ("texture" if category in MVTEC_TEXTURES else "object")


def test_the_papers_own_example():
    assert category_info("toothbrush").prompts[:2] == (
        "A perfect toothbrush.", "A toothbrush with intact structure and neatly arranged bristles.",
    )  # fmt: skip


def test_an_unknown_category_gets_templates_with_its_name():
    info = category_info("left-door_handle")
    assert info.name == "left door handle"
    assert info.prompts[0] == "A perfect left door handle."
    assert len(info.prompts) >= 3
    assert all("left door handle" in prompt for prompt in info.prompts)
    assert (info.kind, info.turn, info.mirror, info.colour) == ("auto", "small", False, True)


def test_ablation_modes():
    assert category_info("metal_nut", mode="simple").prompts == ("A photo of metal nut.",)
    assert category_info("metal_nut", mode="none").prompts == ("",)


def test_a_users_table_lies_over_the_shipped_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[bottle]\nturn = "none"\n[handle]\nname = "door handle"\ndetail = ["A {name} of brass."]\nkind = "object"\n'
        '[default]\ndetail = ["Any {name}."]\n',
        encoding="utf-8",
    )
    table = read_table(path)
    bottle, shipped = category_info("bottle", table), category_info("bottle")
    assert (bottle.turn, bottle.prompts, bottle.mirror) == ("none", shipped.prompts, shipped.mirror)
    assert category_info("handle", table).prompts == ("A perfect door handle.", "A door handle of brass.")
    assert category_info("knob", table).prompts == ("A perfect knob.", "Any knob.")
    assert category_info("cable", table) == category_info("cable")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[bottle\n", "must be a TOML file"),
        (b"\xff\xfe\x00", "must be a TOML file"),
        (b'bottle = "x"\n', "bottle must be a section"),
        (b'[bottle]\nturn = "sideways"\n', "turn must be one of free, quarter, small, none"),
        (b"[bottle]\nkind = 3\n", "kind must be one of"),
        (b'[bottle]\ndetail = "A bottle."\n', "detail must be a list of texts"),
        (b"[bottle]\ndetail = [1]\n", "detail must be a list of texts"),
        (b'[bottle]\nmirror = "yes"\n', "mirror must be true or false"),
        (b"[bottle]\nname = 1\n", "name must be a text"),
        (b"[bottle]\nturns = 1\n", "unknown key turns; the keys are name, detail, kind, turn, mirror, scale, colour"),
    ],
)
def test_a_broken_table_is_one_sentence_with_its_name(content, says, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml"):
        read_table(tmp_path / "none.toml")


def test_the_tokenizer_learns_every_shipped_prompt():
    texts = set(shipped_texts())
    assert all(set(category_info(category).prompts) <= texts for category in (*MVTEC, *VISA))


def test_the_averaged_prompt_is_the_mean_of_its_encodings(tiny_base):
    """Avg({τ(y) | y ∈ T_c}), section 4.2; each τ(y) encoded by itself."""
    torch = pytest.importorskip("torch")
    base, prompts = tiny_base(), category_info("bottle").prompts
    total = np.zeros((32, 32))
    for prompt in prompts:
        tokens = base.tokenizer(prompt, padding="max_length", truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            total += base.text_encoder(tokens.input_ids).last_hidden_state[0].double().numpy()
    found = averaged_prompt(base, prompts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, total / len(prompts), atol=1e-5)
