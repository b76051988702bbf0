"""What tests of whole runs share."""

from collections.abc import Iterator

import pytest

from tests.torture.zygote import Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Forks processes of the program: it imports it once for all tests that kill some."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        yield zygote
