// Runs in a folder where only the packed tarball is installed: what a user's first program does.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
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

/** The tiny model that the package writes itself, and the default one where it was fetched before. */
function models() {
  const { writeTinyModel } = require(path.join(installed, 'dist', 'models', 'tiny-model.js'));
  const { defaultModelPath } = require(path.join(installed, 'dist', 'models', 'default-model.js'));
  const tiny = path.join(__dirname, 'tiny.gguf');
  writeTinyModel(tiny);
  if (fs.existsSync(defaultModelPath())) return [tiny, 'default'];
  assert.notStrictEqual(process.env.FORETOKEN_REQUIRE_MODEL, '1', `the default model is not at ${defaultModelPath()}`);
  process.stdout.write('The default model is not at hand: decoding with a tiny one alone.\n');
  return [tiny];
}

/** Decodes a text that invites drafts, with speculation and without, and compares. */
async function checkDecoding(model) {
  const { Engine } = require('foretoken');
  const answers = [];
  for (const speculation of [true, false]) {
    const engine = await Engine.load(model, { speculation, contextLength: 512, maxSequences: 1 });
    answers.push(await engine.generate('one two three, one two three, one two', { maxTokens: 32, temperature: 0 }));
    await engine.close();
  }
  const [drafted, plain] = answers;
  assert.ok(plain.tokens.length > 0);
  assert.deepStrictEqual(drafted.tokens, plain.tokens);
  process.stdout.write(
    `${path.basename(model)}: ${plain.tokens.length} tokens, the same with and without speculation\n`,
  );
}

async function main() {
  checkSurroundings();
  checkAddon();
  await checkEntries();
  for (const model of models()) await checkDecoding(model);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
