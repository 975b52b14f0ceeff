"""Where pictures come from, and that a password shows nowhere but in what FFmpeg is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.address import Kind, SourceRejectedError, address_of, shown_of

SECRET = "s3cr3t"  # noqa: S105 - made up


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("clip.mp4", Kind.FILE),
        ("/var/lib/clip 1.mp4", Kind.FILE),
        ("/dev/video0", Kind.DEVICE),
        ("rtsp://10.0.0.7/main", Kind.RTSP),
        ("http://10.0.0.7/mjpg", Kind.HTTP),
        ("https://camera.example/mjpg", Kind.HTTP),
    ],
)
def test_a_source_is_opened_as_what_it_is(source, kind) -> None:
    address = address_of(source)
    assert (address.kind, address.text, address.url()) == (kind, source, source)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "a source is a path"),
        ("a\nb", "a source is a path"),
        ("x" * 3000, "a source is a path"),
        ("ftp://host/x", "no kind of source"),
        ("rtsp://", "no address"),
        ("rtsp:///main", "no address"),
        ("rtsp://host:port/main", "no address"),
        ("rtsp://[::1/main", "no address"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(source, sentence) -> None:
    with pytest.raises(SourceRejectedError, match=sentence):
        address_of(source)


def test_an_account_in_the_source_is_taken_out_and_given_to_ffmpeg_alone() -> None:
    address = address_of(f"rtsp://veil:{SECRET}@10.0.0.7:8554/main?channel=1")
    assert address.url() == f"rtsp://veil:{SECRET}@10.0.0.7:8554/main?channel=1"
    assert address.name == "rtsp://10.0.0.7:8554/main"
    assert SECRET not in repr(address) + address.name + address.text


def test_an_account_given_apart_is_escaped() -> None:
    address = address_of("rtsp://10.0.0.7/main", name="camera gare", user="a b", password="p@ss/wörd:#?")  # noqa: S106 - made up
    assert address.url() == "rtsp://a%20b:p%40ss%2Fw%C3%B6rd%3A%23%3F@10.0.0.7/main"
    assert address.name == "camera gare"


def test_an_account_means_nothing_to_a_file() -> None:
    assert address_of("clip.mp4", user="veil", password=SECRET).url() == "clip.mp4"


def test_a_refused_source_is_named_without_its_password() -> None:
    with pytest.raises(SourceRejectedError) as caught:
        address_of(f"rtsp://veil:{SECRET}@host:port/main")
    assert SECRET not in str(caught.value)


@given(
    user=st.text(st.characters(codec="ascii", categories=("L", "N"))),
    password=st.text(st.sampled_from("ab1:@/?#%&"), min_size=1).map(lambda text: f"{SECRET}{text}{SECRET}"),
    query=st.sampled_from(["", f"?user=x&password={SECRET}", f"#{SECRET}", f"?x=@{SECRET}"]),
)
def test_whatever_a_password_holds_it_is_never_shown(user, password, query) -> None:
    assert SECRET not in shown_of(f"rtsp://{user}:{password}@10.0.0.7/main{query}")
