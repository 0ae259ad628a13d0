// An origin that tells each whole request that its parser has found: a line with method, target and length of the
// body; GET /seen answers with the lines since the last time.
import http from "node:http";

let seen = "";
const server = http.createServer((request, answer) => {
  let length = 0;
  request.on("data", (data) => (length += data.length));
  request.on("error", () => {});
  request.on("end", () => {
    if (request.url === "/seen") {
      answer.end(seen);
      seen = "";
      return;
    }
    seen += `${request.method} ${request.url} ${length}\n`;
    answer.setHeader("X-Origin", "seen");
    answer.end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
