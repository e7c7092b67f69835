"""Blobs in a directory: whole or not there, found by their age, and nothing but their ids becomes a path."""

import os
from pathlib import Path

import pytest

from pilothouse.storage import StorageUnavailable
from pilothouse.storage.blobs import BlobMissing, FolderBlobs, open_blobs

BLOB = "7f" * 16


async def test_a_blob_is_there_once_it_is_finished(tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    async with blobs.writer(BLOB) as writer:
        await writer.write(b"first ")
        with pytest.raises(BlobMissing):
            await blobs.read(BLOB, 0, 1)
        await writer.write(b"second")
        await writer.finish()
    assert await blobs.read(BLOB, 0, 12) == b"first second"
    assert await blobs.read(BLOB, 6, 3) == b"sec"
    with pytest.raises(BlobMissing):
        await blobs.read(BLOB, 6, 7)
    assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0
    await blobs.delete([BLOB, "00" * 16])
    with pytest.raises(BlobMissing):
        await blobs.read(BLOB, 0, 1)


async def test_a_blob_that_is_not_finished_leaves_nothing(tmp_path: Path):
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(RuntimeError):
        async with blobs.writer(BLOB) as writer:
            await writer.write(b"half")
            raise RuntimeError("the client left")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_blobs_are_found_by_their_age(tmp_path: Path):
    blobs = FolderBlobs(tmp_path)
    for blob in (BLOB, "7f" + "00" * 15):
        async with blobs.writer(blob) as writer:
            await writer.finish()
    os.utime(tmp_path / "7f" / BLOB, (1000, 1000))
    left = tmp_path / "incoming" / ("aa" * 16)  # of a server that was killed
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    assert await blobs.written_before("7f", 2_000_000) == [BLOB]
    assert not left.exists()
    assert await blobs.written_before("01", 2_000_000) == []


@pytest.mark.parametrize("name", ["../etc/passwd", "7f", "7F" * 16, f"{BLOB}/x", f"{BLOB}\n", ""])
async def test_only_ids_are_names(tmp_path: Path, name: str):
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(ValueError, match="id"):
        blobs.writer(name)
    with pytest.raises(ValueError, match="id"):
        await blobs.read(name, 0, 1)


def test_where_blobs_are_is_a_bucket_or_a_directory(tmp_path: Path):
    assert isinstance(open_blobs("", tmp_path), FolderBlobs)
    assert isinstance(open_blobs(f"file://{tmp_path}", tmp_path), FolderBlobs)
    for url in ("ftp://x/y", "s3:///prefix", "somewhere"):
        with pytest.raises(StorageUnavailable, match="blobs cannot be kept"):
            open_blobs(url, tmp_path)
