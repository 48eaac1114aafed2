"""Collectors that misbehave, each a real TCP server."""

import socket
import threading
from contextlib import contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"


@contextmanager
def answering(answer):
    """A server on loopback that hands each connection to `answer`; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = threading.Event()

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection):
            with connection, suppress(OSError):  # the client may have had enough
                answer(connection, closed)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        closed.set()
        server.shutdown(socket.SHUT_RDWR)


def silent(connection, closed):
    """Takes everything and never says a word."""
    connection.recv(65536)
    closed.wait(30)


def garbage(connection, _):
    """Answers what is no protocol at all."""
    connection.recv(65536)
    connection.sendall(b"\x00\xff garbage \r\n" * 100)


def endless(connection, closed):
    """Answers a gigabyte, as long as somebody reads it."""
    connection.recv(65536)
    connection.sendall(OK + b"Content-Length: 1073741824\r\n\r\n")
    while not closed.is_set():
        connection.sendall(bytes(65536))


def dripping(connection, closed):
    """Answers a byte at a time."""
    connection.recv(65536)
    connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
    while not closed.wait(0.02):
        connection.sendall(b"\x00")


def refusing(status, *headers):
    """Answers each request with that status."""
    answer = "\r\n".join((f"HTTP/1.1 {status} no", *headers, "Content-Length: 0", "", "")).encode()

    def refuse(connection, _):
        while connection.recv(65536):
            connection.sendall(answer)

    return refuse


def unreadable(connection, _):
    """Takes the request, and answers what is no answer to it."""
    while connection.recv(65536):
        connection.sendall(OK + b"Content-Length: 3\r\n\r\n\xff\xff\xff")
