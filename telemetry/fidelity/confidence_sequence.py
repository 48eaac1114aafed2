"""An interval for a share that holds at every number of trials at once, however often one looks.

For each share p, betting on Jeffreys' mixture against p makes a martingale (Robbins 1970, doi:10.1214/aoms/1177696786;
the beta-binomial mixture of Howard et al. 2021, arXiv:1810.08240, and the bets of Waudby-Smith & Ramdas 2024,
arXiv:2010.09686): the p's against which less than 1/alpha was ever won are the interval.
"""

import math
from collections.abc import Callable

from scipy.special import betaln, xlog1py, xlogy

_PRIOR = 0.5


def interval(num_hits: int, num_trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """Shares that are believable after so many trials; wrong at any time, ever, with probability `alpha` at most."""
    if num_trials == 0:
        return 0.0, 1.0
    missed = num_trials - num_hits
    mixture = float(betaln(num_hits + _PRIOR, missed + _PRIOR) - betaln(_PRIOR, _PRIOR))
    threshold = math.log(1 / alpha)
    share = num_hits / num_trials

    def is_believable(p: float) -> bool:
        return mixture - float(xlogy(num_hits, p) + xlog1py(missed, -p)) < threshold

    return _border(is_believable, share, 0.0), _border(is_believable, share, 1.0)


def _border(is_believable: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where belief ends between the two, by bisection."""
    if is_believable(outside):
        return outside
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_believable(middle) else (inside, middle)
    return outside
