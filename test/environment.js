// Jest runs tests in a context of their own, but an addon makes its values in Node's main one. Sharing these classes
// lets `instanceof` and `toThrow(RangeError)` hold for what native code returns and throws.
const { TestEnvironment } = require('jest-environment-node');

// With them Node may print warnings: tests hold what their processes say to the letter.
for (const name of ['NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS']) delete process.env[name];

const shared = [
  ...['Float32Array', 'Float64Array', 'Int8Array', 'Int16Array', 'Int32Array', 'Uint8Array', 'Uint16Array'],
  ...['Uint32Array', 'BigInt64Array', 'BigUint64Array', 'Error', 'TypeError', 'RangeError', 'ArrayBuffer'],
];

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    for (const name of shared) this.global[name] = globalThis[name];
  }
};
