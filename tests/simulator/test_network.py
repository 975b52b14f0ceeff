import io
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from veilleur_simulator.network import ProxyBeside, proxy_to
from veilleur_simulator.processes import free_port, wait_until

WITHIN_S = 5.0


@pytest.fixture
def line() -> Iterator[ProxyBeside]:
    """A proxy to a server that says everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo_all, args=(server,), daemon=True).start()
        with proxy_to(server.getsockname()[1]) as proxy:
            yield proxy
        server.shutdown(socket.SHUT_RDWR)


def echo_all(server: socket.socket) -> None:
    while True:
        try:
            far, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo, args=(far,), daemon=True).start()


def echo(far: socket.socket) -> None:
    with far:
        try:
            while data := far.recv(4096):
                far.sendall(data)
        except OSError:
            return


def joined(line: ProxyBeside) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=WITHIN_S)


def asked(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(4096)


def tried(line: ProxyBeside) -> bytes:
    """Join and ask; a reset may come at either step."""
    with joined(line) as client:
        return asked(client, b"anybody there?")


def test_bytes_pass_both_ways(line: ProxyBeside) -> None:
    with joined(line) as client:
        assert asked(client, b"hello") == b"hello"


def test_a_delay_is_paid_each_way(line: ProxyBeside) -> None:
    line.delay(0.1)
    with joined(line) as client:
        began_s = time.monotonic()
        assert asked(client, b"late") == b"late"
        assert time.monotonic() - began_s >= 0.2


def test_a_throttle_lets_so_many_bytes_pass(line: ProxyBeside) -> None:
    line.throttle(10_000)
    with joined(line) as client:
        began_s = time.monotonic()
        assert asked(client, b"x" * 1000) == b"x" * 1000
        assert time.monotonic() - began_s >= 0.2


def test_a_cut_resets_what_is_there_and_what_comes(line: ProxyBeside) -> None:
    with joined(line) as client:
        assert asked(client, b"before") == b"before"
        line.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionError):
        tried(line)
    line.mend()
    with joined(line) as client:
        assert asked(client, b"after") == b"after"


def test_a_silent_line_keeps_the_connection_and_says_nothing_until_it_is_mended(line: ProxyBeside) -> None:
    with joined(line) as client:
        assert asked(client, b"before") == b"before"
        line.fall_silent()
        client.sendall(b"during")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.settimeout(WITHIN_S)
        line.mend()
        assert client.recv(100) == b"during"


def test_a_target_that_is_not_there_refuses() -> None:
    with proxy_to(free_port()) as proxy, pytest.raises(ConnectionError):
        tried(proxy)


def test_counts_the_connections_that_came(line: ProxyBeside) -> None:
    with joined(line), joined(line):
        wait_until(lambda: line.connections == 2, WITHIN_S, "two connections")


def test_a_tap_is_given_every_byte_of_both_ways() -> None:
    taped = io.BytesIO()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo_all, args=(server,), daemon=True).start()
        with proxy_to(server.getsockname()[1], tap=taped) as proxy, joined(proxy) as client:
            assert asked(client, b"hello") == b"hello"
        server.shutdown(socket.SHUT_RDWR)
    assert taped.getvalue() == b"hellohello"
