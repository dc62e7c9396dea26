"""How the suite's tests are distributed to processes."""

import pytest

from tests.conftest import Scheduling


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("tests/unit/test_words.py::test_a[x::y]", "tests/unit/test_words.py"),
        ("tests/functional/page/test_oidc.py::test_a", "tests/functional/page"),
        ("tests/functional/page/test_answers.py::test_a", "tests/functional/page"),
        ("tests/functional/faults/test_faults.py::test_a", None),
    ],
)
def test_tests_that_share_a_fixture_share_a_process(test: str, group: str | None) -> None:
    scheduling = Scheduling.__new__(Scheduling)
    assert scheduling._split_scope(test) == (group or test)
