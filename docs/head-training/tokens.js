// Given answers as token sequences: node tokens.js OUT GIVEN. Both .jsonl, of {group, messages, answer} and of {group, prompt: token ids,
// answer: token ids}.
'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { Engine } = require('../..');

const system = 'You are a helpful AI assistant named SmolLM, trained by Hugging Face';
const longest = 512;

function render(messages) {
  const all = messages[0].role === 'system' ? messages : [{ role: 'system', content: system }, ...messages];
  return (
    all.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join('') + '<|im_start|>assistant\n'
  );
}

async function main([out, given]) {
  const engine = await Engine.load('default', { contextLength: 512, memory: false });
  const lines = readFileSync(given, 'utf8').trim().split('\n');
  const rows = lines.map((line) => {
    const { group, messages, answer } = JSON.parse(line);
    const prompt = engine.tokenize(render(messages), { special: true });
    const tokens = engine
      .tokenize(`${answer}<|im_end|>`, { special: true })
      .slice(0, Math.max(longest - prompt.length, 0));
    return { group, prompt, answer: tokens };
  });
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
