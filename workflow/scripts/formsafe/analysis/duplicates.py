"""Near-duplicates among prompts: they are answered alike, so n prompts say less than n independent ones."""

import re
from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

ALIKE = 0.7  # share of common words from which two prompts are near-duplicates


def near_duplicates(prompts: Mapping[str, str]) -> dict[str, str]:
    """Which prompts are one cluster: those that share 70 % of their words (Jaccard), directly or by others between.

    Args:
        prompts: text by id.

    Returns:
        For every prompt of a cluster of several the id of the cluster's first prompt.
    """
    # Letters and digits of any script, so that punctuation and case make no difference.
    words = [set(re.findall(r"\w+", text.casefold())) for text in prompts.values()]
    vocabulary = {word: place for place, word in enumerate(sorted(set().union(*words)))}
    columns = [vocabulary[word] for each in words for word in sorted(each)]
    starts = np.cumsum([0, *map(len, words)])
    # At least one column: prompts without a letter or digit have no words, and a table without columns no product.
    table = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(words), max(1, len(vocabulary))))
    common = (table @ table.T).toarray()
    sizes = common.diagonal()
    together = sizes[:, None] + sizes - common
    # At least one word together, else two prompts without words would be 0 / 0 alike.
    _, labels = connected_components(csr_matrix(common >= ALIKE * np.maximum(together, 1)))
    ids = list(prompts)
    first = {int(label): ids[place] for place, label in reversed(list(enumerate(labels)))}
    counts = np.bincount(labels, minlength=1)
    return {name: first[int(label)] for name, label in zip(ids, labels, strict=True) if counts[label] > 1}
