"""An app that speaks HTTP/2 with prior knowledge, with Python's httpx.

usage: app2.py BASE_URL    prints one line of JSON with what it got
"""

import asyncio
import hashlib
import json
import sys

import httpx

base = sys.argv[1]


async def pieces():
    for number in range(100):
        yield f"piece {number}\n".encode()


async def main():
    got = {}
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False, timeout=30) as session:
        answer = await session.get(f"{base}/things", params={"q": "a b&c", "page": 2})
        got["version"] = answer.http_version
        got["get"] = answer.json()
        got["post"] = (await session.post(f"{base}/things", json={"name": "ärger"})).json()
        got["pieces"] = (await session.post(f"{base}/upload", content=pieces())).json()
        got["large"] = (await session.put(f"{base}/large", content=b"x" * (8 << 20))).json()
        got["own"] = (await session.get(f"{base}/own", auth=("user", "password"), headers={"X-Own": "kept"})).json()
        head = await session.head(f"{base}/things")
        got["head"] = {"status": head.status_code, "length": head.headers["content-length"]}
        digest, size = hashlib.sha256(), 0
        async with session.stream("GET", f"{base}/download") as answer:
            async for piece in answer.aiter_bytes(65536):
                digest.update(piece)
                size += len(piece)
        got["download"] = {"size": size, "sha256": digest.hexdigest()}
        many = await asyncio.gather(*(session.get(f"{base}/many/{number}") for number in range(300)))
        got["many"] = sum(answer.json()["target"] == f"/many/{number}" for number, answer in enumerate(many))
    print(json.dumps(got))


asyncio.run(main())
