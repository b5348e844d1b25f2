"""Draw other training rows than the study's own from the raw corpus."""

from formsafe.core.logs import logging_to

with logging_to(snakemake.log[0]):
    from formsafe.config.settings.data import Splits
    from formsafe.core.records import NONE
    from formsafe.data.corpus import draw_training

    corpus, draw = snakemake.params.corpus, snakemake.params.draw
    splits = Splits(**corpus["splits"])
    draw_training(
        raw=snakemake.input.raw,
        splits=splits,
        seed=corpus["seed"],
        data_seed=corpus["seed"] if draw["data_seed"] == NONE else int(draw["data_seed"]),
        examples=splits.train if draw["examples"] == NONE else int(draw["examples"]),
        instruction=corpus["instruction"],
        output=snakemake.output.train,
    )
