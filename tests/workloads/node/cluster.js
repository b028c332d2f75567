// cluster.js PORT. Two processes that share a port; each asks NEXT (PORT/path), with the same number.
'use strict';
const cluster = require('cluster');

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else {
  require('./server.js');
}
