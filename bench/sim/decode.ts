import { loadBinding } from '../../lib/binding';
import { Controller, type RowOwner } from '../../lib/controller/controller';
import {
  Drafter,
  roundFields,
  type NativeOutcomes,
  type NativePolicy,
  type NativeReplay,
  type NativeReplayText,
} from '../../lib/native';
import { sum } from '../common/stats';
import { passSeconds, type Machine } from './machine';
import { longestRun } from './text';

/** What decoding texts took. */
export interface Decoded {
  seconds: number;
  tokens: number;
  rounds: number;
  /** Seconds and tokens answer by answer. */
  answers: { seconds: number; tokens: number }[];
}

/** Whose the rounds of replayed texts are. */
export const owner: RowOwner = { tenant: 'sim', kind: 'greedy' };
/** Passes take so much more or less than they should, at random: evenly up to here. */
const noise = 0.05;

/** Decodes texts one after the other by the controller and the engine's planner, on a clock that goes as the machine does. */
export function decodeByController(machine: Machine, texts: readonly NativeReplayText[], next: () => number): Decoded {
  let now = 0;
  const own = new Controller(machine.profile, { now: () => now * 1000 });
  return decodeUnder(own, machine, texts, next, (seconds) => (now += seconds));
}

/**
 * The same by a controller that has perhaps decoded other texts before, or been told other prices.
 *
 * @param next Of each pass how long it takes, from 0.95 to 1.05 of what it should as this goes from 0 to 1.
 * @param tick Is told the seconds of every round.
 */
export function decodeUnder(
  controller: Controller,
  machine: Machine,
  texts: readonly NativeReplayText[],
  next: () => number,
  tick?: (seconds: number) => void,
): Decoded {
  let policy: NativePolicy = controller.policy(owner.tenant);
  controller.nextPolicies();
  return decodeAll(texts, (replay, answer) => {
    const outcomes = replay.run(policy, 1);
    outcomes.steps[1] = answer; // a sequence of its own
    const seconds = timeRounds(machine, policy, outcomes, next);
    tick?.(seconds);
    controller.observe(outcomes, () => owner);
    for (const { tenant, policy: sent } of controller.nextPolicies()) {
      const { acceptance, tableWeight, allowed, askEvery } = policy;
      if (sent) policy = tenant === undefined ? { ...sent, acceptance, tableWeight, allowed, askEvery } : sent;
    }
    return { outcomes, seconds };
  });
}

/** The same with a table that never changes. */
export function decodeByTable(machine: Machine, texts: readonly NativeReplayText[], policy: NativePolicy): Decoded {
  return decodeAll(texts, (replay) => {
    const outcomes = replay.run(policy, 1 << 20);
    return { outcomes, seconds: timeRounds(machine, policy, outcomes, () => 0.5) };
  });
}

type Run = (
  replay: NativeReplay,
  answer: number,
) => { outcomes: NativeOutcomes & { position: number }; seconds: number };

function decodeAll(texts: readonly NativeReplayText[], run: Run): Decoded {
  const result: Decoded = { seconds: 0, tokens: 0, rounds: 0, answers: [] };
  const replay = loadBinding().createReplay();
  for (const [answer, text] of texts.entries()) {
    replay.begin(text);
    const end = text.firstDraft.length - 1;
    let seconds = 0;
    for (let position = 1; position < end;) {
      const part = run(replay, answer);
      seconds += part.seconds;
      result.rounds += part.outcomes.rounds.length / roundFields;
      position = part.outcomes.position;
    }
    result.answers.push({ seconds, tokens: end - 1 });
    result.seconds += seconds;
    result.tokens += end - 1;
  }
  return result;
}

/** Fills in what the rounds of a replay took, the time of drafters that were asked included; returns the seconds of all. */
function timeRounds(
  machine: Machine,
  { allowed }: NativePolicy,
  { rounds }: NativeOutcomes,
  next: () => number,
): number {
  const asked = [Drafter.suffix, Drafter.recall].filter((drafter) => allowed[drafter]);
  const drafting = sum(asked.map((drafter) => machine.profile.draftSeconds[drafter]));
  let seconds = 0;
  for (let at = 0; at < rounds.length; at += roundFields) {
    const pass = passSeconds(machine, rounds[at], rounds[at + 2]) * (1 + noise * (2 * next() - 1));
    rounds[at + 4] = drafting;
    rounds[at + 5] = pass;
    rounds[at + 7] = machine.overheadSeconds;
    seconds += pass + rounds[at + 4] + machine.overheadSeconds;
  }
  return seconds;
}

/** Plain decoding: no row but the sequence's own, nobody asked. */
export function plainSeconds(machine: Machine, texts: readonly NativeReplayText[]): number {
  let seconds = 0;
  for (const { promptTokens, firstDraft } of texts)
    for (let position = 1; position < firstDraft.length - 1; ++position)
      seconds += passSeconds(machine, 1, promptTokens + position) + machine.overheadSeconds;
  return seconds;
}

/** The least seconds of anybody who knows beforehand what will be right and verifies nothing else, by dynamic programming. */
export function oracleSeconds(machine: Machine, texts: readonly NativeReplayText[]): number {
  let seconds = 0;
  for (const text of texts) {
    const end = text.firstDraft.length - 1;
    const rest = new Float64Array(end + 1);
    for (let position = end - 1; position >= 1; --position) {
      const most = longestRun(text, position);
      rest[position] = Infinity;
      for (let k = 0; k <= most; ++k) {
        const rows = k + 1;
        const pass = passSeconds(machine, rows, rows * (text.promptTokens + position)) + machine.overheadSeconds;
        rest[position] = Math.min(rest[position], pass + rest[Math.min(end, position + rows)]);
      }
    }
    seconds += rest[1];
  }
  return seconds;
}
