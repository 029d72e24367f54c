import type { Engine } from '../engine/engine';
import { ForetokenError } from '../error';

/** Draws question number `index`: the same one each time. Empty where the model had nothing to ask. */
export type AskQuestion = (index: number, signal?: AbortSignal) => Promise<string>;

/** Longer ones are cut. */
const questionTokens = 160;

/**
 * Questions that a model asks itself: what it holds likely that a user writes where a chat begins, drawn from its own distribution
 * (Magpie, arXiv 2406.08464). So static speculators can be made of a chat model where no prompts are at hand.
 *
 * @throws ForetokenError NO_PROMPTS where it has no chat template, or one in which a user's turn can't be told from the rest
 */
export async function selfQuestions(engine: Engine): Promise<AskQuestion> {
  const { start, end } = await userTurn(engine);
  const options = { maxTokens: questionTokens, temperature: 1, topP: 0.95, stopTokens: [end], learn: false };
  return async (index, signal) => (await engine.generate(start, { ...options, seed: index, signal })).text.trim();
}

/** What stands before a user's words in a chat that begins with them, and the token behind them: what two such chats have in common. */
async function userTurn(engine: Engine): Promise<{ start: number[]; end: number }> {
  if (!engine.model.chat) throw noPrompts('it has no chat template');
  const [a, b] = await Promise.all(['A', 'z'].map((content) => engine.tokenizeChat([{ role: 'user', content }])));
  const least = Math.min(a.length, b.length);
  let before = 0;
  while (before < least && a[before] === b[before]) ++before;
  let behind = 0;
  while (behind < least && a.at(-1 - behind) === b.at(-1 - behind)) ++behind;
  if (before > 0 && behind > 0 && before + behind < a.length) return { start: a.slice(0, before), end: a.at(-behind)! };
  throw noPrompts("its chat template does not show where a user's turn begins and ends");
}

function noPrompts(why: string): ForetokenError {
  return new ForetokenError('NO_PROMPTS', `The model can't ask itself questions: ${why}. Give it prompts to answer.`);
}
