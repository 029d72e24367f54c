import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { packageRoot } from '../../lib/binding';
import { readMemory } from '../../lib/speculators/memory';
import { SpeculatorStore } from '../../lib/speculators/store';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
const model = 'f'.repeat(32);
/** Each takes the start of a process; FORETOKEN_KILLS=200 for the full number. */
const kills = Number(process.env['FORETOKEN_KILLS'] ?? 30);

/** What the process had said it saved when it was killed. */
interface Said {
  version: number;
  n: number;
  memory: number;
}

/** Lets a process save over and over, kills it at a random moment after its first word, and returns what it said. */
async function killed(from: number): Promise<Said> {
  const child = spawn(process.execPath, [join(__dirname, 'saver.js'), packageRoot(), folder(), String(from)]);
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => (complaint += data.toString()));
  const closed = once(child, 'close');
  await once(child.stdout, 'data');
  await sleep(Math.random() * 25);
  child.kill('SIGKILL');
  await closed;
  expect(complaint).toBe('');
  const lines = text.split('\n').slice(0, -1);
  return Object.assign(
    { version: 0, n: 0, memory: 0 },
    ...lines.map((line) => JSON.parse(line) as Partial<Said>),
  ) as Said;
}

test(`${kills} kills at random moments lose neither the last promoted version nor a saved memory`, async () => {
  const store = new SpeculatorStore(folder(), model);
  let saved = 0;
  let from = 1;
  for (let kill = 0; kill < kills; ++kill) {
    const said = await killed(from);
    saved = Math.max(saved, said.memory);
    const manifest = await store.manifest('a');
    expect([said.version, said.version + 1]).toContain(manifest.live);
    const live = manifest.versions.at(-1)!;
    const n = Number(live.evidence['n']);
    expect(live.version).toBe(manifest.live);
    expect(n).toBeGreaterThanOrEqual(said.n);
    expect(readFileSync((await store.headPath('a'))!).equals(Buffer.alloc(4096, n % 251))).toBe(true);
    for (const { version } of manifest.versions)
      expect(readFileSync((await store.headPath('a', version))!)).toHaveLength(4096);
    if (saved > 0) {
      const { tokens, keys } = await readMemory(store.memoryPath('a')!, model);
      expect(tokens[0]).toBeGreaterThanOrEqual(saved);
      expect([...new Set(tokens)]).toHaveLength(1);
      expect(keys.every((number, i) => number === ((i + tokens[0]) % 2 ? 16 : 240))).toBe(true);
      [saved] = tokens;
    }
    from = n + 1;
  }
}, 600_000);
