"""fewstep pairs."""

from fewstep.cli import config, parse
from fewstep.cli.errors import UserError, lookup
from fewstep.cli.overrides import target
from fewstep.train.files import alone
from fewstep.train.pairing import write_pairs
from fewstep.train.progress import say


def main(folder, out, sampler, nfe, grid, count, seed, batch, levers, overrides, trust, step, mesh):
    """Draw pairs and keep them."""
    settings = config.settings(overrides)
    chosen = lookup("sampler", sampler, settings.samplers)
    lookup("grid", grid, settings.grids)
    parse.within(nfe, "--nfe", 1, parse.MOST_CALLS)
    parse.within(count, "--count", 2, parse.MOST_IMAGES)
    parse.within(seed, "--seed", 0, 2**32 - count)
    parse.within(batch, "--batch", 1, parse.MOST_IMAGES)
    wrap = [parse.lever(text, settings.levers, [*map(target, overrides)]) for text in levers]
    config.refuse_unused(settings.given, {sampler, grid, *(name for name, _ in wrap)})
    wrap = [lever for _, lever in wrap]
    run = config.open_run(parse.path(folder, "the run"), trust, step, parse.mesh(mesh))
    process = run.model.process
    if settings.grids[grid](process, 4)[-1] != process.ends[1]:
        raise UserError(f"pairs end at images, at t = {process.ends[1]:g}: choose a grid that ends there")
    table = run.table(chosen, nfe, settings.grids[grid], wrap)
    out = parse.writable(out or run.folder / "pairs", "--out")
    try:
        with alone(out):
            write_pairs(run, table, out, count, seed, wrap, batch=batch)
    except KeyboardInterrupt:
        say(f"stopped: the shards that are whole are in {out}, and the same command goes on from there")
        raise
    say(f"{out}: {count} pairs. Next: fewstep train a config of @reflow(), with --set pairs.path={out}")
