import type { Recording } from '../../lib';
import { Drafter } from '../../lib/native';
import { prompts, steadyClock, tinyHead, tinyModel } from './tiny';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const tiny = tinyModel();
const folder = mkdtempSync(join(tmpdir(), 'foretoken-recording-'));
const head = tinyHead(tiny, folder);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Right nodes by position and drafter: how far each draft would have been accepted. */
function rightOf(recording: Recording): Map<string, number> {
  const right = new Map<string, number>();
  let at = 0;
  for (let i = 0; i < recording.drafts.length; i += 3) {
    const [position, drafter, nodes] = recording.drafts.subarray(i, i + 3);
    const hits = recording.nodes.subarray(at, (at += nodes)).reduce((sum, node) => sum + (node >> 7), 0);
    right.set(`${position} ${Drafter[drafter]}`, hits);
  }
  return right;
}

test('a recording has every drafter at every position, in the order of the text, parents first', async () => {
  const engine = await tiny.load({ head: head.path });
  for (const [i, prompt] of prompts.entries()) {
    const ask = { maxTokens: 80, ignoreEos: true, tenant: String(i) };
    const plain = await engine.generate(prompt, { ...ask, speculation: { enabled: false } });
    const { tokens, usage, recording } = await engine.generate(prompt, { ...ask, speculation: { record: true } });
    expect(tokens).toEqual(plain.tokens);
    expect(usage).toMatchObject({ acceptedDraftTokens: 0, rejectedDraftTokens: 0 });
    expect(recording).toMatchObject({ tokens: 80, promptTokens: usage.promptTokens });
    const positions = new Set<number>();
    let at = 0;
    for (let d = 0; d < recording!.drafts.length; d += 3) {
      const [position, drafter, count] = recording!.drafts.subarray(d, d + 3);
      if (drafter === (Drafter.head as number)) positions.add(position);
      const nodes = recording!.nodes.subarray(at, (at += count));
      nodes.forEach((node, n) => {
        const parent = (node & 127) - 1;
        expect(parent).toBeLessThan(n);
        if (node >> 7 && parent >= 0) expect(nodes[parent] >> 7).toBe(1);
      });
    }
    expect(at).toBe(recording!.confidence.length);
    expect([...positions]).toEqual(Array.from({ length: 78 }, (_, p) => p + 1)); // none fits before the last token
  }
});

test('what a recording says of a place is what a request finds there that drafts, but for recall, which listens to passes', async () => {
  const engine = await tiny.load({}, steadyClock());
  let compared = 0;
  let right = 0;
  for (const [i, prompt] of prompts.entries()) {
    const ask = { maxTokens: 120, ignoreEos: true };
    const recorded = await engine.generate(prompt, { ...ask, tenant: `r${i}`, speculation: { record: true } });
    const drafted = await engine.generate(prompt, { ...ask, tenant: `d${i}`, explain: true });
    const expected = rightOf(recorded.recording!);
    let position = 0;
    for (const { foreseen, tokens } of drafted.rounds!) {
      for (const [drafter, hits] of Object.entries(foreseen)) {
        if (drafter !== 'suffix') continue;
        expect(hits).toBe(expected.get(`${position} ${drafter}`));
        compared += 1;
        right += hits;
      }
      position += tokens.length;
    }
  }
  expect(compared).toBeGreaterThan(50);
  expect(right).toBeGreaterThan(50);
});

test('a recording teaches the controller nothing', async () => {
  const engine = await tiny.load();
  const ask = { maxTokens: 60, ignoreEos: true, speculation: { record: true } };
  await engine.generate(prompts[1], ask);
  expect(engine.stats()).toMatchObject({ drafted: 0, accepted: 0, calibrationError: 0, speedup: 1 });
});
