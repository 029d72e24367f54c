import { Controller } from '../../lib/controller/controller';
import type { RowOwner } from '../../lib/controller/controller';
import type { Profile } from '../../lib/controller/cost';
import { Drafter } from '../../lib/native';
import { outcomes } from '../decode/scripted-engine';
import type { ScriptStep } from '../decode/scripted-engine';

const passSeconds = Array.from({ length: 64 }, (_, i) => 3e-3 * (1 + 0.1 * i));
const profile: Profile = {
  passSeconds,
  context: 0,
  secondsPerContextToken: 0,
  draftSeconds: [0, 1e-6, 1e-6, 0, 1e-6, 1.5e-4, 2e-6],
  headPositionSeconds: 1e-5,
};

/** A sequence that verifies seven drafted tokens wherever its drafters are asked: all right, or none. */
interface Sequence extends RowOwner {
  isRight: boolean;
}

/** Rounds that sequences share, with whose tables those of their tenants are; drafters take `draftSeconds` a sequence. */
class Rounds {
  readonly controller: Controller;
  readonly #resting = new Set<string>();
  #now = 0;

  constructor() {
    this.controller = new Controller(profile, { now: () => this.#now * 1000 });
    this.controller.nextPolicies();
  }

  /** Whether drafters are asked for a tenant by the table that it has. */
  asks(tenant: string): boolean {
    return !this.#resting.has(tenant);
  }

  /** Decodes so many rounds; in how many of them drafters were asked for the first sequence. */
  decode(sequences: Sequence[], rounds: number, draftSeconds: number): number {
    let drafted = 0;
    for (let i = 0; i < rounds; ++i) {
      const asked = sequences.filter(({ tenant }) => this.asks(tenant));
      drafted += Number(this.asks(sequences[0].tenant));
      const rows = sequences.length + 7 * asked.length;
      const pass = passSeconds[rows - 1];
      const drafting = asked.length * draftSeconds;
      const steps = sequences.map((sequence, at) => stepOf(sequence, at, this.asks(sequence.tenant)));
      this.#now += pass + drafting;
      const round = [rows, sequences.length, 0, 0, drafting, pass, 0, 0];
      this.controller.observe(outcomes(steps, { rounds: [round] }), (at) => sequences[at]);
      this.#hear();
    }
    return drafted;
  }

  #hear(): void {
    for (const { tenant, policy } of this.controller.nextPolicies()) {
      if (tenant === undefined) continue;
      if (policy?.allowed[Drafter.recall] === 0) this.#resting.add(tenant);
      else this.#resting.delete(tenant);
    }
  }
}

function stepOf({ isRight }: Sequence, sequence: number, isAsked: boolean): ScriptStep {
  if (!isAsked) return { sequence, tokens: [1] };
  const became = (depth: number): number => (isRight ? 1 : depth === 1 ? 0 : 2);
  return {
    sequence,
    tokens: new Array<number>(isRight ? 8 : 1).fill(1),
    drafter: Drafter.recall,
    drafts: Array.from({ length: 7 }, (_, i) => [i + 1, 0.9, became(i + 1)]),
  };
}

const failing: Sequence = { tenant: 'a', kind: 'greedy', isRight: false };
const right: Sequence = { tenant: 'b', kind: 'greedy', isRight: true };
const dear = 0.2 * passSeconds[0];

/** Eight sequences at once, and what drafting takes so that it is dear among them: alone a thirty-fourth of a pass. */
const load = Array.from({ length: 8 }, () => failing);
const fewDear = (0.14 * passSeconds[7]) / 8;

/** Rounds that a tenant whose drafts fail is left alone after so many rounds that it has shared with one whose drafts are right. */
function restAfter(shared: number): number {
  const rounds = new Rounds();
  rounds.decode([failing], 400, dear);
  expect(rounds.asks('a')).toBe(false);
  rounds.decode([failing, right], shared, dear);
  expect(rounds.asks('b')).toBe(true);
  let rest = 0;
  for (; !rounds.asks('a') && rest < 20_000; ++rest) rounds.decode([failing], 1, dear);
  return rest;
}

test('who rests owes nothing for what is drafted for others in the same rounds', () => {
  expect(restAfter(100)).toBeLessThan(restAfter(0));
});

test('who does not pay for its drafts rests, however right those of others in the same rounds are, and they go on', () => {
  const rounds = new Rounds();
  expect(rounds.decode([failing, right], 3000, dear)).toBeLessThan(300);
  expect(rounds.decode([right, failing], 1000, dear)).toBe(1000);
});

test('a rest that was learned under load is lifted while little is decoded', () => {
  const rounds = new Rounds();
  rounds.decode(load, 200, fewDear);
  expect(rounds.asks('a')).toBe(false);
  expect(rounds.decode([{ ...failing, isRight: true }], 1000, fewDear)).toBeGreaterThan(980);
});

test('load that comes back finds the rest that it had left, and begins no other trial', () => {
  const rounds = new Rounds();
  let drafted = 0;
  for (let i = 0; i < 40; ++i) {
    drafted += rounds.decode(load, 10, fewDear);
    rounds.decode([failing], 10, fewDear);
  }
  expect(drafted).toBeLessThan(150);
});

test('requests that nothing may be learned from teach neither whether drafting pays nor whether the head does', () => {
  const rounds = new Rounds();
  const { controller } = rounds;
  const before = controller.policy('a');
  expect(rounds.decode([{ ...failing, kind: undefined }], 400, dear)).toBe(400);
  const asks = Array.from({ length: 50 }, () => [0, 3, 2e6, 0, 0]).flat();
  const steps = [{ sequence: 0, tokens: [1] }];
  const ask = (kind?: 'greedy'): void => {
    const rounds = [[1, 1, 0, 0, 0, passSeconds[0]]];
    controller.observe(outcomes(steps, { rounds, asks }), () => ({ tenant: 'a', kind }));
  };
  ask();
  const after = controller.policy('a');
  for (const what of ['acceptance', 'allowed', 'askEvery'] as const) expect(after[what]).toEqual(before[what]);
  ask('greedy');
  expect(controller.policy('a').askEvery).not.toEqual(before.askEvery);
});

test("requests with rules of their own teach no chances, but what drafting for them takes is the tenant's time", () => {
  const rounds = new Rounds();
  const before = rounds.controller.policy('a').acceptance;
  expect(rounds.decode([{ ...failing, kind: 'other' }], 1000, dear)).toBeLessThan(200);
  expect(rounds.controller.policy('a').acceptance).toEqual(before);
});

describe('an interruption while drafters are asked', () => {
  const rounds = new Rounds();
  rounds.decode([right], 100, 1e-5);

  /** Seconds that drafting has saved more when `interrupted` is over. */
  function savedBy(interrupted: () => void): number {
    const saved = (): number => {
      const { plainSeconds, seconds } = rounds.controller.ledger.total;
      return plainSeconds - seconds;
    };
    const before = saved();
    interrupted();
    return saved() - before;
  }

  test('would have held up plain decoding, too', () => {
    expect(Math.abs(savedBy(() => void rounds.decode([right], 1, 1)))).toBeLessThan(0.05);
  });

  test.each(['a draft', 'catching up'])('the same of the head, over %s', (what) => {
    const positions = what === 'a draft' ? 1 : 100;
    const step = { sequence: 0, tokens: [1], asked: 1 };
    const round = [1, 1, 0, 0, 1, passSeconds[0], 0, 0, 1, positions];
    const interrupt = (): void => rounds.controller.observe(outcomes([step], { rounds: [round] }), () => right);
    expect(Math.abs(savedBy(interrupt))).toBeLessThan(0.05);
  });
});
