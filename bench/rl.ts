import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Controller } from '../lib/controller/controller';
import { Engine, type EngineStats, type WeightTensor } from '../lib/index';
import { cacheFolder } from '../lib/models/cache';
import { writeTinyModel } from '../lib/models/tiny-model';
import { Learn, drafterCount, type NativePolicy, type NativeTensor } from '../lib/native';
import { stream } from './common/data';
import type { BenchOptions } from './common/options';
import { lines, type Line } from '../lib/plot';
import { figure, progress, progressDone, say, table, type Report } from './common/report';
import { NativeRunner, type Run } from './common/runner';
import { chatTokens, openSource } from './common/source';
import { differences, sum } from './common/stats';
import { Policy } from './rl/policy';
import { convertLlama2c } from './rl/stories';

const steps = 12;
const samples = 4;
/** Rollouts of a step over which the divergence of the next weights is measured. */
const judged = 8;
const seeds = 1 << 16;
/** Prompts of the tiny model for each of the other's: its steps would last no longer than what a machine does beside them. */
const tinyShare = 4;

/** A model and what its policy is asked. */
interface Task {
  name: string;
  path: string;
  weights: string;
  prompts: number[][];
  /** Tokens of a rollout at most, and those that end it. */
  maxTokens: number;
  stopTokens: number[];
  /** What a step moves, in standard deviations of each matrix. */
  size: number;
}

/** One answer of the policy. */
type Rollout = Pick<Run, 'tokens' | 'rounds'>;

interface Timed {
  seconds: number;
  rollouts: Rollout[];
}

/** What is decoded in one step. */
interface Step {
  kl: number;
  plainSeconds: number;
  seconds: number;
  plain: Rollout[];
  learning: Rollout[];
  static: Rollout[];
  carried: Rollout[];
  ceiling: Rollout[];
}

/**
 * Rollouts of a policy whose weights move after every step, temperature 1, the same prompts in each step, all of a step at once. Timed:
 * plain decoding against the engine with everything on, which keeps what it has learned through all updates. Counted, with one fixed
 * policy table, so that the clock has no say: tokens a pass of `static` (drafts from what step 0 said and learns no more), `carried`
 * (learns from every rollout, keeps its memory through all updates) and `ceiling` (its memory is made anew in every step: the rollouts of
 * the step before, read with the weights of this one).
 *
 * Summary, over the last third of the steps, `<model>.staticTau`, `<model>.carriedTau` and `<model>.ceilingTau`, tokens a pass, and
 * `<model>.heldShare`: what `carried` has over `static` of what `ceiling` has over it; where `ceiling` is not a hundredth above `static`
 * there is nothing to hold, and it is 1 where `carried` is not below `static`, else 0. Over all steps,
 * `<model>.overPlain`: plain seconds over those of the engine that learns; `<model>.roundsOverPlain`: the same of its rounds alone, at
 * prices measured in the same rounds, on which other work of the machine weighs less; `<model>.drafted`: tokens drafted for each that came; `<model>.klPerStep`: mean divergence a token of
 * one step's weights from the next; `mismatches`: tokens that differ from plain decoding.
 *
 * @returns The report and a plot of tokens a pass against steps.
 */
export async function rl(options: BenchOptions, folder: string): Promise<Report> {
  const report: Report = { suite: 'rl', summary: { mismatches: 0 }, rows: [] };
  const curves: Line[] = [];
  for (const task of [await tinyTask(options, folder), await modelTask(options, folder)]) {
    const { taken, rounds } = await run(task, options);
    summarise(report, task.name, taken, rounds);
    for (const arm of ['carried', 'static', 'ceiling'] as const)
      curves.push({
        name: `${task.name}, ${arm}`,
        dashed: arm !== 'carried',
        values: taken.map((step) => tau(step[arm])),
      });
  }
  report.plot = lines('Tokens a pass', 'steps of the policy', curves);
  table(
    ['model', 'step', 'KL a token', 'plain s', 'learning s', 'over plain', 'tau static', 'tau carried', 'tau ceiling'],
    report.rows.map((row) => Object.values(row) as (string | number)[]),
  );
  for (const [key, value] of Object.entries(report.summary)) say(`${key} ${figure(value)}`);
  return report;
}

/** What the engine that learns says of its rounds. */
type Rounds = Pick<EngineStats, 'tokens' | 'drafted' | 'speedup'>;

/** stories260K where it lies beside the data, else the tiny random model; prompts are beginnings of what it says by itself. */
async function tinyTask(options: BenchOptions, folder: string): Promise<Task> {
  const stories = join(folder, '..', 'models', 'stories260K.bin');
  const name = existsSync(stories) ? 'stories260K' : 'tiny';
  const path = join(cacheFolder(), 'bench', name === 'tiny' ? 'tiny.gguf' : name);
  if (name === 'tiny') writeTinyModel(path);
  else convertLlama2c(stories, path);
  const engine = await Engine.load(path, { weights: 'f32', speculation: false });
  const beginnings = Array.from({ length: tinyShare * (options.limit || 8) }, (_, seed) =>
    engine.generate([1], { maxTokens: 16, temperature: 1, ignoreEos: true, seed }),
  );
  const prompts = (await Promise.all(beginnings)).map(({ tokens }) => [1, ...tokens]);
  await engine.close();
  return { name, path, weights: 'f32', prompts, maxTokens: 128, stopTokens: [], size: 0.04 };
}

async function modelTask(options: BenchOptions, folder: string): Promise<Task> {
  const source = await openSource(options.model);
  const prompts: number[][] = [];
  for (const { messages } of stream(folder, 'rl_math', options.limit || Infinity))
    prompts.push(Array.from(await chatTokens(source, messages)));
  return {
    name: options.model === 'default' ? 'default' : basename(source.path),
    ...{ path: source.path, weights: options.weights[0], prompts },
    ...{ maxTokens: 64, stopTokens: [...source.tokenizer.eosIds], size: 0.025 },
  };
}

/** The engines of a task. The counting ones have drafters and a fixed table, and no controller. */
class Arms {
  plain!: Engine;
  learning!: Engine;
  static!: NativeRunner;
  carried!: NativeRunner;
  ceiling!: NativeRunner;

  static async load(task: Task, threads: number): Promise<Arms> {
    const arms = new Arms();
    const common = { contextLength: 512, maxSequences: samples };
    const load = { ...common, weights: task.weights as 'auto', threads: threads || undefined, memory: false };
    arms.plain = await Engine.load(task.path, { ...load, speculation: false });
    arms.learning = await Engine.load(task.path, load);
    for (const arm of ['static', 'carried', 'ceiling'] as const) {
      arms[arm] = await NativeRunner.load(task.path, {
        ...common,
        weights: task.weights,
        threads,
        speculation: true,
      });
      arms[arm].engine.setPolicy(fixedPolicy());
    }
    return arms;
  }

  async update(tensors: WeightTensor[]): Promise<void> {
    for (const engine of [this.plain, this.learning]) await engine.updateWeights(tensors);
    for (const { engine } of [this.static, this.carried, this.ceiling])
      await engine.updateWeights(native(tensors), 'finish');
  }

  async close(): Promise<void> {
    for (const arm of Object.values(this) as (Engine | NativeRunner)[]) await arm.close();
  }
}

/** As for a large model on this kind of machine: a row more costs 3 % of a pass, drafts nothing. */
function fixedPolicy(): NativePolicy {
  const passSeconds = Array.from({ length: 64 }, (_, i) => 1 + 0.03 * i);
  const draftSeconds = Array.from({ length: drafterCount }, () => 0);
  return new Controller({ passSeconds, context: 0, secondsPerContextToken: 0, draftSeconds }).policy();
}

function native(tensors: WeightTensor[]): NativeTensor[] {
  return tensors.map(({ name, dtype, shape, data }) => ({
    ...{ name, dtype, shape: [...shape] },
    data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }));
}

async function run(task: Task, options: BenchOptions): Promise<{ taken: Step[]; rounds: Rounds }> {
  const arms = await Arms.load(task, options.threads);
  const policy = new Policy(task.path);
  const taken: Step[] = [];
  try {
    for (let step = 0; step <= steps; ++step) {
      progress(`${task.name}: step ${step} of ${steps}`);
      const kl = step > 0 ? await move(task, policy, arms, taken[step - 1].plain) : 0;
      const clock: Partial<Record<'plain' | 'learning', Timed>> = {};
      for (const arm of step % 2 ? (['plain', 'learning'] as const) : (['learning', 'plain'] as const))
        clock[arm] = await timed(arms[arm], task, step);
      const { plain, learning } = clock as Required<typeof clock>;
      taken.push({
        kl,
        plainSeconds: plain.seconds,
        seconds: learning.seconds,
        plain: plain.rollouts,
        learning: learning.rollouts,
        static: await counted(arms.static, task, step, step === 0),
        carried: await counted(arms.carried, task, step, true),
        ceiling: await counted(arms.ceiling, task, step, step === 0),
      });
    }
    return { taken, rounds: arms.learning.stats() };
  } finally {
    progressDone();
    await arms.close();
  }
}

/** Moves the policy and with it all engines; the divergence a token of the new weights from the old, over what those said. */
async function move(task: Task, policy: Policy, arms: Arms, rollouts: Rollout[]): Promise<number> {
  const before = await score(arms.static, task, rollouts);
  policy.step(task.size);
  await arms.update(policy.tensors());
  await refit(arms.ceiling, task, rollouts);
  const after = await score(arms.static, task, rollouts);
  return sum(before.map((logprob, i) => logprob - after[i])) / before.length;
}

/** f(prompt, seed) for all rollouts of a step, in order. */
function asked<T>(task: Task, step: number, f: (prompt: number[], seed: number) => Promise<T>): Promise<T[]> {
  return Promise.all(
    task.prompts.flatMap((prompt, p) =>
      Array.from({ length: samples }, (_, i) => f(prompt, step * seeds + p * samples + i)),
    ),
  );
}

async function timed(engine: Engine, task: Task, step: number): Promise<Timed> {
  const { maxTokens, stopTokens } = task;
  const begin = performance.now();
  const results = await asked(task, step, (prompt, seed) =>
    engine.generate(prompt, { maxTokens, stopTokens, seed, temperature: 1, ignoreEos: true }),
  );
  const seconds = (performance.now() - begin) / 1000;
  return { seconds, rollouts: results.map(({ tokens, speculation }) => ({ tokens, rounds: speculation.rounds })) };
}

function counted(runner: NativeRunner, task: Task, step: number, learns: boolean): Promise<Rollout[]> {
  const common = { maxTokens: task.maxTokens, stopTokens: Int32Array.from(task.stopTokens), temperature: 1 };
  const learn = learns ? Learn.all : Learn.nothing;
  return asked(task, step, (prompt, seed) =>
    runner.run({ ...common, learn, prompt: Int32Array.from(prompt), seed: BigInt(seed) }),
  );
}

/** Forgets everything and reads rollouts with the weights of now. */
async function refit(runner: NativeRunner, task: Task, rollouts: Rollout[]): Promise<void> {
  runner.engine.forget({});
  await Promise.all(texts(task, rollouts).map((prompt) => runner.run({ prompt, maxTokens: 1 })));
}

function texts(task: Task, rollouts: Rollout[]): Int32Array[] {
  return rollouts.map(({ tokens }, i) => Int32Array.from([...task.prompts[Math.floor(i / samples)], ...tokens]));
}

/** Log-probability of each token of some rollouts under the weights of now. */
async function score(runner: NativeRunner, task: Task, rollouts: Rollout[]): Promise<number[]> {
  const stride = Math.max(1, Math.floor(rollouts.length / judged));
  const scores: number[] = [];
  for (const [i, text] of texts(task, rollouts).entries()) {
    const from = text.length - rollouts[i].tokens.length - 1;
    if (i % stride === 0) scores.push(...(await runner.engine.score(text)).logprob.subarray(from));
  }
  return scores;
}

/** Tokens a pass of a sequence. */
function tau(rollouts: Rollout[]): number {
  return sum(rollouts.map(({ tokens }) => tokens.length - 1)) / sum(rollouts.map(({ rounds }) => rounds));
}

/** A share of what there is to be had; see {@link rl} for where that is nothing. */
export function heldShare(statics: number, carried: number, ceiling: number): number {
  if (ceiling >= 1.01 * statics) return (carried - statics) / (ceiling - statics);
  return carried >= statics ? 1 : 0;
}

function summarise(report: Report, model: string, all: Step[], rounds: Rounds): void {
  const { summary } = report;
  all.forEach((step, index) => {
    for (const arm of ['learning', 'static', 'carried', 'ceiling'] as const)
      step[arm].forEach(({ tokens }, i) => (summary['mismatches'] += differences(step.plain[i].tokens, tokens)));
    report.rows.push({
      ...{ model, step: index, kl: step.kl, plainSeconds: step.plainSeconds, learningSeconds: step.seconds },
      ...{ overPlain: step.plainSeconds / step.seconds, staticTau: tau(step.static) },
      ...{ carriedTau: tau(step.carried), ceilingTau: tau(step.ceiling) },
    });
  });
  const moved = all.slice(1);
  const last = moved.slice(-Math.ceil(moved.length / 3));
  const of = (arm: 'static' | 'carried' | 'ceiling'): number => tau(last.flatMap((step) => step[arm]));
  for (const arm of ['static', 'carried', 'ceiling'] as const) summary[`${model}.${arm}Tau`] = of(arm);
  summary[`${model}.heldShare`] = heldShare(of('static'), of('carried'), of('ceiling'));
  summary[`${model}.overPlain`] = sum(all.map((step) => step.plainSeconds)) / sum(all.map((step) => step.seconds));
  summary[`${model}.roundsOverPlain`] = rounds.speedup;
  summary[`${model}.drafted`] = rounds.drafted / rounds.tokens;
  summary[`${model}.klPerStep`] = sum(moved.map(({ kl }) => kl)) / moved.length;
}
