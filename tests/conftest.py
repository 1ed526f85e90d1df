"""What the tests of both packages share: `import strategies` works in every folder below."""

import strategies  # noqa: F401  (loads the profile of hypothesis)
