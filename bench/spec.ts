import type { ChatMessage, Engine, RequestOptions } from '../lib/index';
import type { BenchOptions } from './common/options';
import type { Prompt } from './common/data';
import { collect, type Answer } from './common/answer';
import { progress, progressDone, say, table, type Report } from './common/report';
import { bootstrapRatio, differences, isDegenerate, median, random, sum } from './common/stats';

/** The same turn answered by every arm. */
interface Turn {
  group: string;
  plain: Answer;
  arms: Record<string, Answer>;
}

const newTokens = 128;

/** How an arm asks for its answers, each as a tenant of its own. `all` is everything on: drafters and controller. */
const arms: Record<string, Pick<RequestOptions, 'speculation' | 'tenant'>> = {
  all: { tenant: 'all' },
  suffix: { tenant: 'suffix', speculation: { drafters: ['suffix'] } },
  recall: { tenant: 'recall', speculation: { drafters: ['recall'] } },
};
/** Arms of one drafter alone. */
const alone = ['suffix', 'recall'] as const;

/**
 * Spec-Bench's questions (its part in the data folder), batch 1, greedy, 128 tokens, stop at the end token, what was learned
 * forgotten before every prompt. Plain is an engine loaded with speculation disabled. Seconds run from the first to the last chunk that
 * `engine.stream` gives; both arms answer each turn back to back.
 *
 * Summary: `speedup` plain seconds / seconds over all turns (same tokens); `acceptanceLength` tokens per round, the target's own token
 * included; `group.<g>.speedup`; `drafter.<d>.speedup` and `drafter.<d>.acceptanceLength` with drafter d alone; `clean.speedup` without degenerate answers;
 * `degenerateShare` of answers in which a 16-gram occurs three times; `nothingToGain.ratio` plain over spec seconds on random text, median of pairs;
 * `plain.tokS`, `tokS`, `prefillTokS`; `mismatches` tokens that differ.
 */
export async function spec(options: BenchOptions, plain: Engine, fast: Engine, prompts: Prompt[]): Promise<Report> {
  const turns: Turn[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const done = turns.length > 0 ? `, so far ${ratio(turns, 'all').toFixed(3)}x` : '';
    progress(`${index + 1} of ${prompts.length} (${prompt.group})${done}`);
    turns.push(...(await answerAll(plain, fast, prompt, index)));
  }
  progressDone();
  const nothing = await nothingToGain(plain, fast, Math.max(24, options.repeats));
  return summarise(turns, nothing);
}

async function answerAll(plain: Engine, fast: Engine, prompt: Prompt, index: number): Promise<Turn[]> {
  plain.forget();
  fast.forget();
  const history: ChatMessage[] = [];
  const turns: Turn[] = [];
  for (const question of prompt.turns) {
    history.push({ role: 'user', content: question });
    const turn: Turn = { group: prompt.group, plain: undefined as never, arms: {} };
    const order = index % 2 ? ['plain', ...Object.keys(arms)] : [...Object.keys(arms), 'plain'];
    for (const arm of order) {
      if (arm === 'plain') turn.plain = await answer(plain, history, prompt.id, { speculation: { enabled: false } });
      else turn.arms[arm] = await answer(fast, history, prompt.id, arms[arm]);
    }
    history.push({ role: 'assistant', content: turn.plain.text });
    turns.push(turn);
  }
  return turns;
}

async function answer(engine: Engine, messages: ChatMessage[], session: string, how: object): Promise<Answer> {
  const stream = engine.chatStream(messages, { maxTokens: newTokens, temperature: 0, session, ...how });
  return collect(stream);
}

/** Sampled at a temperature at which text is noise: no drafter can be right, and none may cost anything. */
async function nothingToGain(plain: Engine, fast: Engine, repeats: number): Promise<number> {
  const next = random(3);
  const ratios: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    const prompt = Array.from({ length: 64 }, () => 1000 + Math.floor(next() * 40_000));
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

function ratio(turns: Turn[], arm: string): number {
  return sum(turns.map((turn) => turn.plain.seconds)) / sum(turns.map((turn) => turn.arms[arm].seconds));
}

function acceptanceLength(turns: Turn[], arm: string): number {
  const answers = turns.map((turn) => turn.arms[arm]);
  return sum(answers.map((answer) => answer.counted)) / Math.max(1, sum(answers.map((answer) => answer.rounds)));
}

function summarise(turns: Turn[], nothing: number): Report {
  const clean = turns.filter((turn) => !isDegenerate(turn.plain.tokens));
  const all = turns.map((turn) => turn.arms['all']);
  const plain = turns.map((turn) => turn.plain);
  const report: Report = {
    suite: 'spec',
    summary: {
      speedup: ratio(turns, 'all'),
      acceptanceLength: acceptanceLength(turns, 'all'),
      'clean.speedup': clean.length > 0 ? ratio(clean, 'all') : NaN,
      'nothingToGain.ratio': nothing,
      degenerateShare: 1 - clean.length / turns.length,
      'plain.tokS': sum(plain.map((answer) => answer.counted)) / sum(plain.map((answer) => answer.seconds)),
      tokS: sum(all.map((answer) => answer.counted)) / sum(all.map((answer) => answer.seconds)),
      ttftRatio: sum(all.map((answer) => answer.prefillSeconds)) / sum(plain.map((answer) => answer.prefillSeconds)),
      mismatches: sum(
        turns.flatMap((turn) => Object.values(turn.arms).map((arm) => differences(turn.plain.tokens, arm.tokens))),
      ),
    },
    rows: [],
  };
  for (const drafter of alone) {
    report.summary[`drafter.${drafter}.speedup`] = ratio(turns, drafter);
    report.summary[`drafter.${drafter}.acceptanceLength`] = acceptanceLength(turns, drafter);
  }
  for (const group of new Set(turns.map((turn) => turn.group))) addGroup(report, group, turns);
  show(report, turns);
  return report;
}

function addGroup(report: Report, group: string, turns: Turn[]): void {
  const inside = turns.filter((turn) => turn.group === group);
  const clean = inside.filter((turn) => !isDegenerate(turn.plain.tokens));
  const all = inside.map((turn) => turn.arms['all']);
  report.summary[`group.${group}.speedup`] = ratio(inside, 'all');
  report.rows.push({
    group,
    turns: inside.length,
    plainTokS: sum(inside.map((turn) => turn.plain.counted)) / sum(inside.map((turn) => turn.plain.seconds)),
    tokS: sum(all.map((answer) => answer.counted)) / sum(all.map((answer) => answer.seconds)),
    speedup: ratio(inside, 'all'),
    cleanSpeedup: clean.length > 0 ? ratio(clean, 'all') : NaN,
    acceptanceLength: acceptanceLength(inside, 'all'),
    suffixOnly: acceptanceLength(inside, 'suffix'),
    recallOnly: acceptanceLength(inside, 'recall'),
    degenerate: 1 - clean.length / inside.length,
  });
}

function show(report: Report, turns: Turn[]): void {
  table(
    [
      'group',
      'turns',
      'plain tok/s',
      'tok/s',
      'speed-up',
      'without loops',
      'accept. length',
      'suffix',
      'recall',
      'loops',
    ],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  const [low, high] = bootstrapRatio(
    turns.map((turn) => turn.plain.seconds),
    turns.map((turn) => turn.arms['all'].seconds),
  );
  const { summary } = report;
  for (const arm of ['all', ...alone]) {
    say(`${arm}: ${ratio(turns, arm).toFixed(3)}x at ${acceptanceLength(turns, arm).toFixed(3)} tokens a pass`);
  }
  say(
    `overall ${summary['speedup'].toFixed(3)}x (95 % ${low.toFixed(3)} to ${high.toFixed(3)}), without loops ` +
      `${summary['clean.speedup'].toFixed(3)}x; random text ${summary['nothingToGain.ratio'].toFixed(3)}x; mismatches ${summary['mismatches']}`,
  );
}
