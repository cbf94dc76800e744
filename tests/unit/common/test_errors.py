"""What an operator reads of a library's exception."""

from pathlib import Path

import pytest

from services.common.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  the first\nand the second"), "the first"),
        (ValueError(), "ValueError"),
        (OSError("no such model"), "no such model"),
        (ConnectionRefusedError(111, "Connect call failed"), "Connect call failed"),
    ],
)
def test_it_is_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_a_file_that_is_missing_is_named_without_the_number_of_the_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(FileNotFoundError) as caught:
        path.read_bytes()
    assert first_line(caught.value) == f"{path}: No such file or directory"
