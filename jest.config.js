/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: '<rootDir>/test/environment.js',
  transform: {
    '\\.m?ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } }],
  },
  modulePathIgnorePatterns: ['<rootDir>/(build.*|dist|dist-bench|prebuilds)/'],
  // Whole forward passes in every format take their time on two cores.
  testTimeout: 120_000,
  maxWorkers: 2,
};
