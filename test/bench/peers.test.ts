import { performance } from 'node:perf_hooks';
import { addPlain } from '../../bench/peers';
import { bestOfGroups, groupsInTurn, ratios, speed } from '../../bench/peers/answers';
import { adapted, type Answering } from '../../bench/peers/narrow';
import type { PeerPrompt, PeerRun } from '../../bench/peers/peer';

const prompt = (group: string, length: number): PeerPrompt => ({
  ...{ group, text: '', maxTokens: 128, tokens: Array.from({ length }, () => 1) },
});
const run = (tokensPerSecond: number): PeerRun => ({ tokens: 100, seconds: 100 / tokensPerSecond, prefillTokS: 1 });

test('a prompt of each group is asked in turn, the shortest of each first', () => {
  const prompts = [prompt('rag', 900), prompt('qa', 20), prompt('qa', 10), prompt('rag', 800), prompt('qa', 30)];
  const order = groupsInTurn(prompts).map(({ group, tokens }) => `${group} ${tokens.length}`);
  expect(order).toEqual(['qa 10', 'rag 800', 'qa 20', 'rag 900', 'qa 30']);
});

test('the best setting is chosen group by group', () => {
  const prompts = ['qa', 'rag', 'qa', 'rag', 'qa'].map((group) => prompt(group, 1));
  const settings = new Map([
    ['plain', [50, 50, 50, 50].map(run)],
    ['ngram', [40, 100, 40, 100].map(run)],
    ['failed', [400, 400].map(run)],
  ]);
  const theirs = bestOfGroups(prompts, settings);
  expect(theirs.map(speed)).toEqual([50, 100, 50, 100]);
  const ours = [200, 200, 200, 200].map(run);
  expect(ratios(ours, theirs, speed)).toEqual([4, 2, 4, 2]);
});

test('keys name the format that was measured; those that name none are of the file as it is', () => {
  const report = { suite: 'peers', summary: {}, rows: [] };
  addPlain(report, 'peer', 'fp8', 2, 3);
  expect(report.summary).toEqual({ 'peer.fp8.plainRatio': 2, 'peer.fp8.prefillRatio': 3 });
  addPlain(report, 'peer', 'auto', 4, 5);
  expect(report.summary).toMatchObject({
    ...{ 'peer.plainRatio': 4, 'peer.auto.plainRatio': 4, 'peer.auto.prefillRatio': 5 },
    ...{ 'peer.fp8.plainRatio': 2, 'peer.fp8.prefillRatio': 3 },
  });
});

/** What the clock shows. */
let now = 0;

/** Notes what it is asked; an answer takes so many milliseconds of that clock. */
function answering(name: string, log: string[], learns: boolean, milliseconds = 0): [string, Answering] {
  const answer = ({ group }: PeerPrompt): Promise<PeerRun> => {
    log.push(`${name} ${group}`);
    now += milliseconds;
    return Promise.resolve(run(100));
  };
  return [name, { answer, learns }];
}

const stream = Array.from({ length: 12 }, (_, i) => prompt(String(i), 1));

test('whoever learns does so first; the last requests are answered in turn', async () => {
  const log: string[] = [];
  const all = new Map([answering('ours', log, true), answering('plain', log, false), answering('ngram', log, true)]);
  const runs = await adapted(stream, all, 'test');
  expect(log.slice(0, 8)).toEqual([0, 1, 2, 3].flatMap((i) => [`ours ${i}`, `ngram ${i}`]));
  expect(log.slice(8, 14)).toEqual([4, 5].flatMap((i) => [`ours ${i}`, `plain ${i}`, `ngram ${i}`]));
  expect([...runs.values()].map(({ length }) => length)).toEqual([8, 8, 8]);
});

test('where time runs out all have learned from as many requests', async () => {
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
  const log: string[] = [];
  const all = new Map([answering('ours', log, true), answering('ngram', log, true, 60)]);
  await adapted(stream, all, 'test', 0.02);
  clock.mockRestore();
  const learned = (name: string): number => log.filter((line) => line.startsWith(name)).length - 8;
  expect(learned('ours')).toBe(1);
  expect(learned('ngram')).toBe(1);
});
