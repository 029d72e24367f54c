import { homedir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../../lib/models/cache';

test('FORETOKEN_HOME comes first, then the XDG cache folder, then ~/.cache', () => {
  expect(cacheFolder({ FORETOKEN_HOME: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(cacheFolder({ XDG_CACHE_HOME: '/b' })).toBe('/b/foretoken');
  expect(cacheFolder({})).toBe(join(homedir(), '.cache', 'foretoken'));
});

test('a relative FORETOKEN_HOME is resolved, a relative XDG_CACHE_HOME ignored', () => {
  expect(cacheFolder({ FORETOKEN_HOME: 'here' })).toBe(join(process.cwd(), 'here'));
  expect(cacheFolder({ XDG_CACHE_HOME: 'here' })).toBe(join(homedir(), '.cache', 'foretoken'));
});
