import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Drafter, type NativeJudged } from '../../lib/native';
import { shippedSpeculators } from '../../lib/speculators/folders';
import { forced, type NativeRunner } from '../common/runner';

/** Texts after which the head has moved as far as a candidate. */
const texts = 4;
/** Steps that are done for each. */
const stepsPerText = 8;

/** A tenant whose head learns while it is decoded for, with two versions that can be swapped: the one that ships and one that has learned. */
export class HeadVersions {
  /** Whose head it is. */
  readonly tenant = 'learning';
  /** Swaps so far. */
  swaps = 0;
  readonly #folder = mkdtempSync(join(tmpdir(), 'foretoken-versions-'));
  #judged: NativeJudged | undefined;
  #paths: string[] = [];

  private constructor(private readonly runner: NativeRunner) {}

  /** Learns from some prompts and promotes what was learned without asking any guard. */
  static async start(runner: NativeRunner, prompts: readonly Int32Array[]): Promise<HeadVersions> {
    const versions = new HeadVersions(runner);
    const onJudged = (judged: NativeJudged): void => {
      if (judged.learner === versions.tenant) versions.#judged = judged;
    };
    const onStopped = (_: string, why: Error): void => {
      throw why;
    };
    runner.engine.watchLearning(
      onJudged,
      onStopped,
      () => undefined,
      () => undefined,
    );
    const learned = await versions.#learn(prompts);
    const shipped = join(shippedSpeculators(), `${runner.info.sourceHash}.head.safetensors`);
    versions.#paths = [shipped, learned];
    return versions;
  }

  /** The other version drafts from the next round on. */
  async swap(): Promise<void> {
    await this.runner.engine.adoptHead(this.tenant, this.#paths[this.swaps % 2], false);
    this.swaps += 1;
  }

  /** Removes what was written. */
  end(): void {
    rmSync(this.#folder, { recursive: true });
  }

  async #learn(prompts: readonly Int32Array[]): Promise<string> {
    const { engine } = this.runner;
    const speculation = forced(Drafter.head);
    for (let i = 0; (this.#judged?.candidateNumber ?? 0) === 0; ++i) {
      if (i === 2 * texts) throw new Error('the head did not learn');
      await this.runner.run({ prompt: prompts[i % prompts.length], tenant: this.tenant, maxTokens: 64, speculation });
      while (engine.stats().learningSteps < stepsPerText * (i + 1)) await sleep(20);
    }
    await engine.decide(this.tenant, 'promote', this.#judged!.candidateNumber);
    const path = join(this.#folder, 'learned.safetensors');
    await engine.saveHead(this.tenant, path);
    return path;
  }
}
