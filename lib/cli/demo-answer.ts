import type { GenerateResult } from '../decode/result';
import type { GenerateStream } from '../decode/stream';
import type { Engine } from '../engine/engine';
import type { RequestOptions } from '../engine/request-options';

/** Asks as a user would; a model without a chat template continues the text. */
export function ask(engine: Engine, prompt: string, options: RequestOptions): GenerateStream {
  if (!engine.model.chat) return engine.stream(prompt, options);
  return engine.chatStream([{ role: 'user', content: prompt }], options);
}

/** Whether two answers are the same, token for token. */
export function isSameAnswer(a: GenerateResult, b: GenerateResult): boolean {
  return (
    a.text === b.text && a.tokens.length === b.tokens.length && a.tokens.every((token, i) => token === b.tokens[i])
  );
}

/** Tokens a second over answers, first token to last of each. */
export function rateOf(answers: readonly GenerateResult[]): number {
  const seconds = secondsOf(answers);
  const tokens = answers.reduce((sum, answer) => sum + Math.max(0, answer.tokens.length - 1), 0);
  return seconds > 0 ? tokens / seconds : 0;
}

/** Seconds of answers, first token to last of each. */
export function secondsOf(answers: readonly GenerateResult[]): number {
  return answers.reduce((sum, { timings }) => sum + timings.decodeSeconds, 0);
}

/** Tokens a pass of the model over answers; 1 where there was none. */
export function tokensPerPass(answers: readonly GenerateResult[]): number {
  const passes = answers.reduce((sum, { speculation }) => sum + speculation.rounds, 0);
  const tokens = answers.reduce((sum, { speculation }) => sum + speculation.rounds * speculation.acceptanceLength, 0);
  return passes > 0 ? tokens / passes : 1;
}
