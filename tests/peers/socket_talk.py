"""WebSockets as others speak them.

usage: socket_talk.py server           prints its port; echoes every message, on /closing one and the end
       socket_talk.py client URL       prints one line of JSON with what it got
"""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

LARGE = 8 << 20


async def echo(socket):
    if socket.request.headers.get("Authorization", "").startswith("Bearer "):
        await socket.send("authorized")
    if socket.request.path.startswith("/closing"):
        await socket.send(await socket.recv())
        await socket.close(4001, "that was all")
        return
    async for message in socket:
        await socket.send(message)


async def answer():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


async def ask(url):
    got = {}
    async with connect(f"{url}/echo", max_size=None, proxy=None, compression=None) as socket:
        got["greeting"] = await socket.recv()
        await socket.send("text ✓")
        got["text"] = await socket.recv()
        large = bytes(range(256)) * (LARGE // 256)
        await socket.send(large)
        got["large"] = await socket.recv() == large
        count = 2000

        async def send():
            for number in range(count):
                await socket.send(f"message {number}")

        sending = asyncio.create_task(send())
        got["many"] = [await socket.recv() for _ in range(count)] == [f"message {number}" for number in range(count)]
        await sending
        got["ping"] = await (await socket.ping()) >= 0
    # With compression, whatever becomes of it.
    async with connect(f"{url}/echo", proxy=None) as socket:
        await socket.recv()
        await socket.send("compressed " * 1000)
        got["compressed"] = await socket.recv() == "compressed " * 1000
    async with connect(f"{url}/closing", proxy=None) as socket:
        await socket.recv()
        await socket.send("last")
        got["last"] = await socket.recv()
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            got["closed"] = [closed.rcvd.code, closed.rcvd.reason]
    sockets = [await connect(f"{url}/echo", proxy=None) for _ in range(50)]
    for number, socket in enumerate(sockets):
        await socket.recv()
        await socket.send(str(number))
    got["at once"] = [await socket.recv() for socket in sockets] == [str(number) for number in range(50)]
    for socket in sockets:
        await socket.close()
    print(json.dumps(got))


asyncio.run(answer() if sys.argv[1] == "server" else ask(sys.argv[2]))
