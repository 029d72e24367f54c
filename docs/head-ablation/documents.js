// Given text as token sequences: node documents.js OUT GROUP CHUNKS FILES...
// From the files, taken in turn, CHUNKS pieces of 256 tokens; OUT is appended to: .jsonl of {group, prompt: [], answer: token ids}.
'use strict';
const { appendFileSync, readFileSync } = require('node:fs');
const { Engine } = require('../..');

const length = 256;

async function main([out, group, chunks, ...files]) {
  const engine = await Engine.load('default', { contextLength: 512, memory: false });
  const each = Math.ceil(Number(chunks) / files.length);
  let left = Number(chunks);
  for (const file of files) {
    const tokens = engine.tokenize(readFileSync(file, 'utf8').slice(0, 200_000));
    const count = Math.min(each, left, Math.floor(tokens.length / length));
    left -= count;
    for (let i = 0; i < count; ++i) {
      const start = Math.floor((i / count) * (tokens.length - length));
      appendFileSync(out, `${JSON.stringify({ group, prompt: [], answer: tokens.slice(start, start + length) })}\n`);
    }
  }
  await engine.close();
}

void main(process.argv.slice(2));
