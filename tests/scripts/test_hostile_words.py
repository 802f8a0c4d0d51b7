"""Words on the command line that once ended in a traceback, or ended the process."""

import pytest
from one_line import refused

from fewstep.train.utils import files

MINUS = "-" * 3000


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--lever", "upsample_guidance(100000)"], ["upsample_guidance.m is a whole number in [2, 64]"]),
        (["--lever", "cfg(**{})"], ["--lever"]),
        (["--lever", f"cfg({MINUS}1)"], ["--lever", "write a name with its settings"]),
        (["--set", f"ddim.eta={MINUS}1"], ["--set ddim.eta="]),
        (["--set", "ddim.eta=1e300", "--sampler", "ddim"], ["ddim.eta is a number in [0, 2]"]),
    ],
)
def test_settings(fewstep, digits_run, tmp_path, words, parts):
    refused(fewstep("sample", digits_run, "--out", tmp_path / "a.png", *words), *parts)


def test_a_config_in_a_bucket_without_the_library(fewstep, monkeypatch):
    monkeypatch.setattr("fewstep.cli.parse.find_spec", lambda name: None)
    refused(fewstep("config", "gs://bucket/a.gin"), "gs://bucket/a.gin", "pip install gcsfs")


def test_links_in_a_circle(fewstep, tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    refused(fewstep("data", "pack", tmp_path / "one", tmp_path / "out"), "one: no such folder")
    refused(fewstep("data", "pack", tmp_path, tmp_path / "one"), "one exists already")
    refused(fewstep("sample", tmp_path / "one"), "one is not a run")
    refused(fewstep("config", tmp_path / "one"), "no config")
    assert files.absolute(tmp_path / "one").name in ("one", "two")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").symlink_to("a.png")
    refused(fewstep("data", "pack", tmp_path / "photos", tmp_path / "out"), "has no images: 1 cannot be read: a.png")
