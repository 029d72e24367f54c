import { inSlices } from '../../lib/models/slices';

/** Keeps the processor busy for longer than a slice is. */
function busy(): void {
  for (const end = performance.now() + 20; performance.now() < end;);
}

test('all that is worked on at once shares one slice in each turn of the event loop, one after the other', async () => {
  let turn = 0;
  let timer = setImmediate(function count() {
    turn += 1;
    timer = setImmediate(count);
  });
  const steps: { name: string; turn: number }[] = [];
  function* work(name: string): Generator<void> {
    for (let i = 0; i < 2; i++) {
      busy();
      steps.push({ name, turn });
      yield;
    }
  }
  await Promise.all(['a', 'b', 'c'].map((name) => inSlices(work(name))));
  clearImmediate(timer);
  expect(steps.map(({ name }) => name).join('')).toBe('abcabc');
  expect(new Set(steps.map((step) => step.turn)).size).toBe(steps.length);
});

test('what fails or is aborted ends alone', async () => {
  function* failing(): Generator<void> {
    yield;
    throw new RangeError('no');
  }
  const abort = new AbortController();
  function* aborting(): Generator<void> {
    abort.abort();
    busy();
    yield;
    throw new Error('goes on');
  }
  const outcomes = await Promise.allSettled([
    inSlices(failing()),
    inSlices(aborting(), abort.signal),
    inSlices([1, 2, 3].values()),
  ]);
  expect(outcomes).toMatchObject([
    { reason: { message: 'no' } },
    { reason: { code: 'ABORTED' } },
    { status: 'fulfilled' },
  ]);
});
