import { cards } from '../../bench/roofline/cards';
import { models } from '../../bench/roofline/models';
import {
  expectedExperts,
  kernelsOf,
  stepSeconds,
  tokensPerSecond,
  weightBytes,
  type Setup,
} from '../../bench/roofline/step';

const setup: Setup = { card: cards.b200, gpus: 4, format: 'fp8', batch: 1, rows: 1, context: 1024 };

test.each([
  ['llama-3-8b', 8.03e9],
  ['qwen3-32b', 32.8e9],
  ['deepseek-v3.1', 671e9],
  ['kimi-k2', 1.03e12],
] as const)('%s has as many parameters as its makers say', (name, parameters) => {
  const counted = weightBytes(models[name], 'bf16') / 2;
  expect(counted / parameters).toBeGreaterThan(0.99);
  expect(counted / parameters).toBeLessThan(1.01);
});

test('a step reads a dense model once, and of experts those that are chosen', () => {
  const bytes = (name: string, rows: number): number =>
    kernelsOf(models[name], { ...setup, gpus: 1, rows, context: 0 }).reduce((sum, each) => sum + each.bytes, 0);
  const { vocabulary, width } = models['llama-3-8b'];
  const embedding = 2 * vocabulary * width; // one row of it
  expect(bytes('llama-3-8b', 1) / (weightBytes(models['llama-3-8b'], 'fp8') - embedding)).toBeCloseTo(1, 3);
  expect(bytes('llama-3-8b', 8) / bytes('llama-3-8b', 1)).toBeCloseTo(1, 3);
  expect(bytes('deepseek-v3.1', 1)).toBeGreaterThan(37e9); // active parameters
  expect(bytes('deepseek-v3.1', 1)).toBeLessThan(40e9);
  expect(bytes('deepseek-v3.1', 8) / bytes('deepseek-v3.1', 1)).toBeGreaterThan(3);
});

test('tokens choose from their number of experts up to all', () => {
  expect(expectedExperts(256, 8, 1)).toBeCloseTo(8, 10);
  expect(expectedExperts(256, 8, 2)).toBeLessThan(16);
  expect(expectedExperts(256, 8, 10_000)).toBeCloseTo(256, 6);
});

test('more GPUs, fewer bits and less context are faster; drafts pay by what is kept of them', () => {
  const model = models['llama-3-8b'];
  const seconds = (other: Partial<Setup>): number => stepSeconds(model, { ...setup, ...other });
  expect(seconds({ gpus: 2 })).toBeGreaterThan(seconds({ gpus: 4 }));
  expect(seconds({ format: 'nvfp4' })).toBeLessThan(seconds({}));
  expect(seconds({ context: 100_000 })).toBeGreaterThan(seconds({}));
  expect(tokensPerSecond(model, setup, 1)).toBeCloseTo(1 / seconds({}), 6);
  const speculative = { ...setup, rows: 8 };
  expect(tokensPerSecond(model, speculative, 3) / tokensPerSecond(model, speculative, 1)).toBeCloseTo(3, 6);
});
