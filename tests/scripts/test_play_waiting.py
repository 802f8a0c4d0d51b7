"""The one thread that draws for `fewstep play`: nobody waits for another's draw, and the newest request wins."""

import json
from threading import Event, Thread

import pytest
from play_client import serving

from fewstep.cli.play.worker import MOST_WAITING, Full, Superseded, Worker

DEADLINE = 60


class Slow:
    """In the place of an Easel: draws when it is allowed to."""

    offers, compiling = (), False

    def __init__(self):
        self.begun, self.allowed, self.drawn = Event(), Event(), []

    def draw(self, asked, is_superseded):
        self.begun.set()
        assert self.allowed.wait(DEADLINE)
        self.drawn.append(asked.seed)
        return {"seed": asked.seed}


def test_a_draw_blocks_no_answer_and_the_newest_of_a_client_wins():
    slow = Slow()
    with serving(slow) as client:
        answers, threads = {}, []

        def ask(seed, **changes):
            thread = Thread(target=lambda: answers.update({seed: client.draw(seed=seed, **changes)[1]}))
            thread.start()
            threads.append(thread)

        ask(1)
        assert slow.begun.wait(DEADLINE)
        assert client.ask("GET")[0] == 200
        assert json.loads(client.ask("GET", "state")[2]) == {"busy": True, "waiting": 0, "compiling": False}
        ask(2)
        threads[0].join(DEADLINE)  # is answered although its draw goes on
        assert answers == {1: {"superseded": True}}
        ask(3, side="B")
        while json.loads(client.ask("GET", "state")[2])["waiting"] < 2:
            pass
        slow.allowed.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert (answers[2], answers[3]) == ({"seed": 2}, {"seed": 3})


def test_the_end_of_the_server_answers_those_who_wait():
    slow, answers = Slow(), []
    with serving(slow) as client:
        thread = Thread(target=lambda: answers.append(client.draw()[1]))
        thread.start()
        assert slow.begun.wait(DEADLINE)
        Thread(target=lambda: (thread.join(DEADLINE), slow.allowed.set())).start()
    assert answers == [{"superseded": True}]


def test_a_worker_takes_no_more_than_it_can():
    worker, release = Worker(), Event()
    first = worker.submit("first", lambda superseded: release.wait(DEADLINE))
    while worker.state()["waiting"]:
        pass
    waiting = [worker.submit(key, lambda superseded: superseded()) for key in range(MOST_WAITING)]
    with pytest.raises(Full):
        worker.submit("more", lambda superseded: None)
    newest = worker.submit(0, lambda superseded: "newest")
    with pytest.raises(Superseded):
        waiting[0].result(0)
    release.set()
    assert first.result(DEADLINE) is True
    assert newest.result(DEADLINE) == "newest"
    assert [one.result(DEADLINE) for one in waiting[1:]] == [False] * (MOST_WAITING - 1)
    worker.end()
    assert worker.join(DEADLINE)
    with pytest.raises(Full):
        worker.submit("late", lambda superseded: None)


def test_a_bug_is_an_answer_too(capfd):
    class Broken(Slow):
        def draw(self, asked, is_superseded):
            raise RuntimeError("a bug")

    with serving(Broken()) as client:
        status, answer = client.draw()
    assert (status, "bug of fewstep" in answer["error"]) == (500, True)


@pytest.mark.parametrize("second", [True, False])
def test_a_draw_that_nothing_can_stop_ends_with_the_process(monkeypatch, second):
    """At a second Ctrl-C or after a while: an interpreter that ends while XLA runs aborts."""
    codes = []

    def join(worker, seconds):
        if second:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(Worker, "join", join)
    monkeypatch.setattr("os._exit", codes.append)
    with serving(Slow()) as client:
        assert client.ask("GET")[0] == 200
    assert codes == [130]
