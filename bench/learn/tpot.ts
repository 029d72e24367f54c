import type { Engine, RequestOptions } from '../../lib/index';
import { collect, rate, type Answer } from '../common/answer';
import { Bar } from '../common/bar';
import { stream } from '../common/data';
import { say } from '../common/report';
import { median } from '../common/stats';

const newTokens = 128;
/** Pairs of a batch size; two a request that is alone. */
const pairs = { 1: 24, 8: 8 } as const;

/**
 * What learning costs while it brings nothing: seconds a token of requests that are learned from over those of requests that are not. Each
 * request is of a tenant of its own, so that nothing learned is ever used. Median of pairs.
 *
 * @param engine Decodes eight requests together.
 * @returns Summary keys.
 */
export async function tpotCost(engine: Engine, folder: string): Promise<Record<string, number>> {
  const bar = new Bar(2 * (pairs[1] + pairs[8]));
  const summary: Record<string, number> = {};
  for (const batch of [1, 8] as const) {
    const asked = stream(folder, 'mixed', batch * pairs[batch]);
    const ratios: number[] = [];
    for (let pair = 0; pair < pairs[batch]; ++pair) {
      const messages = asked.slice(pair * batch, (pair + 1) * batch).map((request) => request.messages);
      const seconds = { on: 0, off: 0 };
      for (const arm of pair % 2 ? (['on', 'off'] as const) : (['off', 'on'] as const)) {
        bar.show(`cost of learning, batch ${batch}`);
        seconds[arm] = await secondsPerToken(engine, messages, `${arm} ${batch} ${pair}`, arm === 'on');
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

async function secondsPerToken(
  engine: Engine,
  requests: Parameters<Engine['chatStream']>[0][],
  name: string,
  learn: boolean,
): Promise<number> {
  const ask = (i: number): RequestOptions => ({ maxTokens: newTokens, tenant: `${name} ${i}`, learn });
  const answers: Answer[] = await Promise.all(
    requests.map((messages, i) => collect(engine.chatStream(messages, ask(i)))),
  );
  return 1 / rate(answers);
}
