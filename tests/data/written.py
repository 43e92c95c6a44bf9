"""Small files in the formats that the loaders read."""

import io
import pickle

import numpy as np
from PIL import Image

SIZES = {"train": 10, "val": 3, "test": 4}


def arrays(sizes=SIZES, shape=(8, 8, 3), classes=3):
    rng = np.random.default_rng(0)
    out = {}
    for split, n in sizes.items():
        out[f"{split}_images"] = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        out[f"{split}_labels"] = (np.arange(n) % classes).astype(np.uint8)[:, None]
    return out


def npz(path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in (arrays() | changes).items() if value is not None})
    return path


def picture(path, mode="RGB", size=(9, 7), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shape = size[::-1]
    if mode == "I;16":
        values = rng.integers(1000, 3000, shape).astype(np.uint16)
    else:
        values = rng.integers(0, 256, (*shape, 3) if mode == "RGB" else shape).astype(np.uint8)
    Image.fromarray(values).save(path)
    return values


def tree(root, per_class=10, classes=("bad", "good"), mode="RGB"):
    for i, name in enumerate(classes):
        for j in range(per_class):
            picture(root / name / f"patient_{j}.png", mode, seed=100 * i + j)
    return root


class Python2Pickler(pickle._Pickler):
    """Write byte strings and names as Python 2 did, which is how the official CIFAR-10 files are written."""

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)

    dispatch = pickle._Pickler.dispatch | {bytes: save_string, str: save_string}


def cifar_batches(folder, images=4):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    pixels = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels[name] = rng.integers(0, 256, (images, 3072), dtype=np.uint8)
        batch = {b"batch_label": b"a batch", b"labels": list(range(images)), b"data": pixels[name]}
        stream = io.BytesIO()
        Python2Pickler(stream, protocol=2).dump(batch)
        data = stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        (folder / name).write_bytes(data)
    return pixels
