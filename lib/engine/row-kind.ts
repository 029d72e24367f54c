import type { RowOwner } from '../controller/controller';
import { Learn } from '../native';
import type { CheckedRequestOptions } from './request-options';

/** So small a share of probability holds one token at most almost everywhere. */
const nearlyNothing = 0.1;

/**
 * How a request's tokens are drawn, as far as its drafts tell of those of other requests; undefined where nothing is drafted. Filters make
 * tokens likelier to be guessed, but mostly no more than a temperature does: what each text shows of itself settles that. Where they leave
 * nothing to chance they make it greedy. Of a request that nothing is learned from, the time that its drafts take and save still counts:
 * else who asks for nothing but that would be drafted for in vain for ever.
 */
export function kindOf(options: CheckedRequestOptions): RowOwner['kind'] {
  if (!options.speculation.enabled) return undefined;
  const penalised = options.repetitionPenalty !== 1 || options.presencePenalty !== 0 || options.frequencyPenalty !== 0;
  if (options.learn === Learn.nothing || penalised || options.biasTokens.length > 0) return 'other';
  return leavesOne(options) ? 'greedy' : 'sampled';
}

/** Whether hardly ever another than the likeliest token can be drawn. */
function leavesOne({ temperature, topK, topP, minP }: CheckedRequestOptions): boolean {
  return temperature === 0 || topK === 1 || topP <= nearlyNothing || minP >= 1 - nearlyNothing;
}
