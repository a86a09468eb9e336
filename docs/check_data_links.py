"""Checks that the pages and downloads of published data sets are still there.

python docs/check_data_links.py [CARD.yaml ...]

It opens connections, so no test runs it on the real addresses; run it before a release.
"""

from __future__ import annotations

import sys
from pathlib import Path

import requests

from fusionkit.registry.data_cards import PublishedData, read_data_card
from fusionkit.registry.plugin_cache import installed_listing


def problem_of(url: str, session: requests.Session) -> str | None:
    """Return why a URL can't be read, None if it can."""
    try:
        # Not HEAD, which some servers refuse; the body is not read.
        with session.get(url, stream=True, timeout=30) as answer:
            answer.raise_for_status()
    except requests.RequestException as error:
        return str(error)
    return None


def main(cards: list[PublishedData]) -> int:
    """Print a line for each URL; return the number of dead ones."""
    dead = 0
    with requests.Session() as session:
        session.headers["User-Agent"] = "fusionkit-links"
        for published in cards:
            for url in published.urls():
                problem = problem_of(url, session)
                dead += problem is not None
                print(f"{published.card.name}: {url}: {problem or 'there'}", flush=True)
    return dead


if __name__ == "__main__":
    paths = sys.argv[1:] or installed_listing().data.values()
    sys.exit(min(1, main([read_data_card(Path(path)) for path in paths])))
