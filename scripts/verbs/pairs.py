"""fewstep pairs."""

from fewstep.cli import batches, parse
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening, PairSampling
from fewstep.cli.verbs.sampling import look_up, opened
from fewstep.ranges import MOST_IMAGES, within
from fewstep.train.run.pairs import write_pairs
from fewstep.train.utils.files import folder_lock
from fewstep.train.utils.messages import say


def main(
    folder: str, sampling: PairSampling, opening: Opening, out: str | None, count: int, seed: int, batch: str
) -> None:
    """Draw pairs and store them."""
    looked_up = look_up(sampling, opening.set)
    within(count, "--count", 2, MOST_IMAGES)
    within(seed, "--seed", 0, 2**32 - count)
    size = batches.parsed(batch)
    run = opened(folder, opening)
    chosen, process = looked_up.on(run), run.model.process
    if chosen.settings.grids[chosen.grid](process, 4)[-1] != process.ends[1]:
        raise UserError(f"pairs end at images, at t = {process.ends[1]:g}: choose a grid that ends there")
    table = chosen.table(run)
    pairs = parse.path(out or run.folder / "pairs", "--out")
    try:
        with parse.made(pairs, "--out"), folder_lock(pairs):
            write_pairs(run, table, pairs, count, seed, chosen.levers, batch=batches.chosen(size, [run], count))
    except KeyboardInterrupt:
        say(f"stopped: the complete shards are in {pairs}, and the same command resumes from there")
        raise
    say(f"{pairs}: {count} pairs. Next: fewstep train CONFIG --set pairs.path={pairs}, with a config of @reflow()")
