"""The page of `fewstep play`: who may ask, and what is drawn."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from base64 import b64decode
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from play_client import VALID, Client, serving

from fewstep.cli.config.open_run import open_run
from fewstep.cli.options import Opening
from fewstep.cli.play.drawing import Easel
from fewstep.cli.play.offer import SPANS, parameters
from fewstep.cli.play.server import BODY
from fewstep.ranges import fits
from fewstep.train.run.levers import LEVERS

DEADLINE = 60


def pixels(url):
    """The picture of a data address."""
    return np.asarray(Image.open(io.BytesIO(b64decode(url.removeprefix("data:image/png;base64,")))), int)


@pytest.fixture(scope="module")
def easel(digits_run):
    return Easel([open_run(digits_run)] * 2, Opening(), batch=4)


@pytest.fixture(scope="module")
def client(easel):
    with serving(easel) as found:
        yield found


@pytest.mark.parametrize("at", ["", "play.css", "play.js", "controls.js", "offer", "state"])
def test_pages_come_with_security_headers_and_no_address_of_others(client, at):
    status, headers, content = client.ask("GET", at)
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert not re.search(rb"https?://|//[a-z]+\.|@import|url\(", content)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "evil.example"}, "wrong host"),
        ({"host": "127.0.0.1"}, "wrong host"),
        ({"host": "127.0.0.1:1"}, "wrong host"),
        ({"origin": "http://evil.example"}, "other sites"),
        ({"origin": "null"}, "other sites"),
        ({"origin": "https://127.0.0.1"}, "other sites"),
    ],
)
def test_other_hosts_and_origins_are_refused(client, headers, reason):
    for method, at in (("GET", "offer"), ("POST", "draw"), ("OPTIONS", "draw")):
        status, answered, content = client.ask(method, at, **headers)
        assert status == 403
        assert reason in json.loads(content)["error"]
        assert "access-control-allow-origin" not in answered


@pytest.mark.parametrize(
    "path", ["/", "/offer", "//offer", "/wrong/offer", "{token}x/offer", "/%74/", "{token}/../x/offer"]
)
def test_a_wrong_token_is_refused(client, path):
    path = path.replace("{token}", client.path.rstrip("/"))
    status, _, content = client.ask("GET", path=path)
    assert status in (403, 404)
    assert set(json.loads(content)) == {"error"}
    assert client.path.strip("/") not in content.decode()


def test_the_own_origin_is_served(client):
    assert client.ask("GET", "offer", origin=f"http://127.0.0.1:{client.port}")[0] == 200
    assert client.ask("GET", "offer", host=f"localhost:{client.port}")[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "expected", "reason"),
    [
        ("{}", {"content_type": "text/plain"}, 415, "application/json"),
        (" " * (BODY + 1), {}, 413, "at most"),
        ("{", {}, 400, "not JSON"),
        (b"\xff", {}, 400, "not JSON"),
        ("[" * 10_000, {}, 400, "not JSON"),
        ("[]", {}, 400, "JSON object"),
        ("{}", {}, 400, "lacks 'client'"),
        (json.dumps(VALID | {"nfe": float("inf")}), {}, 400, "not JSON"),
        (json.dumps(VALID | {"folder": "/etc"}), {}, 400, "no 'folder'"),
    ],
)
def test_what_is_no_request_is_refused(client, body, headers, expected, reason):
    status, _, content = client.ask("POST", "draw", body, **{"content_type": "application/json"} | headers)
    assert status == expected
    assert reason in json.loads(content)["error"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nfe": 65}, "nfe is a whole number in [1, 64]: got 65"),
        ({"nfe": 1.5}, "nfe"),
        ({"nfe": True}, "nfe"),
        ({"count": 0}, "count"),
        ({"count": 10**400}, "count"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"side": "C"}, "side"),
        ({"client": "a/b"}, "client"),
        ({"run": 2}, "run"),
        ({"label": 10}, "label [10] is not among the 10 classes"),
        ({"sampler": "dpmp_2m"}, "did you mean 'dpmpp_2m'?"),
        ({"sampler": "fitted:/etc/passwd.json"}, "no sampler is called"),
        ({"sampler": "\ud800"}, "no sampler is called"),
        ({"sampler": "heun", "nfe": 1}, "no table of 1 network calls"),
        ({"sampler": "analytic_ddpm"}, "fewstep calibrate"),
        ({"grid": "nowhere"}, "no grid is called"),
        ({"levers": [["autoguidance", {"run": "/etc", "scale": 2}]]}, "no lever is called"),
        ({"levers": [["cfg", {"scale": 1000}]]}, "cfg.scale is a number in [-100, 100]: got 1000"),
        ({"levers": [["cfg", {"scale": "2); import os"}]]}, "cfg.scale"),
        ({"levers": [["cfg", {"path": 1}]]}, "cfg has no 'path'"),
        ({"levers": [["cfg", {}]]}, "cfg needs scale"),
        ({"levers": [["interval", {"low": 1}]]}, "interval"),
        ({"levers": [["cfg", {"scale": 2}]] * 7}, "at most 6"),
        ({"levers": ["cfg"]}, "levers"),
        ({"levers": [["upsample_guidance", {"m": 64}]]}, "m is a whole number in [2, 4]"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(client, changes, reason):
    status, answer = client.draw(**changes)
    assert status in (200, 400)
    assert reason in answer["error"]
    assert "\n" not in answer["error"]


@pytest.mark.slow
def test_the_command_of_an_answer_draws_the_same_images(client, fewstep, tmp_path):
    settings = {"sampler": "dpmpp_2m", "nfe": 5, "label": 3, "count": 6, "seed": 7, "levers": [["cfg", {"scale": 1.5}]]}
    status, answer = client.draw(**settings)
    assert (status, answer["nfe"], answer["passes"]) == (200, 5, 10)
    words = shlex.split(answer["command"])
    assert words[:2] == ["fewstep", "sample"]
    assert fewstep(*words[1:], "--out", tmp_path / "a.png")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "a.png"), int)
    assert drawn.shape == pixels(answer["image"]).shape
    assert np.abs(drawn - pixels(answer["image"])).max() <= 1  # rounding in another batch


def test_neither_calls_nor_sampler_nor_scale_compile_again(client):
    guided = [["cfg", {"scale": 2}]]
    client.draw(levers=guided)
    changes = ({"nfe": 32}, {"sampler": "dpmpp_2m"}, {"count": 9}, {"levers": [["cfg", {"scale": 3.5}]]}, {"run": 1})
    for change in changes[:-1]:
        assert client.draw(**{"levers": guided} | change)[1]["compiled"] is None
    assert client.draw(levers=guided, **changes[-1])[1]["compiled"] is not None


def test_more_calls_change_the_image_and_the_strip_ends_with_it(client):
    few, many = (client.draw(nfe=nfe)[1] for nfe in (1, 32))
    assert few["image"] != many["image"]
    assert (few["calls"], many["calls"]) == ([1], [1, 5, 10, 14, 19, 23, 28, 32])
    first, last = pixels(many["image"])[:40, :40], pixels(many["strip"])[:40, -40:]
    assert np.abs(first - last).max() <= 1  # ddim ends with what it predicts last


@pytest.mark.slow
def test_points_are_drawn_without_predictions(moons_run):
    with serving(Easel([open_run(moons_run)], Opening(), batch=16)) as found:
        answer = found.draw(count=32)[1]
    assert pixels(answer["image"]).shape == (256, 256)
    assert answer["strip"] is None


def test_sliders_begin_within_their_ranges():
    for name, part in LEVERS.items():
        for key, one in parameters(name, part).items():
            assert one.start is None or fits(one.start, one.annotation), f"{name}.{key}"
            assert fits(one.low, one.annotation), f"{name}.{key}"
            assert fits(one.high, one.annotation), f"{name}.{key}"
    assert {*SPANS} <= {f"{name}.{key}" for name, part in LEVERS.items() for key in parameters(name, part)}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a", "b", "c"], "one run or two: got 3"),
        (["absent"], "absent is not a run"),
        (["{run}", "--port", "70000"], "--port is a whole number in [0, 65535]"),
        (["{run}", "--batch", "0"], "--batch is a whole number in [1, 256]"),
        (["{run}", "--port", "{taken}"], "in use; leave it out"),
    ],
)
def test_what_cannot_be_served_is_one_line(fewstep, digits_run, client, words, reason):
    words = [word.format(run=digits_run, taken=client.port) for word in words]
    status, _, said = fewstep("play", *words)
    assert status == 2
    assert reason in said.splitlines()[-1]


def test_without_the_extra_it_says_how_to_install_it(fewstep, digits_run, monkeypatch):
    from fewstep.cli.verbs import play

    monkeypatch.setattr(play, "LIBRARIES", ("no_such_library",))
    status, _, said = fewstep("play", digits_run)
    assert (status, said) == (2, "fewstep: play needs a server library: pip install 'fewstep[play]'\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_it_cleanly(digits_run, number, busy):
    words = [sys.executable, "-m", "fewstep", "play", str(digits_run), "--set", "ddim.eta=0.5"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        client, answers = Client(process.stdout.readline().strip()), []
        assert "--set ddim.eta=0.5" in client.draw()[1]["command"]
        assert "--set" not in client.draw(sampler="heun")[1]["command"]
        thread = Thread(target=lambda: answers.append(client.draw(count=64, nfe=64, levers=[["cfg", {"scale": 2}]])))
        if busy:
            thread.start()
            while not json.loads(client.ask("GET", "state")[2])["busy"]:
                pass
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert not re.search("Traceback|terminate|FATAL", said)
    if busy:
        thread.join(DEADLINE)
        assert answers == [(200, {"superseded": True})]
