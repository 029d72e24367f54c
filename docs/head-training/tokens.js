// Given answers as token sequences: node tokens.js OUT GIVEN. Both .jsonl, of {group, messages, answer} and of {group, prompt: token ids,
// answer: token ids}.
'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { Engine } = require('../..');

const longest = 512;

async function main([out, given]) {
  const engine = await Engine.load('default', { contextLength: 512, memory: false });
  const lines = readFileSync(given, 'utf8').trim().split('\n');
  const rows = [];
  for (const line of lines) {
    const { group, messages, answer } = JSON.parse(line);
    const prompt = await engine.tokenizeChat(messages);
    const tokens = engine
      .tokenize(`${answer}<|im_end|>`, { special: true })
      .slice(0, Math.max(longest - prompt.length, 0));
    rows.push({ group, prompt, answer: tokens });
  }
  writeFileSync(
    out,
    rows
      .filter(({ answer }) => answer.length > 8)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  );
  await engine.close();
}

void main(process.argv.slice(2));
