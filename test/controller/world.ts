import { decodeUnder, plainSeconds } from '../../bench/sim/decode';
import type { Machine } from '../../bench/sim/machine';
import { synthesise } from '../../bench/sim/text';
import type { Process } from '../../bench/sim/text';
import { random } from '../../bench/common/stats';
import { cellOf, knotPlace } from '../../lib/controller/acceptance';
import type { Controller } from '../../lib/controller/controller';
import { policyKnots } from '../../lib/native';
import type { Drafter } from '../../lib/native';

/** A machine and a text to decode on it. */
export interface World extends Process {
  machine: Machine;
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

/** Where the noise of passes makes one last fifty times as long. */
const interruption = 490.5;
const answerTokens = 128;

/** Decodes texts of the world, about so many tokens, under the controller; how much faster than plain decoding that was. */
export function simulate(controller: Controller, world: World, tokens: number, seed = 1): number {
  const { machine, interrupted = 0 } = world;
  const next = random(seed);
  const texts = synthesise(world, Math.ceil(tokens / answerTokens), Math.min(tokens, answerTokens), next);
  const noise = (): number => (next() < interrupted ? interruption : next());
  return plainSeconds(machine, texts) / decodeUnder(controller, machine, texts, noise).seconds;
}
