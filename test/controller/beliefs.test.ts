import { Beliefs } from '../../lib/controller/beliefs';
import { drafterCount } from '../../lib/native';

test('of a rest, and of its end, the engine hears late: what its rounds show says more than the table that was sent', () => {
  const beliefs = new Beliefs(new Uint8Array(drafterCount).fill(1));
  expect(beliefs.wereAsked(false)).toBe(true); // in vain
  while (!beliefs.rest.resting) beliefs.rest.observe(0, 1, 1, 1);
  beliefs.tell(beliefs.table(0));
  expect(beliefs.wereAsked(true)).toBe(true); // of a round that was under way
  expect(beliefs.wereAsked(false)).toBe(false);
  while (beliefs.rest.resting) beliefs.rest.observe(0, 0, 1, 1);
  beliefs.tell(beliefs.table(0));
  expect(beliefs.wereAsked(false)).toBe(false);
  expect(beliefs.wereAsked(true)).toBe(true);
  expect(beliefs.wereAsked(false)).toBe(true);
});
