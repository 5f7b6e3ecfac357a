"""Search a network and its loss weights for a folder of scans, within a time budget."""

from __future__ import annotations

import argparse

from bilevelmorph.cli.flags import (
    STRATEGIES,
    bilevel_flags,
    data_flags,
    network_flags,
    objective_flags,
    optimisation_flags,
    run_flags,
)
from bilevelmorph.search.config import RESPONSE, SEARCHERS, SearchConfig

_DATA = ("--data", "--shape", "--spacing", "--percentiles", "--val-pairs", "--multichannel")
_AUGMENT = ("--augment-affine", "--augment-shift", "--augment-intensity")
_OBJECTIVE = ("--image-loss", "--window", "--regularity", "--lambda", "--stage-weights", "--folding-weight")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of training that candidates are trained by, and the search's own."""
    d = SearchConfig()
    data_flags(parser, d, (*_DATA, *_AUGMENT))
    run_flags(parser, d, ("--gpu", "--threads", "--seed", "--quiet"))

    add = parser.add_argument_group("search").add_argument
    add("--out", dest="model_dir", default=d.model_dir, help="folder for all that a search leaves behind")
    add(
        "--budget",
        default=d.budget,
        help="time in all, such as 45m or 2h; the same command goes on from there",
    )
    add(
        "--searcher",
        choices=SEARCHERS,
        default=d.searcher,
        help="gradients (and as much time for random candidates beside them), or Keras Tuner's",
    )
    add(
        "--trial-steps",
        type=int,
        default=d.trial_steps,
        help="training steps of a candidate before it is scored",
    )
    add(
        "--trials",
        type=int,
        default=d.trials,
        help="most candidates, of those tried after the first two and of Keras Tuner; 0: as many as fit",
    )
    add(
        "--search-steps",
        type=int,
        default=d.search_steps,
        help="gradient: training steps of the network of all operations; 0: as many as fit. "
        "With --trials too, the result depends on the seed alone, not on the machine's speed",
    )
    add(
        "--search-spacing",
        type=float,
        default=d.search_spacing,
        help="gradient: mm of the voxels that the network of all operations works in, "
        "coarser than --spacing for more steps in the same time; 0: those of --spacing",
    )

    add = parser.add_argument_group("space").add_argument
    add("--operations", nargs="+", default=d.operations, help="to choose from in every layer")
    add("--layers", type=int, default=d.layers, help="most layers in a cell")
    add(
        "--filters",
        type=int,
        nargs="+",
        default=d.filters,
        help="channels to choose from at every scale; the network of all operations has the fewest "
        "at the finest, doubled at every coarser scale as far as these go",
    )
    add("--steps", type=int, nargs=1, default=d.steps, help="most times that a stage is applied")
    network_flags(parser, d, ("--scales", "--int-steps"))

    add = parser.add_argument_group("levels of the gradient search").add_argument
    add("--architecture-lr", type=float, default=d.architecture_lr, help="learning rate of the architecture")
    add(
        "--architecture-every",
        type=int,
        default=d.architecture_every,
        help="training steps for each of its steps",
    )
    add(
        "--warmup-share",
        type=float,
        default=d.warmup_share,
        help="of the steps, in which only the network learns",
    )
    add("--temperature", type=float, default=d.temperature, help="of the mixtures at the end; 1 at the start")
    add(
        "--latency-weight", type=float, default=d.latency_weight, help="weight of the expected time, relative"
    )
    add(
        "--target-ms",
        type=float,
        default=d.target_ms,
        help="milliseconds a pair to stay below; what takes longer does not win; 0: any",
    )
    tuning = ("--strategy", "--upper-lr", "--upper-every", "--freeze")
    bilevel_flags(parser, d, tuning, (RESPONSE, *STRATEGIES))

    optimisation_flags(parser, d, ("--batch-size", "--steps-per-epoch", "--lr", "--clip-norm", "--ema"))
    objective_flags(parser, d, (*_OBJECTIVE, "--loss-weights"))


def run(options: argparse.Namespace) -> None:
    """Search."""
    values = {k: v for k, v in vars(options).items() if k != "quiet"}
    config = SearchConfig.from_dict(values, "flags")
    from bilevelmorph.devices import choose_gpu, shared_compilations, use_threads

    with shared_compilations():
        choose_gpu(config.gpu)
        use_threads(config.threads)
        from bilevelmorph.search.run import search

        result = search(config, options.quiet)
    if result is None:
        print("this worker's trials are done; the chief has the result")
        return
    from bilevelmorph.report.search_page import train_command, write_search_page

    page, best = write_search_page(config, result), result.candidates[0]
    unit = "Dice" if result.labelled else "label-free score"
    print(f"best of {len(result.candidates)}: {best.name}, {unit} {best.score:.4f}, {best.ms:.0f} ms a pair")
    print(f"report: {page}")
    print(f"train it in full: {train_command(config)}")
