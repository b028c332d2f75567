// Asks over gRPC (grpc-js), all calls on one connection.
//
//   grpc.js front PORT NEXT     serves HTTP/1.1 and calls NEXT, twice side by side
//   grpc.js middle PORT NEXT    serves gRPC and calls NEXT: one call after the other, some side by side, a stream both ways, one given up,
//                               one behind the answer
//   grpc.js leaf PORT           serves gRPC
//
// With CERTIFICATE and KEY (files) gRPC is over TLS, else without.
'use strict';
const fs = require('fs');
const http = require('http');
const grpc = require('@grpc/grpc-js');

const [role, port, next] = process.argv.slice(2);
const [certificate, key] = [process.env.CERTIFICATE, process.env.KEY].map((file) => file && fs.readFileSync(file));
const raw = (bytes) => bytes;
const client =
  next &&
  new grpc.Client(
    `localhost:${next}`,
    certificate ? grpc.credentials.createSsl(certificate) : grpc.credentials.createInsecure(),
    // No questions to the DNS that are of no request.
    { 'grpc.service_config_disable_resolution': 1 },
  );

const pause = (number, salt) => new Promise((done) => setTimeout(done, (number * 7 + salt * 3) % 5));
/** A method's name: who is asked learns the number from it. */
const name = (method, number) => `/calls/${method}?id=${number}`;

function call(method, number, limit) {
  return new Promise((done, fail) => {
    const options = limit ? { deadline: Date.now() + limit } : {};
    client.makeUnaryRequest(name(method, number), raw, raw, Buffer.from(method), options, (error) =>
      error && !limit ? fail(error) : done(),
    );
  });
}

/** Sends three messages while it receives the answers. */
function stream(method, number) {
  return new Promise((done, fail) => {
    const call = client.makeBidiStreamRequest(name(method, number), raw, raw);
    call.on('data', () => {});
    call.on('error', fail);
    call.on('end', done);
    (async () => {
      for (let at = 0; at < 3; at += 1) {
        await pause(number, at);
        call.write(Buffer.from('message'));
      }
      call.end();
    })();
  });
}

const together = (number, ...methods) =>
  Promise.all(methods.map((method, at) => pause(number, at).then(() => call(method, number))));

async function middle(number) {
  await pause(number, 1);
  await call('a', number);
  await together(number, 'b', 'c', 'd');
  // Node.js ends a connection on which very many streams are given up.
  if (number % 4 === 0) {
    await call('cancelled', number, 1 + (number % 3));
  }
  await stream('stream', number);
  setTimeout(() => call('later', number).catch((error) => console.error(role, error)), 5 + ((number * 7) % 5));
  await call('last', number);
}

/** Answers each message of a call, and calls on behind the last one. */
async function handle(call, path) {
  const url = new URL(path, 'http://node.test');
  const number = Number(url.searchParams.get('id'));
  let last;
  call.on('data', (message) => {
    if (last) {
      call.write(last);
    }
    last = message;
  });
  await new Promise((done) => call.on('end', done));
  await pause(number, url.pathname.length);
  if (role === 'middle' && url.pathname !== '/calls/other') {
    await middle(number);
  }
  call.write(last);
  call.end();
}

function serveCalls() {
  const server = new grpc.Server();
  // Methods are not registered by name: each is looked up when it is called.
  server.handlers.get = (path) => ({
    type: 'bidi',
    path,
    serialize: raw,
    deserialize: raw,
    func: (call) => handle(call, path).catch((error) => call.destroy(error)),
  });
  const credentials = certificate
    ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }])
    : grpc.ServerCredentials.createInsecure();
  server.bindAsync(`127.0.0.1:${port}`, credentials, (error) => {
    if (error) {
      throw error;
    }
  });
}

if (role === 'front') {
  http
    .createServer(async (request, response) => {
      const number = Number(new URL(request.url, 'http://node.test').searchParams.get('id'));
      try {
        await together(number, 'middle', 'other');
      } catch (error) {
        console.error(role, error);
        response.statusCode = 502;
      }
      response.end(`${number}\n`);
    })
    .listen(Number(port), '127.0.0.1');
} else {
  serveCalls();
}
