"""Segment Anything's own classes at a tiny size with random weights: the way from part to mask, and errors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.dual.masks import MaskRules  # noqa: E402
from edge_ad.training.dual.sam import SegmentAnything, box_around  # noqa: E402


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    torch.manual_seed(0)
    config = SamConfig(
        vision_config={"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 64, "patch_size": 8, "mlp_dim": 16, "window_size": 4, "global_attn_indexes": [0],
                       "num_pos_feats": 8},
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
                             "iou_head_hidden_dim": 16},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam")
    SamModel(config).save_pretrained(folder)
    size = {"longest_edge": 64}
    processor = SamImageProcessor(size=size, pad_size={"height": 64, "width": 64})
    SamProcessor(processor).save_pretrained(folder)
    return folder


def test_a_part_becomes_a_mask_of_its_size(sam_folder):
    part = np.full((96, 96, 3), 127, np.uint8)
    sam = SegmentAnything(str(sam_folder), torch.device("cpu"))
    assert not sam(part, MaskRules()).any()  # nothing to ask for
    part[30:50, 40:60] = 250
    mask = sam(part, MaskRules())
    assert (mask.shape, mask.dtype) == ((96, 96), bool)
    np.testing.assert_array_equal(mask, sam(part, MaskRules()))


def test_the_box_holds_the_mask_and_stays_in_the_picture():
    mask = np.zeros((100, 100), bool)
    mask[0:10, 40:61] = True
    assert box_around(mask) == [38.0, 0.0, 62.0, 11.0]


def test_what_is_no_sam_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--sam .* could not be loaded .*: check the folder"):
        SegmentAnything(str(tmp_path), torch.device("cpu"))
