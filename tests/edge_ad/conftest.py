"""A small data set, and a detector that is real but needs no bundle: pixel statistics of the good images."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from edge_ad.dataset import load_dataset
from edge_ad.images import read_image, resize_image
from edge_ad.regions import find_regions, rescale_region


@dataclass(frozen=True)
class PixelInspection:
    category: str
    score: float
    threshold: float | None
    verdict: str
    score_map: np.ndarray
    regions: list
    inpainted: np.ndarray | None
    error_map: np.ndarray
    times: dict


class PixelDetector:
    """A pixel's score is its distance from the good mean in standard deviations; an image's the mean of its top 1 %."""

    plan_name = "pixels"
    provider = "numpy"

    def __init__(self, dataset, size=32, thresholds=None):
        self.image_size = size
        self.categories = dataset.names
        self.thresholds = thresholds or {}
        self.statistics = {}
        for category in dataset.categories:
            stack = np.stack([resize_image(read_image(path), size) for path in category.train_good]).astype(np.float32)
            self.statistics[category.name] = stack.mean(0), stack.std(0).mean() + 1.0

    def inspect(self, image, category, *, inpainted=False):
        mean, deviation = self.statistics[category]
        small = resize_image(image, self.image_size).astype(np.float32)
        score_map = (np.abs(small - mean).mean(2) / deviation).astype(np.float32)
        score = float(np.sort(score_map.ravel())[-(score_map.size // 100) :].mean())
        threshold = self.thresholds.get(category)
        verdict = "undecided" if threshold is None else "bad" if score >= threshold else "good"
        regions = [] if threshold is None else find_regions(score_map, threshold)
        return PixelInspection(
            category,
            score,
            threshold,
            verdict,
            score_map,
            [rescale_region(region, score_map.shape, image.shape[:2]) for region in regions],
            mean.astype(np.uint8) if inpainted else None,
            score_map[::8, ::8],
            {"score": 0.0},
        )

    def inspect_batch(self, images, categories, *, inpainted=False):
        return [self.inspect(image, name, inpainted=inpainted) for image, name in zip(images, categories)]


def draw_part(rng, size, defect=None):
    """A grey disc with noise; a defect is a bright block somewhere inside. Returns the image and the defect's mask."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    image = np.where(np.hypot(y / height - 0.5, x / width - 0.5)[:, :, None] < 0.4, 150, 60) + rng.normal(
        0, 4, (height, width, 3)
    )
    mask = np.zeros(size, bool)
    if defect is not None:
        top, left = int(rng.uniform(0.3, 0.5) * height), int(rng.uniform(0.3, 0.5) * width)
        mask[top : top + height // 6, left : left + width // 6] = True
        image[mask] += defect
    return np.clip(image, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory):
    """MVTec layout: `disc` with clear and faint defects, and `<b>&"plate"`, whose name needs escaping everywhere."""
    root = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(3)
    for name, size in (("disc", (48, 64)), ('<b>&"plate"', (40, 40))):
        plan = [("train/good", 4, None), ("test/good", 6, None), ("test/stain", 5, 80), ("test/faint", 3, 6)]
        for place, count, defect in plan:
            for i in range(count):
                image, mask = draw_part(rng, size, defect)
                path = root / name / place / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
                if defect is not None:
                    truth = root / name / "ground_truth" / path.parent.name / f"{i:03}_mask.png"
                    truth.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(truth)
    return root


@pytest.fixture
def parts(parts_folder):
    return load_dataset(parts_folder, need_test=True)


@pytest.fixture
def detector(parts):
    return PixelDetector(parts)


@pytest.fixture
def make_detector():
    return PixelDetector
