"""The small zero-shot sets as torchvision unpacks them, made here; the checksums of the real ones are set aside."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from scipy.io import savemat
from torchvision.transforms.functional import to_tensor

from tests.odd_pictures import COLOUR, DAMAGED, ODD, oriented
from tests.paper_world import FOODS, write_food, write_picture
from tpccma.data.classes import SMALL_SETS, leave_out_damaged, small_set
from tpccma.data.pictures import DamagedPicture


def write_cifar(folder: Path, classes: int) -> None:
    """Write a pickle of four test pictures of 32 by 32, picture i of class i and of shade 40 i."""
    names = [f"class_{i}" for i in range(classes)]
    shades = np.repeat(40 * np.arange(4, dtype=np.uint8), 3 * 32 * 32).reshape(4, -1)
    folder.mkdir(parents=True)
    ten = classes == 10
    test, meta = ("test_batch", "batches.meta") if ten else ("test", "meta")
    label, key = ("labels", "label_names") if ten else ("fine_labels", "fine_label_names")
    (folder / test).write_bytes(pickle.dumps({"data": shades, label: [0, 1, 2, 3]}))
    (folder / meta).write_bytes(pickle.dumps({key: names}))


def write_flowers(folder: Path) -> None:
    """Write three pictures, of which 2 and 3 are the test split, of classes 102 and 1."""
    for number in (1, 2, 3):
        write_picture(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": [[5, 102, 1]]})
    savemat(folder / "setid.mat", {"trnid": [[1]], "valid": [[1]], "tstid": [[2, 3]]})


def write_caltech(folder: Path) -> None:
    for name in ("BACKGROUND_Google", "Faces"):
        for number in (1, 2):
            write_picture(folder / "101_ObjectCategories" / name / f"image_{number:04d}.jpg", number)
    (folder / "Annotations").mkdir()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cifar(tmp_path / SMALL_SETS["cifar10"], 10)
    write_cifar(tmp_path / SMALL_SETS["cifar100"], 100)
    write_food(tmp_path / SMALL_SETS["food101"])
    write_flowers(tmp_path / SMALL_SETS["flowers"])
    write_caltech(tmp_path / SMALL_SETS["caltech101"])
    for name in ("CIFAR10", "Flowers102"):
        monkeypatch.setattr(getattr(torchvision.datasets, name), "_check_integrity", lambda self: True)
    for kind in (torchvision.datasets.CIFAR10, torchvision.datasets.CIFAR100):
        monkeypatch.setitem(kind.meta, "md5", None)
    return tmp_path


def shrink(image: Image.Image) -> torch.Tensor:
    return to_tensor(image.convert("RGB").resize((4, 4)))


@pytest.mark.parametrize(
    "name, labels, classes, first, prompts",
    [
        ("cifar10", [0, 1, 2, 3], 10, "class_0", 18),
        ("cifar100", [0, 1, 2, 3], 100, "class_0", 18),
        ("food101", [0, 0, 1, 1, 2, 2], 3, "apple pie", 1),
        ("flowers", [101, 0], 102, "pink primrose", 1),
        ("caltech101", [0, 0, 1, 1], 102, "background", 34),
    ],
)
def test_small_set_is_read(root: Path, name: str, labels: list[int], classes: int, first: str, prompts: int):
    found = small_set(name, root, shrink)
    assert found.labels.tolist() == labels
    assert (len(found.classes), found.classes[0], len(found.templates)) == (classes, first, prompts)
    assert all(template.count("{}") == 1 and "{c}" not in template for template in found.templates)
    images = torch.cat(list(found.images.split(3)))
    assert images.shape == (len(labels), 3, 4, 4)
    if name == "cifar10":
        torch.testing.assert_close(images[:, 0, 0, 0] * 255, torch.tensor([0.0, 40, 80, 120]))


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_can_be_read_ahead(root: Path, workers: int):
    images = torch.cat(list(small_set("food101", root, shrink, workers).images.split(4)))
    assert torch.equal(images, small_set("food101", root, shrink).images[range(2 * len(FOODS))])


def test_damaged_picture_of_a_set_is_named(root: Path):
    path = next((root / SMALL_SETS["food101"] / "images").rglob("*.jpg"))
    path.write_bytes(path.read_bytes()[:300])
    found = small_set("food101", root, shrink)
    with pytest.raises(DamagedPicture, match=rf"{path} is no readable picture \(.+\); get it again"):
        found.images[range(2 * len(FOODS))]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        found.images[range(2 * len(FOODS))]


def test_sets_of_files_are_read_as_all_pictures_are(root: Path):
    """What is unusual comes out right, what is damaged or hostile is named, and EXIF turns none."""
    places = {
        "food101": root / SMALL_SETS["food101"] / "images" / FOODS[0] / "0.jpg",
        "flowers": root / SMALL_SETS["flowers"] / "jpg" / "image_00002.jpg",
        "caltech101": root / SMALL_SETS["caltech101"] / "101_ObjectCategories" / "BACKGROUND_Google" / "image_0001.jpg",
    }
    for name, path in places.items():
        images = small_set(name, root, to_tensor).images
        for content, expected in (*ODD.values(), (oriented(6), np.rot90(COLOUR, 1))):
            path.write_bytes(content)
            found = (images[[0]][0] * 255).permute(1, 2, 0).numpy()
            assert found.shape[:2] == expected.shape[:2] and found.shape[2] == 3
            other = expected if expected.ndim == 3 else expected[..., None]
            assert np.abs(found - other).max() <= 1.01, name
        for content in DAMAGED.values():
            path.write_bytes(content)
            with pytest.raises(DamagedPicture, match=rf"{path} is no readable picture \(.+\); get it again"):
                images[[0]]
        path.unlink()
        with pytest.raises(FileNotFoundError, match=path.name):
            images[[0]]


def test_damaged_and_missing_pictures_are_left_out_and_counted(root: Path, tmp_path: Path, caplog):
    places = [root / SMALL_SETS["food101"] / "images" / name for name in (f"{FOODS[0]}/0.jpg", f"{FOODS[2]}/1.jpg")]
    whole = small_set("food101", root, shrink)
    assert leave_out_damaged(whole, None)[1] == 0 and caplog.messages == []
    places[0].write_bytes(places[0].read_bytes()[:60])
    places[1].unlink()
    for _ in range(2):  # the second time from what is known
        kept, count = leave_out_damaged(whole, tmp_path / "cache")
        assert (count, kept.labels.tolist(), kept.classes) == (2, [0, 1, 1, 2], whole.classes)
        assert torch.equal(kept.images[range(4)], whole.images[[1, 2, 3, 4]])
    assert "food-101/images: 2 missing or damaged pictures left out: ('0.jpg', '1.jpg')" in caplog.text
    places[0].with_name("1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"food-101/images: no picture of class 'apple pie' can be read; get"):
        leave_out_damaged(whole, None)


def test_pixels_of_a_set_are_all_there(root: Path):
    whole = small_set("cifar10", root, shrink)
    assert leave_out_damaged(whole, None) == (whole, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"apple_pie": 3}'])
def test_set_whose_list_is_damaged_is_named(content: str, root: Path):
    (root / SMALL_SETS["food101"] / "meta" / "test.json").write_text(content)
    with pytest.raises(FileNotFoundError, match=r"food-101 is not whole \(.+\); fetch it again"):
        small_set("food101", root, shrink)


def test_unknown_set_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="unknown zero-shot set 'mnist': give some of cifar10, cifar100, food101"):
        small_set("mnist", tmp_path, shrink)


@pytest.mark.parametrize("name", SMALL_SETS)
def test_missing_set_says_how_to_get_it(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError, match=rf"{SMALL_SETS[name]} does not exist; let torchvision fetch it"):
        small_set(name, tmp_path, shrink)
    assert not list(tmp_path.iterdir())


def test_set_that_is_not_whole_is_refused(tmp_path: Path):
    write_cifar(tmp_path / SMALL_SETS["cifar10"], 10)
    with pytest.raises(FileNotFoundError, match=r"cifar-10-batches-py is not whole .*data\.download"):
        small_set("cifar10", tmp_path, shrink)


def test_more_classes_than_names_are_refused(root: Path):
    for i in range(101):
        write_picture(root / "caltech101" / "101_ObjectCategories" / f"Thing {i:03d}" / "image_0001.jpg", i)
    with pytest.raises(ValueError, match="caltech101 holds 105 pictures of 103 classes, but caltech101 has 102"):
        small_set("caltech101", root, shrink)
