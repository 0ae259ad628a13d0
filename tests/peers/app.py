"""An app as people write them, with Python's requests: it knows a base URL and no secret.

usage: app.py BASE_URL    prints one line of JSON with what it got
"""

import hashlib
import io
import json
import sys

import requests

base = sys.argv[1]
session = requests.Session()
session.trust_env = False
got = {}


def piece_by_piece():
    for number in range(100):
        yield f"piece {number}\n".encode()


got["get"] = session.get(f"{base}/things", params={"q": "a b&c", "page": 2}).json()
got["post"] = session.post(f"{base}/things", json={"name": "ärger"}).json()
got["form"] = session.post(f"{base}/form", data={"a": "1", "b": "2 3"}).json()
got["chunked"] = session.post(f"{base}/upload", data=piece_by_piece()).json()
got["multipart"] = session.post(f"{base}/files", files={"file": ("a.bin", io.BytesIO(b"\0" * 70000))}).json()
got["large"] = session.put(f"{base}/large", data=b"x" * (8 << 20)).json()
got["delete"] = session.delete(f"{base}/things/1").json()
got["options"] = session.options(f"{base}/things").json()
head = session.head(f"{base}/things")
got["head"] = {"status": head.status_code, "length": head.headers["content-length"], "body": len(head.content)}
# Its own credentials must not pass, however they are given.
got["own"] = session.get(f"{base}/own", auth=("user", "password"), headers={"X-Own": "kept"}).json()

digest, size = hashlib.sha256(), 0
with session.get(f"{base}/download", stream=True) as answer:
    for piece in answer.iter_content(65536):
        digest.update(piece)
        size += len(piece)
got["download"] = {"size": size, "sha256": digest.hexdigest()}

with requests.Session() as lonely:
    lonely.trust_env = False
    got["close"] = lonely.get(f"{base}/close", headers={"Connection": "close"}).json()
print(json.dumps(got))
