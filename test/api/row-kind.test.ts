import { checkRequestOptions } from '../../lib/engine/request-options';
import type { RequestOptions } from '../../lib/engine/request-options';
import { kindOf } from '../../lib/engine/row-kind';

const kind = (options: RequestOptions): string | undefined => kindOf(checkRequestOptions(options, 100));

test('tokens are greedy where nothing is left to chance, and sampled where some is', () => {
  expect(kind({ temperature: 0 })).toBe('greedy');
  expect(kind({ temperature: 1, topK: 1 })).toBe('greedy');
  expect(kind({ temperature: 1, topP: 1e-3 })).toBe('greedy');
  expect(kind({ temperature: 1, minP: 1 })).toBe('greedy');
  for (const filter of [{}, { topP: 0.9 }, { topP: 0.95, topK: 40 }, { minP: 0.05 }])
    expect(kind({ temperature: 0.8, ...filter })).toBe('sampled');
});

test('penalties and biases are rules of their own', () => {
  expect(kind({ temperature: 0, repetitionPenalty: 1.1 })).toBe('other');
  expect(kind({ temperature: 1, presencePenalty: 0.5 })).toBe('other');
  expect(kind({ temperature: 1, frequencyPenalty: 0.5 })).toBe('other');
  expect(kind({ temperature: 1, logitBias: { 3: 1 } })).toBe('other');
});

test('of requests that teach nothing only the time counts, of those that are not drafted for nothing', () => {
  expect(kind({ temperature: 0, learn: false })).toBe('other');
  expect(kind({ temperature: 0, speculation: { enabled: false } })).toBeUndefined();
  expect(kind({ temperature: 0, learn: false, speculation: { enabled: false } })).toBeUndefined();
  expect(kind({ temperature: 0, learn: 'answer' })).toBe('greedy');
});
