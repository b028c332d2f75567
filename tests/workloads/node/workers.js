// workers.js PORT. Threads: the main one asks one of its workers over HTTP, which asks NEXT (PORT/path), all with the same
// number.
'use strict';
const http = require('http');
const { Worker, isMainThread, parentPort } = require('worker_threads');

const [nextPort, nextPath] = process.env.NEXT.split('/');
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

function serve(port, ready, target) {
  const server = http.createServer((request, response) => {
    const number = new URL(request.url, 'http://node.test').searchParams.get('id') || '0';
    request.resume();
    setTimeout(() => {
      http
        .get({ host: '127.0.0.1', agent, ...target(number) }, (answer) => {
          answer.resume();
          answer.on('end', () => response.writeHead(answer.statusCode).end(`worker ${number}\n`));
        })
        .on('error', () => response.writeHead(502).end());
    }, Math.random() * 4);
  });
  server.listen(port, '127.0.0.1', () => ready(server.address().port));
}

if (isMainThread) {
  const started = [0, 1].map(() => new Promise((done) => new Worker(__filename).once('message', done)));
  Promise.all(started).then((ports) => {
    const target = (number) => ({ port: ports[number % ports.length], path: `/work?id=${number}` });
    serve(Number(process.argv[2]), () => {}, target);
  });
} else {
  const target = (number) => ({ port: nextPort, path: `/${nextPath}?id=${number}` });
  serve(0, (port) => parentPort.postMessage(port), target);
}
