import pytest

from tests.growth import grows_quadratically


@pytest.mark.alone
def test_linear_work_is_distinguished_from_quadratic() -> None:
    assert not grows_quadratically(lambda size: sum(range(size)), size=20_000)
    assert grows_quadratically(lambda size: [sum(range(size)) for _ in range(size)], size=60)
