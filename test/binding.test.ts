import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { explainLoadFailure, loadBinding, packageRoot, packageRootAbove } from '../lib/binding';
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

describe('what a package that cannot be loaded advises', () => {
  const platform = `${process.platform}-${process.arch}`;
  const build = 'npx node-gyp-build';
  const install = 'npm uninstall foretoken && npm install PATH_OF_TARBALL_OR_FOLDER';
  let folder: string;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'foretoken-'));
    onGlibc('2.36');
  });
  afterEach(() => {
    jest.restoreAllMocks();
    fs.rmSync(folder, { recursive: true });
  });

  function onGlibc(glibcVersionRuntime?: string): void {
    jest.spyOn(process.report, 'getReport').mockReturnValue({ header: { glibcVersionRuntime } });
  }

  const prebuild = () => fs.mkdirSync(path.join(folder, 'prebuilds', platform), { recursive: true });
  const explain = (said: string) => explainLoadFailure(new Error(said), folder);

  it('is to install again from where it came, for it is on no registry', () => {
    prebuild();
    const text = explain('file too short');
    expect(text).toContain(install);
    expect(text).toContain('file too short');
    expect(text).not.toContain(build);
  });

  it('is to build where no prebuild fits', () => {
    expect(explain('No native build was found')).toContain(`There is no prebuild for ${platform}. Build here`);
    prebuild();
    expect(explain("version `GLIBC_2.38' not found")).toContain(`cd ${folder} && ${build}`);
    if (process.platform !== 'linux') return;
    onGlibc(undefined);
    const text = explain('Error loading shared library ld-linux-x86-64.so.2');
    expect(text).toContain(`There is no prebuild for ${platform} with musl. Build here`);
    expect(text).toContain(`cd ${folder} && ${build}`);
    expect(text).not.toContain(install);
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
