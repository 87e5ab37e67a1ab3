"""`python -m reliq` is `reliq`."""

from __future__ import annotations

from reliq.cli import main

if __name__ == "__main__":
    main()
