"""Which URIs and object names are accepted, and which are refused with a message."""

import pytest

from boxcar.errors import BoxcarError
from boxcar.storage import bucket_location, open_store
from boxcar.storage.names import check_names


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://bucket/run", "bucket", "run"),
        ("gs://my.bucket_1/runs/run 1/", "my.bucket_1", "runs/run 1"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a%20b?c#d", "bucket", "a%20b?c#d"),
    ],
)
def test_a_bucket_and_a_folder(uri: str, bucket: str, prefix: str) -> None:
    location = bucket_location(uri)
    assert location is not None
    assert (location.bucket, location.prefix) == (bucket, prefix)
    assert location.uri == uri.rstrip("/")


@pytest.mark.parametrize("uri", ["/a/b", "a b", "file:///a", "~/x", "https://host/x"])
def test_what_is_in_no_bucket(uri: str) -> None:
    assert bucket_location(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://", "s3:///run", "s3://B/run", "s3://a/run", "gs://-bucket/x", "s3://bu..cket/x", "gs://bücket/x"),
        *(
            "s3://bucket//x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/a/./b",
            "s3://bucket/x/..",
            "s3://bucket/a\nb",
        ),
    ],
)
def test_a_uri_that_is_not_well_formed_is_wrong_usage(uri: str) -> None:
    with pytest.raises(BoxcarError) as error:
        open_store(uri)
    assert error.value.code == 64
    assert repr(uri) in error.value.what


@pytest.mark.parametrize("uri", ["s3://AKIA:verysecret@bucket/x", "s3://verysecret@bucket/x", "gs://bucket:verysecret/x"])
def test_a_uri_with_a_key_in_it_is_not_repeated(uri: str) -> None:
    with pytest.raises(BoxcarError) as error:
        bucket_location(uri)
    assert error.value.code == 64
    assert "verysecret" not in str(error.value)


def test_names_that_can_all_be_files() -> None:
    check_names(["a", "b/a", "b/c/d", "b.c", "A1", "ü", "x y", "-", "…", "a" * 240], "place")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["/etc/passwd"], "absolute"),
        (["a/../b"], "`..`"),
        ([".."], "`..`"),
        (["./a"], "`.`"),
        (["a//b"], "empty part"),
        (["a/"], "empty part"),
        (["a\x00b"], "control"),
        (["a\x1b[31mb"], "control"),
        (["a\x85"], "control"),
        (["a\\..\\b"], "backslash"),
        (["\ud800"], "UTF-8"),
        (["d/" + "a" * 241], "240 bytes"),
        (["ü" * 121], "240 bytes"),
        (["a", "A"], "case"),
        (["d/x", "D/X"], "case"),
        (["\u00e9", "e\u0301"], "letters"),
        (["stra\u00dfe", "STRASSE"], "case"),
    ],
)
def test_names_that_cannot_be_files(names: list[str], word: str) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(BoxcarError, match="place holds") as error:
            check_names(["fine", *order], "place")
        assert error.value.code == 65
        assert word in error.value.what
        assert all(character.isprintable() for character in error.value.what)
