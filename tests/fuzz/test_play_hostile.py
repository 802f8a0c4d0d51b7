"""Whatever is sent to `fewstep play`: no traceback, no file is opened for it, and the next request is answered."""

import json
import logging
import socket
import sys

import pytest
from hostile_requests import MARK, request
from play_client import VALID, serving

from fewstep.cli.config.open_run import open_run
from fewstep.cli.options import Opening
from fewstep.cli.play.drawing import Easel

pytestmark = pytest.mark.slow
opened = []
sys.addaudithook(lambda event, found: opened.append(found[0]) if event == "open" and MARK in str(found[0]) else None)


@pytest.fixture(scope="module")
def client(trained_run):
    with serving(Easel([open_run(trained_run)], Opening(), batch=4)) as found:
        yield found


def test_hostile_requests(client, capfd, caplog):
    begun = opened.copy()
    for seed in range(340):
        answer = client.raw(request(seed, client))
        body = answer.partition(b"\r\n\r\n")[2]
        assert b"Traceback" not in answer, f"seed {seed}"
        assert b"root:" not in body, f"seed {seed}"
        assert not answer.startswith(b"HTTP/1.1 5") or b" 503 " in answer, f"seed {seed}: {answer[:500]}"
    status, drawn = client.draw()
    assert (status, drawn["nfe"]) == (200, VALID["nfe"])
    assert opened == begun
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_requests_that_never_end_keep_nobody_waiting(client):
    whole = request(0, client)
    head = f"POST {client.path}draw HTTP/1.1\r\nhost: {client.host}:{client.port}\r\n".encode()
    begun = (b"", b"GET", whole[:1], head, head + b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{")
    kept = []
    try:
        for data in begun * 20:
            kept.append(socket.create_connection((client.host, client.port)))
            kept[-1].sendall(data)
        assert client.draw()[0] == 200
        assert json.loads(client.ask("GET", "state")[2]) == {"busy": False, "waiting": 0, "compiling": False}
    finally:
        for one in kept:
            one.close()
