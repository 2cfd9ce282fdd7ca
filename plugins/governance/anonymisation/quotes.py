"""Whether the quotation marks of a CSV file pair up. Compiled; pure.

A reader that meets a mark which nobody closes takes all lines up to the next one for one value: rows go missing, or the
text of one column is read as another's, and nothing else tells.
"""

from __future__ import annotations

import numpy as np

from governance.anonymisation.compiled import tight

MARK, LINE_FEED, RETURN = 34, 10, 13
START, PLAIN, QUOTED, CLOSED, WRONG = range(5)
"""Where a reader is: where a value begins, in a bare one, within marks, behind a mark that may close, or lost."""


@tight
def after(text: np.ndarray, where: int, separator: int) -> int:
    """Where a reader is behind some bytes. A mark amid a value without marks is a letter like any other."""
    for index in range(text.size):
        sign = text[index]
        if sign == MARK:
            if where == QUOTED:
                where = CLOSED
            elif where != PLAIN:
                where = QUOTED
        elif where != QUOTED:
            if sign in (separator, LINE_FEED, RETURN):
                where = START
            elif where == CLOSED:
                return WRONG
            else:
                where = PLAIN
    return where
