"""What `make demo` and `make ui` share: the Airflow of whoever runs them stays out of it."""

from __future__ import annotations

from collections.abc import MutableMapping


def drop_inherited_airflow(environ: MutableMapping[str, str]) -> None:
    """Remove every variable of Airflow's: an exported database or connection may be a real one."""
    for name in [name for name in environ if name.startswith("AIRFLOW")]:
        del environ[name]
