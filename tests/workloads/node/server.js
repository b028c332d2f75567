// server.js PORT. Asks NEXT (PORT/path), if set, with the same number and the trace context that came with it. With CERTIFICATE and KEY
// (files) it speaks TLS.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');

const next = process.env.NEXT;
const client = process.env.SCHEME === 'https' ? https : http;
const [cert, key] = [process.env.CERTIFICATE, process.env.KEY].map((file) => file && fs.readFileSync(file));
const agent = new client.Agent({ keepAlive: true });

function askNext(number, context, done) {
  const [port, path] = next.split('/');
  const headers = context ? { traceparent: context } : {};
  client
    .get({ host: '127.0.0.1', port, path: `/${path}?id=${number}`, agent, headers }, (answer) => {
      answer.resume();
      answer.on('end', () => done(answer.statusCode));
    })
    .on('error', () => done(502));
}

(cert ? https : http)
  .createServer({ cert, key }, (request, response) => {
    const number = new URL(request.url, 'http://node.test').searchParams.get('id') || '0';
    const answer = (status) => {
      response.writeHead(status, { 'Content-Type': 'text/plain' });
      response.end(`node ${number}\n`);
    };
    request.resume();
    // Makes requests overtake each other.
    setTimeout(() => (next ? askNext(number, request.headers.traceparent, answer) : answer(200)), (Number(number) * 7) % 5);
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
