// Runs in a folder where only the packed tarball is installed: what a user's first program does.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');

const installed = path.join(__dirname, 'node_modules', 'foretoken');

function checkSurroundings() {
  for (const compiler of ['g++', 'c++', 'clang++', 'cmake', 'make']) {
    assert.ok(spawnSync(compiler, ['--version']).error, `${compiler} is on PATH: this check would prove nothing`);
  }
}

function checkAddon() {
  const { loadBinding } = require(path.join(installed, 'dist', 'binding.js'));
  const binding = loadBinding();
  try {
    binding.cudaInfo();
  } catch (error) {
    assert.strictEqual(error.code, 'CUDA_UNAVAILABLE');
  }
  const report = process.report.getReport().sharedObjects;
  const addon = report.find((file) => file.endsWith('foretoken.node'));
  assert.strictEqual(addon, path.join(installed, 'prebuilds', `${process.platform}-${process.arch}`, 'foretoken.node'));
}

async function checkEntries() {
  const required = require('foretoken');
  const imported = await import('foretoken');
  for (const name of Object.keys(required)) assert.strictEqual(imported[name], required[name], `ESM lacks ${name}`);
  assert.strictEqual(imported.default, required);
}

async function main() {
  checkSurroundings();
  checkAddon();
  await checkEntries();
}

main();
