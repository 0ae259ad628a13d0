// An app that speaks HTTP/2 with prior knowledge, with node's own module.
//
// usage: node app2.mjs ORIGIN    prints one line of JSON with what it got
import http2 from "node:http2";

const session = http2.connect(process.argv[2]);
const got = {};

function call(headers, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const answer = { trailers: {}, pieces: [] };
    stream.on("response", (head) => (answer.head = head));
    stream.on("trailers", (trailers) => (answer.trailers = trailers));
    stream.on("data", (piece) => answer.pieces.push(piece));
    stream.on("end", () => resolve(answer));
    stream.on("error", reject);
    if (body !== undefined) stream.end(body);
  });
}

const json = (answer) => JSON.parse(Buffer.concat(answer.pieces).toString());

got.get = json(await call({ ":path": "/api/things?q=1", authorization: "Bearer mine", "x-own": "kept" }));
got.post = json(await call({ ":path": "/api/things", ":method": "POST" }, Buffer.alloc(1 << 20, "x")));
got.size = (await call({ ":path": "/api/download" })).pieces.reduce((sum, piece) => sum + piece.length, 0);
const many = await Promise.all(
  Array.from({ length: 300 }, (_, number) => call({ ":path": `/api/many/${number}` })),
);
got.many = many.filter((answer, number) => json(answer).target === `/many/${number}`).length;
const { "x-late": late } = (await call({ ":path": "/api/trailers", te: "trailers" })).trailers;
got.trailers = late;
const cancelled = session.request({ ":path": "/api/download" });
cancelled.on("error", () => {});
await new Promise((resolve) => cancelled.once("data", resolve));
cancelled.close(http2.constants.NGHTTP2_CANCEL);
got.after = json(await call({ ":path": "/api/after" })).target;
await new Promise((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
session.close();
console.log(JSON.stringify(got));
