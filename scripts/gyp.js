#!/usr/bin/env node
// Stands in for node-gyp under prebuildify, which knows no cmake-js: every `rebuild` is a clean release build.
'use strict';

const command = process.argv[2];
if (command !== 'rebuild') {
  process.stderr.write(`scripts/gyp.js only knows "rebuild", not "${command}"\n`);
  process.exit(1);
}
process.argv.push('--clean');
require('./cmake');
