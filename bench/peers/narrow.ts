import { performance } from 'node:perf_hooks';
import type { Engine } from '../../lib/index';
import { progress } from '../common/report';
import { median } from '../common/stats';
import { answer, best, ratios, speed } from './answers';
import type { Peer, PeerPrompt, PeerRun } from './peer';

/** Requests at the end of a stream that are measured; those before are there to learn from. */
const measured = 8;
/** Seconds after which nothing more is learned from a stream's beginning, for each who learns. */
const learningSeconds = 150;

/** A peer's setting; one that learns from one request for the next is given all of them. */
export interface Setting {
  start: () => Promise<Peer>;
  learns: boolean;
}

/** Somebody who answers. */
export interface Answering {
  answer: (prompt: PeerPrompt) => Promise<PeerRun>;
  learns: boolean;
}

/**
 * Narrow traffic: a stream's requests, at whose end whoever can has adapted. Ours with everything on over the peer's fastest setting, the
 * median of the last requests, of the stream where it is least.
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
    const ours = { answer: (prompt: PeerPrompt) => answer(fast, prompt), learns: true };
    const runs = await withLoaded(settings, (theirs) =>
      adapted(prompts, new Map([['ours', ours], ...theirs]), `${peer}: ${name}`),
    );
    const own = runs.get('ours')!;
    runs.delete('ours');
    lowest.push(median(ratios(own, best(runs), speed)));
  }
  return Math.min(...lowest);
}

/** All settings at a time, each in a process of its own, while `work` asks them. */
async function withLoaded<T>(
  settings: Record<string, Setting>,
  work: (loaded: Map<string, Answering>) => Promise<T>,
): Promise<T> {
  const running: Peer[] = [];
  const loaded = new Map<string, Answering>();
  try {
    for (const [setting, { start, learns }] of Object.entries(settings)) {
      const peer = await start();
      running.push(peer);
      loaded.set(setting, { answer: (prompt) => peer.answer(prompt), learns });
    }
    return await work(loaded);
  } finally {
    for (const peer of running) await peer.close();
  }
}

/**
 * Answers to the last prompts, each by all in turn. Before that those who learn have answered the earlier ones, in turn as well, so that
 * where time runs out all have learned from the same.
 */
export async function adapted(
  prompts: readonly PeerPrompt[],
  all: Map<string, Answering>,
  title: string,
  learningLimit = learningSeconds,
): Promise<Map<string, PeerRun[]>> {
  const earlier = prompts.length - measured;
  const learners = new Map([...all].filter(([, { learns }]) => learns));
  const deadline = performance.now() + learningLimit * learners.size * 1000;
  const runs = new Map([...all.keys()].map((name): [string, PeerRun[]] => [name, []]));
  for (const [index, prompt] of prompts.entries()) {
    const learning = index < earlier;
    if (learning && performance.now() > deadline) continue;
    for (const [name, { answer }] of learning ? learners : all) {
      progress(`${title}, ${name}: request ${index + 1} of ${prompts.length}`);
      const run = await answer(prompt);
      if (!learning) runs.get(name)!.push(run);
    }
  }
  return runs;
}
