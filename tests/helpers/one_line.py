"""How a mistake of the user ends: one line that says what, where and how; exit status 2; no traceback."""


def refused(result, *parts):
    status, _, err = result
    lines = err.strip().splitlines()
    assert status == 2, err
    assert lines[-1].startswith("fewstep: "), err
    for inner in ("Traceback", "configurable", "<function", "[Errno", ".tmp"):
        assert inner not in lines[-1], err
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[-1], err
