// leaf.js PORT. Answers after a while; /fail with an error, /cancel with a head alone.
'use strict';
const http = require('http');

http
  .createServer((request, response) => {
    request.resume();
    const path = request.url.split('?')[0];
    if (path === '/cancel') {
      response.flushHeaders();
      return;
    }
    setTimeout(() => {
      response.writeHead(path === '/fail' ? 503 : 200, { 'Content-Type': 'text/plain' });
      response.end(`leaf ${request.url}\n`);
    }, Math.random() * 5);
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
