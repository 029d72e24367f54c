import { performance } from 'node:perf_hooks';
import type { Engine } from '../../lib/index';
import { progress } from '../common/report';
import { median } from '../common/stats';
import { answer, best, ratios, speed } from './answers';
import type { Peer, PeerPrompt, PeerRun } from './peer';

/** Requests at the end of a stream that are measured; those before are there to learn from. */
const measured = 8;
/** Seconds after which nothing more is learned from a stream's beginning. */
const learningSeconds = 150;

/** A peer's setting; one that learns from one request for the next is given all of them. */
export interface Setting {
  start: () => Promise<Peer>;
  learns: boolean;
}

/**
 * Narrow traffic: a stream's requests one after the other, at whose end whoever can has adapted. Ours with everything on over the
 * peer's fastest setting, the median of the last requests, of the stream where it is least.
 *
 * @param streams By name; each longer than what is measured of it.
 */
export async function narrowRatio(
  fast: Engine,
  streams: Map<string, PeerPrompt[]>,
  peer: string,
  settings: Record<string, Setting>,
): Promise<number> {
  const lowest: number[] = [];
  for (const [name, prompts] of streams) {
    await fast.forget();
    const runs = await adapted(prompts, (prompt) => answer(fast, prompt), `${peer}: ${name}, ours`);
    const theirs = new Map<string, PeerRun[]>();
    for (const [setting, { start, learns }] of Object.entries(settings)) {
      const loaded = await start();
      const asked = learns ? prompts : prompts.slice(-measured);
      try {
        theirs.set(setting, await adapted(asked, (prompt) => loaded.answer(prompt), `${peer}: ${name}, ${setting}`));
      } finally {
        await loaded.close();
      }
    }
    lowest.push(median(ratios(runs, best(theirs), speed)));
  }
  return Math.min(...lowest);
}

/** Answers to the last prompts, after those before. */
async function adapted(
  prompts: PeerPrompt[],
  ask: (prompt: PeerPrompt) => Promise<PeerRun>,
  title: string,
): Promise<PeerRun[]> {
  const deadline = performance.now() + learningSeconds * 1000;
  const runs: PeerRun[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const learning = index < prompts.length - measured;
    if (learning && performance.now() > deadline) continue;
    progress(`${title}: request ${index + 1} of ${prompts.length}`);
    const run = await ask(prompt);
    if (!learning) runs.push(run);
  }
  return runs;
}
