"""What happens to the services, section by section of the contract."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Import all modules of this package, which register their scenarios."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
