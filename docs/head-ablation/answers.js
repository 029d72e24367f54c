// The target's own greedy answers: node answers.js OUT TOKENS PARALLEL PROMPTS...
// PROMPTS: .jsonl of {group, messages}. OUT: .jsonl of {group, prompt: token ids, answer: token ids}.
'use strict';
const { createWriteStream, readFileSync } = require('node:fs');
const { Engine } = require('../..');

async function main([out, tokens, parallel, ...files]) {
  const records = files.flatMap((file) =>
    readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
  const engine = await Engine.load('default', { contextLength: 4096, maxSequences: Number(parallel) });
  const file = createWriteStream(out);
  const left = records.entries();
  const work = async () => {
    for (const [index, { group, messages }] of left) {
      const prompt = await engine.tokenizeChat(messages);
      const answer = [];
      for await (const chunk of engine.stream(prompt, { maxTokens: Number(tokens) })) answer.push(...chunk.tokens);
      file.write(`${JSON.stringify({ index, group, prompt, answer })}\n`);
    }
  };
  await Promise.all(Array.from({ length: Number(parallel) }, work));
  file.end();
  await engine.close();
}

void main(process.argv.slice(2));
