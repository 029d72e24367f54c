import { decodeByController, decodeByTable, oracleSeconds, plainSeconds } from '../../bench/sim/decode';
import { machines } from '../../bench/sim/machine';
import { longestRun, processes, synthesise, textOf } from '../../bench/sim/text';
import { fixedPolicy } from '../../bench/common/fixed-policy';
import { random } from '../../bench/common/stats';
import { prompts, tinyModel } from '../api/tiny';

const tiny = tinyModel();
const machine = machines['cpu'];

test.each(Object.keys(processes))('%s: no table is faster than the oracle, and each decodes every token', (name) => {
  const texts = synthesise(processes[name], 20, 64, random(1));
  const oracle = oracleSeconds(machine, texts);
  expect(oracle).toBeLessThanOrEqual(plainSeconds(machine, texts));
  for (const rows of [1, 4, 8]) {
    const { seconds, tokens } = decodeByTable(machine, texts, fixedPolicy(rows));
    expect(seconds).toBeGreaterThan(oracle);
    expect(tokens).toBe(20 * 63);
  }
});

test('the controller beats the best fixed number where drafters know what they know, and loses nothing where they know nothing', () => {
  const decode = (name: string): { fixed: number; controlled: number } => {
    const texts = synthesise(processes[name], 80, 128, random(2));
    const fixed = [1, 2, 3, 4].map((rows) => decodeByTable(machine, texts, fixedPolicy(rows)).seconds);
    return {
      fixed: Math.min(plainSeconds(machine, texts), ...fixed),
      controlled: decodeByController(machine, texts, random(3)).seconds,
    };
  };
  for (const name of ['calibrated', 'drop', 'return']) {
    const { fixed, controlled } = decode(name);
    expect(controlled).toBeLessThan(fixed);
  }
  const { fixed, controlled } = decode('hopeless');
  expect(controlled).toBeLessThan(1.02 * fixed);
});

test('recorded answers are replayed: all verified, a run is as long as the recording says', async () => {
  const engine = await tiny.load();
  const { recording, tokens } = await engine.generate(prompts[1], {
    maxTokens: 100,
    ignoreEos: true,
    speculation: { record: true },
  });
  const text = textOf(recording!);
  expect(text.firstDraft).toHaveLength(tokens.length + 1);
  const runs = tokens.map((_, position) => longestRun(text, position));
  expect(Math.max(...runs)).toBeGreaterThan(0);
  runs.forEach((run, position) => expect(position + run).toBeLessThanOrEqual(tokens.length));
  const { rounds } = decodeByTable(machine, [text], fixedPolicy(40));
  expect(rounds).toBeLessThan(99);
});
