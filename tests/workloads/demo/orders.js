// Orders: Node's http. orders.js PORT
'use strict';
const http = require('http');

let last = 0;

http
  .createServer((request, response) => {
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => {
      last += 1;
      response.writeHead(201, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify({ order: last, ...JSON.parse(body) }));
    });
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
