"""Write the sample shop's exports: `python sample_data/generate.py [FOLDER]`.

The shop sells tea from 2019 to 2024. Each file is one export that such a shop has lying about, in another format, with
the faults such exports have. All names, addresses and numbers are invented (example.com, 555-01xx).

Rules of this script:
1. The same files every time: each file has its own seeded generator, nothing reads a clock, gzip carries no time.
2. Faults are placed by hand, at fixed rows, in the `spoil_*` functions; everything else is sound by construction.
   `README.md` beside this script lists them.
3. Plain local times lie between 8:00 and 22:00, so that only a `spoil_*` function can hit a daylight-saving change.
"""

import sys
from pathlib import Path

from shop.activity import app_screens, orders, page_views
from shop.identities import accounts, identity_merges, signups, users
from shop.people import customers


def main(folder: Path = Path(__file__).parent) -> None:
    """Write every sample file into the folder, over those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    people = customers()
    for write in (users, accounts, identity_merges, signups, orders, page_views, app_screens):
        write(folder, people)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
