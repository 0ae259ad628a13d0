"""gRPC as others speak it, without generated code: messages are bytes.

usage: grpc_talk.py server [KEY CERTIFICATE]    prints its port
       grpc_talk.py client ADDRESS              prints one line of JSON with what it got
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "talk.Talk"


def unary(request, context):
    seen = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-detail-bin", b"\x00\x01\xff")))
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ✓")
    if request == b"told":
        told = {"authorized": seen.get("authorization", "").startswith("Bearer "), "own": seen.get("x-own"),
                "binary": list(seen.get("x-own-bin", b"")), "deadline": context.time_remaining() is not None}
        return json.dumps(told).encode()
    return request[::-1]


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def gather(requests, context):
    return b",".join(requests)


def echo(requests, context):
    for request in requests:
        yield request


CANCELLED = threading.Event()


def hang(request, context):
    context.add_callback(CANCELLED.set)
    yield b"begun"
    while context.is_active():
        time.sleep(0.01)


def was_cancelled(request, context):
    return b"yes" if CANCELLED.wait(5) else b"no"


def serve(arguments):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if arguments:
        key, certificate = (open(name, "rb").read() for name in arguments)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(((key, certificate),)))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("port", port, flush=True)
    server.wait_for_termination()


def call(address):
    got = {}
    # Calls go to bearerd alone, whatever this machine says of proxies.
    channel = grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),))
    unary_unary = lambda name: channel.unary_unary(f"/{SERVICE}/{name}")
    metadata = (("x-own", "kept"), ("x-own-bin", b"\x00\xfe"), ("authorization", "Bearer mine"))

    answer, done = unary_unary("Unary").with_call(b"told", metadata=metadata, timeout=10)
    got["told"] = json.loads(answer)
    got["initial"] = dict(done.initial_metadata()).get("x-initial")
    trailing = dict(done.trailing_metadata())
    got["trailing"] = [trailing.get("x-trailing"), list(trailing.get("x-detail-bin", b""))]

    try:
        unary_unary("Unary")(b"fail", timeout=10)
    except grpc.RpcError as error:
        got["failed"] = [error.code().name, error.details(), dict(error.trailing_metadata()).get("x-trailing")]

    large = bytes(range(256)) * 8192
    got["large"] = unary_unary("Unary")(large, timeout=20) == large[::-1]
    got["count"] = len(list(channel.unary_stream(f"/{SERVICE}/Count")(b"1000", timeout=10)))
    pieces = (str(number).encode() for number in range(1000))
    got["gather"] = len(channel.stream_unary(f"/{SERVICE}/Gather")(pieces, timeout=10).split(b","))

    # Each question waits for the answer to the one before.
    turn = threading.Semaphore(1)

    def questions():
        for number in range(100):
            turn.acquire()
            yield f"question {number}".encode()

    echoed = []
    for answer in channel.stream_stream(f"/{SERVICE}/Echo")(questions(), timeout=10):
        echoed.append(answer)
        turn.release()
    got["echo"] = len(echoed)

    try:
        list(channel.unary_stream(f"/{SERVICE}/Hang")(b"", timeout=0.5))
    except grpc.RpcError as error:
        got["deadline"] = error.code().name
    hanging = channel.unary_stream(f"/{SERVICE}/Hang")(b"")
    got["begun"] = next(hanging).decode()
    hanging.cancel()
    got["cancelled"] = unary_unary("WasCancelled")(b"", timeout=10).decode()

    at_once = [unary_unary("Unary").future(str(number).encode(), timeout=20) for number in range(200)]
    got["at once"] = sum(call.result() == str(number).encode()[::-1] for number, call in enumerate(at_once))
    try:
        channel.unary_unary("/talk.Nobody/Unary")(b"", timeout=10)
    except grpc.RpcError as error:
        got["nobody"] = error.code().name
    print(json.dumps(got))


if sys.argv[1] == "server":
    serve(sys.argv[2:])
else:
    call(sys.argv[2])
