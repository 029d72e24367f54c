import { cellOf, knotPlace } from '../../lib/controller/acceptance';
import type { Controller, RowOwner } from '../../lib/controller/controller';
import { Drafter, policyKnots } from '../../lib/native';
import type { NativePolicy } from '../../lib/native';
import { outcomes } from '../decode/scripted-engine';

/** A seeded stream of numbers in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Whose text is decoded. */
export const owner: RowOwner = { tenant: 'a', kind: 'greedy' };

/** A machine and a text to decode on it. */
export interface World {
  /** True seconds of a pass by rows (index = rows - 1). */
  passSeconds: readonly number[];
  /** Confidences of the chain that the drafter offers this round. */
  offer: (next: () => number) => number[];
  /** True chance that a token of this confidence is accepted. */
  chance: (confidence: number) => number;
  /** Relative noise of times. */
  noise?: number;
  /** Share of rounds in which other work has the machine for the time of fifty. */
  interrupted?: number;
}

/** The chance that a table gives to a token of this confidence, as the engine reads it. */
export function chanceOf(table: Float32Array, drafter: Drafter, depth: number, confidence: number): number {
  const place = knotPlace(confidence);
  const below = Math.min(Math.floor(place), policyKnots - 2);
  const [low, high] = [table[cellOf(drafter, depth, below)], table[cellOf(drafter, depth, below + 1)]];
  return low + (place - below) * (high - low);
}

/** The chance that the policy's table gives to each of the offered tokens and all before it. */
function survivalsOf({ acceptance }: NativePolicy, offered: number[]): number[] {
  let survival = 1;
  return offered.map((sure, i) => (survival *= Math.min(0.99, chanceOf(acceptance, Drafter.suffix, i + 1, sure))));
}

/** How many of the offered tokens the policy's table says to draft: as native/speculate/plan.h has it. */
export function chooseLength(policy: NativePolicy, offered: number[]): number {
  const survivals = survivalsOf(policy, offered);
  const worth: number[] = [];
  let best = { length: 0, price: 0 };
  for (let at = offered.length; at >= 0; --at) {
    best = cheapest(policy, survivals, worth, at);
    worth[at - 1] = best.price;
  }
  return best.length;
}

/** The best length where the text has come to the token before index `at`, and what the next token costs then. */
function cheapest(
  { passSeconds, overheadSeconds, draftSeconds, rowBudget }: NativePolicy,
  survivals: number[],
  worth: number[],
  at: number,
): { length: number; price: number } {
  const roundSeconds = (rows: number): number => passSeconds[rows - 1] + overheadSeconds + draftSeconds[Drafter.suffix];
  let best = { length: 0, price: roundSeconds(1) };
  let saved = 0;
  for (let length = 1; at + length <= survivals.length && length < rowBudget; ++length) {
    saved += (survivals[at + length - 1] / (survivals[at - 1] ?? 1)) * worth[at + length - 1];
    const price = roundSeconds(1 + length) - saved;
    if (price < best.price) best = { length, price };
  }
  return best;
}

/** Decodes `rounds` rounds in the world under the controller; how much faster than plain decoding that was. */
export function simulate(controller: Controller, world: World, rounds: number, seed = 1): number {
  const next = random(seed);
  const noisy = (seconds: number): number => seconds * (1 + (world.noise ?? 0.05) * (2 * next() - 1));
  controller.nextPolicies();
  let policy = controller.policy(owner.tenant);
  let seconds = 0;
  let tokens = 0;
  for (let i = 0; i < rounds; ++i) {
    const offered = world.offer(next);
    const length = chooseLength(policy, offered);
    const survivals = survivalsOf(policy, offered.slice(0, length));
    const expected = survivals.reduce((sum, survival) => sum + survival, 0);
    const drafts: [number, number, number, number][] = [];
    let alive = true;
    for (let depth = 1; depth <= length; ++depth) {
      const accepted: boolean = alive && next() < world.chance(offered[depth - 1]);
      const chance = survivals[depth - 1] / (survivals[depth - 2] ?? 1);
      drafts.push([depth, offered[depth - 1], alive ? Number(accepted) : 2, chance]);
      alive &&= accepted;
    }
    const emitted = 1 + drafts.filter((draft) => draft[2] === 1).length;
    const interrupted = world.interrupted !== undefined && next() < world.interrupted;
    const pass = noisy(world.passSeconds[length]) * (interrupted ? 50 : 1);
    const drafter = length > 0 ? Drafter.suffix : Drafter.none;
    const step = { sequence: 1, tokens: new Array<number>(emitted).fill(5), drafter, drafts, expected };
    controller.observe(outcomes([step], { rounds: [[length + 1, 1, 0, 0, 2e-6, pass, 0, 1e-5]] }), () => owner);
    for (const { tenant, policy: sent } of controller.nextPolicies()) {
      const { acceptance, tableWeight, allowed, askEvery } = policy;
      if (sent) policy = tenant === owner.tenant ? sent : { ...sent, acceptance, tableWeight, allowed, askEvery };
    }
    seconds += pass + 1.2e-5;
    tokens += emitted;
  }
  return (tokens * (world.passSeconds[0] + 1.2e-5)) / seconds;
}
