import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatMessage, Engine } from '../../lib/index';
import { collect, rate, type Answer } from '../common/answer';
import { Bar } from '../common/bar';
import { stream } from '../common/data';
import { say } from '../common/report';
import { median } from '../common/stats';

const newTokens = 128;
/** By requests at a time: pairs of blocks, and times in a block that so many are asked, one time right behind the other. */
const plans = { 1: { pairs: 40, times: 4 }, 8: { pairs: 16, times: 3 } } as const;

/**
 * What learning costs while it brings nothing: seconds a token of requests that are learned from over those of requests that are not. Each
 * request is of a tenant of its own, so that nothing learned is ever used. A text is remembered, and heads learn from it, once it has
 * ended: so requests come in blocks, in which those after the first bear what the ones before have left, and are counted; a block
 * begins when heads have learned what there was. Median of pairs.
 *
 * @param engine Decodes eight requests together.
 * @returns Summary keys.
 */
export async function tpotCost(engine: Engine, folder: string): Promise<Record<string, number>> {
  const bar = new Bar(2 * (plans[1].pairs + plans[8].pairs));
  const asked = stream(folder, 'mixed').map(({ messages }) => messages);
  const summary: Record<string, number> = {};
  for (const batch of [1, 8] as const) {
    const { pairs, times } = plans[batch];
    const ratios: number[] = [];
    for (let pair = 0; pair < pairs; ++pair) {
      const seconds = { on: 0, off: 0 };
      for (const arm of pair % 2 ? (['on', 'off'] as const) : (['off', 'on'] as const)) {
        bar.show(`cost of learning, batch ${batch}`);
        await settled(engine);
        const block = Array.from({ length: times }, (_, i) => {
          const first = (pair * times + i) * batch;
          return Array.from({ length: batch }, (__, at) => asked[(first + at) % asked.length]);
        });
        seconds[arm] = await secondsPerToken(engine, block, `${arm} ${batch} ${pair}`, arm === 'on');
        bar.step();
      }
      ratios.push(seconds.on / seconds.off);
    }
    summary[`tpotCost.b${batch}`] = median(ratios);
  }
  bar.end();
  say(
    `seconds a token with learning over without: batch 1 ${summary['tpotCost.b1'].toFixed(3)}, ` +
      `batch 8 ${summary['tpotCost.b8'].toFixed(3)}`,
  );
  return summary;
}

/** Waits until heads have learned what there is to learn from. */
async function settled(engine: Engine): Promise<void> {
  do
    await sleep(200); // the last text comes behind its answer
  while (engine.stats().learningBacklog > 0);
}

async function secondsPerToken(
  engine: Engine,
  block: ChatMessage[][][],
  name: string,
  learn: boolean,
): Promise<number> {
  const counted: Answer[] = [];
  for (const [time, requests] of block.entries()) {
    const answers = await Promise.all(
      requests.map((messages, i) =>
        collect(engine.chatStream(messages, { maxTokens: newTokens, tenant: `${name} ${time} ${i}`, learn })),
      ),
    );
    if (time > 0) counted.push(...answers);
  }
  return 1 / rate(counted);
}
