// Asks over HTTP/2, all requests on one connection.
//
//   h2.js front PORT NEXT     serves HTTP/1.1 and asks NEXT, twice side by side
//   h2.js middle PORT NEXT    serves HTTP/2 and asks NEXT: one call after the other, some side by side, one given up, one with a long body,
//                             one behind the answer
//   h2.js leaf PORT           serves HTTP/2
//
// With CERTIFICATE and KEY (files) HTTP/2 is over TLS, else without.
'use strict';
const fs = require('fs');
const http = require('http');
const http2 = require('http2');

const [role, port, next] = process.argv.slice(2);
const secret = process.env.CERTIFICATE && {
  cert: fs.readFileSync(process.env.CERTIFICATE),
  key: fs.readFileSync(process.env.KEY),
};
let session;

const pause = (number, salt) => new Promise((done) => setTimeout(done, (number * 7 + salt * 3) % 5));

/** The connection of all. Whoever needs it first opens it, and others ask before it is there. */
function connection() {
  if (!session || session.destroyed) {
    session = http2.connect(`${secret ? 'https' : 'http'}://localhost:${next}`, secret ? { ca: secret.cert } : {});
    session.on('error', (error) => console.error(role, error));
  }
  return session;
}

function ask(path, number, { body = '', limit } = {}) {
  return new Promise((done, fail) => {
    const stream = connection().request({ ':method': 'POST', ':path': `${path}?id=${number}` });
    if (limit) {
      setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), limit);
    }
    stream.on('error', fail);
    stream.on('close', done);
    stream.resume();
    stream.end(body);
  });
}

const together = (number, ...paths) =>
  Promise.all(paths.map((path, at) => pause(number, at).then(() => ask(path, number))));

async function middle(number) {
  await pause(number, 1);
  await ask('/a', number, { body: 'x' });
  await together(number, '/b', '/c', '/d');
  // Node.js ends a connection on which very many streams are given up.
  if (number % 4 === 0) {
    await ask('/cancelled', number, { limit: 1 + (number % 3) });
  }
  await ask('/long', number, { body: 'z'.repeat((number * 37) % 50000) });
  setTimeout(() => ask('/later', number).catch((error) => console.error(role, error)), 5 + ((number * 7) % 5));
}

const roles = {
  front: (number) => together(number, '/middle', '/other'),
  middle,
  leaf: () => {},
};

async function handle(request, response) {
  const url = new URL(request.url, 'http://node.test');
  const number = Number(url.searchParams.get('id'));
  request.resume();
  await new Promise((done) => request.on('end', done));
  await pause(number, url.pathname.length);
  try {
    if (url.pathname !== '/other') {
      await roles[role](number);
    }
  } catch (error) {
    console.error(role, error);
    response.statusCode = 502;
  }
  if (!response.stream?.destroyed) {
    response.end(`${number}\n`);
  }
}

let server = http;
if (role !== 'front') {
  server = secret ? { createServer: (handle) => http2.createSecureServer(secret, handle) } : http2;
}
server.createServer(handle).listen(Number(port), '127.0.0.1');
