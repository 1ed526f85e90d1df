"""What several files of tests share; this folder is where they find their helpers."""

import strategies  # noqa: F401  (loads the profile of hypothesis)
from records import kept  # noqa: F401
from tiny_studies import made  # noqa: F401
