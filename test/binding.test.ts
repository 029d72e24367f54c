import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { loadBinding, packageRoot, packageRootAbove } from '../lib/binding';
import { ForetokenError } from '../lib/error';

describe('packageRoot', () => {
  it('finds the package from any depth below it', () => {
    const root = path.join(__dirname, '..');
    expect(packageRoot()).toBe(root);
    expect(packageRootAbove(path.join(root, 'dist-bench', 'lib', 'engine'))).toBe(root);
  });

  it('says that the package is incomplete outside of it', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'foretoken-'));
    expect(() => packageRootAbove(folder)).toThrow(expect.objectContaining({ code: 'PACKAGE_INCOMPLETE' }));
    fs.rmSync(folder, { recursive: true });
  });
});

describe('cudaInfo', () => {
  it('lists the devices, or says with a code why there are none', () => {
    let info;
    try {
      info = loadBinding().cudaInfo();
    } catch (error) {
      expect(error).toMatchObject({ code: 'CUDA_UNAVAILABLE' });
      expect((error as Error).message).toMatch(/^CUDA can't be used here: \S/);
      return;
    }
    expect(info.devices.length).toBeGreaterThan(0);
    expect(path.dirname(info.library)).toBe(path.join(packageRoot(), 'build', 'Release'));
  });
});

describe('ForetokenError.from', () => {
  it('keeps code, file and offset of a native error, and makes it the cause', () => {
    const native = Object.assign(new Error('cut short'), { code: 'FILE_TRUNCATED', file: 'a.gguf', offset: 24 });
    const error = ForetokenError.from(native);
    expect(error).toBeInstanceOf(ForetokenError);
    expect(error).toMatchObject({ message: 'cut short', code: 'FILE_TRUNCATED', file: 'a.gguf', offset: 24 });
    expect((error as Error).cause).toBe(native);
  });

  it('leaves alone what carries no code', () => {
    const plain = new TypeError('x is not a function');
    expect(ForetokenError.from(plain)).toBe(plain);
    expect(ForetokenError.from(undefined)).toBeUndefined();
  });
});
