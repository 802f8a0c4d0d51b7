"""Folders of images: what is found, what is skipped, what is refused."""

from functools import partial

import image_files
import numpy as np
import pytest
from image_files import PIXELS, as_bytes
from PIL import Image
from refused import message

from fewstep.train.data import folder
from fewstep.train.data import scan as module
from fewstep.train.data.scan import scan
from fewstep.train.utils.progress import progress


def test_images_keep_their_pixels_and_the_class_of_their_folder(tmp_path):
    image_files.write(tmp_path / "pets", classes=("dog", "ant", "cat"))
    (tmp_path / "pets" / "ant" / "deeper").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "pets" / "ant" / "deeper" / "a.png")
    data = folder(tmp_path / "pets", size=8, held_out=5)
    assert (data.name, data.shape, data.classes, len(data.train)) == ("pets", (8, 8, 3), 3, 20)
    source = data.train.source
    assert source.names[:2] == ["ant/001.png", "ant/004.png"]
    for split in (data.train, data.held_out):
        for (image, label, *_), i in zip(map(split.__getitem__, range(len(split))), split.index, strict=True):
            name = source.names[i]
            pixels = PIXELS[0 if "deeper" in name else int(name[-7:-4])]
            np.testing.assert_array_equal(as_bytes(image), pixels)
            assert name.startswith(("ant", "cat", "dog")[label])


@pytest.mark.parametrize("classes", [(), ("all",)])
def test_without_two_classes_there_are_no_labels(tmp_path, classes):
    image_files.write(tmp_path, classes=classes)
    data = folder(tmp_path, size=4, channels=1)
    assert (data.shape, data.classes, data.train[:].label) == ((4, 4, 1), 0, None)


def test_a_corrupt_and_a_foreign_file_are_named_counted_and_skipped(tmp_path, capsys):
    image_files.write(tmp_path, classes=("dog", "cat"))
    image_files.spoil(tmp_path)
    data = folder(tmp_path, size=8)
    said = f"{tmp_path}: skipped 2 of 26 files: cat/broken.png (truncated), notes.txt (not an image)\n"
    assert capsys.readouterr().err == said
    assert len(data.train) + len(data.held_out) == 24
    assert data.classes == 2


def test_or_refused_where_strict(tmp_path, capsys):
    image_files.write(tmp_path)
    assert len(folder(tmp_path, size=8, strict=True).train) == 22
    image_files.spoil(tmp_path)
    text = message(lambda: folder(tmp_path, size=8, strict=True))
    assert "of 26 files 2 cannot be read: cat/broken.png (truncated), notes.txt (not an image)" in text
    assert capsys.readouterr().err == ""


def test_of_many_bad_files_a_few_are_named(tmp_path, capsys):
    image_files.write(tmp_path, classes=())
    for i in range(8):
        (tmp_path / f"{i}.txt").write_text("x")
    folder(tmp_path, size=8)
    assert capsys.readouterr().err.strip().endswith("3.txt (not an image), 4.txt (not an image) and 3 more")


def test_hidden_files_are_not_looked_at(tmp_path, capsys):
    image_files.write(tmp_path / "all", classes=())
    for name in (".DS_Store", "Thumbs.db", ".git/x", "__MACOSX/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert len(folder(tmp_path, size=8).train) == 22
    assert capsys.readouterr().err == ""


def test_links_to_folders_are_followed_once(tmp_path):
    image_files.write(tmp_path / "elsewhere" / "cat", PIXELS[:3], classes=())
    image_files.write(tmp_path / "pets" / "dog", PIXELS[3:6], classes=())
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "pets" / "dog" / "again").symlink_to(tmp_path / "pets")
    found = scan(tmp_path / "pets", 8, 3, strict=True)
    assert found.files == [f"{name}/00{i}.png" for name in ("cat", "dog") for i in range(3)]
    assert found.labels == [0, 0, 0, 1, 1, 1]
    assert found.classes == ["cat", "dog"]


def test_a_class_is_a_folder_whatever_sorts_between(tmp_path):
    for name in ("a", "a-b", "a!"):
        image_files.write(tmp_path / name / "x", PIXELS[:2], classes=())
    found = scan(tmp_path, 8, 3, strict=True)
    assert found.classes == ["a", "a!", "a-b"]
    assert [found.classes[label] for label in found.labels] == [name.split("/")[0] for name in found.files]


@pytest.mark.parametrize("above", ["train", "all/train"])
@pytest.mark.parametrize("notes", [False, True])
def test_of_a_single_sub_folder_what_is_in_it_counts(tmp_path, above, notes):
    image_files.write(tmp_path / "pets" / above)
    if notes:
        (tmp_path / "pets" / "README.txt").write_text("pets")
    data = folder(tmp_path / "pets", size=8)
    assert (data.name, data.classes) == ("pets", 2)
    assert str(data) == "pets: 22 images 8x8x3 to train on, 2 held out, 2 classes"
    for i, label in zip(data.train.index, data.train[:].label, strict=True):
        assert data.train.source.names[i].startswith(f"{above}/{('cat', 'dog')[label]}/")


def test_progress_is_shown_of_what_takes_long(tmp_path, capsys, monkeypatch):
    image_files.write(tmp_path)
    folder(tmp_path, size=8)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "progress", partial(progress, after=0))
    folder(tmp_path, size=8)
    assert capsys.readouterr().err.splitlines()[-1].startswith("24/24 files")


def test_folders_that_are_refused(tmp_path):
    assert "no such folder" in message(lambda: folder(tmp_path / "nowhere"), FileNotFoundError)
    assert "has no images: there are no files" in message(lambda: folder(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    assert "is a file" in message(lambda: folder(tmp_path / "notes.txt"))
    assert "has no images: 1 cannot be read: notes.txt (not an image)" in message(lambda: folder(tmp_path))
    image_files.write(tmp_path, PIXELS[:1], classes=())
    assert "leaves no held-out images" in message(lambda: folder(tmp_path))
    image_files.write(tmp_path)
    text = message(lambda: folder(tmp_path))
    assert "images both at its top level (000.png) and in subfolders (cat/" in text
    assert "folder.channels is a whole number that is 1 or 3" in message(lambda: folder(tmp_path, channels=2))
    assert "folder.size is a whole number" in message(lambda: folder(tmp_path, size=0))
