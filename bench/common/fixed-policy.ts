import { Controller } from '../../lib/controller/controller';
import { drafterCount, type NativePolicy } from '../../lib/native';

/** A table that makes the planner verify the `lookahead` likeliest drafted tokens in every round, whatever they cost: rows are free so far. */
export function fixedPolicy(lookahead: number): NativePolicy {
  const passSeconds = Array.from({ length: 1 + lookahead }, () => 1);
  const draftSeconds = Array.from({ length: drafterCount }, () => 0);
  const profile = { passSeconds, context: 0, secondsPerContextToken: 0, draftSeconds };
  return { ...new Controller(profile, { rowBudget: 1 + lookahead }).policy(), tableWeight: 0 };
}
