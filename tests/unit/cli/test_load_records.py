"""What a load run writes can be read again."""

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.load import records
from tests.support.load_runs import make_run


def written(path: Path) -> Path:
    with (path / records.FILE_NAME).open("w", encoding="utf-8") as file:
        for record in make_run().records:
            records.write(record, file)
    return path


def test_what_was_written_is_read_again_from_the_folder_and_from_the_file(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert records.read(folder) == records.read(folder / records.FILE_NAME) == make_run()


def test_a_run_that_was_cut_off_is_read_as_far_as_it_came(tmp_path: Path) -> None:
    path = written(tmp_path) / records.FILE_NAME
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:5]))
    cut = records.read(path)
    assert cut.ended is None
    path.write_text("".join(whole[:5]) + whole[5][:20])  # the disk was full in the middle of a record
    assert records.read(path) == cut


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not what `parley load` writes"),
        ('{"kind": "session_ended", "at_s": 1, "session": 0, "status": "OK"}\n', "is not what `parley load` writes"),
        ('{"kind": "run"}\n', "line 1 is not what `parley load` writes"),
        ("RIFF\n", "line 1 is not what `parley load` writes"),
        ("[]\n", "line 1 is not what `parley load` writes"),
        (None, "No such file"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "speech.wav"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CliError, match=message) as raised:
        records.read(path)
    assert "speech.wav" in str(raised.value)
