"""With the variable ILASTIK_LAZY_AS_WINDOWS, the package that is tested sees Windows (`tests.support.windows`)."""

import os

from tests.support.windows import pretend

if "ILASTIK_LAZY_AS_WINDOWS" in os.environ:
    pretend()
