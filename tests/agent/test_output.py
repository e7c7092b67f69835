"""What of an output goes into a reply."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent import output
from pilothouse_agent.output import Streams

long_bytes = st.integers(0, 4_000).map(lambda length: b"x" * length) | st.binary(max_size=50)


@given(long_bytes, long_bytes)
def test_the_combined_output_keeps_its_limit(out: bytes, err: bytes) -> None:
    made = output.combined(Streams(output=out, error=err))
    separator = "\n----------ERROR-------\n"
    whole = out.decode("utf-8", "replace") + (separator + err.decode("utf-8", "replace") if err else "")
    if len(out) + len(err) + (len(separator) if err else 0) <= 2_500:
        assert made == whole
    else:
        assert len(made) <= 2_500
        assert "truncated---" in made
    assert (separator in made) == bool(err)


@given(st.binary(max_size=200), st.integers(30, 100))
def test_a_stream_keeps_its_limit_in_bytes(data: bytes, limit: int) -> None:
    made = output.text(data, limit)
    if len(data) <= limit:
        assert made == data.decode("utf-8", "replace")
    else:
        assert made == data[: limit - 20].decode("utf-8", "replace") + "--output truncated--"


def test_several_runs_are_joined(tmp_path: Path) -> None:
    for number, text in enumerate((b"one\n", b"", b"three")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "stdout").write_bytes(text)
    runs = [(tmp_path / "0", "", ""), (tmp_path / "1", "", ""), (tmp_path / "2", "note", ""), (None, "", "why")]
    assert output.read(runs) == Streams(output=b"one\n\nthree\nnote", error=b"why")


def test_a_follower_reads_on_where_it_stopped(tmp_path: Path) -> None:
    stream = tmp_path / "stdout"
    assert list(output.follow(stream, 0)) == []
    stream.write_bytes(b"abc")
    assert list(output.follow(stream, 0, chunk=2)) == [(2, b"ab"), (3, b"c")]
    with stream.open("ab") as file:
        file.write(b"de")
    assert list(output.follow(stream, 3)) == [(5, b"de")]
