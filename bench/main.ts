/**
 * `npm run bench -- <suite> …`: each suite prints a table and, with `--json FILE`, writes a report whose flat `summary` is a
 * contract (docs/bench.md).
 */
import { Command } from 'commander';
import { loadBinding } from '../lib/binding';
import { Engine, type ChatMessage, type LoadOptions } from '../lib/index';
import { requireData, specBench, stream } from './common/data';
import type { BenchOptions } from './common/options';
import { prepareFile, provenance, say, writeJson, type Report } from './common/report';
import { chatTokens, openSource } from './common/source';
import { decode } from './decode';
import { drift } from './drift';
import { kernels, machineLine } from './kernels';
import { learn } from './learn';
import { tpotCost } from './learn/tpot';
import { load } from './load';
import { lossless, losslessPrompts } from './lossless';
import { peers, type WithModel } from './peers';
import type { PeerPrompt } from './peers/peer';
import { quality } from './quality';
import { rl } from './rl';
import { roofline } from './roofline';
import { sim } from './sim';
import { spec } from './spec';
import { FixedLookahead } from './spec/fixed';

/** What commander hands over: numbers are still text. */
export interface Flags {
  data?: string;
  model: string;
  weights?: string;
  threads: string;
  limit?: string;
  repeats: string;
  json?: string;
  profile?: boolean;
  head?: boolean;
  small?: boolean;
  idle?: boolean;
  llamaCpp?: string;
  acceptance: string;
  recording?: string;
}

type Suite = (options: BenchOptions) => Promise<Report>;

/**
 * `weights`: the formats where none are given; a suite takes several where these are several. `needsNoModel`: nothing is fetched or opened
 * for it.
 */
const suites: Record<string, { help: string; weights: string; limit: number; needsNoModel?: boolean; run: Suite }> = {
  decode: {
    help: 'plain decoding, passes of 8 and 16 rows, prefill: shares of bandwidth and peak',
    weights: 'auto,fp8,nvfp4',
    limit: 0,
    run: async (options) => decode(options, (await openSource(options.model)).path),
  },
  kernels: {
    help: 'each kernel alone over shapes and row counts',
    weights: 'q4_1,q8_0,bf16,fp8,nvfp4,mxfp4',
    limit: 0,
    needsNoModel: true,
    run: async (options) => {
      await machineLine(options.threads);
      return kernels(options);
    },
  },
  quality: {
    help: 'perplexity of each format against the file in fp32 (needs --data)',
    weights: 'auto,bf16,fp8,nvfp4,mxfp4',
    limit: 0,
    run: async (options) => {
      const source = await openSource(options.model);
      return quality(options, source.path, source.tokenizer);
    },
  },
  lossless: {
    help: 'forced drafts of every kind against plain decoding, token for token (needs --data)',
    weights: 'auto,fp8,nvfp4',
    limit: 24,
    run: runLossless,
  },
  spec: {
    help: 'Spec-Bench: speculation and controller against plain decoding (needs --data)',
    weights: 'auto',
    limit: 0,
    run: async (options) => {
      const folder = requireData(options.data, 'spec');
      const fixed = await FixedLookahead.load(options, await openSource(options.model));
      const prompts = specBench(folder, options.limit || Infinity);
      try {
        return await withBoth(options, (plain, fast) => spec(options, { plain, fast, fixed }, prompts));
      } finally {
        await fixed.close();
      }
    },
  },
  learn: {
    help: 'streams of requests: what having seen the earlier ones brings (needs --data)',
    weights: 'auto',
    limit: 80,
    run: runLearn,
  },
  drift: {
    help: 'traffic whose kind shifts, ramps, returns, is mixed or narrow: regret, recovery, worst window (needs --data)',
    weights: 'auto',
    limit: 16,
    run: runDrift,
  },
  load: {
    help: '1 to 32 requests at a time, arriving at once and by and by, against plain decoding (needs --data)',
    weights: 'auto',
    limit: 32,
    run: runLoad,
  },
  sim: {
    help: 'the policy on made-up texts or recorded answers, on made-up machines, beside fixed policies and an oracle; needs no model',
    weights: 'auto',
    limit: 0,
    needsNoModel: true,
    run: (options) => Promise.resolve(sim(options.recording)),
  },
  roofline: {
    help: 'bytes and operations of a decode step on H100 and B200; needs no model',
    weights: 'auto',
    limit: 0,
    needsNoModel: true,
    run: (options) => Promise.resolve(roofline(options.acceptance)),
  },
  rl: {
    help: 'rollouts of a policy whose weights move after every step (needs --data)',
    weights: 'auto',
    limit: 8,
    run: async (options) => rl(options, requireData(options.data, 'rl')),
  },
  peers: {
    help: 'llama.cpp and the Node bindings on the same file, prompts and threads (needs --data)',
    weights: 'auto,fp8,nvfp4',
    limit: 2,
    run: runPeers,
  },
};

async function runLossless(options: BenchOptions): Promise<Report> {
  const folder = requireData(options.data, 'lossless');
  const source = await openSource(options.model);
  const prompts = await losslessPrompts(folder, source, options.limit);
  return lossless(options, source.path, prompts, Int32Array.from(source.tokenizer.eosIds));
}

async function runPeers(options: BenchOptions): Promise<Report> {
  const folder = requireData(options.data, 'peers');
  const source = await openSource(options.model);
  const promptOf = async (messages: ChatMessage[], group: string): Promise<PeerPrompt> => {
    const tokens = Array.from(await chatTokens(source, messages));
    return { group, tokens, text: source.tokenizer.decode(tokens, { special: true }), maxTokens: 128 };
  };
  const prompts: PeerPrompt[] = [];
  for (const { group, turns } of specBench(folder, options.limit || Infinity))
    prompts.push(await promptOf([{ role: 'user', content: turns[0] }], group));
  const streams = new Map<string, PeerPrompt[]>();
  for (const name of ['narrow_sql', 'narrow_rust']) {
    const asked = stream(folder, name, 24 * options.limit || Infinity).map(({ messages }) => promptOf(messages, name));
    streams.set(name, await Promise.all(asked));
  }
  const withModel: WithModel = (model, work) => withBoth({ ...options, model }, work);
  return peers(options, source.path, prompts, streams, withModel);
}

async function runLearn(options: BenchOptions): Promise<Report> {
  const folder = requireData(options.data, 'learn');
  const learnHead = options.head;
  const report = await withEngine(options, { speculation: false }, (plain) =>
    withEngine(options, { learnHead }, (fast) =>
      withEngine(options, { learnHead, memory: false }, (day0) => learn(options, folder, { plain, fast, day0 })),
    ),
  );
  const cost = await withEngine(options, { learnHead: true, maxSequences: 8 }, (engine) => tpotCost(engine, folder));
  return { ...report, summary: { ...report.summary, ...cost } };
}

async function runDrift(options: BenchOptions): Promise<Report> {
  const folder = requireData(options.data, 'drift');
  if (options.recording !== undefined) prepareFile(options.recording);
  return withBoth(options, (plain, fast) =>
    withEngine(options, { weights: 'fp8', speculation: false }, (plainFp8) =>
      withEngine(options, { weights: 'nvfp4' }, (fastNvfp4) =>
        drift(options, folder, { plain, fast, plainFp8, fastNvfp4 }),
      ),
    ),
  );
}

async function runLoad(options: BenchOptions): Promise<Report> {
  const folder = requireData(options.data, 'load');
  const maxSequences = options.limit || 32;
  return withEngine(options, { maxSequences, speculation: false }, (plain) =>
    withEngine(options, { maxSequences }, (fast) => load(options, folder, plain, fast)),
  );
}

/** The plain reference, loaded with speculation disabled, and the engine with everything on. */
async function withBoth<T>(options: BenchOptions, work: (plain: Engine, fast: Engine) => Promise<T>): Promise<T> {
  const { head } = options;
  return withEngine(options, { speculation: false }, (plain) =>
    withEngine(options, { head }, (fast) => work(plain, fast)),
  );
}

/** An engine for one sequence, unless told otherwise, while `work` uses it. */
async function withEngine<T>(
  options: BenchOptions,
  other: LoadOptions,
  work: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { model, weights, threads } = options;
  const load = { weights: weights[0] as 'auto', threads: threads || undefined, maxSequences: 1, ...other };
  const engine = await Engine.load(model, load);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

function takesSeveral({ weights }: { weights: string }): boolean {
  return weights.includes(',');
}

/** The number that a flag was given. */
function numberOf(flag: string, text: string, least: number): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= least) return value;
  throw new Error(`--${flag} takes a number from ${least} on, not '${text}'`);
}

export async function runSuite(name: string, flags: Flags): Promise<void> {
  const suite = suites[name];
  const weights = (flags.weights ?? suite.weights).split(',');
  if (weights.length > 1 && !takesSeveral(suite))
    throw new Error(`bench ${name} takes one weight format, not ${weights.length}: --weights ${flags.weights}`);
  const options: BenchOptions = {
    data: flags.data,
    model: flags.model,
    weights,
    threads: numberOf('threads', flags.threads, 0),
    limit: numberOf('limit', flags.limit ?? String(suite.limit), 0),
    repeats: numberOf('repeats', flags.repeats, 1),
    profile: flags.profile ?? false,
    head: flags.head ?? false,
    small: flags.small ?? false,
    idle: flags.idle ?? false,
    llamaCpp: flags.llamaCpp,
    acceptance: numberOf('acceptance', flags.acceptance, 1),
    recording: flags.recording,
  };
  if (flags.json !== undefined && flags.json !== '-') prepareFile(flags.json);
  const report = await suite.run(options);
  if (flags.json === undefined) return;
  const { threads, isa } = await loadBinding().probe(options.threads, '');
  const model = suite.needsNoModel ? '' : (await openSource(options.model)).path;
  writeJson(flags.json, report, provenance({ threads, isa, model }));
}

const program = new Command('bench').description('Measures foretoken; every suite prints a table and can write JSON.');
for (const [name, suite] of Object.entries(suites)) {
  const formats = takesSeveral(suite) ? 'comma-separated weight formats' : 'weight format';
  program
    .command(name)
    .description(suite.help)
    .option('--data <folder>', 'prompts and texts: spec_bench/, streams/, drift/')
    .option('--model <ref>', 'model to measure', 'default')
    .option('--weights <formats>', `${formats} (default: ${suite.weights})`)
    .option('--threads <n>', 'compute threads, 0 = physical cores', '0')
    .option('--limit <n>', `prompts a group, 0 = all (default: ${suite.limit})`)
    .option('--repeats <n>', 'timed repeats', '9')
    .option('--json <file>', "write the report there; '-' = standard output, one line")
    .option('--profile', 'decode: seconds by operation')
    .option('--head', 'spec, peers: with the draft head that ships; learn: heads learn, too')
    .option('--small', 'decode: leave out the random 1.24 B model')
    .option('--idle', 'learn: each stream once more, with a pause after each answer as long as the answer took')
    .option('--acceptance <length>', 'roofline: tokens a round', '2.65')
    .option('--recording <file>', 'drift: adds the recorded answers to this file; sim: replays them')
    .option('--llama-cpp <folder>', "peers: llama.cpp's build folder, to compare with its own tools")
    .action((flags: Flags) => runSuite(name, flags));
}

if (require.main === module) {
  program.parseAsync().catch((error: unknown) => {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  });
}
