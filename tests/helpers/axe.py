"""axe-core on a page."""


def violations(page, *impacts):
    """(rule, HTML of the element) of what axe-core finds at these levels of impact."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 20, "axe-core has looked at nothing"
    rules = [rule for rule in found["violations"] if rule["impact"] in impacts]
    return [(rule["id"], node["html"][:200]) for rule in rules for node in rule["nodes"]]
