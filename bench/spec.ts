import type { ChatMessage, Engine, RequestOptions } from '../lib/index';
import type { BenchOptions } from './common/options';
import { thinned, type Prompt } from './common/data';
import { collect, rate, tau, type Answer } from './common/answer';
import { Bar } from './common/bar';
import { progress, progressDone, say, table, type Report } from './common/report';
import { bootstrapRatio, differences, isDegenerate, median, random, randomTokens, sum } from './common/stats';
import { lookaheads, type FixedLookahead } from './spec/fixed';

/** The same turn answered by several arms. */
interface Turn {
  group: string;
  plain: Answer;
  arms: Record<string, Answer>;
}

/** What was answered: all turns greedily, some sampled as well. */
interface Turns {
  greedy: Turn[];
  sampled: Turn[];
}

/** How an arm asks for its answers, each as a tenant of its own. */
type Arms = Record<string, Pick<RequestOptions, 'speculation' | 'tenant'>>;

/** Who answers: plainly, with everything on, and with a lookahead that never changes. */
export interface SpecEngines {
  plain: Engine;
  fast: Engine;
  fixed: FixedLookahead;
}

const newTokens = 128;
const temperature = 0.7;

/** Everything on: drafters and controller. */
const everything: Arms = { all: { tenant: 'all' } };
/** One drafter alone; the head where the engine has one. */
function alone(engine: Engine): Arms {
  const drafters =
    engine.stats().headBytes > 0 ? (['suffix', 'recall', 'head'] as const) : (['suffix', 'recall'] as const);
  return Object.fromEntries(drafters.map((name) => [name, { tenant: name, speculation: { speculator: name } }]));
}
/** Of each group, every prompt that divides by this is answered by one drafter alone, at fixed lookaheads and sampled as well. */
const thin = 3;

/**
 * Spec-Bench's questions (its part in the data folder), batch 1, greedy, 128 tokens, stop at the end token, what was learned
 * forgotten before every prompt. Plain is an engine loaded with speculation disabled. Seconds run from the first to the last chunk that
 * `engine.stream` gives; both arms answer each turn back to back. Single drafters, fixed lookaheads and sampling take a third of the prompts.
 *
 * Summary: `speedup` plain seconds / seconds over all turns (same tokens); `acceptanceLength` tokens per round, the target's own token
 * included; `static.speedup`, `static.acceptanceLength` the same of what is there before any traffic, which is all there is here;
 * `controller.speedup` as `speedup`, over the turns that fixed lookaheads answer, `bestFixed.speedup` the best of those, whose drafts no controller
 * chooses, `bestFixed.lookahead` which it is; `specBench.speedup` Spec-Bench's own mean: tokens a second of each turn, prefill inside, on average, over
 * plain's;
 * `group.<g>.speedup`; `t07.speedup`, `t07.group.<g>.speedup` at temperature 0.7 with fixed seeds; `drafter.<d>.speedup` and `drafter.<d>.acceptanceLength` with drafter d alone; `clean.speedup` without degenerate answers;
 * `degenerateShare` of answers in which a 16-gram occurs three times; `nothingToGain.ratio` plain over spec seconds on random text, median of pairs;
 * `plain.tokS`, `tokS`, `prefillTokS`; `mismatches` tokens that differ.
 */
export async function spec(options: BenchOptions, engines: SpecEngines, prompts: Prompt[]): Promise<Report> {
  const turns: Turns = { greedy: [], sampled: [] };
  const more = new Set(thinned(prompts, thin));
  const bar = new Bar(prompts.length + more.size);
  for (const [index, prompt] of prompts.entries()) {
    const done = index > 0 ? `, so far ${ratio(turns.greedy, 'all').toFixed(3)}x` : '';
    bar.show(`${prompt.group}${done}`);
    await answerAll(engines, prompt, index, more.has(prompt), turns);
    bar.step();
    if (more.has(prompt)) bar.step();
  }
  bar.end();
  const nothing = await nothingToGain(engines, Math.max(24, options.repeats));
  return summarise(turns, nothing, Object.keys(alone(engines.fast)));
}

async function answerAll(
  engines: SpecEngines,
  prompt: Prompt,
  index: number,
  more: boolean,
  turns: Turns,
): Promise<void> {
  const { plain, fast, fixed } = engines;
  await plain.forget();
  await fast.forget();
  fixed.forget();
  const messages: ChatMessage[] = [];
  for (const question of prompt.turns) {
    messages.push({ role: 'user', content: question });
    const ask = { maxTokens: newTokens, temperature: 0, session: prompt.id };
    const arms = more ? { ...everything, ...alone(fast) } : everything;
    const answers = await answerTurn(engines, messages, ask, arms, index % 2 === 1);
    turns.greedy.push({ group: prompt.group, ...answers });
    if (more) {
      for (const lookahead of lookaheads)
        answers.arms[fixedArm(lookahead)] = await fixed.answer(messages, lookahead, prompt.id, newTokens);
      const sample = { ...ask, temperature, seed: index };
      const sampled = await answerTurn(engines, messages, sample, { all: { tenant: 'sampled' } }, index % 2 === 1);
      turns.sampled.push({ group: prompt.group, ...sampled });
    }
    messages.push({ role: 'assistant', content: answers.plain.text });
  }
}

async function answerTurn(
  { plain, fast }: SpecEngines,
  messages: ChatMessage[],
  ask: RequestOptions,
  arms: Arms,
  plainFirst: boolean,
): Promise<Omit<Turn, 'group'>> {
  const answerPlain = (): Promise<Answer> => collect(plain.chatStream(messages, ask));
  const first = plainFirst ? await answerPlain() : undefined;
  const answers: Record<string, Answer> = {};
  for (const [arm, how] of Object.entries(arms))
    answers[arm] = await collect(fast.chatStream(messages, { ...ask, ...how }));
  return { plain: first ?? (await answerPlain()), arms: answers };
}

/** Sampled at a temperature at which text is noise: no drafter can be right, and none may cost anything. */
async function nothingToGain({ plain, fast }: SpecEngines, repeats: number): Promise<number> {
  const next = random(3);
  const ratios: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    const prompt = noise(next, plain.model.vocabulary, 64);
    const ask = { maxTokens: newTokens, temperature: 3, seed: repeat, ignoreEos: true };
    const seconds = { plain: 0, fast: 0 };
    const order = repeat % 2 ? (['plain', 'fast'] as const) : (['fast', 'plain'] as const);
    for (const arm of order) {
      progress(`random text ${repeat + 1} of ${repeats}`);
      seconds[arm] = (await collect((arm === 'plain' ? plain : fast).stream(prompt, ask))).seconds;
    }
    ratios.push(seconds.plain / seconds.fast);
  }
  progressDone();
  return median(ratios);
}

/** Text that nobody wrote: ids from 1,000 to 40,999, or any of a vocabulary that has not so many. */
export function noise(next: () => number, vocabulary: number, count: number): number[] {
  const [from, ids] = vocabulary < 41_000 ? [0, vocabulary] : [1000, 40_000];
  return Array.from(randomTokens(next, ids, count), (id) => from + id);
}

/** Plain over an arm's seconds, over the turns that the arm answered. */
function ratio(turns: Turn[], arm: string): number {
  const answered = turns.filter((turn) => turn.arms[arm]);
  return sum(answered.map((turn) => turn.plain.seconds)) / sum(answered.map((turn) => turn.arms[arm].seconds));
}

function fixedArm(lookahead: number): string {
  return `lookahead ${lookahead}`;
}

/** The lookahead that was fastest in hindsight, and everything on over the same turns. */
function bestFixed(turns: Turn[]): Record<string, number> {
  const [best] = [...lookaheads].sort((a, b) => ratio(turns, fixedArm(b)) - ratio(turns, fixedArm(a)));
  return {
    'controller.speedup': ratio(
      turns.filter(({ arms }) => arms[fixedArm(best)]),
      'all',
    ),
    'bestFixed.speedup': ratio(turns, fixedArm(best)),
    'bestFixed.lookahead': best,
  };
}

/** Spec-Bench's mean: of the rates of single answers, prefill inside. */
function meanRate(answers: Answer[]): number {
  const rates = answers.map(({ tokens, prefillSeconds, seconds }) => tokens.length / (prefillSeconds + seconds));
  return sum(rates) / rates.length;
}

function acceptanceLength(turns: Turn[], arm: string): number {
  return tau(turns.flatMap((turn) => turn.arms[arm] ?? []));
}

function summarise({ greedy: turns, sampled }: Turns, nothing: number, drafters: string[]): Report {
  const clean = turns.filter((turn) => !isDegenerate(turn.plain.tokens));
  const all = turns.map((turn) => turn.arms['all']);
  const plain = turns.map((turn) => turn.plain);
  const report: Report = {
    suite: 'spec',
    summary: {
      speedup: ratio(turns, 'all'),
      acceptanceLength: acceptanceLength(turns, 'all'),
      'static.speedup': ratio(turns, 'all'),
      'static.acceptanceLength': acceptanceLength(turns, 'all'),
      't07.speedup': ratio(sampled, 'all'),
      ...bestFixed(turns),
      'specBench.speedup': meanRate(all) / meanRate(plain),
      'clean.speedup': clean.length > 0 ? ratio(clean, 'all') : NaN,
      'nothingToGain.ratio': nothing,
      degenerateShare: 1 - clean.length / turns.length,
      'plain.tokS': rate(plain),
      tokS: rate(all),
      ttftRatio: sum(all.map((answer) => answer.prefillSeconds)) / sum(plain.map((answer) => answer.prefillSeconds)),
      mismatches: sum(
        [...turns, ...sampled].flatMap((turn) =>
          Object.values(turn.arms).map((arm) => differences(turn.plain.tokens, arm.tokens)),
        ),
      ),
    },
    rows: [],
  };
  for (const drafter of drafters) {
    report.summary[`drafter.${drafter}.speedup`] = ratio(turns, drafter);
    report.summary[`drafter.${drafter}.acceptanceLength`] = acceptanceLength(turns, drafter);
  }
  for (const group of new Set(turns.map((turn) => turn.group))) addGroup(report, group, turns, sampled, drafters);
  show(report, turns, sampled, drafters);
  return report;
}

function addGroup(report: Report, group: string, turns: Turn[], sampled: Turn[], drafters: string[]): void {
  const inside = turns.filter((turn) => turn.group === group);
  const clean = inside.filter((turn) => !isDegenerate(turn.plain.tokens));
  const all = inside.map((turn) => turn.arms['all']);
  const t07 = ratio(
    sampled.filter((turn) => turn.group === group),
    'all',
  );
  report.summary[`group.${group}.speedup`] = ratio(inside, 'all');
  report.summary[`t07.group.${group}.speedup`] = t07;
  report.rows.push({
    group,
    turns: inside.length,
    plainTokS: rate(inside.map((turn) => turn.plain)),
    tokS: rate(all),
    speedup: ratio(inside, 'all'),
    cleanSpeedup: clean.length > 0 ? ratio(clean, 'all') : NaN,
    acceptanceLength: acceptanceLength(inside, 'all'),
    ...Object.fromEntries(drafters.map((drafter) => [drafter, acceptanceLength(inside, drafter)])),
    t07,
    degenerate: 1 - clean.length / inside.length,
  });
}

function show(report: Report, turns: Turn[], sampled: Turn[], drafters: string[]): void {
  table(
    [
      'group',
      'turns',
      'plain tok/s',
      'tok/s',
      'speed-up',
      'without loops',
      'accept. length',
      ...drafters,
      'at 0.7',
      'loops',
    ],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  const [low, high] = bootstrapRatio(
    turns.map((turn) => turn.plain.seconds),
    turns.map((turn) => turn.arms['all'].seconds),
  );
  const { summary } = report;
  for (const arm of ['all', ...drafters]) sayArm(arm, turns, arm);
  for (const lookahead of lookaheads) sayArm(`always ${lookahead} drafted`, turns, fixedArm(lookahead));
  sayArm(`temperature ${temperature}`, sampled, 'all');
  say(
    `controller ${summary['controller.speedup'].toFixed(3)}x where the best fixed lookahead has ${summary['bestFixed.speedup'].toFixed(3)}x; ` +
      `by Spec-Bench's mean ${summary['specBench.speedup'].toFixed(3)}x`,
  );
  say(
    `overall ${summary['speedup'].toFixed(3)}x (95 % ${low.toFixed(3)} to ${high.toFixed(3)}), without loops ` +
      `${summary['clean.speedup'].toFixed(3)}x; random text ${summary['nothingToGain.ratio'].toFixed(3)}x; mismatches ${summary['mismatches']}`,
  );
}

function sayArm(title: string, turns: Turn[], arm: string): void {
  const answered = turns.filter((turn) => turn.arms[arm]).length;
  say(
    `${title}: ${ratio(turns, arm).toFixed(3)}x at ${acceptanceLength(turns, arm).toFixed(3)} tokens a pass, ${answered} turns`,
  );
}
