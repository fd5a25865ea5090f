"""The forwarding server passes every message on as it is, and survives clients and servers that do not."""

import http.client
import io
import json
import socket
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.emulator import HOST, Clients, EmulatorError, free_port
from sandbox.front.forwarding import Answer, Forward, ForwardingServer, Request, Response
from tests.local import REGION, LocalAws
from tests.sandbox.front.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kept: yes\r\n\r\nok"
OK_PASSED_ON = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-kept: yes\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
NOTHING = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def upstream() -> Generator[Upstream]:
    server = Upstream(ok=OK, chunked=CHUNKED, unbounded=UNBOUNDED, nothing=NOTHING)
    yield server
    server.close()


def pass_on(request: Request) -> Answer | None:
    return None


def read_all(client: socket.socket) -> bytes:
    """Read a response whose body is `ok`."""
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        part = client.recv(1000)
        assert part, answer
        answer += part
    return answer


Connect = Callable[[], http.client.HTTPConnection]


@pytest.fixture
def connect(upstream: Upstream) -> Generator[Connect]:
    connections: list[http.client.HTTPConnection] = []

    def create() -> http.client.HTTPConnection:
        connections.append(http.client.HTTPConnection(HOST, server.port, timeout=10))
        return connections[-1]

    with ForwardingServer(upstream.port, pass_on) as server:
        yield create
        for connection in connections:
            connection.close()


def test_one_connection_carries_all_requests_of_a_client(upstream: Upstream, connect: Connect):
    connection = connect()
    for path, body in (("/ok", b"ok"), ("/chunked", b"abcde"), ("/nothing", b""), ("/ok", b"ok")):
        connection.request("POST", path, b"question", {"X-Own": "1"})
        response = connection.getresponse()
        assert response.read() == body
        assert response.getheader("X-Kept") == ("yes" if path == "/ok" else None)
    assert upstream.connections == 1
    assert [(line, headers["x-own"], body) for line, headers, body in upstream.received] == [
        (f"POST /{path} HTTP/1.1", "1", b"question") for path in ("ok", "chunked", "nothing", "ok")
    ]


def test_a_response_without_a_length_is_whole(connect: Connect):
    connection = connect()
    for _ in range(2):
        connection.request("GET", "/unbounded")
        response = connection.getresponse()
        assert (response.read(), response.getheader("Content-Length")) == (b"until the end", "13")


@pytest.mark.parametrize("path", ["/half", "/silence"])
def test_a_response_that_ends_too_early_is_an_error_of_aws(upstream: Upstream, connect: Connect, path: str):
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf"
    upstream.answers |= {"/half": half, "/silence": b""}
    connection = connect()
    for asked, status in ((path, 503), ("/ok", 200)):
        connection.request("GET", asked)
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, True)


def test_a_connection_that_the_other_side_has_closed_is_made_anew(upstream: Upstream, connect: Connect):
    upstream.answers["/last"] = OK.replace(b"X-Kept: yes", b"Connection: close")
    connection = connect()
    for path in ("/last", "/ok"):
        connection.request("GET", path)
        assert connection.getresponse().read() == b"ok"
    assert upstream.connections == 2


def test_the_chunks_of_a_request_arrive_as_one_body(upstream: Upstream, connect: Connect):
    with socket.create_connection((HOST, connect().port), timeout=10) as client:
        client.sendall(b"POST /ok HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nx-amz-checksum: 1\r\n\r\n")
        assert read_all(client) == OK_PASSED_ON
    [(_, headers, body)] = upstream.received
    assert (headers["content-length"], "transfer-encoding" in headers, body) == ("5", False, b"abcde")


def test_a_client_that_expects_to_continue_may_send_its_body_at_once(upstream: Upstream, connect: Connect):
    with socket.create_connection((HOST, connect().port), timeout=10) as client:
        client.sendall(b"PUT /ok HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert read_all(client) == OK_PASSED_ON
    [(_, headers, body)] = upstream.received
    assert ("expect" in headers, body) == (False, b"body")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 300 + b"\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"BREW / HTTP/1.1\r\n\r\n", 501),
        (b"POST /ok HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /ok HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", 400),
        (b"\xff\xfe\x00 \r\n\r\n", 400),
    ],
)
def test_a_malformed_request_is_an_error_and_the_end_of_its_connection(
    connect: Connect, request_text: bytes, status: int
):
    with socket.create_connection((HOST, connect().port), timeout=10) as client:
        client.sendall(request_text)
        answer = b"".join(iter(lambda: client.recv(10_000), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"SerializationException" in answer
    connection = connect()
    connection.request("GET", "/ok")
    assert connection.getresponse().read() == b"ok"


@pytest.mark.parametrize("path", ["/ok", "/chunked"])
@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_client_that_hangs_up_during_its_request_disturbs_nobody(connect: Connect, framing: bytes, path: str):
    with socket.create_connection((HOST, connect().port)) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n3\r\nab" % (path.encode(), framing))
    connection = connect()
    connection.request("GET", "/ok")
    assert connection.getresponse().read() == b"ok"


def test_an_answer_of_its_own_sees_the_whole_request_and_may_forward_another(upstream: Upstream):
    seen: list[Request] = []

    def answer(request: Request, forward: Forward) -> Response | None:
        seen.append(request)
        match request.target:
            case "/own":
                return Response.of({"own": True})
            case "/fails":
                raise RuntimeError("no answer")
            case "/changed":
                changed = forward(Request("POST", "/chunked", {"x-own": "2"}, b"other"))
                return Response(changed.status, changed.body.upper())
            case _:
                return None

    with ForwardingServer(upstream.port, lambda request: answer) as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=10)

        def ask(path: str) -> tuple[int, bytes]:
            connection.request("POST", path, iter([b"abc", b"de"]), encode_chunked=True)
            response = connection.getresponse()
            return response.status, response.read()

        assert ask("/own") == (200, b'{"own": true}')
        assert ask("/changed") == (200, b"ABCDE")
        assert ask("/fails")[0] == 500
        assert ask("/ok") == (200, b"ok")
        connection.request("HEAD", "/own")
        assert connection.getresponse().read() == b""
        assert ask("/own")[0] == 200
        connection.close()
    assert [request.body for request in seen] == [b"abcde"] * 4 + [b""] + [b"abcde"]
    assert [(line, body) for line, _, body in upstream.received] == [
        ("POST /chunked HTTP/1.1", b"other"),
        ("POST /ok HTTP/1.1", b"abcde"),
    ]


def test_a_port_behind_it_that_nobody_listens_to_is_an_error_of_aws():
    with ForwardingServer(free_port(), pass_on) as server:
        client = Clients(server.url, REGION)("dynamodb")
        with pytest.raises(ClientError, match=r"ServiceUnavailable.*the embedded AWS does not answer"):
            client.list_tables()


def test_the_end_of_the_server_ends_its_connections(upstream: Upstream):
    server = ForwardingServer(upstream.port, pass_on)
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(client) == OK_PASSED_ON
        server.close()
        assert client.recv(1000) == b""
    server.close()


def test_a_taken_port_is_named(upstream: Upstream):
    with pytest.raises(EmulatorError, match=rf"^port {upstream.port} cannot be used \(Address already in use\)"):
        ForwardingServer(upstream.port, pass_on, upstream.port)


def test_uploads_and_downloads_of_boto3_arrive_whole(aws: LocalAws):
    """boto3 sends put_object with Expect: 100-continue."""
    s3, content = aws.front_client("s3"), bytes(range(256)) * 24_000
    s3.create_bucket(Bucket="through-the-front", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="through-the-front", Key="whole", Body=content)
    s3.put_object(Bucket="through-the-front", Key="file", Body=io.BytesIO(content))
    for key in ("whole", "file"):
        assert s3.get_object(Bucket="through-the-front", Key=key)["Body"].read() == content
    assert s3.head_object(Bucket="through-the-front", Key="whole")["ContentLength"] == len(content)
    for key in ("whole", "file"):
        s3.delete_object(Bucket="through-the-front", Key=key)
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="through-the-front", Key="nothing")
    s3.delete_bucket(Bucket="through-the-front")


def test_clients_at_the_same_time_get_their_own_answers(aws: LocalAws):
    aws.create_table("many-clients")
    dynamodb = aws.front_client("dynamodb")

    def write_and_read(number: int) -> str:
        key = {"id": {"S": str(number)}}
        dynamodb.put_item(TableName="many-clients", Item={**key, "text": {"S": f"{number}" * 1000}})
        return dynamodb.get_item(TableName="many-clients", Key=key, ConsistentRead=True)["Item"]["text"]["S"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(write_and_read, range(200))) == [f"{number}" * 1000 for number in range(200)]
    aws.client("dynamodb").delete_table(TableName="many-clients")


def test_a_binary_body_passes_unchanged(upstream: Upstream, connect: Connect):
    """A body of smithy-rpc-v2-cbor, which other SDKs than boto3 use for CloudWatch: {"Namespace": "x"}."""
    body = b"\xa1\x69Namespace\x61x"
    connection = connect()
    connection.request("POST", "/ok", body, {"Smithy-Protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"})
    assert connection.getresponse().read() == b"ok"
    assert upstream.received[0][2] == body


def test_region_and_service_are_read_from_the_signature():
    scope = (
        "AWS4-HMAC-SHA256 Credential=sandbox/20261126/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
    )
    assert Request("GET", "/", {"authorization": scope}).scope == ("eu-west-1", "lambda")
    for other in ("", "Basic x", "AWS4-HMAC-SHA256 Credential=a/b"):
        assert Request("GET", "/", {"authorization": other}).scope == ("", "")


def test_a_body_that_is_no_json_object_is_a_value_error():
    for body in (b"[1]", b"{", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            Request("POST", "/", {}, body).json()
    assert Request("POST", "/", {}, b"").json() == {}
    assert json.loads(Response.error("Code", "text").body) == {"__type": "Code", "message": "text"}
