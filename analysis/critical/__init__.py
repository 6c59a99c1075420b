"""Critical weights: what a search changed in a network, and which of the changes carry the gain.

:func:`changes_of` measures the changes by tensor and by filter. :func:`revert_layers` and :func:`revert_weights` take
some of them back and score what is left: a change matters if the gain goes with it.
"""

from analysis.critical.changes import Changes, changes_of
from analysis.critical.reverts import ORDERS, RANKINGS, revert_layers, revert_weights

__all__ = ["ORDERS", "RANKINGS", "Changes", "changes_of", "revert_layers", "revert_weights"]
