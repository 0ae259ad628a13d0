// Verifies a detached signature over a file (RFC 7515, appendix F; RFC 7797) with `jose`, and that it holds for
// no other content. usage: detached.mjs SIGNATURE PAYLOAD PUBLIC_KEY ALGORITHM KID
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const peers = createRequire(`${process.env.PEERS}/`);
const { flattenedVerify, importSPKI } = await import(pathToFileURL(peers.resolve("jose")));

const [signature, payload, publicKey, algorithm, kid] = process.argv.slice(2);
const parts = signature.split(".");
assert.equal(parts.length, 3);
assert.equal(parts[1], "", "nothing stands between the dots");
const key = await importSPKI(readFileSync(publicKey, "utf8"), algorithm);
const content = readFileSync(payload);
const verify = (payload) => flattenedVerify({ protected: parts[0], payload, signature: parts[2] }, key);

const { protectedHeader } = await verify(content);
assert.deepEqual(protectedHeader, { alg: algorithm, kid, b64: false, crit: ["b64"] });
await assert.rejects(verify(Buffer.concat([content, Buffer.from("x")])));
