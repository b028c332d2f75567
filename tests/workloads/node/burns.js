// burns.js PORT. Burns CPU time for a request, and answers before it does anything else.
'use strict';
const http = require('http');

const SPENT_NS = 50_000_000n;

http
  .createServer((request, response) => {
    const end = process.hrtime.bigint() + SPENT_NS;
    while (process.hrtime.bigint() < end);
    response.end('ok\n');
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
