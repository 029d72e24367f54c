// The ESM entry: the same module that `require` loads.
export * from './index.js';
export { default } from './index.js';
