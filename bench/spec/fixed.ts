import type { ChatMessage } from '../../lib/index';
import type { ModelSource } from '../../lib/engine/model-source';
import { headOptions } from '../../lib/speculators/head';
import { loadMemory } from '../../lib/speculators/memory';
import type { Answer } from '../common/answer';
import { fixedPolicy } from '../common/fixed-policy';
import type { BenchOptions } from '../common/options';
import { NativeRunner } from '../common/runner';
import { chatTokens } from '../common/source';

/** Drafted tokens of every round, as engines without a controller are told by a flag. */
export const lookaheads = [1, 2, 4, 8] as const;

/** The drafters without the controller: every round verifies as many of the likeliest drafted tokens as it is told, whatever they cost. */
export class FixedLookahead {
  private constructor(
    private readonly source: ModelSource,
    private readonly runner: NativeRunner,
  ) {}

  /** With the memory and, where it is asked for, the head of the engine that has a controller. */
  static async load(
    options: Pick<BenchOptions, 'weights' | 'threads' | 'head'>,
    source: ModelSource,
  ): Promise<FixedLookahead> {
    const { weights, threads } = options;
    const { cacheFolder, metadata } = source;
    const head = await headOptions(options.head, cacheFolder, metadata);
    const load = { weights: weights[0], threads, cacheFolder, speculation: true, ...head };
    const runner = await NativeRunner.load(source.path, load);
    await loadMemory(runner.engine, true, cacheFolder);
    return new FixedLookahead(source, runner);
  }

  /** Forgets what earlier answers taught. */
  forget(): void {
    this.runner.engine.forget({});
  }

  async answer(messages: ChatMessage[], lookahead: number, session: string, maxTokens: number): Promise<Answer> {
    const { source, runner } = this;
    runner.engine.setPolicy(fixedPolicy(lookahead));
    const prompt = await chatTokens(source, messages);
    const { eosIds } = source.tokenizer;
    const tenant = `lookahead ${lookahead}`;
    const run = await runner.run({ prompt, session, tenant, maxTokens, stopTokens: Int32Array.from(eosIds) });
    const { tokens, seconds, rounds, ttft } = run;
    return {
      ...{ text: source.tokenizer.decode(tokens, { special: false }), tokens, seconds, rounds, gap: NaN, passes: [] },
      ...{ counted: tokens.length - run.firstTokens, prefillSeconds: ttft },
    };
  }

  close(): Promise<void> {
    return this.runner.close();
  }
}
